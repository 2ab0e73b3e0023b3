"""The dialogues of ICER, Figures 2, 3, 12 and 13, in a small world that has their films.

Positions in the embedding mean nothing here but for one thing: the film that a critique compares
with lies furthest the wrong way, as those of simulated users do.
"""

# ruff: noqa: E501

import numpy as np

from crs_gym.acts import (
    Accept,
    Answer,
    AttributeQuery,
    Choice,
    Critique,
    ItemQuery,
    Recommendation,
)
from crs_gym.world import Attribute
from crs_gym.world.generate import generate

FILMS = (
    ("My Best Friend's Wedding", 1997), ("The Basketball Diaries", 1995), ("Hot Shots!", 1991),
    ("Beverly Hills Cop II", 1987), ("Take the Money and Run", 1969), ("The Revenant", 2015),
    ("How the Grinch Stole Christmas!", 1966), ("The Raid: Redemption", 2011),
    ("Seven Psychopaths", 2012), ("White Squall", 1996), ("Get Shorty", 1995), ("Speed", 1994),
    ("Blue Velvet", 1986), ("Shadow of a Doubt", 1943), ("Miracle on 34th Street", 1947),
    ("Harvey", 1950), ("A Room with a View", 1986), ("Wild Things", 1998), ("Bad Santa", 2003),
    ("Wayne's World", 1992), ("Sophie's Choice", 1982), ("The Accountant", 2016),
    ("Silver Linings Playbook", 2012), ("Mud", 2012), ("The Grand Budapest Hotel", 2014),
    ("A Few Good Men", 1992), ("The King's Speech", 2010), ("Dancer in the Dark", 2000),
)  # fmt: skip
WORDINGS = (
    Attribute(
        "romantic", "more romantic", "less romantic", "a film with a more romantic storyline"
    ),
    Attribute("serious", "more serious", "less serious"),
    Attribute("dense", "denser", "less dense"),
    Attribute("cartoonish", "more cartoonish", "less cartoonish"),
    Attribute("funny", "funnier", "less funny"),
    Attribute("dynamic", "more dynamic", "less dynamic"),
    Attribute("unique", "with a more unique story", "with a less unique story"),
    Attribute("fictionalized", "more fictionalized", "less fictionalized"),
    Attribute("mainstream", "more mainstream", "less mainstream"),
)
ITEM = {title: n for n, (title, _) in enumerate(FILMS)}
ROMANTIC, SERIOUS, DENSE, CARTOONISH, FUNNY, DYNAMIC, UNIQUE, FICTIONAL, MAINSTREAM = range(9)


def world():
    made = generate(n_items=len(FILMS), dim=12, n_attributes=9, n_users=8, seed=1, name="paper")
    made = made.replace(
        titles=tuple(title for title, _ in FILMS),
        years=np.array([year for _, year in FILMS]),
        attributes=WORDINGS,
    )
    scores = np.zeros((len(FILMS), 9), np.float32)
    for _, response, _, _ in TURNS:
        if isinstance(response, Critique):
            scores[response.item, response.attribute] = -response.direction
    items = np.zeros((len(FILMS), made.dim), np.float32)
    items[:, 1:10] = scores
    cavs = np.eye(9, made.dim, 1, dtype=np.float32)
    return made.replace(item_embeddings=items, cavs=cavs)


def _slate(*titles):
    return tuple(ITEM[title] for title in titles)


TURNS = (
    (
        AttributeQuery(ITEM["My Best Friend's Wedding"], ROMANTIC, 1),
        Answer(ROMANTIC, -1),
        "Regarding My Best Friend's Wedding (1997), do you prefer a movie with a more romantic storyline?",
        "I'd prefer something less romantic as I'm not in the mood for love stories.",
    ),
    (
        Recommendation(_slate("The Basketball Diaries", "Hot Shots!")),
        Critique(ITEM["The Basketball Diaries"], SERIOUS, -1),
        "You may enjoy these non-romantic options: The Basketball Diaries (1995), a gritty drama about drug addiction, or Hot Shots! (1991), a hilarious military satire.",
        "I'm looking for something lighthearted, as I'm not interested in intense dramas like The Basketball Diaries (1995).",
    ),
    (
        ItemQuery(_slate("Beverly Hills Cop II", "Take the Money and Run")),
        Choice(ITEM["Beverly Hills Cop II"]),
        'How about these comedies: "Beverly Hills Cop II (1987)", an action-packed crime comedy, or "Take the Money and Run (1969)", a classic mockumentary? Which one do you prefer?',
        "I'll go with Beverly Hills Cop II (1987) because I'm looking for a lighthearted action comedy.",
    ),
    (
        Recommendation(_slate("The Revenant", "How the Grinch Stole Christmas!")),
        Accept(ITEM["How the Grinch Stole Christmas!"]),
        'You may enjoy "The Revenant (2015)", a gripping survival drama, or "How the Grinch Stole Christmas! (1966)", a heartwarming animated classic.',
        'I\'ll go with "How the Grinch Stole Christmas! (1966)" as it\'s a lighthearted classic that fits my current mood.',
    ),
    (
        ItemQuery(_slate("The Raid: Redemption", "Seven Psychopaths")),
        Choice(ITEM["Seven Psychopaths"]),
        "Between The Raid: Redemption (2011), an action-packed thrill ride, and Seven Psychopaths (2012), a dark comedy with a star-studded cast, which one would you prefer to watch?",
        "I prefer Seven Psychopaths (2012) because I enjoy dark comedies.",
    ),
    (
        AttributeQuery(ITEM["White Squall"], DENSE, 1),
        Answer(DENSE, -1),
        "How about White Squall (1996), a coming-of-age drama? Would you be interested in something similar?",
        "I'd prefer something lighter, as I'm not in the mood for dense dramas.",
    ),
    (
        Recommendation(_slate("Get Shorty", "Speed")),
        Critique(ITEM["Get Shorty"], CARTOONISH, -1),
        "Here are two lighter movies you might enjoy: Get Shorty (1995), a crime comedy, and Speed (1994), an action thriller.",
        "I'd prefer something more realistic than Get Shorty (1995), as I'm not in the mood for exaggerated comedy.",
    ),
    (
        Recommendation(_slate("Blue Velvet", "Shadow of a Doubt")),
        Accept(ITEM["Blue Velvet"]),
        "How about these realistic films: Blue Velvet (1986), a neo-noir mystery, or Shadow of a Doubt (1943), a suspenseful thriller?",
        "I'll go with Blue Velvet (1986) because it aligns with my preference for realistic and mysterious films.",
    ),
    (
        ItemQuery(_slate("Miracle on 34th Street", "Harvey")),
        Choice(ITEM["Miracle on 34th Street"]),
        "Between *Miracle on 34th Street* (1947), a heartwarming Christmas classic, and *Harvey* (1950), a charming comedy about an imaginary rabbit, which one captures your interest more?",
        "I prefer *Miracle on 34th Street* (1947) because I enjoy heartwarming Christmas stories.",
    ),
    (
        Recommendation(_slate("A Room with a View", "Wild Things")),
        Critique(ITEM["A Room with a View"], FUNNY, 1),
        "Based on your preferences, you might enjoy *'A Room with a View* (1986)', a romantic period drama, and *'Wild Things* (1998)', a crime thriller with unexpected twists.",
        "I'm looking for something funnier than *A Room with a View* (1986) because I prefer comedies.",
    ),
    (
        ItemQuery(_slate("Bad Santa", "Wayne's World")),
        Choice(ITEM["Bad Santa"]),
        "Between *Bad Santa* (2003), a dark comedy about a con man posing as Santa, and *Wayne's World* (1992), a hilarious adaptation of the *Saturday Night Live* sketch, which one would you prefer?",
        "I prefer *Bad Santa* (2003) as I enjoy dark comedies.",
    ),
    (
        Recommendation(_slate("Sophie's Choice", "The Accountant")),
        Critique(ITEM["Sophie's Choice"], DYNAMIC, -1),
        "Considering your preference for dark comedies, you might enjoy these selections: *Sophie's Choice* (1982), a poignant drama with a dark undertone, and *The Accountant* (2016), an action-packed thriller with comedic elements.",
        "I'm looking for a dark comedy that's less intense than *Sophie's Choice* (1982).",
    ),
    (
        Recommendation(_slate("Silver Linings Playbook", "Mud")),
        Critique(ITEM["Silver Linings Playbook"], UNIQUE, -1),
        "Consider these dark comedies with a lighter tone: *Silver Linings Playbook* (2012), a heartwarming story with a comedic twist, and *Mud* (2012), an adventure with humorous elements.",
        "I would prefer a dark comedy with a more conventional storyline.",
    ),
    (
        Recommendation(_slate("The Grand Budapest Hotel", "A Few Good Men")),
        Critique(ITEM["The Grand Budapest Hotel"], FICTIONAL, -1),
        "Here are two dark comedies with conventional storylines: *The Grand Budapest Hotel* (2014), a whimsical and visually stunning film, and *A Few Good Men* (1992), a gripping courtroom drama with a strong comedic undercurrent.",
        "Could you recommend something more grounded in reality than *The Grand Budapest Hotel* (2014)?",
    ),
    (
        Recommendation(_slate("The King's Speech", "Dancer in the Dark")),
        Critique(ITEM["The King's Speech"], MAINSTREAM, -1),
        "For more grounded options, consider *The King's Speech* (2010), a historical drama based on real events, or *Dancer in the Dark* (2000), a poignant musical with a realistic storyline.",
        "I prefer something more unconventional than *The King's Speech* (2010), as I enjoy exploring less mainstream options.",
    ),
)  # fmt: skip
"""(act, response, the recommender's rewritten turn, the user's)."""

DROPPED = "How about White Squall (1996), a coming-of-age drama? Would you be interested in something similar?"
"""An attribute query that no longer says what is asked about."""

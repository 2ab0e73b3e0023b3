"""More turns worded by hand, written after the checks were.

When the checks first read them, 11 of the 39 good ones were refused and 5 of the 59 bad ones
passed: what to expect of words that nobody thought of. Then the checks were mended where a rule was
wrong, not to please single sentences.
"""

# ruff: noqa: E501

from crs_gym.acts import (
    Accept,
    Answer,
    AttributeQuery,
    Choice,
    Critique,
    ItemQuery,
    Leave,
    Recommendation,
    Reject,
)
from tests.generation.texts import ATTRIBUTES, TITLES

HEAT, UP, SHINING, GUMP, VERTIGO = (
    TITLES[t]
    for t in (
        "Heat (1995)",
        "Up (2009)",
        "The Shining (1980)",
        "Forrest Gump (1994)",
        "Vertigo (1958)",
    )
)
VIOLENT, INTENSE, COMPLICATED, CHEESY, REALISTIC = (
    ATTRIBUTES[n] for n in ("violent", "intense", "complicated", "cheesy", "realistic")
)
OFFER, THREE, QUERY = (
    Recommendation((HEAT, UP)),
    Recommendation((GUMP, UP, VERTIGO)),
    ItemQuery((SHINING, GUMP)),
)
ONE = Recommendation((VERTIGO,))
CALMER, VIOLENCE = AttributeQuery(SHINING, INTENSE, -1), AttributeQuery(HEAT, VIOLENT, 1)

GOOD = (
    (OFFER, "Got it! For something gripping there's Heat (1995), and for something that will make you smile (and cry) there's Up (2009)."),
    (OFFER, "Based on that, my suggestions are Heat (1995), a slick cat-and-mouse thriller, and Up (2009), a moving adventure."),
    (OFFER, "Perhaps Heat (1995) would be up your street, or else Up (2009), which is an absolute delight."),
    (OFFER, "You could give Heat (1995) a go; Up (2009) is another wonderful pick."),
    (THREE, "I've got three ideas for you: Forrest Gump (1994), Up (2009) and Vertigo (1958)."),
    (THREE, "Well, what about Forrest Gump (1994), a big-hearted tale, Up (2009), full of colour, or Vertigo (1958), Hitchcock at his most hypnotic?"),
    (ONE, "I have just the thing: Vertigo (1958), a mystery you won't forget."),
    (ONE, "Then let me recommend Vertigo (1958). It's a slow, strange and beautiful film."),
    (QUERY, "Imagine you could only watch one of them tonight: The Shining (1980), chilling to the bone, or Forrest Gump (1994), warm and funny. Which would it be?"),
    (QUERY, "Do you lean more towards The Shining (1980) or Forrest Gump (1994)?"),
    (QUERY, "Out of The Shining (1980) and Forrest Gump (1994), what's your favourite?"),
    (CALMER, "The Shining (1980) keeps you on the edge of your seat. Are you after something less intense?"),
    (CALMER, "Would The Shining (1980) be too much tonight? Shall I look for a calmer film?"),
    (VIOLENCE, "Heat (1995) has its shootouts. Do you want something even more violent?"),
)  # fmt: skip

GOOD_RESPONSES = (
    (OFFER, Accept(UP), "Aw, Up (2009) is exactly what I need right now!"),
    (OFFER, Accept(HEAT), "Heat (1995), yes! I've been meaning to rewatch that."),
    (OFFER, Accept(HEAT), "Let's do Heat (1995), I'm a big fan of Al Pacino."),
    (THREE, Accept(VERTIGO), "I've heard so much about Vertigo, I'll give it a try."),
    (ONE, Accept(VERTIGO), "Sure, I'm happy to watch that."),
    (OFFER, Reject(), "I've already seen both of them, so no."),
    (OFFER, Reject(), "Those two don't do it for me, I'm afraid."),
    (THREE, Reject(), "Thanks, but none of the three grab me."),
    (ONE, Reject(), "Hitchcock isn't really my cup of tea, sorry."),
    (OFFER, Critique(HEAT, VIOLENT, -1), "Heat (1995) is too violent for me, is there anything gentler?"),
    (OFFER, Critique(HEAT, COMPLICATED, -1), "Could we go for something simpler than Heat (1995)? I'm tired tonight."),
    (OFFER, Critique(UP, CHEESY, -1), "Up (2009) is a bit too corny for my taste, I'd like something less cheesy."),
    (ONE, Critique(VERTIGO, INTENSE, 1), "I was hoping for something that's more intense than Vertigo (1958)."),
    (OFFER, Critique(UP, REALISTIC, 1), "I'd love something more grounded than Up (2009), closer to real life."),
    (QUERY, Choice(GUMP), "Forrest Gump (1994) every time, it's such a feel-good story."),
    (QUERY, Choice(GUMP), "I'd have to say Forrest Gump, horror isn't for me."),
    (QUERY, Choice(SHINING), "The Shining (1980), because I'm in a spooky mood."),
    (QUERY, Choice(SHINING), "The former, I adore Kubrick."),
    (CALMER, Answer(INTENSE, -1), "Yes please, something calmer, I want to be able to sleep."),
    (CALMER, Answer(INTENSE, 1), "No, quite the opposite, I'd like something more intense!"),
    (CALMER, Answer(INTENSE, -1), "Something less intense would be lovely, my nerves are shot."),
    (VIOLENCE, Answer(VIOLENT, -1), "Oh no, I'd much rather have something less violent."),
    (VIOLENCE, Answer(VIOLENT, 1), "Yeah, bring on the violence!"),
    (OFFER, Leave(), "Thanks for trying, but I'll call it a night. Bye!"),
    (ONE, Leave(), "This isn't working, I'm going to stop now."),
)  # fmt: skip

BAD = (
    (OFFER, "Heat (1995) might be a bit much, so go for Up (2009) instead of that."),
    (OFFER, "There's Heat (1995), there's Up (2009), and there's also The Shining (1980)."),
    (OFFER, "You might enjoy Heat, a slick thriller, or Up (2009)."),
    (OFFER, "Are you more in the mood for Heat (1995) or Up (2009)?"),
    (OFFER, "Nobody should watch Heat (1995) or Up (2009)."),
    (OFFER, "What did you think of Heat (1995) and Up (2009)?"),
    (OFFER, "Heat (1995) and Up (2009) are not what you want tonight."),
    (OFFER, "Fans of Heat (1995) often enjoy Up (2009)."),
    (OFFER, "User wants a film, so I offer Heat (1995) and Up (2009)."),
    (THREE, "How about Forrest Gump (1994) or Vertigo (1958)?"),
    (ONE, "Would you like something calmer than Vertigo (1958)?"),
    (ONE, "I'd skip Vertigo (1958) if I were you."),
    (QUERY, "I'd suggest The Shining (1980) for chills, or Forrest Gump (1994) for laughs."),
    (QUERY, "Which of these two scares you more, The Shining (1980) or Forrest Gump (1994)?"),
    (QUERY, "Have you watched The Shining (1980) or Forrest Gump (1994)?"),
    (QUERY, "Would you like a film such as The Shining (1980) or Forrest Gump (1994)?"),
    (CALMER, "The Shining (1980) keeps you on the edge of your seat. Are you after something more intense?"),
    (CALMER, "Do you like The Shining (1980)?"),
    (CALMER, "How intense do you like your films, compared with The Shining (1980)?"),
    (CALMER, "If The Shining (1980) is too intense, you might like Forrest Gump (1994)."),
    (VIOLENCE, "Would you like something as violent as Heat (1995)?"),
    (VIOLENCE, "Would you like something a bit less violent than Heat (1995)?"),
)  # fmt: skip

BAD_RESPONSES = (
    (OFFER, Accept(UP), "Heat (1995) for me, thanks."),
    (OFFER, Accept(UP), "Up (2009) is too sweet, I'd rather have Heat (1995)."),
    (OFFER, Accept(UP), "I've seen Up (2009) too often."),
    (OFFER, Accept(UP), "Up (2009) sounds nice, but do you have something scarier?"),
    (OFFER, Accept(UP), "Not Up (2009) again!"),
    (OFFER, Accept(UP), "I could do without Up (2009)."),
    (OFFER, Accept(UP), "Both sound nice."),
    (OFFER, Accept(UP), "What is Up (2009) about?"),
    (OFFER, Accept(UP), "Let's watch Forrest Gump (1994)."),
    (ONE, Accept(VERTIGO), "I'd rather watch something else."),
    (ONE, Accept(VERTIGO), "Maybe another time."),
    (OFFER, Reject(), "Heat (1995) isn't for me."),
    (OFFER, Reject(), "I wouldn't mind watching either of those."),
    (OFFER, Reject(), "Too violent. Give me something gentler."),
    (OFFER, Reject(), "Sure, I'll watch Up (2009)."),
    (OFFER, Reject(), "Nothing could be better than these two!"),
    (OFFER, Critique(HEAT, VIOLENT, -1), "I'd like more violence than in Heat (1995)."),
    (OFFER, Critique(HEAT, VIOLENT, -1), "Heat (1995) isn't violent enough for me."),
    (OFFER, Critique(HEAT, VIOLENT, -1), "I want something less violent than Up (2009)."),
    (OFFER, Critique(HEAT, VIOLENT, -1), "I want something shorter than Heat (1995)."),
    (OFFER, Critique(HEAT, VIOLENT, -1), "I want something bloodier than Heat (1995)."),
    (OFFER, Critique(HEAT, VIOLENT, -1), "Heat (1995) is so violent, I love it!"),
    (OFFER, Critique(HEAT, VIOLENT, -1), "I'd like something like Heat (1995)."),
    (QUERY, Choice(GUMP), "The Shining (1980) wins."),
    (QUERY, Choice(GUMP), "Forrest Gump (1994) is overrated, so the other one."),
    (QUERY, Choice(GUMP), "The former."),
    (QUERY, Choice(GUMP), "I can't decide."),
    (QUERY, Choice(GUMP), "Something funnier than Forrest Gump (1994)."),
    (CALMER, Answer(INTENSE, -1), "No, it can be intense."),
    (CALMER, Answer(INTENSE, -1), "I want to be on the edge of my seat, so more intense please."),
    (CALMER, Answer(INTENSE, -1), "No thanks."),
    (CALMER, Answer(INTENSE, -1), "I'd love to watch The Shining (1980)."),
    (CALMER, Answer(INTENSE, -1), "Something less funny, please."),
    (VIOLENCE, Answer(VIOLENT, 1), "I can't stand violence."),
    (VIOLENCE, Answer(VIOLENT, 1), "Yes, something gentler."),
    (OFFER, Leave(), "Not these, what else do you have?"),
    (OFFER, Leave(), "Up (2009) it is, thanks and goodbye!"),
)  # fmt: skip

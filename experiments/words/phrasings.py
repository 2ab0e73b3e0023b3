"""Many ways to say every act: what a paraphraser is trained on, and checks are measured with.

Sentences are put together from parts, each drawn at random: openings, ways to offer, ask or answer,
reasons. There are thousands for an act, besides its films and attributes. A user's sentence may
drop the title of a film that nobody can mistake, and all titles' years.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from crs_gym.acts import (
    Accept,
    Answer,
    AttributeQuery,
    Choice,
    Critique,
    ItemQuery,
    Leave,
    ReadableRecommenderAct,
    ReadableUserAct,
    Recommendation,
    Reject,
)
from crs_gym.dialogue.understanding import furthest
from crs_gym.world import World

_OPENINGS = (
    "", "", "", "Alright: ", "Okay, ", "Let me see. ", "I have an idea. ",
    "Thanks for telling me. ", "Good to know. ", "Then ", "Going by what you told me, ",
    "With that in mind, ", "For tonight, ",
)  # fmt: skip
_OFFERS = (
    "you might enjoy {films}.", "you could watch {films}.", "how about {films}?",
    "I'd suggest {films}.", "I'd recommend {films}.", "why not try {films}?",
    "take a look at {films}.", "I can recommend {films}.", "what about {films}?",
    "I think you'd enjoy {films}.", "check out {films}.", "you may like {films}.",
    "my pick is {films}.", "consider {films}.",
)  # fmt: skip
_AFTER_OFFERS = (
    "", "", "", " I hope it suits you.", " It should suit your mood.", " Many people love it.",
    " I think it fits what you said.",
)  # fmt: skip
_AFTER_OFFERS_SEVERAL = (
    "", "", "", " I hope one of them suits you.", " Both should suit your mood.",
    " I think they fit what you said.",
)  # fmt: skip
_NOTHING = (
    "I'm afraid I have nothing left to offer.", "Sorry, I have nothing new to suggest.",
    "I have nothing more to recommend, sorry.", "I am out of ideas now.",
    "I'm sorry, I am out of suggestions.", "It seems that I have nothing else to recommend.",
)  # fmt: skip
_CHOICES = (
    "which one would you rather watch, {films}?", "which one do you prefer, {films}?",
    "which of these would you pick: {films}?", "which of them do you like best: {films}?",
    "given {films}, which one appeals to you more?", "between {films}, which would you choose?",
    "take {films}: which one do you prefer?", "say you had {films}: which one would you watch?",
    "which film would you rather see, {films}?", "would you rather watch {films}?",
)  # fmt: skip
_BEFORE_CHOICES = (
    "", "", "", "Help me understand your taste: ", "Let me ask you something: ",
    "To get to know you better: ", "Just to be sure, ", "A quick question: ", "Hmm, ",
)  # fmt: skip
_QUESTIONS = (
    "compared with {film}, do you want something {short}?",
    "would you like {long}, compared to {film}?",
    "taking {film} as a start, would you prefer something {short}?",
    "think of {film}. Would you like {long}?", "do you feel like something {short} than {film}?",
    "if we start from {film}, should I look for something {short}?",
    "regarding {film}, would you prefer {long}?",
    "how do you feel about {film}? Do you want {long}?",
    "would you want something {short} than {film}?", "picture {film}: do you want {long}?",
)  # fmt: skip
_REASONS = (
    "", "", "", "", "that sounds right for tonight", "I have been curious about it",
    "it fits my mood", "a friend told me about it", "it looks like fun",
    "I never got round to it", "that is just my kind of film", "it has been on my list for ages",
)  # fmt: skip
_MOODS = (
    "", "", "", "", "that would suit me tonight", "I had a long week", "that is what I feel like",
    "I am in that kind of mood", "that is more my taste", "it has been one of those days",
)  # fmt: skip
_TAKES = (
    "I'll go with {film}", "let's watch {film}", "I'd love to watch {film}",
    "let's go with {film}", "I'll take {film}", "{film} sounds great", "{film} it is",
    "I want to watch {film}", "{film} sounds perfect", "I'd like to see {film}",
    "{film} is what I was looking for",
)  # fmt: skip
_YES = (
    "", "", "Yes, ", "Great, ", "Oh nice, ", "Perfect, ", "Okay, ", "Lovely, ", "Ah, ",
)  # fmt: skip
_NO_ONE = (
    "that one is not for me", "I'm not interested in that one", "that is not what I want",
    "I'd rather see something else", "that isn't what I'm looking for", "I'll pass on that one",
    "it doesn't appeal to me", "I don't like that one",
)  # fmt: skip
_NO_SEVERAL = (
    "none of those appeal to me", "I don't like any of those", "these are not for me",
    "I'm not interested in any of them", "I'd rather see something else", "I'll pass on these",
    "none of them are what I want", "those aren't what I'm looking for",
    "neither of these, please",
)  # fmt: skip
_SORRY = (
    "", "", "No, ", "No thanks, ", "Sorry, ", "Hmm, no, ", "I'm afraid ", "To be honest, ",
    "Well, ",
)  # fmt: skip
_AFTER_NO = (
    "", "", "", ", sorry", ", thanks", ", to be honest", " tonight",
)  # fmt: skip
_CRITIQUES = (
    "I'd like something {short}{than}", "I'd prefer something {short}{than}",
    "do you have something {short}{than}?", "can you find me something {short}{than}?",
    "I'm looking for something {short}{than}", "I want {long}{compared}",
    "I'd rather have {long}{compared}", "show me something {short}{than}",
    "I need {long}{compared}", "could you suggest something {short}{than}?",
)  # fmt: skip
_BEFORE_CRITIQUES = (
    "", "", "No, ", "Not quite, ", "Hmm, no. ", "No thanks. ", "Sorry, no. ", "Not really. ",
    "Well, ",
)  # fmt: skip
_PREFERENCES = (
    "I'd pick {film}", "I'd go with {film}", "I prefer {film}", "I like {film} best",
    "I'd choose {film}", "I'd rather watch {film}", "{film} for me", "my favourite is {film}",
    "I'd say {film}", "I'd take {film}",
)  # fmt: skip
_THINKING = (
    "", "", "", "Hmm, ", "Easy: ", "Oh, ", "Of those, ", "Good question. ", "Well, ",
    "Definitely: ",
)  # fmt: skip
_ANSWERS = (
    "I'd like something {short}", "I want something {short}", "I'd prefer {long}",
    "I'd rather have {long}", "something {short}, please", "give me something {short}",
    "{long} would be good", "I'm looking for something {short}",
)  # fmt: skip
_AGREE = (
    "Yes, ", "Yes, ", "Yeah, ", "Sure, ", "Definitely, ", "Exactly, ", "",
)  # fmt: skip
_DISAGREE = (
    "No, ", "No, ", "Nope, ", "Not really, ", "No, on the contrary: ", "",
)  # fmt: skip
_GOODBYES = (
    "I give up. Goodbye!", "Never mind, I'm leaving.", "This leads nowhere, bye.",
    "Let's stop here. Bye!", "That's enough for today, goodbye.", "I'm done here, thanks. Bye!",
    "Forget it, I'm done.", "I quit. Bye bye!", "Okay, never mind. Goodbye!",
    "I'm tired of this, goodbye.",
)  # fmt: skip


def phrase(rng: random.Random, act: ReadableRecommenderAct, world: World) -> str:
    """One of the many ways in which a recommender may say an act."""
    match act:
        case Recommendation(()):
            return rng.choice(_NOTHING)
        case Recommendation(items):
            said = rng.choice(_OFFERS).format(films=_listed(rng, items, world))
            after = rng.choice(_AFTER_OFFERS if len(items) == 1 else _AFTER_OFFERS_SEVERAL)
            return _joined(rng.choice(_OPENINGS), said) + after
        case ItemQuery(items):
            said = rng.choice(_CHOICES).format(films=_listed(rng, items, world))
            return _joined(rng.choice(_BEFORE_CHOICES), said)
        case AttributeQuery(item, attribute, direction):
            words = _wordings(rng, attribute, direction, world)
            said = rng.choice(_QUESTIONS).format(film=world.label(item), **words)
            return _joined(rng.choice(_BEFORE_CHOICES), said)


def phrase_response(
    rng: random.Random, response: ReadableUserAct, act: ReadableRecommenderAct, world: World
) -> str:
    """One of the many ways in which a user may respond."""
    match response:
        case Accept(item):
            said = rng.choice(_TAKES).format(film=_title(rng, item, act, world))
            return _because(rng, _joined(rng.choice(_YES), said), _REASONS)
        case Choice(item):
            said = rng.choice(_PREFERENCES).format(film=_title(rng, item, act, world))
            return _because(rng, _joined(rng.choice(_THINKING), said), _REASONS)
        case Reject():
            several = not isinstance(act, AttributeQuery) and len(act.items) > 1
            said = rng.choice(_NO_SEVERAL if several else _NO_ONE)
            return _joined(rng.choice(_SORRY), said) + rng.choice(_AFTER_NO) + "."
        case Critique(item, attribute, direction):
            words = _wordings(rng, attribute, direction, world)
            named = {"than": "", "compared": ""}
            slate = () if isinstance(act, AttributeQuery) else act.items
            clear = furthest(slate, attribute, direction, world) == item
            if not clear or rng.random() < 0.7:
                title = _title(rng, item, act, world)
                named = {"than": f" than {title}", "compared": f" compared with {title}"}
            said = rng.choice(_CRITIQUES).format(**words, **named)
            return _because(rng, _joined(rng.choice(_BEFORE_CRITIQUES), said), _MOODS)
        case Answer(attribute, direction):
            asked = isinstance(act, AttributeQuery) and act.direction == direction
            words = _wordings(rng, attribute, direction, world)
            said = rng.choice(_ANSWERS).format(**words)
            return _because(rng, _joined(rng.choice(_AGREE if asked else _DISAGREE), said), _MOODS)
        case Leave():
            return rng.choice(_GOODBYES)


def _joined(opening: str, rest: str) -> str:
    """Puts an opening before a sentence, with capitals where a sentence begins."""
    if not opening or opening.rstrip().endswith((".", "!")):
        rest = rest[0].upper() + rest[1:]
    return opening + rest


def _because(rng: random.Random, said: str, reasons: Sequence[str]) -> str:
    """A sentence with a full stop, and a reason in between or after, or none."""
    reason = rng.choice(reasons)
    if said.endswith("?"):
        return f"{said} {reason[0].upper()}{reason[1:]}." if reason else said
    if not reason:
        return said + rng.choice((".", ".", "!"))
    return said + rng.choice((f", {reason}.", f" because {reason}.", f", as {reason}."))


def _listed(rng: random.Random, items: Sequence[int], world: World) -> str:
    labels = [world.label(item) for item in items]
    if len(labels) == 1:
        return labels[0]
    return f"{', '.join(labels[:-1])} {rng.choice(('or', 'and'))} {labels[-1]}"


def _title(rng: random.Random, item: int, act: ReadableRecommenderAct, world: World) -> str:
    """A film as its user calls it: with the year, or without where the title is enough."""
    table = (act.item,) if isinstance(act, AttributeQuery) else act.items
    title = world.titles[item]
    alike = sum(world.titles[other] == title for other in table) > 1
    plain = len(title.split()) > 1 and world.titles.count(title) == 1
    return title if plain and not alike and rng.random() < 0.2 else world.label(item)


def _wordings(rng: random.Random, attribute: int, direction: int, world: World) -> dict[str, str]:
    """`short` comes after "something", `long` is a noun phrase; both may be either wording."""
    words = world.attributes[attribute]
    short, long = (words.more, words.more_long) if direction > 0 else (words.less, words.less_long)
    something = f"something {short}"
    long = long or something
    return {"short": short, "long": rng.choice((long, long, something))}

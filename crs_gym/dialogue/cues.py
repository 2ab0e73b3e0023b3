"""The words that the parser listens for, apart from films and attributes."""

from __future__ import annotations

import enum
from collections.abc import Mapping

from crs_gym.dialogue.text import keys

FILM = "<film>"
"""Stands in a row of words for a film that is named."""

WISH = "<wish>"
"""Stands in a row of words for more or less of an attribute."""


class Cue(enum.Enum):
    """What a phrase does in a sentence."""

    YES = enum.auto()
    TAKE = enum.auto()  # wants a film that is offered, or likes it best
    BEST = enum.auto()  # prefers a film, which takes it only where there is a choice
    NO = enum.auto()
    REFUSE = enum.auto()  # wants none of what is offered
    LEAVE = enum.auto()
    OFFER = enum.auto()  # the recommender's
    CHOOSE = enum.auto()  # asks for a choice of films
    PREFER = enum.auto()  # asks for a preference, of films unless an attribute is named
    ASK = enum.auto()  # asks about an attribute
    EMPTY = enum.auto()  # says that there is nothing to offer
    REFERENCE = enum.auto()  # names a film without offering it


_PHRASES = {
    Cue.YES: (
        "yes, yeah, yep, yup, sure, ok, okay, exactly, definitely, absolutely, of course, yes "
        "please, please do, perfect, great, sounds good, sounds great, sounds perfect, deal"
    ),
    Cue.TAKE: (
        "is what i'm looking for, is what i was looking for, is just what i want, that's what i "
        "want, that's what i'm looking for, is what i want, i'll take, i take, i'd take, let's go "
        "with, let's watch, let's take, i'll go with, i'd go with, i go with, i'm going with, "
        "i'll watch, i accept, i'd love to watch, i'd love to see, i'd like to watch, i'd like to "
        "see, i want to watch, i want to see, i'd love <film>, i'd like <film>, i want <film>, "
        "i'll have <film>, i pick, i'll pick, i choose, i'd choose, i'll choose, give me <film>, "
        "<film> it is, <film> sounds good, <film> sounds great, <film> sounds perfect, <film> is "
        "perfect, <film> would be perfect, <film> for me"
    ),
    Cue.BEST: (
        "i prefer <film>, i'd prefer <film>, i like <film> best, i like <film> better, i like "
        "<film> more, i like <film> most, i'd rather watch <film>, i'd rather see <film>, i'd "
        "rather have <film>, my favourite is <film>, my favorite is <film>, <film> is better, "
        "<film> is my favourite, <film> is my favorite, <film> is the best, <film> is the one"
    ),
    Cue.NO: (
        "nope, nah, no thanks, no thank you, not really, not quite, definitely not, of course "
        "not, absolutely not, no way, on the contrary, the opposite"
    ),
    Cue.REFUSE: (
        "i don't like it, i don't like that, i don't like this, i don't like <film>, i don't like "
        "them, i don't like these, i don't like those, don't like them, don't like it, i don't "
        "like any of them, i don't like any of these, i don't like any of those, i don't like "
        "either, i don't like either of them, i don't want it, i don't want that, i don't want "
        "any of them, i don't want any of these, i don't want <film>, none of these, none of "
        "those, none of them, neither of them, neither of these, neither of those, not that one, "
        "not this one, not these, not those, not <film>, isn't for me, aren't for me, not for me, "
        "<film> isn't for me, isn't what i want, isn't what i'm looking for, not what i want, "
        "isn't what i'm after, aren't what i want, aren't what i'm looking for, not what i'm "
        "looking for, not interested, i'm not interested, something else, i'd rather see "
        "something else, i'd rather not, i'll pass, i pass, i hate it, i hate them, i hate <film>"
    ),
    Cue.LEAVE: (
        "goodbye, good bye, bye, bye bye, i give up, leads nowhere, i'm leaving, never mind, "
        "nevermind, forget it, forget about it, i quit, that's enough, i'm done, i'm done here, "
        "let's stop, i'll stop here, i want to stop"
    ),
    Cue.OFFER: (
        "might like, may like, could like, might enjoy, may enjoy, would enjoy, you'd enjoy, will "
        "enjoy, you'll enjoy, you'll like, you'll love, you'd like <film>, would like <film>, "
        "might love, how about, what about, i'd recommend, i recommend, i can recommend, i "
        "suggest, i'd suggest, can suggest, try <film>, consider <film>, check out <film>, have a "
        "look at, take a look at, here is, here are, you could watch, you should watch, i can "
        "offer, my pick is, my picks are, these are"
    ),
    Cue.ASK: "would you like, would you prefer, do you want, should i look, do you feel like",
    Cue.PREFER: "do you prefer, would you rather, what do you prefer",
    Cue.CHOOSE: (
        "which of these, which of those, which of them, which one, which do you, which would, "
        "which film, which movie, which you like best, if you had to choose"
    ),
    Cue.EMPTY: (
        "nothing new to offer, nothing left to offer, nothing more to offer, nothing to offer, "
        "nothing left to suggest, nothing more to suggest, nothing else that i could recommend, "
        "nothing left to recommend, nothing to recommend, nothing else to recommend, out of "
        "suggestions, out of ideas, no more suggestions"
    ),
    Cue.REFERENCE: (
        "since you, because you, if you liked, if you like, if you enjoyed, you liked, you "
        "enjoyed, you loved, you mentioned, similar to, reminds, fans of, fan of, like <film>, "
        "loved <film>, liked <film>, enjoyed <film>, love <film>, compared with, compared to, "
        "than, unlike, as in, sequel to, remake of, instead of, after <film>, the director of, "
        "from the makers of, have you seen, did you like"
    ),
}


def _phrases() -> Mapping[tuple[str, ...], Cue]:
    found = {}
    for cue, listed in _PHRASES.items():
        for phrase in listed.split(", "):
            marked = phrase.replace(FILM, "filmmark")
            words = tuple(FILM if key == "filmmark" else key for key in keys(marked))
            found[words] = cue
    return found


PHRASES = _phrases()
"""Phrase, as a tuple of keys, to what it does."""

LONGEST_PHRASE = max(map(len, PHRASES))

TO_USERS = frozenset({Cue.OFFER, Cue.CHOOSE, Cue.PREFER, Cue.ASK, Cue.EMPTY, Cue.REFERENCE})
"""Cues that nobody but a recommender gives."""

NEGATORS = frozenset(
    "not no never nothing nobody none neither nor without hardly barely cannot dont doesnt didnt "
    "isnt arent wasnt werent aint cant couldnt wont wouldnt shouldnt havent hasnt less fewer more "
    "most least".split()
)
"""Words that turn a sentence round, or state a degree of something that is not known."""

HEDGES = frozenset("if unless maybe perhaps might almost but though although except why".split())
"""Words after which a yes is no longer one."""

AGAINST = frozenset(
    "than instead except avoid avoiding stop hate dislike sick tired enough over unlike why who "
    "when whether wherever either used".split()
)
"""Words after which a wish is no longer one."""

ASIDE = AGAINST | frozenset(
    "anything something everything whatever else before like similar".split()
)
"""Words after which a film is what others are compared with, rather than what is taken."""

WANTS = frozenset(
    "want need prefer like looking look rather id love show give find recommend suggest wish "
    "hoping please".split()
)
"""Words that make what comes after them wished for."""

SOMETHING = frozenset("something anything someone film movie one films movies ones some".split())
"""What is wished for before its attribute is told."""

COPULAS = frozenset(
    "is was are were be been its thats looks looked seems seemed feels felt sounds gets got hes "
    "shes theyre".split()
)
"""Words that make what comes after them a statement."""

FILLERS = frozenset(
    "a an the bit little much slightly even way far somewhat lot and or yes no sorry just then so "
    "well oh hmm um uh actually definitely really please thanks thank you ok okay i think that s "
    "would be good nice one for me hey hi hello dear my friend kindly now sure many".split()
)
"""Words that a sentence keeps its meaning without."""

AFTER_NO = frozenset(
    "i id im ill we thanks thank sorry please do that this these those none not give show "
    "something compared next could can rather neither it its nothing".split()
)
"""Words before which "no" is a whole sentence although its comma is missing."""

PRONOUNS = frozenset("that this it one them these those i".split())
"""Words that stand for what was offered."""

PLACES = {
    ("the", "first"): 0,
    ("the", "former"): 0,
    ("first", "one"): 0,
    ("the", "second"): 1,
    ("second", "one"): 1,
    ("the", "third"): 2,
    ("third", "one"): 2,
    ("the", "fourth"): 3,
    ("fourth", "one"): 3,
    ("the", "last"): -1,
    ("the", "latter"): -1,
    ("last", "one"): -1,
}
"""Places of a slate in words."""

ORDINARY = frozenset(
    {key for phrase in PHRASES for key in phrase}
    | NEGATORS
    | HEDGES
    | AGAINST
    | WANTS
    | SOMETHING
    | COPULAS
    | FILLERS
    | {word for place in PLACES for word in place}
    | set("it her him his them they he she us me up on in of to at by as all big once others thing "
          "things starting think regarding compared next this "
          "that there what when where how too good bad new old day night".split())
)  # fmt: skip
"""Words of everyday speech: a title made of these alone counts only where it is set apart."""

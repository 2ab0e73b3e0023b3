"""Which way a text leans on an attribute, where it does not use the world's own wordings.

"Lighter" is less serious and "not in the mood for dense dramas" is less dense. The words come from
the attribute's name and, for well-known attributes, from a list; a "not", "less" or "too" before a
word turns it round. It is a rough ear, good enough to say that a text leans the wrong way or no way
at all, and never used to find out what is meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from types import MappingProxyType

from crs_gym.dialogue.lexicon import Lexicon
from crs_gym.dialogue.reading import Reading
from crs_gym.dialogue.text import Token, keys

NOT = frozenset(
    "not no non never nothing nobody none neither nor without hardly barely cannot dont doesnt "
    "didnt isnt arent wasnt werent aint cant couldnt wont wouldnt shouldnt havent hasnt".split()
)
"""Words that turn round what comes after them in their clause."""

_AVERSE = frozenset("hate dislike tired sick avoid avoiding skip than unlike over".split())
_LESSER = frozenset("less fewer too least lower".split())
_JOINTS = frozenset("because since as so but while although though and which who when".split())
_REACH = 3  # words between "less" and what there is to be less of

# words that lean towards more | towards less; a star stands for any ending
_LISTED = {
    "action filled": "action* explosi* fast faster | quiet quieter slow slower calm calmer",
    "animated": "animat* cartoon* | live",
    "believable": "believab* plausib* credib* convinc* | implausib* unbelievab* incredib*",
    "big budget": "lavish* blockbuster* expensiv* spectac* | indie modest low cheap* small",
    "cartoonish": "cartoon* exaggerat* zany | realis* grounded serious lifelike",
    "cheesy": "chees* corn* sentimental sappy | subtle subtler",
    "complicated": "complicat* complex* intricate convoluted | simple* simpler straightforw*",
    "crazy gore": "gor* splatter* blood* | tame tamer bloodless",
    "dense": "dens* heavy heavier complex | light lighter lightheart* simple* simpler easy easier",
    "documentary style": "documentar* | ",
    "dynamic": "dynamic* energetic lively intense* fast* | slow slower calm* quiet* static gentl*",
    "factual": "fact* accura* true truer histor* | invented fiction*",
    "far-fetched": "farfetch* wild wilder outlandish absurd* implausib* crazy crazier | plausib* "
    "grounded believab* realis*",
    "feels real": "real realer realis* authentic lifelike grounded | fantast* artificial fake*",
    "fictionalized": "fiction* invent* imagina* | real realis* reality true truer fact* grounded "
    "histor* accura*",
    "funny": "fun funn* hilari* laugh* comic comed* humor* humour* | serious sad sadder solemn",
    "gory": "gor* blood* splatter* | tame tamer bloodless",
    "harsh": "harsh* brutal* cruel* grim* bleak* | gentl* kind kinder soft softer warm warmer",
    "impactful": "impact* powerful moving memorable deep deeper | forgettable",
    "intense": "intens* gripping tense tenser suspens* | calm calmer calming relax* gentl* light "
    "lighter lightheart* easygoing mellow*",
    "juvenile humor": "silly sillier goofy goofier juvenil* childish* | grownup mature",
    "light-hearted": "light lighter lightheart* hearted cheer* breezy upbeat feelgood fun | heavy "
    "heavier dark darker gloom* grim* bleak* serious",
    "long": "long longer lengthy | short shorter brief briefer",
    "mainstream": "mainstream* convention* popular | unconvention* unusual niche obscure indie "
    "offbeat",
    "make you think": "thought* thoughtful provok* philosoph* deep deeper | mindless* shallow*",
    "over the top": "excess* outrageous | restrained subtle subtler understated",
    "playful": "playful* whims* fun | serious solemn",
    "realistic": "realis* grounded lifelike authentic reality | fantast* unrealis* dreamlike",
    "romantic": "romanc* romant* love | unromant*",
    "scary": "scar* frighten* creep* horror* terrif* spook* | tame tamer",
    "serious": "serious* heavy heavier grave graver solemn sombre weighty intens* dramas | light "
    "lighter lightheart* hearted fun funny funnier silly sillier goofy comed*",
    "terrifying": "terrif* frighten* chill* scar* horror* | tame tamer comfort*",
    "tongue and cheek": "tongue iron* wink* satir* | earnest sincere",
    "unique": "uniq* original* unusual unconvention* fresh fresher | convention* familiar standard "
    "ordinary traditional classic",
    "unrealistic": "unrealis* fantast* impossib* magic* | realis* grounded everyday",
    "violent": "violen* brutal* bloody bloodier fight* | peaceful gentl* tame tamer nonviolent",
    "well directed": "skilful* masterful* | loose looser",
}


def leanings(reading: Reading, attribute: int, names: Lexicon) -> frozenset[int]:
    """Directions in which a text leans on an attribute: +1, -1, both, or none."""
    wordings = {
        place: {wish.direction for wish in meant if wish.attribute == attribute}
        for place, meant, _ in reading.wishes
    }
    words = _words(names.attributes[attribute])
    found: set[int] = set()
    for clause in clauses(reading.row):
        turned = 1
        for n in clause:
            key = reading.row[n].key
            for direction in wordings.get(n, ()):
                found.add(turned * direction)
            # "I scare easily", "as scary as", "how scary"
            idle = n > 0 and reading.row[n - 1].key in ("i", "as", "how")
            if (leaning := _leaning(key, words)) and not idle:
                before = {reading.row[m].key for m in clause if n - _REACH <= m < n}
                after = {reading.row[m].key for m in clause if n < m <= n + 1}
                lessened = -1 if before & _LESSER else 1
                # "not scary enough" asks for more, and so does "not enough action"
                found.add(leaning * (1 if "enough" in before | after else turned * lessened))
            if key in NOT or key in _AVERSE:
                turned = -1
    return frozenset(found)


def clauses(row: Sequence[Token]) -> Iterator[range]:
    """The places of each clause: parted by punctuation, and by words such as "because"."""
    first = 0
    for place in range(1, len(row) + 1):
        if place == len(row) or row[place].opens or row[place].key in _JOINTS:
            yield range(first, place)
            first = place


@cache
def _words(name: str) -> Mapping[str, int]:
    """Words, with a star where any ending will do, to the way that they lean."""
    more, _, less = _LISTED.get(name, "").partition("|")
    found = {**dict.fromkeys(more.split(), 1), **dict.fromkeys(less.split(), -1)}
    own = keys(name)
    if len(own) == 1 and len(own[0]) > 4:
        found[own[0][: max(4, min(len(own[0]) - 2, 6))] + "*"] = 1
    return MappingProxyType(found)


def _leaning(key: str, words: Mapping[str, int]) -> int:
    if key in words:
        return words[key]
    endings = (words.get(key[:size] + "*", 0) for size in range(len(key), 2, -1))
    return next((leaning for leaning in endings if leaning), 0)

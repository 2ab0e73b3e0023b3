"""Whether a freely worded turn of the recommender offers or asks as its act does."""

from __future__ import annotations

from crs_gym.acts import AttributeQuery, ItemQuery, ReadableRecommenderAct, Recommendation
from crs_gym.dialogue.cues import FILM, Cue
from crs_gym.dialogue.lexicon import Lexicon
from crs_gym.dialogue.reading import Reading
from crs_gym.generation.checks.films import places
from crs_gym.generation.checks.leanings import NOT, clauses, leanings
from crs_gym.generation.checks.reasons import Reason, Rejection
from crs_gym.generation.checks.sides import sentences

_LOUD = frozenset("recommend suggest enjoy love like should pick picks".split())
_OFFERING = frozenset(
    "recommend recommending recommendation recommendations suggest suggestion suggestions enjoy "
    "like love try consider watch option options check pick picks perfect ideal offer appeal fit "
    "fits fancy choices choice match matches give worth see idea ideas theres perhaps maybe thing "
    "would could might".split()
)
_CHOOSING = frozenset(
    "prefer rather choose choosing pick like enjoy better best favourite favorite appeal appeals "
    "interest interests interested sound sounds watch captures capture draws tempts mood lean "
    "leaning speaks take go see".split()
)
_WHICH = frozenset("which what whats whether".split())
_EITHER = frozenset("prefer rather choose pick lean leaning mood favourite favorite".split())
_LEAST = frozenset("least worst less hate dislike avoid skip never".split())
_ASKING = frozenset(
    "want like prefer interested mood looking look rather fancy enjoy care shall should find "
    "search need appeal hoping something".split()
)
# a "not" that is none
_IDIOMS = (
    ("why", "not"), ("not", "only"), ("not", "just"), ("no", "doubt"), ("without", "a", "doubt"),
    ("cant", "go", "wrong"), ("dont", "miss"), ("not", "to", "be", "missed"),
    ("wont", "regret"), ("wont", "be", "disappointed"), ("wont", "disappoint"),
)  # fmt: skip
_AGAINST = frozenset("recommend suggest worth enjoy like".split())


def fault(reading: Reading, act: ReadableRecommenderAct, names: Lexicon) -> Rejection | None:
    """What is wrong with a turn that names the right films; None where it does what `act` does."""
    match act:
        case Recommendation(()):
            return _no_offer(reading)
        case Recommendation():
            return _offer(reading)
        case ItemQuery():
            return _choice(reading)
        case AttributeQuery():
            return _question(reading, act, names)


def pushed(reading: Reading) -> Rejection | None:
    """A question that recommends besides: an offer in a sentence that asks for no choice."""
    for sentence in sentences(reading):
        keys = {reading.row[n].key for n in sentence}
        if keys & _WHICH or _hears(reading, sentence, Cue.CHOOSE, Cue.PREFER, Cue.ASK):
            continue
        for place, size, cue in reading.cues:
            words = [token.key for token in reading.row[place : place + size]]
            if place in sentence and cue is Cue.OFFER and _LOUD & set(words):
                return Rejection(Reason.OTHER_ACT, f"{' '.join(words)!r} recommends, not asks")
    return None


def _offer(reading: Reading) -> Rejection | None:
    if reading.hears(Cue.CHOOSE, Cue.PREFER) or (reading.question and reading.hears(Cue.ASK)):
        return Rejection(Reason.OTHER_ACT, "a question is asked, not films offered")
    if reading.wishes and reading.question:
        return Rejection(Reason.OTHER_ACT, "an attribute is asked about, not films offered")
    if reading.hears(Cue.EMPTY):
        return Rejection(Reason.CONTRADICTION, "films are named, and yet nothing is offered")
    films = places(reading)
    if len(films) > 1 and any(token.key == "instead" for token in reading.row):
        return Rejection(Reason.MISSING_FILM, "one film is put in another's place")
    offers = [place for place, _, cue in reading.cues if cue is Cue.OFFER]
    for clause in clauses(reading.row):
        named = [n for n in films if n in clause]
        for place, size, cue in reading.cues:
            if place not in clause or cue is not Cue.REFERENCE:
                continue
            told = [n for n in named if n >= place]
            if told and not any(place + size <= n < told[0] for n in offers):
                return Rejection(Reason.MISSING_FILM, "some film is named without being offered")
        denied = [n for n in clause if reading.row[n].key in NOT and not _idiom(reading, n)]
        for n in denied:
            after = {reading.row[m].key for m in clause if m > n}
            if any(m > n for m in (*named, *(o for o in offers if o in clause))):
                return Rejection(Reason.CONTRADICTION, "an offer is denied")
            if after & _AGAINST or ("for" in after and "you" in after):
                return Rejection(Reason.CONTRADICTION, "films are advised against")
        spoken = {reading.row[n].key for n in clause if n < max(named, default=0)}
        if spoken & {"skip", "avoid", "forget"}:
            return Rejection(Reason.CONTRADICTION, "films are advised against")
    bare = set(reading.bare) <= {FILM}
    praised = any(_idiom(reading, n) for n, token in enumerate(reading.row) if token.key in NOT)
    if not (offers or bare or praised or {t.key for t in reading.row} & _OFFERING):
        return Rejection(Reason.UNCLEAR, "films are named, but not offered")
    return None


def _no_offer(reading: Reading) -> Rejection | None:
    keys = {token.key for token in reading.row}
    nothing = keys & NOT or {"out", "of"} <= keys or "exhausted" in keys
    told = keys & {"offer", "suggest", "recommend", "suggestion", "suggestions", "ideas",
                   "recommendations", "recommendation", "options", "show"}  # fmt: skip
    if not (nothing and told) or reading.wishes or reading.question:
        return Rejection(Reason.UNCLEAR, "it is not said that there is nothing to offer")
    return None


def _choice(reading: Reading) -> Rejection | None:
    asked = False
    for sentence in sentences(reading):
        keys = {reading.row[n].key for n in sentence}
        cued = _hears(reading, sentence, Cue.CHOOSE, Cue.PREFER)
        worded = bool(keys & _CHOOSING and keys & (_WHICH | {"between"}))
        worded |= bool(keys & _EITHER) and "or" in keys
        if not cued and not (worded and reading.question):
            continue
        asked = True
        if turned := (_LEAST | NOT) & keys:
            return Rejection(Reason.OTHER_DIRECTION, f"{min(turned)!r} turns the question round")
    if not asked:
        return Rejection(Reason.OTHER_ACT, "it is not asked which film is preferred")
    if reading.wishes:
        return Rejection(Reason.OTHER_ATTRIBUTE, "an attribute is asked about, not films alone")
    return None


def _question(reading: Reading, act: AttributeQuery, names: Lexicon) -> Rejection | None:
    if reading.hears(Cue.CHOOSE):
        return Rejection(Reason.OTHER_ACT, "a choice of films is asked for, not an attribute")
    asked = reading.hears(Cue.ASK, Cue.PREFER) or (
        reading.question and {token.key for token in reading.row} & _ASKING
    )
    if not asked:
        return Rejection(Reason.OTHER_ACT, "no question is asked")
    return direction_fault(reading, act.attribute, act.direction, names)


def direction_fault(
    reading: Reading, attribute: int, direction: int, names: Lexicon
) -> Rejection | None:
    """What is wrong with the way that a text leans; None where it leans as it should."""
    for wording in reading.wishes:
        if attribute not in {wish.attribute for wish in wording.meant}:
            words = " ".join(wording.words)
            return Rejection(Reason.OTHER_ATTRIBUTE, f"{words!r} is of another attribute")
    leant = leanings(reading, attribute, names)
    asked = f"{'more' if direction > 0 else 'less'} {names.attributes[attribute]}"
    if leant == {-direction}:
        return Rejection(Reason.OTHER_DIRECTION, f"the opposite of {asked!r} is asked for")
    if leant != {direction}:
        return Rejection(Reason.UNCLEAR, f"it is not clear that {asked!r} is asked for")
    return None


def _idiom(reading: Reading, place: int) -> bool:
    keys = [token.key for token in reading.row]
    return any(
        tuple(keys[start : start + len(idiom)]) == idiom
        for idiom in _IDIOMS
        for start in range(max(0, place - len(idiom) + 1), place + 1)
    )


def _hears(reading: Reading, within: range, *wanted: Cue) -> bool:
    return any(place in within and cue in wanted for place, _, cue in reading.cues)

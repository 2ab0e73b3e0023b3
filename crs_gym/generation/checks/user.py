"""Whether a freely worded turn of the user responds as its act does."""

from __future__ import annotations

from crs_gym.acts import (
    Accept,
    Answer,
    AttributeQuery,
    Choice,
    Critique,
    Leave,
    ReadableRecommenderAct,
    ReadableUserAct,
    Reject,
)
from crs_gym.dialogue.cues import COPULAS, FILM, HEDGES, PRONOUNS, WISH, Cue
from crs_gym.dialogue.lexicon import Lexicon
from crs_gym.dialogue.reading import Reading
from crs_gym.dialogue.understanding import furthest
from crs_gym.generation.checks.films import places
from crs_gym.generation.checks.leanings import NOT, clauses
from crs_gym.generation.checks.reasons import Reason, Rejection
from crs_gym.generation.checks.recommender import direction_fault
from crs_gym.world import World

_BESIDE = frozenset("than over not except but unlike avoid skip of".split())
_TAKING = frozenset(
    "choose pick go going take taking prefer like love want watch perfect great good favourite "
    "favorite best better please appeals interests tempting sounds rather enjoy lean leaning "
    "vote gets got right exactly wins catches seems try give say lets need adore".split()
)
_UNLIKED = frozenset(
    "had like love want mood interest interests interested appeal appeals feel me watch see fit "
    "suit thing taste keen fan any either neither none these those them that it looking sold "
    "convinced after tempted tempt work works grabs grab thanks cup tea".split()
)
_REFUSED = frozenset("pass skip else different neither none".split())
_SOFT = frozenset("bad mind wrong problem doubt sure wait agree better best".split())
_SEEN = frozenset("seen saw watched came read heard remember about".split())
_LESSER = frozenset("less least worse worst".split())
_GENERIC = frozenset(
    "else different new other another similar like that this i id is it for in to one ones from "
    "instead please at all really you here so these those them of my the on just".split()
)
_ENDING = frozenset(
    "bye goodbye leave leaving stop stopping done quit later end ending enough elsewhere off "
    "tomorrow farewell".split()
)


def fault(
    reading: Reading,
    response: ReadableUserAct,
    act: ReadableRecommenderAct,
    names: Lexicon,
    world: World,
) -> Rejection | None:
    """What is wrong with a turn that names no stranger; None where it does what `response` does."""
    if reading.hears(Cue.LEAVE) and not isinstance(response, Leave):
        return Rejection(Reason.OTHER_ACT, "the conversation is left")
    match response:
        case Accept(item) | Choice(item):
            return _taken(reading, item, act, isinstance(response, Choice))
        case Reject():
            return _refused(reading, act)
        case Critique():
            return _criticised(reading, response, act, names, world)
        case Answer() if isinstance(act, AttributeQuery):
            return _answered(reading, response, act, names)
        case Leave():
            return _left(reading)
    raise ValueError(f"{response!r} is no response to {act!r}")


def _taken(
    reading: Reading, item: int, act: ReadableRecommenderAct, asked: bool
) -> Rejection | None:
    """The film of the act is wanted, and no other; others may be named beside it.

    Args:
        asked: whether a choice was asked for: then to name a film is to choose it, unless
            something is said of it.
    """
    against = [n for n in places(reading) if _set_against(reading, n)]
    wanted = [n for n in places(reading) if n not in against]
    here = [n for n in places(reading, item) if n in wanted]
    if set(wanted) - set(here):
        return Rejection(Reason.OTHER_FILM, "another of the films is taken")
    one = not isinstance(act, AttributeQuery) and len(act.items) == 1
    if not here and (against or not one):
        return Rejection(Reason.MISSING_FILM, "the film that is taken is not named")
    for place, size, cue in reading.cues:
        aside = any(place <= n < place + size for n in against)
        if cue is Cue.NO or (cue is Cue.REFUSE and not aside):
            return Rejection(Reason.CONTRADICTION, "yes and no are said")
    if reading.question:
        return Rejection(Reason.UNCLEAR, "a question is asked, not a film taken")
    taking = [place for place, _, cue in reading.cues if cue in (Cue.YES, Cue.TAKE, Cue.BEST)]
    sure = False
    for clause in clauses(reading.row):
        keys = {reading.row[n].key for n in clause}
        named = any(n in clause for n in here)
        takes = any(n in clause for n in taking) or (named and bool(keys & _TAKING))
        takes |= named and asked and not keys & (COPULAS | _SEEN)
        takes |= bool(here) and (
            bool(keys & PRONOUNS and keys & {"lets", "ill"}) or "hands" in keys
        )
        denied = {reading.row[n].key for n in clause if n + 1 not in against}
        if (named or takes) and denied & (NOT | _LESSER):
            return Rejection(Reason.CONTRADICTION, "it is denied that the film is taken")
        if named and WISH in keys:
            return Rejection(Reason.OTHER_ACT, "something else is asked for")
        if (named or takes) and keys & (HEDGES - {"but", "though", "although"}):
            return Rejection(Reason.UNCLEAR, "it is not clear whether a film is taken")
        sure |= takes
    if not sure and not (here and set(reading.bare) <= {FILM}):
        return Rejection(Reason.UNCLEAR, "it is not said that a film is taken")
    return None


def _refused(reading: Reading, act: ReadableRecommenderAct) -> Rejection | None:
    if reading.hears(Cue.YES, Cue.TAKE, Cue.BEST):
        return Rejection(Reason.CONTRADICTION, "yes and no are said")
    if reading.wishes or _wishes(reading):
        return Rejection(Reason.OTHER_ACT, "something is asked for, which a mere no does not")
    slate = () if isinstance(act, AttributeQuery) else act.items
    if reading.films and any(not places(reading, item) for item in slate):
        return Rejection(Reason.MISSING_FILM, "not all the films offered are refused")
    no = reading.hears(Cue.NO, Cue.REFUSE)
    for clause in clauses(reading.row):
        keys = {reading.row[n].key for n in clause}
        if keys & NOT and keys & _SOFT and not {"had", "mind"} <= keys:
            return Rejection(Reason.UNCLEAR, "it is not clear that the films are refused")
        no |= reading.row[clause[-1]].key == "no"
        no |= bool(keys & _REFUSED or (keys & NOT and keys & (_UNLIKED | {FILM})))
    if not no:
        return Rejection(Reason.OTHER_ACT, "nothing is refused")
    return None


def _criticised(
    reading: Reading,
    response: Critique,
    act: ReadableRecommenderAct,
    names: Lexicon,
    world: World,
) -> Rejection | None:
    if reading.hears(Cue.YES, Cue.TAKE, Cue.BEST):
        return Rejection(Reason.CONTRADICTION, "a film is taken and criticised at once")
    slate = () if isinstance(act, AttributeQuery) else act.items
    if len(places(reading)) != len(places(reading, response.item)):
        return Rejection(Reason.OTHER_FILM, "another film is compared with")
    wish = (response.attribute, response.direction)
    if not reading.films and furthest(slate, *wish, world) != response.item:
        return Rejection(Reason.MISSING_FILM, "the film that is compared with is not named")
    if not reading.films and reading.compares_unknown():
        return Rejection(Reason.UNKNOWN_FILM, "it is not clear what is compared with")
    return direction_fault(reading, *wish, names)


def _answered(
    reading: Reading, response: Answer, act: AttributeQuery, names: Lexicon
) -> Rejection | None:
    yes, no = reading.hears(Cue.YES), reading.hears(Cue.NO)
    said = act.direction if yes else -act.direction if no else 0
    if (yes and no) or said == -response.direction:
        return Rejection(Reason.CONTRADICTION, "yes or no contradicts what is wanted")
    if reading.hears(Cue.TAKE, Cue.REFUSE) and reading.films:
        return Rejection(Reason.OTHER_ACT, "a film is taken or refused, not a question answered")
    found = direction_fault(reading, response.attribute, response.direction, names)
    opening = any(cue is Cue.YES and reading.row[n].opens for n, _, cue in reading.cues)
    doubt = reading.wishes or {t.key for t in reading.row} & (NOT | HEDGES)
    plain_yes = opening and not doubt
    if found and found.reason is Reason.UNCLEAR and plain_yes and not reading.question:
        return None
    return found


def _left(reading: Reading) -> Rejection | None:
    if reading.hears(Cue.TAKE, Cue.BEST) or reading.wishes or _wishes(reading):
        return Rejection(Reason.OTHER_ACT, "something is taken or asked for")
    if not reading.hears(Cue.LEAVE) and not {t.key for t in reading.row} & _ENDING:
        return Rejection(Reason.OTHER_ACT, "the conversation is not ended")
    if reading.question:
        return Rejection(Reason.UNCLEAR, "a question keeps the conversation going")
    return None


def set_aside(reading: Reading, item: int) -> bool:
    """Whether a film is named only as what another is preferred to."""
    named = places(reading, item)
    return bool(named) and all(_set_against(reading, n) for n in named)


def _set_against(reading: Reading, place: int) -> bool:
    """Whether the film at a place is what another is preferred to."""
    before = [token.key for token in reading.row[max(0, place - 2) : place]]
    return bool(set(before[-1:]) & _BESIDE) or before[:1] == ["compared"]


def _wishes(reading: Reading) -> bool:
    """Whether something of a certain kind is asked for: "something lighter"."""
    for clause in clauses(reading.row):
        keys = [reading.row[n].key for n in clause]
        for n, key in enumerate(keys):
            if key in ("something", "anything") and set(keys[n + 1 :]) - _GENERIC - NOT:
                return True
    return False

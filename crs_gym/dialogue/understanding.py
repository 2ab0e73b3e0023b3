"""Free text of people and models to acts; what is not clear comes back as `NotUnderstood`.

A wrong act is worse than none: it is believed, while a reason can be answered. So a text must say
one thing only, films must be named beyond doubt, and a wish in the neighbourhood of a "not" is left
alone rather than turned round.
"""

from __future__ import annotations

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
from crs_gym.dialogue.cues import FILM, Cue
from crs_gym.dialogue.lexicon import Lexicon, Wish, lexicon
from crs_gym.dialogue.mentions import Mention
from crs_gym.dialogue.reading import Reading, read
from crs_gym.dialogue.text import NotUnderstood, too_long
from crs_gym.world import World

_NO_MEANING = NotUnderstood("it is not clear what is meant")


def understand(text: str, world: World) -> ReadableRecommenderAct | NotUnderstood:
    """What a recommender says in free text.

    Titles may be misspelt a little; of films with the same title the year decides. A text that asks
    about more or less of an attribute is an attribute query, one that asks which film is preferred
    an item query; a text that offers films, or only names them, is a recommendation.
    """
    if refusal := too_long(text) or _tagged(text):
        return refusal
    names = lexicon(world)
    reading = read(text, names)
    films = _films(reading.films, names)
    if isinstance(films, NotUnderstood):
        return films
    if reading.listed:
        return NotUnderstood(f"it is not clear whether {reading.listed!r} is a film")
    if reading.wishes and (reading.question or reading.hears(Cue.ASK, Cue.PREFER)):
        if reading.hears(Cue.CHOOSE, Cue.OFFER):
            return NotUnderstood("it is not clear whether films are offered or a question is asked")
        return _asked(reading, films, names)
    if reading.denied or reading.hears(Cue.LEAVE, Cue.NO):
        if not films and reading.hears(Cue.EMPTY):
            return Recommendation(())
        return NotUnderstood("something is denied, so it is not clear what is offered")
    if not films:
        if reading.hears(Cue.EMPTY):
            return Recommendation(())
        return NotUnderstood("no film of the catalogue is named")
    if reading.hears(Cue.EMPTY):
        return NotUnderstood("films are named, and yet nothing is offered")
    if reading.hears(Cue.REFERENCE) or reading.hedged in ("if", "unless", "except", "why"):
        return NotUnderstood("some film may be named without being offered")
    if reading.hears(Cue.CHOOSE, Cue.PREFER):
        return _NO_MEANING if reading.wishes else ItemQuery(films)
    if reading.hears(Cue.OFFER) or set(reading.bare) <= {FILM}:
        return Recommendation(films)
    return NotUnderstood("films are named, but neither offered nor asked about")


def understand_response(
    text: str, act: ReadableRecommenderAct, world: World
) -> ReadableUserAct | NotUnderstood:
    """What a user says in free text in reply to `act`.

    Only responses that fit the act come back: an offer is accepted, rejected or criticised, a
    question answered, and leaving is always possible. The films on the table decide between films
    of the same title. A critique that compares with no film by name refers to the film of the slate
    furthest the wrong way, as simulated users do; a plain yes or no to an attribute query is taken
    as ICER's records take it (appendix A.2), a no being a wish for the opposite.
    """
    if refusal := too_long(text) or _tagged(text):
        return refusal
    names = lexicon(world)
    table = (act.item,) if isinstance(act, AttributeQuery) else act.items
    reading = read(text, names, table)
    films = _films(reading.films, names)
    if isinstance(films, NotUnderstood):
        return films
    for item in films:
        if item not in table:
            return NotUnderstood(f"{names.films[item]} is not among the films spoken of")
    if reading.hears(Cue.LEAVE):
        return _leaving(reading)
    if isinstance(act, AttributeQuery) and reading.bare in (("more",), ("less",)):
        return Answer(act.attribute, 1 if reading.bare == ("more",) else -1)
    if reading.denied:
        return NotUnderstood(f"it is not clear what {reading.denied!r} refers to")
    match act:
        case AttributeQuery():
            return _answer(reading, act, names)
        case ItemQuery():
            return _choice(reading, films, act)
        case Recommendation():
            if reading.wishes:
                return _critique(reading, films, act, names, world)
            return _verdict(reading, films, act)


def _tagged(text: str) -> NotUnderstood | None:
    """Refuses structured turns: `parse_turn` reads them."""
    tagged = "<action>" in text or "</action>" in text
    return NotUnderstood("this is a structured turn, not free text") if tagged else None


def _films(mentions: Sequence[Mention], names: Lexicon) -> tuple[int, ...] | NotUnderstood:
    """The films of the mentions, each once; refuses unknown and ambiguous ones."""
    for mention in mentions:
        if not mention.items:
            return NotUnderstood(f"the catalogue has no film {mention.name!r}")
        if len(mention.items) > 1:
            meant = [names.films[i] for i in mention.items]
            some = ", ".join(meant[:3]) + (", ..." if len(meant) > 3 else "")
            return NotUnderstood(f"{len(meant)} films could be meant by {mention.name!r}: {some}")
    return tuple(dict.fromkeys(mention.items[0] for mention in mentions))


def _wish(reading: Reading, names: Lexicon) -> Wish | NotUnderstood:
    """The one wish of a text that has some."""
    meant = {wish for wording in reading.wishes for wish in wording.meant}
    if len(meant) > 1:
        listed = sorted(
            f"{'more' if wish.direction > 0 else 'less'} {names.attributes[wish.attribute]}"
            for wish in meant
        )
        return NotUnderstood(f"more than one wish could be meant: {', '.join(listed)}")
    if reason := reading.unwished():
        return NotUnderstood(reason)
    return meant.pop()


def _asked(
    reading: Reading, films: Sequence[int], names: Lexicon
) -> AttributeQuery | NotUnderstood:
    if reading.denied:
        return NotUnderstood(f"it is not clear what {reading.denied!r} refers to")
    wish = _wish(reading, names)
    if isinstance(wish, NotUnderstood):
        return wish
    if any(wording.words[0] in ("too", "not") for wording in reading.wishes):
        return NotUnderstood("a film is judged, not asked about")
    if len(films) != 1:
        return NotUnderstood(f"an attribute is asked about for one film, not {len(films)}")
    return AttributeQuery(films[0], *wish)


def _leaving(reading: Reading) -> Leave | NotUnderstood:
    taken = reading.hears(Cue.YES, Cue.TAKE, Cue.BEST)
    if taken or reading.wishes or reading.denied or reading.unexplained():
        return NotUnderstood("it is not clear whether the conversation is to end")
    return Leave()


def _answer(reading: Reading, act: AttributeQuery, names: Lexicon) -> Answer | NotUnderstood:
    yes, no = reading.hears(Cue.YES), reading.hears(Cue.NO)
    if yes and no:
        return NotUnderstood("both yes and no are said")
    said = act.direction if yes else -act.direction if no else 0
    if reading.wishes:
        wish = _wish(reading, names)
        if isinstance(wish, NotUnderstood):
            return wish
        asked = names.attributes[act.attribute]
        if wish.attribute != act.attribute:
            return NotUnderstood(f"{asked!r} was asked about, not another attribute")
        if said and said != wish.direction:
            return NotUnderstood("yes or no contradicts what is wished for")
        return Answer(*wish)
    if reading.question or reading.hedged or not said:
        return NotUnderstood("neither more nor less is asked for")
    if reading.unexplained():
        return NotUnderstood("yes or no is said, but not what for")
    return Answer(act.attribute, said)


def _choice(reading: Reading, films: Sequence[int], act: ItemQuery) -> Choice | NotUnderstood:
    if reading.wishes or reading.hears(Cue.NO, Cue.REFUSE):
        return NotUnderstood("one of the films is to be chosen")
    item = _taken(reading, films, act.items, Cue.YES, Cue.TAKE, Cue.BEST)
    return item if isinstance(item, NotUnderstood) else Choice(item)


def _verdict(
    reading: Reading, films: Sequence[int], act: Recommendation
) -> Accept | Reject | NotUnderstood:
    if reading.hears(Cue.NO, Cue.REFUSE):
        if reading.hears(Cue.YES, Cue.TAKE, Cue.BEST):
            return NotUnderstood("both yes and no are said")
        if films and set(films) != set(act.items):
            return NotUnderstood("not all the films offered are refused")
        if loose := reading.wanted or reading.hedged:
            return NotUnderstood(f"it is not clear what {loose!r} refers to")
        if not reading.hears(Cue.REFUSE) and reading.unexplained():
            return NotUnderstood("no is said, but not what to")
        if reading.question:
            return _NO_MEANING
        return Reject()
    item = _taken(reading, films, act.items, Cue.YES, Cue.TAKE)
    return item if isinstance(item, NotUnderstood) else Accept(item)


def _taken(
    reading: Reading, films: Sequence[int], slate: Sequence[int], *cues: Cue
) -> int | NotUnderstood:
    """The one film of the slate that is taken."""
    if len(films) > 1:
        return NotUnderstood("more than one film is named")
    clear = not reading.unexplained()
    sure = reading.hears(*cues) and (clear or (films and reading.hears(*{*cues} - {Cue.YES})))
    if not sure and not (clear and films):
        return NotUnderstood("neither a yes nor a no is said")
    if reading.question or reading.hedged or reading.aside:
        return NotUnderstood("it is not clear whether a film is taken")
    if films or len(slate) == 1:
        return films[0] if films else slate[0]
    return NotUnderstood("it is not said which of the films is taken")


def _critique(
    reading: Reading,
    films: Sequence[int],
    act: Recommendation,
    names: Lexicon,
    world: World,
) -> Critique | NotUnderstood:
    wish = _wish(reading, names)
    if isinstance(wish, NotUnderstood):
        return wish
    if reading.hears(Cue.YES, Cue.TAKE):
        return NotUnderstood("a film is taken and criticised at once")
    if not act.items:
        return NotUnderstood("there is no film to compare with")
    if len(films) > 1:
        return NotUnderstood("it is not clear which film is compared with")
    if films:
        return Critique(films[0], *wish)
    if reading.compares_unknown():
        return NotUnderstood("it is not clear what is compared with")
    if doubt := next((m for m in reading.doubtful if set(m.items) & set(act.items)), None):
        return NotUnderstood(f"it is not clear whether {doubt.name!r} is a film")
    return Critique(furthest(act.items, *wish, world), *wish)


def furthest(items: Sequence[int], attribute: int, direction: int, world: World) -> int:
    """The item that lies furthest the wrong way: what a critique that names none refers to."""
    return max(items, key=lambda i: -direction * float(world.attribute_scores[i, attribute]))

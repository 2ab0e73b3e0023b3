"""Writes docs/words.md: the grammar by examples, and how damaged sentences are understood.

python -m experiments.words.page
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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
from crs_gym.dialogue import (
    VARIANTS,
    NotUnderstood,
    format_turn,
    say,
    say_response,
    understand,
    understand_response,
)
from crs_gym.world import World, load_world
from experiments.pages import table
from experiments.words.mutations import KEEPING, RESULTS

PAGE = Path(__file__).parents[2] / "docs" / "words.md"

TEXT = """\
# Words

Every act of `crs_gym.acts` can be said, written as a structured turn, and read back. This page is
written by `python -m experiments.words.page`.

| from | to | by |
| --- | --- | --- |
| act | sentence | `say(act, world, variant)`, `say_response(response, act, world, variant)` |
| act and words | structured turn | `format_turn(act, words, world)` |
| structured turn | act and words | `parse_turn(text, world)`, `parse_response(text, act, world)` |
| free text | act | `understand(text, world)`, `understand_response(text, act, world)` |

All are in `crs_gym.dialogue`. What is read is an act, or a `NotUnderstood` whose `reason` is worded
for the person or model that wrote the text; no text raises. A response is read in the light of the
recommender's act before it, since "No, not that one" means something only there.

## Sentences

{variants} variants an act, by number; variant 0 is the plainest.

{sentences}

## Structured turns

The act stands in the action block, the words in the response block (Interplay, section 3.5.1):

```
{turns}
```

- An action is the tag of its kind, then `<more>` or `<less>` around the name of the attribute where
  the act has one, then its films in order, each in `<movie_title>`.
- Kinds: {kinds}.
- Films are `Title (Year)`; where a world has several with the same title and year, ` #1`, ` #2`
  come after it. In titles, names and words `&`, `<` and `>` are written `&amp;`, `&lt;` and `&gt;`.
- Titles of the act's films are marked in the words too; the marks are taken off when a turn is
  read.
- `parse_turn(format_turn(act, words, world), world) == (act, words)` for every act and any words.
- `STRUCTURE_TOKENS` lists the tags, for tokenizers that are to keep each as one token.

## Free text

A wrong act is worse than none: it is believed, while a reason can be answered. So a text must say
one thing only, films must be named beyond doubt, and a wish near a "not" is left alone.

- Titles are compared by letters and digits alone, whole titles first, the longest first; then by
  OSA distance, one slip from 4 letters on, two from 8, three from 14, numbers unchanged. The
  article and the subtitle may be missing.
- A year after the title decides between remakes, and may be one off where that leaves one film;
  without it, the films on the table decide. Titles that are everyday words ("Her", "It") need a
  capital inside the sentence, quotes or the year.
- A critique that names no film refers to the film of the slate furthest the wrong way, as that of a
  simulated user does. A plain yes or no answers an attribute query, no being the opposite.

To `{offer}`:

{heard}

As a recommender's:

{recommended}

### Damaged sentences

{inputs:,} template sentences of random acts of the film world, damaged and read again
(`python -m experiments.words.mutations`): {per_second:,} a second on one core, the slowest
{slowest_ms} ms, none failed. Damage that leaves the meaning:

{keeping}

Damage that need not leave it, so that another act may be right:

{breaking}
"""

HEARD = (
    "the godfahter please", "No, something less violent", "Something scarier? No thanks.",
    "it's too long", "the second one", "yes", "I don't like The Matrix", "The Matrix (2003)",
    "I'd take Alien", "not funnier",
)  # fmt: skip
RECOMMENDED = (
    "How about Planet of the Aeps (2001)?", "You might like Planet of the Apes.",
    "Since you liked Alien, you might enjoy The Matrix.", "You might like Toy Story 4.",
    "Regarding Alien (1979), do you prefer a movie with more laughs?",
)  # fmt: skip


def page() -> str:
    """The text of the page."""
    world = load_world("films")
    items = {world.label(i): i for i in range(world.n_items)}
    funny = next(g for g, words in enumerate(world.attributes) if words.name == "funny")
    first, second = items["The Godfather (1972)"], items["The Matrix (1999)"]
    offer, query = Recommendation((first, second)), ItemQuery((first, second))
    asked = AttributeQuery(second, funny, 1)
    talk: list[tuple[ReadableRecommenderAct, ReadableUserAct]] = [
        (offer, Accept(second)),
        (offer, Reject()),
        (offer, Critique(first, funny, 1)),
        (query, Choice(first)),
        (asked, Answer(funny, -1)),
        (Recommendation(()), Leave()),
    ]
    turns = []
    for n, (act, response) in enumerate(talk):
        if act not in [earlier for earlier, _ in talk[:n]]:
            turns.append(format_turn(act, say(act, world), world))
        turns.append(format_turn(response, say_response(response, act, world), world))
    figures: dict[str, Any] = json.loads((RESULTS / "mutations.json").read_text("utf-8"))
    return TEXT.format(
        variants=VARIANTS,
        sentences=_sentences(talk, world),
        turns="\n".join(turns),
        kinds=", ".join(dict.fromkeys(f"`<{turn.split('<', 3)[2]}`" for turn in turns)),
        offer=say(offer, world),
        heard=table(
            ("text", "understood as"),
            ((text, _act(understand_response(text, offer, world), world)) for text in HEARD),
        ),
        recommended=table(
            ("text", "understood as"),
            ((text, _act(understand(text, world), world)) for text in RECOMMENDED),
        ),
        inputs=figures["inputs"],
        per_second=figures["per_second"],
        slowest_ms=figures["slowest_ms"],
        keeping=_shares(figures, [*KEEPING]),
        breaking=_shares(figures, [k for k in figures["kinds"] if k not in KEEPING]),
    )


def _sentences(talk: list[tuple[ReadableRecommenderAct, ReadableUserAct]], world: World) -> str:
    rows = []
    for n, (act, response) in enumerate(talk):
        if act not in [earlier for earlier, _ in talk[:n]]:
            name = "Recommendation(())" if act == Recommendation(()) else type(act).__name__
            rows.append((name, [say(act, world, v) for v in range(VARIANTS)]))
        said = [say_response(response, act, world, v) for v in range(VARIANTS)]
        rows.append((type(response).__name__, said))
    return table(("act", "sentences"), ((f"`{name}`", "<br>".join(said)) for name, said in rows))


def _act(act: Any, world: World) -> str:
    if isinstance(act, NotUnderstood):
        return f"not understood: {act.reason}"
    action = format_turn(act, "", world).partition("</action>")[0].removeprefix("<action>")
    return f"`{action}`"


def _shares(figures: dict[str, Any], kinds: list[str]) -> str:
    rows = []
    for kind in kinds:
        counts = figures["kinds"][kind]
        n = sum(counts.values())
        shares = [f"{counts.get(verdict, 0) / n:.1%}" for verdict in ("right", "none")]
        wrong = counts.get("wrong", 0)
        rows.append([kind, f"{n:,}", *shares, f"{wrong:,} ({wrong / n:.3%})" if wrong else "0"])
    return table(("damage", "inputs", "right act", "not understood", "another act"), rows)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    print(PAGE)

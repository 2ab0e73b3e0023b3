"""The card of a data set: what it holds, what it follows from, under what terms."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter

import pyarrow.parquet as pq

from crs_gym.generation.dataset import WORLD, DataSet

_CARD = """\
---
pretty_name: {pretty_name}
language: en
license: other
license_name: see-below
task_categories:
- text-generation
tags:
- conversational-recommendation
- preference-elicitation
- synthetic
configs:
- config_name: default
  data_files:
  - split: {split}
    path: data/{split}-*.parquet
---

# Conversational recommendation dialogues: {world_name}

{dialogues:,} dialogues between a recommender that weighs the expected value of information of what
it may ask, as the settings say, and users whose choices and answers follow from an explicit
preference, made by crs-gym {version} in the way of ICER (MD-DICER). The users are simulated; nobody's
words are quoted.

- World: {world_name}, hash `{world}`, in `{world_file}`.
- Source: {source}
- Licence of what the world was built from, which holds for the dialogues too: {licence}

## What is in it

| | |
|---|---|
{figures}

## Settings

| setting | value |
|---|---|
{settings}

The same settings make the same acts; `crs-gym dataset check` follows every stored act.

## Columns

One row is one dialogue; acts, films and attributes are numbered as in the world.

| column | what it is |
|---|---|
| `number`, `key`, `version`, `world` | the dialogue's number and random key; crs-gym's version, the world's hash |
| `user_id`, `embedding` | row of the world's population; the user's true embedding phi_u |
| `prior_mean`, `prior_std` | what the recommender knew at the start |
| `temperature`, `patience`, `critique_rate` | the user's traits |
| `utility_mean`, `utility_best`, `utility_null` | the user's mean and best utility over all items; the null item's |
| `accepted`, `left`, `reward` | the accepted item or -1; whether the user left; the sum of rewards |
| `turns` | a list, one entry a turn |
| `turns.recommender`, `turns.user` | the act (`act`, `items` or `item`, `attribute`, `direction`), its `template` (and which `variant`), the `text` said, and the text's `source`: `template`, `model` (rewritten) or `fallback` (could not be rewritten) |
| `turns.draws`, `turns.probability` | the uniform draws from which the response followed; P(response given act and phi_u) |
| `turns.utilities` | the user's utility of each item of the act |
| `turns.evoi`, `turns.expected_utility` | EVOI of the best query found, asked or not; EU* before the turn |
| `turns.believed`, `turns.regret` | the item of highest expected utility before the turn; how far it is from the user's favourite (0) towards the mean item (1) |
"""  # noqa: E501


def card(data: DataSet) -> str:
    """The card of a finished data set, as Markdown with a head in YAML."""
    world = data.world
    figures = summary(data)
    return _CARD.format(
        # in quotes, for a colon in a name would end it
        pretty_name=json.dumps(f"Conversational recommendation dialogues ({world.name})"),
        world_name=world.name,
        world=world.hash,
        world_file=WORLD,
        source=world.source,
        licence=world.licence,
        split="train" if data.settings.split == "train" else "test",
        dialogues=len(data),
        version=data.settings.version,
        figures="\n".join(f"| {name} | {value} |" for name, value in figures.items()),
        settings="\n".join(
            f"| `{name}` | {value} |"
            for name, value in dataclasses.asdict(data.settings).items()
            if name != "world"
        ),
    )


def summary(data: DataSet) -> dict[str, str]:
    """Counts and means over a data set, ready to print."""
    kinds: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    turns = accepted = left = 0
    columns = ["accepted", "left", *(f"turns.list.element.{c}" for c in _LIGHT)]
    for shard in range(data.settings.shards):
        table = pq.ParquetFile(data.path(shard)).read(columns=columns)
        accepted += sum(item >= 0 for item in table["accepted"].to_pylist())
        left += sum(table["left"].to_pylist())
        for talk in table["turns"].to_pylist():
            turns += len(talk)
            for turn in talk:
                kinds[turn["recommender"]["act"]] += 1
                kinds[turn["user"]["act"]] += 1
                sources[turn["recommender"]["source"]] += 1
                sources[turn["user"]["source"]] += 1
    total = len(data)
    words = sum(sources.values())
    return {
        "dialogues": f"{total:,}",
        "turns": f"{turns:,} (mean {turns / total:.2f})",
        "accepted": f"{accepted / total:.1%}",
        "left": f"{left / total:.1%}",
        **{kind.replace("_", " "): f"{count:,}" for kind, count in sorted(kinds.items())},
        **{f"words: {name}": f"{n / words:.1%}" for name, n in sorted(sources.items())},
        **_rewritten(data),
    }


def _rewritten(data: DataSet) -> dict[str, str]:
    total = data.rates().total
    if not total.turns:
        return {}
    return {
        "passed the checks at first try": f"{total.first / total.turns:.1%}",
        "requests that failed": f"{total.failures:,} of {total.requests:,}",
    }


_LIGHT = ("recommender.act", "recommender.source", "user.act", "user.source")

"""What a judge is asked: two films, one that the user likes and one that they do not."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from crs_gym.evaluation.judging.histories import items_in
from crs_gym.evaluation.judging.profiles import Profile, profiles
from crs_gym.generation.records import Dialogue, Exchange
from crs_gym.inference import Prior
from crs_gym.world import World

QUARTER = 0.25


@dataclass(frozen=True)
class Pair:
    """Two films in the order in which they are shown.

    items: catalogue indices.
    better: place of the one of higher utility, 0 or 1.
    gains: (2,) of the items, see `crs_gym.evaluation.judging.automatic.ndcg`. An item's gain is the
        share of the catalogue that the user likes less, from 0 to 1, minus a quarter: 0.5 to 0.75
        for what comes from the top quarter, -0.25 to 0 for what comes from the bottom one.
    """

    items: tuple[int, int]
    better: int
    gains: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Case:
    """A conversation and the question that judges are asked about it.

    number: of the dialogue.
    user_id: row of the world's population.
    profile: what a judge knows at t = 0.
    pair: the two films.
    words: (recommender's, user's) of each turn.
    turns: the same turns as acts; none where there are only words.
    prior: what the dialogue's recommender knew at the start.
    """

    number: int
    user_id: int
    profile: Profile
    pair: Pair
    words: tuple[tuple[str, str], ...]
    turns: tuple[Exchange, ...]
    prior: Prior

    def retold(self, words: Sequence[tuple[str, str]]) -> Case:
        """The same question about another conversation with the same user, known by its words.

        Args:
            words: (recommender's, user's) of each turn.
        """
        return replace(self, words=tuple(words), turns=())


def make_pair(
    embedding: np.ndarray,
    world: World,
    excluded: Collection[int] = (),
    seed: int | Sequence[int] = 0,
) -> Pair:
    """One film of the top quarter of a user's utilities and one of the bottom quarter.

    Each is drawn evenly from its quarter without the excluded films; which comes first is a coin
    flip (ICER, section 5.2).

    Args:
        embedding: (d,) the user's phi_u.
        excluded: items that are not drawn.

    Raises:
        ValueError: nothing is left of a quarter.
    """
    generator = np.random.default_rng(seed)
    utilities = world.item_embeddings @ np.asarray(embedding, np.float32)
    ascending = np.argsort(utilities, kind="stable")
    size = int(QUARTER * world.n_items)
    drawn, gains = [], []
    for first in (world.n_items - size, 0):
        places = [n for n in range(first, first + size) if int(ascending[n]) not in excluded]
        if not places:
            raise ValueError(
                f"nothing is left of a quarter of the {world.n_items} films of {world.name} when "
                f"{len(excluded)} are excluded; take a larger world"
            )
        place = int(generator.choice(places))
        drawn.append(int(ascending[place]))
        gains.append(place / (world.n_items - 1) - QUARTER)
    better = int(generator.integers(2))
    order = (better, 1 - better)  # drawn[0] is the better one
    return Pair((drawn[order[0]], drawn[order[1]]), better, (gains[order[0]], gains[order[1]]))


def make_cases(
    dialogues: Sequence[Dialogue],
    world: World,
    *,
    templates: bool = False,
    unnamed: bool = False,
    samples: int = 500,
    counts: tuple[int, int, int] = (4, 3, 3),
    seed: int = 0,
) -> list[Case]:
    """A profile and a pair for each dialogue; both depend on the dialogue and the seed alone.

    Args:
        templates: whether judges read the templates instead of the texts.
        unnamed: whether pairs hold no film that is named in any turn of the dialogue either; in
            the paper they only avoid those of the profile. An addition of ours: who is told that a
            user accepted a film need not understand anything to prefer it.
        samples, counts, seed: as for `profiles`.

    Raises:
        ValueError: a seed below 0 or of more than 32 bits, or as `profiles` and `make_pair`.
    """
    if not 0 <= seed < 2**32:  # JAX would drop further bits
        raise ValueError(f"the seed must be at least 0 and below 2^32, not {seed}")
    numbers = [dialogue.number for dialogue in dialogues]
    users = [dialogue.user_id for dialogue in dialogues]
    found = profiles(world, users, numbers, samples=samples, counts=counts, seed=seed)
    cases = []
    for dialogue, profile in zip(dialogues, found, strict=True):
        excluded = {*profile.items, *(named_items(dialogue) if unnamed else ())}
        lines = [words for _, words in dialogue.lines(templates=templates)]
        cases.append(
            Case(
                number=dialogue.number,
                user_id=dialogue.user_id,
                profile=profile,
                pair=make_pair(dialogue.embedding, world, excluded, (seed, dialogue.number)),
                words=tuple(zip(lines[::2], lines[1::2], strict=True)),
                turns=dialogue.turns,
                prior=Prior(dialogue.prior_mean, dialogue.prior_std),
            )
        )
    return cases


def named_items(dialogue: Dialogue) -> set[int]:
    """Every item that the recommender's acts name."""
    return {item for turn in dialogue.turns for item in items_in(turn.act)}

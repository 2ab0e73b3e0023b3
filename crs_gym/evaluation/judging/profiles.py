"""Text profiles of users: ten popular films that say roughly what P_U(u) says (ICER, section 5.2).

The paper draws phi_u from P_U(u), takes the cosine of every popular film with each draw, and names
films that are liked or disliked for rather sure, and some of which it is uncertain. What it leaves
open is settled so:

- Popular films, of which profiles are made: the quarter of the catalogue that was rated most often,
  but at least four times as many as a profile names.
- "Reasonably low variance": not above the median over the popular films, for that user. Of those
  the films with the highest mean are liked, those with the lowest disliked.
- "Neither high nor low mean": the middle half of the popular films, for that user. Of those the
  films with the highest variance, as far as they are not named already, are uncertain.
- Of ten films four are liked, three disliked, three uncertain.
- The paper has a language model write the profile; here the words are sentences of our own, so that
  a profile needs no model and cannot say what does not follow from the films.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from crs_gym.world import World

POPULAR = 0.25
"""Share of the catalogue that profiles are made of."""

_CHUNK = 64  # users at a time, so that one program serves any number of them


@dataclass(frozen=True)
class Profile:
    """What is told of a user before the first turn: catalogue indices, the most marked first."""

    liked: tuple[int, ...]
    disliked: tuple[int, ...]
    uncertain: tuple[int, ...]

    @property
    def items(self) -> tuple[int, ...]:
        """All films of the profile."""
        return self.liked + self.disliked + self.uncertain

    def text(self, world: World) -> str:
        """The profile in words about the user, for the prompts of recommender and user."""
        return (
            f"The user likes {_listing(self.liked, world, 'and')}. "
            f"The user does not like {_listing(self.disliked, world, 'or')}. "
            f"The user has not seen {_listing(self.uncertain, world, 'or')} and cannot say whether "
            "they would be any good."
        )

    def interview(self, world: World) -> tuple[tuple[str, str], ...]:
        """The profile as questions with the user's own answers (ICER, footnote 4)."""
        return (
            (f"Do you like {_listing(self.liked, world, 'and')}?", "Yes, I do like them."),
            (f"Do you like {_listing(self.disliked, world, 'and')}?", "No, I don't like them."),
            (
                f"Do you like {_listing(self.uncertain, world, 'and')}?",
                "I can't tell, I haven't seen them.",
            ),
        )


def profiles(
    world: World,
    user_ids: Sequence[int],
    numbers: Sequence[int],
    *,
    samples: int = 500,
    counts: tuple[int, int, int] = (4, 3, 3),
    seed: int = 0,
) -> list[Profile]:
    """A profile for each dialogue, from the personal prior P_U of its user.

    Args:
        user_ids: B rows of the world's population.
        numbers: B numbers of the dialogues: dialogue and seed decide the draws, whatever else is in
            the batch.
        samples: M, draws of phi_u.
        counts: how many films are liked, disliked and uncertain; each at least 1.
        seed: of the draws.

    Raises:
        ValueError: the world has too few films for such profiles.
    """
    if min(counts) < 1 or samples < 2:
        raise ValueError(
            f"a profile needs films of each kind and at least two samples, not {counts} and "
            f"{samples}"
        )
    wanted = 4 * sum(counts)
    if world.n_items < wanted:
        raise ValueError(
            f"profiles of {sum(counts)} films need a catalogue of at least {wanted}, and "
            f"{world.name} has {world.n_items}: ask for fewer"
        )
    size = max(wanted, round(POPULAR * world.n_items))
    popular = np.argsort(-world.popularity, kind="stable")[:size]
    films = world.item_embeddings[popular]
    films = films / np.maximum(np.linalg.norm(films, axis=1, keepdims=True), 1e-12)
    key = jax.random.key(seed, impl="threefry2x32")
    found = []
    for start in range(0, len(numbers), _CHUNK):
        places = np.minimum(np.arange(start, start + _CHUNK), len(numbers) - 1)
        users = np.asarray(user_ids)[places]
        drawn = np.asarray(numbers, np.uint32)[places]
        mean, std = _moments(
            key, drawn, world.user_mean[users], world.user_std[users], jnp.asarray(films), samples
        )
        rows = zip(np.asarray(mean), np.asarray(std), strict=True)
        found += [_choose(*row, counts, popular) for row in rows]
    return found[: len(numbers)]


@partial(jax.jit, static_argnames="samples")
def _moments(
    key: jax.Array,
    numbers: jax.Array,
    mean: jax.Array,
    std: jax.Array,
    films: jax.Array,
    samples: int,
) -> tuple[jax.Array, jax.Array]:
    """(B, V) mean and standard deviation of H_u(i), the cosine of draws of phi_u and film i."""

    def one(row: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        number, mean, std = row
        noise = jax.random.normal(jax.random.fold_in(key, number), (samples, len(mean)))
        draws = mean + std * noise
        norms = jnp.linalg.norm(draws, axis=1, keepdims=True)
        cosines = (draws / jnp.maximum(norms, 1e-12)) @ films.T
        return cosines.mean(0), cosines.std(0)

    found: tuple[jax.Array, jax.Array] = jax.lax.map(one, (numbers, mean, std))
    return found


def _choose(
    mean: np.ndarray, std: np.ndarray, counts: tuple[int, int, int], popular: np.ndarray
) -> Profile:
    likes, dislikes, doubts = counts
    ascending = np.argsort(mean, kind="stable")
    # for a user known for sure, all deviations are rounding errors
    sure = ascending[(std <= np.median(std) + 1e-5)[ascending]]
    liked, disliked = sure[::-1][:likes], sure[:dislikes]
    low, high = np.quantile(mean, [0.25, 0.75])
    doubtful = (low <= mean) & (mean <= high)
    doubtful[liked] = doubtful[disliked] = False
    by_variance = np.argsort(-std, kind="stable")
    uncertain = by_variance[doubtful[by_variance]][:doubts]
    return Profile(*(tuple(popular[chosen].tolist()) for chosen in (liked, disliked, uncertain)))


def _listing(items: Sequence[int], world: World, joint: str) -> str:
    labels = [world.label(item) for item in items]
    if len(labels) == 1:
        return labels[0]
    return f"{', '.join(labels[:-1])} {joint} {labels[-1]}"

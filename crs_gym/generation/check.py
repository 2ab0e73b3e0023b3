"""Does a data set follow from what it says it follows from? Every stored act is followed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from crs_gym.acts import (
    NONE,
    Accept,
    AttributeQuery,
    Leave,
    RecommenderKind,
    Turn,
    no_turn,
    response_to_arrays,
    to_arrays,
)
from crs_gym.generation.checks import check as check_words
from crs_gym.generation.checks import check_response
from crs_gym.generation.dataset import DataSet
from crs_gym.generation.records import Dialogue
from crs_gym.generation.shards import Maker
from crs_gym.inference import Inference, Prior
from crs_gym.inference.value import attribute_query_value, item_query_value
from crs_gym.policies.icer import Icer
from crs_gym.simulation import Simulator, State, belief_key, turn_keys
from crs_gym.simulation.rollout import view_of
from crs_gym.users import log_prob, n_uniforms, respond

PROBABILITY, EVOI, NEAR_TIE, VALUES = 1e-4, 1e-3, 1e-5, 1e-3
"""Tolerances: of a probability; of EVOI; of a draw next to where the response changes; of
embeddings and utilities."""


class Followed(NamedTuple):
    """What following gives, with leading axes (B, max_turns) but for `state`.

    state: with a leading axis (B,), at the beginning.
    log_prob: of the stored response. agrees: whether it is what its draws give, near ties aside.
    draws: (5,) of the key. found: EVOI of the best query. asked: EVOI of the stored one, NaN for a
    recommendation. utilities: (k,) of the items of the act. expected: highest expected utility.
    reward, done: of the stored turn, and whether the conversation is over after it.
    """

    state: State
    log_prob: Any
    agrees: Any
    draws: Any
    found: Any
    asked: Any
    utilities: Any
    expected: Any
    reward: Any
    done: Any


@partial(jax.jit)
def follow(
    simulator: Simulator,
    policy: Icer,
    inference: Inference,
    keys: jax.Array,
    history: Turn,
    draws: jax.Array,
) -> Followed:
    """Follows stored turns.

    Args:
        keys: (B,) of the episodes.
        history: the stored turns, (B, max_turns, ...).
        draws: (B, max_turns, 5) the stored draws.
    """
    shared = simulator.prior == "cold"
    axes = inference.axes(shared_prior=shared)
    items, model = simulator.items, simulator.model

    def init(key: jax.Array, prior: Prior) -> Any:
        return inference.init(belief_key(key, 0), prior, items, model)

    def look(state: State, belief: Any, turn: Turn, draws: jax.Array) -> Any:
        (act, response), context, user = turn, state.context, state.user
        samples, out = inference.samples(belief), context.rejected
        percept = simulator.percept(state, act)
        _, key = turn_keys(state.key, context.turn + 1)
        found = policy.decide(key, view_of(state, belief, policy), simulator, inference).evoi
        by_item = item_query_value(samples, jnp.maximum(act.slate, 0), items, model, out)
        by_attribute = attribute_query_value(
            samples, jnp.maximum(act.slate[0], 0), jnp.maximum(act.attribute, 0), items, model, out
        )
        asked = jnp.where(act.kind == RecommenderKind.ASK_ITEM, by_item, by_attribute)
        expected = items.embeddings @ (samples.weights @ samples.embeddings)
        nearby = draws + jnp.array([0.0, -NEAR_TIE, NEAR_TIE])[:, None]
        given = jax.vmap(lambda u: respond(u, user, act, percept, context, model))(nearby)
        same = jnp.stack([a == b for a, b in zip(given, response, strict=True)])
        return (
            log_prob(response, user, act, percept, context, model),
            same.all(0).any(),
            simulator.luck(state),
            found,
            jnp.where(act.kind == RecommenderKind.RECOMMEND, jnp.nan, asked),
            percept.utilities,
            jnp.where(out, -jnp.inf, expected).max(),
        )

    def update(belief: Any, state: State, history: Turn) -> Any:
        key = belief_key(state.key, state.context.turn + 1)
        return inference.update(key, belief, history, state.context, items, model)

    def step(carried: Any, stored: Any) -> tuple[Any, Any]:
        state, belief = carried
        turn, draws = stored
        seen = jax.vmap(look, in_axes=(0, axes, 0, 0))(state, belief, turn, draws)
        following, outcome = jax.vmap(simulator.settle)(state, turn)
        belief = jax.vmap(update, in_axes=(axes, 0, 0), out_axes=axes)(
            belief, state, following.history
        )
        return (following, belief), (*seen, outcome.reward, following.done)

    state = jax.vmap(simulator.reset)(keys)
    prior, axis = (simulator.population, None) if shared else (state.prior, 0)
    belief = jax.vmap(init, in_axes=(0, axis), out_axes=axes)(keys, prior)
    by_turn = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), (history, draws))
    _, seen = jax.lax.scan(step, (state, belief), by_turn)
    return Followed(state, *jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), seen))


@dataclass
class Report:
    """What a check found.

    dialogues, turns: how many were followed.
    problems: in words, the first ones of each kind.
    counts: how many of each kind there are.
    largest: the largest deviation seen, by what it is of.
    """

    dialogues: int = 0
    turns: int = 0
    problems: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    largest: dict[str, float] = field(default_factory=dict)

    def add(self, kind: str, text: str) -> None:
        self.counts[kind] += 1
        if self.counts[kind] <= 5:
            self.problems.append(text)

    def within(self, name: str, found: float, stored: float, tolerance: float, where: str) -> None:
        """Compares two numbers."""
        gap = abs(found - stored)
        self.largest[name] = max(self.largest.get(name, 0.0), gap)
        if not gap <= tolerance:
            self.add(name, f"{where}: {name} is {stored:.6g}, should be {found:.6g}")


def check(data: DataSet, sample: int | None = None, seed: int = 0, progress: bool = True) -> Report:
    """Follows the dialogues of a data set turn by turn.

    Checked: that the rows are in order; that key, user, traits, embedding, prior and utilities
    belong together; that each response is what its stored draw gives, and its probability; that
    the query asked is as good as the best that is found, and regret and expected utility; that the
    conversation ends where it should, as it should; that the templates say the acts.

    Args:
        sample: how many dialogues, drawn with `seed`; all if None.

    Raises:
        DataError: a file that cannot be read.
        ValueError: a sample of fewer than one.
    """
    if sample is not None and sample < 1:
        raise ValueError(f"a sample has at least one dialogue, not {sample}")
    numbers = None
    if sample is not None and sample < len(data):
        chosen = np.random.default_rng(seed).choice(len(data), sample, replace=False)
        numbers = set(chosen.tolist())
    maker, report = Maker(data.world, data.settings), Report()
    dialogues = _chosen(data, numbers, maker, report)
    total = len(data) if numbers is None else len(numbers)
    with tqdm(desc="check", total=total, unit="", disable=not progress) as bar:
        while batch := list(islice(dialogues, data.settings.lanes)):
            _check_batch(batch, maker, report)
            bar.update(len(batch))
    if report.dialogues != total and not report.counts:
        report.add("rows", f"{report.dialogues} dialogues of {total}")
    return report


def _chosen(
    data: DataSet, numbers: set[int] | None, maker: Maker, report: Report
) -> Iterator[Dialogue]:
    """The dialogues of these places that can be followed; what is wrong with others is told."""
    for place, dialogue in enumerate(data):
        if numbers is not None and place not in numbers:
            continue
        if dialogue.number != place:
            report.add("rows", f"dialogue {dialogue.number} stands in the place of {place}")
        elif fault := _misfit(dialogue, maker):
            report.add("shape", f"dialogue {place}: {fault}")
        else:
            yield dialogue


def _misfit(dialogue: Dialogue, maker: Maker) -> str:
    """Why a dialogue cannot be followed; "" where it can."""
    world, settings = maker.world, maker.settings
    if not 1 <= len(dialogue.turns) <= settings.max_turns:
        return f"it has {len(dialogue.turns)} turns, not 1 to {settings.max_turns}"
    for t, turn in enumerate(dialogue.turns, 1):
        act, response = turn.act, turn.response
        items = (act.item,) if isinstance(act, AttributeQuery) else act.items
        attributes = [getattr(side, "attribute", 0) for side in (act, response)]
        if len(items) > settings.slate_size:
            return f"turn {t} has {len(items)} items, more than a slate takes"
        if max((*items, turn.believed)) >= world.n_items or turn.believed < 0:
            return f"turn {t} names an item that the world lacks"
        if max(attributes) >= len(world.attributes):
            return f"turn {t} names an attribute that the world lacks"
        if len(turn.utilities) != len(items) or len(turn.draws) != n_uniforms:
            return f"turn {t} has {len(turn.utilities)} utilities and {len(turn.draws)} draws"
    return ""


def _check_batch(batch: Sequence[Dialogue], maker: Maker, report: Report) -> None:
    settings = maker.settings
    size = settings.lanes
    rows = [_arrays(d, settings.slate_size, settings.max_turns) for d in batch]
    rows += [rows[0]] * (size - len(rows))
    history, draws = jax.tree.map(lambda *x: np.stack(x), *rows)
    numbers = [d.number for d in batch]
    keys = maker.keys(numbers + numbers[:1] * (size - len(batch)))
    found = follow(maker.simulator, maker.policy, maker.inference, keys, history, draws)
    data = np.asarray(jax.random.key_data(keys))
    state = found.state._replace(key=data)
    host = jax.tree.map(np.asarray, found._replace(state=state))
    for n, dialogue in enumerate(batch):
        _check_dialogue(dialogue, jax.tree.map(lambda x, n=n: x[n], host), data[n], maker, report)


def _check_dialogue(
    dialogue: Dialogue, found: Followed, key: np.ndarray, maker: Maker, report: Report
) -> None:
    here = f"dialogue {dialogue.number}"
    report.dialogues += 1
    report.turns += len(dialogue.turns)
    state = found.state
    if tuple(key.tolist()) != dialogue.key:
        report.add("key", f"{here}: key {dialogue.key} is not that of its number and the seed")
    if (dialogue.version, dialogue.world) != (maker.settings.version, maker.settings.world):
        report.add("version", f"{here}: of version {dialogue.version} and world {dialogue.world}")
    if state.user_id != dialogue.user_id:
        report.add("user", f"{here}: user {dialogue.user_id} should be {state.user_id}")
    vectors = {
        "embedding": (state.user.embedding, dialogue.embedding),
        "prior mean": (state.prior.mean, dialogue.prior_mean),
        "prior deviation": (state.prior.std, dialogue.prior_std),
    }
    for name, (ours, theirs) in vectors.items():
        if ours.shape != theirs.shape:
            report.add(name, f"{here}: {name} has {len(theirs)} numbers, should have {len(ours)}")
        else:
            report.within(name, float(np.abs(ours - theirs).max()), 0.0, VALUES, here)
    for name in ("utility_mean", "utility_best", "utility_null"):
        report.within(name, float(getattr(state, name)), getattr(dialogue, name), VALUES, here)
    for name in ("temperature", "patience", "critique_rate"):
        report.within(name, float(getattr(state.user, name)), getattr(dialogue, name), VALUES, here)
    _check_end(dialogue, found, here, report)
    for t, turn in enumerate(dialogue.turns):
        where = f"{here}, turn {t + 1}"
        report.within(
            "probability", float(np.exp(found.log_prob[t])), turn.probability, PROBABILITY, where
        )
        if not found.agrees[t]:
            report.add("response", f"{where}: {turn.response} is not what its draws give")
        report.within("draws", float(np.abs(found.draws[t] - turn.draws).max()), 0.0, 1e-6, where)
        report.within("EVOI", float(found.found[t]), turn.evoi, EVOI, where)
        if np.isfinite(found.asked[t]):
            short = max(float(found.found[t] - found.asked[t]), 0.0)
            report.within("EVOI of the query asked", short, 0.0, EVOI, where)
        offered = [float(u) for u in found.utilities[t][: len(turn.utilities)]]
        for should_be, stored in zip(offered, turn.utilities, strict=True):
            report.within("utility", should_be, stored, VALUES, where)
        if np.isfinite(found.expected[t]):
            expected = float(found.expected[t])
            report.within("expected utility", expected, turn.expected_utility, VALUES, where)
        span = float(state.utility_best - state.utility_mean)
        believed = float(maker.world.item_embeddings[turn.believed] @ state.user.embedding)
        regret = 1.0 - (believed - float(state.utility_mean)) / (span if span > 0 else 1.0)
        report.within("regret", regret, turn.regret, VALUES, where)
        variants = turn.recommender.variant, turn.user.variant
        templates = maker.templates(turn.act, turn.response, *variants)
        for said, should in zip((turn.recommender, turn.user), templates, strict=True):
            if said.template != should.template:
                report.add("template", f"{where}: {said.template!r} should be {should.template!r}")
            if said.source != "model" and said.text != said.template:
                report.add("words", f"{where}: {said.text!r} is neither template nor rewritten")
        refused = turn.recommender.source == "model" and check_words(
            turn.recommender.text, turn.act, maker.world
        )
        refused = refused or (
            turn.user.source == "model"
            and check_response(turn.user.text, turn.response, turn.act, maker.world)
        )
        if refused:
            report.add("rewritten words", f"{where}: {refused}")


def _check_end(dialogue: Dialogue, found: Followed, here: str, report: Report) -> None:
    last = len(dialogue.turns) - 1
    response = dialogue.turns[last].response
    if int(np.argmax(found.done)) != last or not found.done[last]:
        report.add("end", f"{here}: it should not end after {last + 1} turns")
    accepted = response.item if isinstance(response, Accept) else NONE
    if (dialogue.accepted, dialogue.left) != (accepted, isinstance(response, Leave)):
        report.add("outcome", f"{here}: accepted and left are not as the last response has them")
    reward = float(found.reward[: last + 1].sum())
    report.within("reward", reward, dialogue.reward, VALUES, here)


def _arrays(dialogue: Dialogue, slate_size: int, max_turns: int) -> tuple[Turn, np.ndarray]:
    turns, draws = [], np.zeros((max_turns, 5), np.float32)
    for t, turn in enumerate(dialogue.turns):
        act = to_arrays(turn.act, slate_size)
        turns.append(Turn(act, response_to_arrays(turn.response, act)))
        draws[t] = turn.draws
    turns += [no_turn(slate_size)] * (max_turns - len(turns))
    return jax.tree.map(lambda *x: np.stack(x), *turns), draws


def lines(report: Report) -> Iterator[str]:
    """The report in words."""
    yield f"{report.dialogues:,} dialogues, {report.turns:,} turns"
    for name, gap in report.largest.items():
        yield f"largest deviation, {name}: {gap:.3g}"
    yield from report.problems
    for kind, count in report.counts.items():
        yield f"problems with {kind}: {count:,}"
    if not report.counts:
        yield "no problems"

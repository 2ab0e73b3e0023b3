"""Reset, step and what is legal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from crs_gym.acts import (
    NONE,
    AttributeQuery,
    ItemQuery,
    Recommendation,
    RecommenderAct,
    RecommenderKind,
    Reject,
    UserKind,
    readable_turns,
    response_to_readable,
    to_arrays,
    to_readable,
)
from crs_gym.inference import population_prior
from crs_gym.simulation import Simulator, episode_key, evaluation_keys, legal, seed_key
from crs_gym.simulation.simulator import accepted_item
from crs_gym.users import Context, UserModel
from crs_gym.users.model import null_utility

RECOMMEND, ASK_ITEM, ASK_ATTRIBUTE = RecommenderKind

reset = jax.jit(lambda simulator, key: simulator.reset(key))
step = jax.jit(lambda simulator, state, act: simulator.step(state, act))
reset_many = jax.jit(lambda simulator, keys: jax.vmap(simulator.reset)(keys))
step_many = jax.jit(lambda simulator, state, act: jax.vmap(simulator.step)(state, act))

ACCEPTING = {"temperature": 0.0, "null_z": -100.0}
REFUSING = {"temperature": 0.0, "null_z": 100.0}


def act_of(kind, slate, attribute=NONE, direction=0):
    return RecommenderAct(*(jnp.asarray(x, jnp.int32) for x in (kind, slate, attribute, direction)))


def some_acts(episodes, turns, n_items, seed=0):
    """Acts of all kinds, the illegal ones among them: (turns, episodes, ...)."""
    rng = np.random.default_rng(seed)
    shape = (turns, episodes)
    return RecommenderAct(
        rng.integers(0, 3, shape).astype(np.int32),
        rng.integers(-1, n_items + 1, (*shape, 2)).astype(np.int32),
        rng.integers(-1, 8, shape).astype(np.int32),
        rng.choice([-1, 0, 1], shape).astype(np.int32),
    )


def pick(tree, index):
    return jax.tree.map(lambda x: x[index], tree)


def play(simulator, keys, acts):
    """The last states and the outcomes (turns, episodes, ...), of a batch."""
    state, outcomes = reset_many(simulator, keys), []
    for t in range(len(acts.kind)):
        state, outcome = step_many(simulator, state, pick(acts, t))
        outcomes.append(outcome)
    return state, jax.tree.map(lambda *x: np.stack(x), *outcomes)


@pytest.fixture(scope="module")
def lively(small_world):
    """Every kind of response happens."""
    changes = {"null_z": 1.5, "critique_rate": 0.5, "leave_turn": 0.03, "leave_question": 0.05}
    return Simulator.of(small_world, user_model=changes)


# Reset


@pytest.fixture(scope="module")
def resets(small_world):
    simulator = Simulator.of(small_world, prior="personal")
    return reset_many(simulator, jax.random.split(jax.random.key(9), 4000))


def test_users_are_drawn_evenly_from_the_training_users(small_world, resets, goodness_of_fit):
    counts = np.bincount(resets.user_id, minlength=small_world.n_users)
    training = ~small_world.evaluation
    assert goodness_of_fit(counts, training / training.sum()) > 1e-4


def test_embeddings_are_drawn_from_the_users_prior(small_world, resets):
    rows = np.asarray(resets.user_id)
    phi = np.asarray(resets.user.embedding, np.float64)
    mean, std = small_world.user_mean[rows], small_world.user_std[rows]
    # the weight of quality is the same for everybody
    assert (std[:, 0] == 0).all()
    np.testing.assert_array_equal(phi[:, 0], mean[:, 0])
    noise = (phi[:, 1:] - mean[:, 1:]) / std[:, 1:]
    assert stats.kstest(noise.ravel(), "norm").pvalue > 1e-4
    correlation = np.corrcoef(np.column_stack([noise, np.arange(len(rows)), rows]).T)
    off_diagonal = correlation[~np.eye(len(correlation), dtype=bool)]
    # the largest of 36 correlations of independent columns, at level 1e-4
    assert np.abs(off_diagonal).max() < stats.norm.isf(1e-4 / 72) / np.sqrt(len(rows))


def test_what_reset_knows_of_the_utilities(small_world, resets):
    utilities = np.asarray(resets.user.embedding)[:50] @ small_world.item_embeddings.T
    np.testing.assert_allclose(resets.utility_mean[:50], utilities.mean(1), atol=1e-5)
    np.testing.assert_allclose(resets.utility_best[:50], utilities.max(1), rtol=1e-5)


def test_a_pool_of_users_is_chosen_from_evenly(small_world, goodness_of_fit):
    simulator = Simulator.of(small_world, prior="personal", user_pool=40)
    pool = simulator.pool
    assert pool is not None
    assert len(np.unique(pool.embedding, axis=0)) == 40
    users = np.asarray(simulator.user_ids)[pool.row]
    assert not small_world.evaluation[users].any()
    met = reset_many(simulator, jax.random.split(jax.random.key(3), 4000))
    which = np.argmax((met.user.embedding[:, None] == pool.embedding).all(-1), axis=1)
    np.testing.assert_array_equal(met.user.embedding, pool.embedding[which])
    assert goodness_of_fit(np.bincount(which, minlength=40), np.full(40, 1 / 40)) > 1e-4
    np.testing.assert_array_equal(met.user_id, users[which])
    np.testing.assert_array_equal(met.prior.mean, small_world.user_mean[users[which]])
    utilities = np.asarray(met.user.embedding) @ small_world.item_embeddings.T
    np.testing.assert_allclose(met.utility_mean, utilities.mean(1), atol=1e-5)
    np.testing.assert_allclose(met.utility_best, utilities.max(1), rtol=1e-5)
    null = null_utility(met.user.embedding, simulator.items, simulator.model)
    np.testing.assert_allclose(met.utility_null, null, rtol=1e-5)


def test_reset_begins_with_nothing_said(resets):
    assert (resets.history.act.kind == NONE).all()
    assert (resets.history.response.kind == NONE).all()
    assert readable_turns(pick(resets.history, 0)) == []
    assert (resets.context.turn == 0).all()
    assert not resets.context.critiqued.any()
    assert not resets.context.rejected.any()
    assert not resets.done.any()


def test_priors(small_world, simulator, resets):
    rows = np.asarray(resets.user_id)
    np.testing.assert_array_equal(resets.prior.mean, small_world.user_mean[rows])
    np.testing.assert_array_equal(resets.prior.std, small_world.user_std[rows])
    expected = population_prior(small_world)
    for cold in (simulator, Simulator.of(small_world, prior="personal").with_prior("cold")):
        state = reset(cold, seed_key(1))
        np.testing.assert_array_equal(state.prior.mean, expected.mean)
        np.testing.assert_array_equal(state.prior.std, expected.std)
    # the prior changes what the recommender knows, not who the user is
    personal = reset(simulator.with_prior("personal"), seed_key(1))
    np.testing.assert_array_equal(personal.user.embedding, state.user.embedding)


def test_training_and_evaluation_users_are_disjoint(small_world):
    train, evaluation = (
        np.asarray(Simulator.of(small_world, split=split).user_ids)
        for split in ("train", "evaluation")
    )
    assert not set(train) & set(evaluation)
    assert len(train) + len(evaluation) == small_world.n_users
    np.testing.assert_array_equal(np.flatnonzero(small_world.evaluation), evaluation)
    held_out = Simulator.of(small_world, split="evaluation")
    drawn = reset_many(held_out, jax.random.split(jax.random.key(0), 300)).user_id
    assert small_world.evaluation[np.asarray(drawn)].all()


def test_traits_without_spread_are_the_models(resets, small_world):
    temperature = np.float32(small_world.user_model["temperature"])
    np.testing.assert_array_equal(resets.user.temperature, np.full(4000, temperature))
    np.testing.assert_array_equal(resets.user.patience, np.ones(4000))
    rate = UserModel.of(small_world).critique_rate
    np.testing.assert_allclose(resets.user.critique_rate, rate, rtol=1e-6)


def test_traits_spread_over_the_population(small_world):
    changes = {"temperature_spread": 0.5, "patience_spread": 0.8, "critique_spread": 1.2}
    simulator = Simulator.of(small_world, user_model={**changes, "critique_rate": 0.3})
    user = reset_many(simulator, jax.random.split(jax.random.key(2), 3000)).user
    rate = np.asarray(user.critique_rate, np.float64)
    standard = np.stack(
        [
            np.log(np.asarray(user.temperature) / small_world.user_model["temperature"]) / 0.5,
            np.log(np.asarray(user.patience)) / 0.8,
            (np.log(rate / (1 - rate)) - np.log(0.3 / 0.7)) / 1.2,
        ]
    )
    for trait in standard:
        assert stats.kstest(trait, "norm").pvalue > 1e-4
    assert np.abs(np.corrcoef(standard) - np.eye(3)).max() < 0.08  # 4.4 standard errors


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_critique_rates_that_have_no_logit(small_world, rate):
    changes = {"critique_rate": rate, "critique_spread": 1.0}
    state = reset(Simulator.of(small_world, user_model=changes), seed_key(0))
    assert state.user.critique_rate == rate


# Step


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_an_episode_is_the_same_in_every_batch(lively, batch):
    keys = jax.vmap(lambda n: episode_key(seed_key(5), n))(jnp.arange(64))
    acts = some_acts(64, lively.max_turns, lively.n_items)
    ours = slice(64 - batch, 64)
    last, outcomes = play(lively, keys[ours], jax.tree.map(lambda x: x[:, ours], acts))
    for b in range(min(batch, 6)):
        state = reset(lively, keys[64 - batch + b])
        for t in range(lively.max_turns):
            state, outcome = step(lively, state, pick(acts, (t, 64 - batch + b)))
            for one, many in zip(
                jax.tree.leaves(outcome), jax.tree.leaves(pick(outcomes, (t, b))), strict=True
            ):
                np.testing.assert_allclose(one, many, rtol=1e-4, atol=1e-5)
        for one, many in zip(
            jax.tree.leaves((state.history, state.context, state.done)),
            jax.tree.leaves(pick((last.history, last.context, last.done), b)),
            strict=True,
        ):
            np.testing.assert_array_equal(one, many)


def test_all_responses_occur_and_the_bookkeeping_follows(lively):
    keys = jax.random.split(jax.random.key(1), 400)
    acts = some_acts(400, lively.max_turns, lively.n_items, seed=1)
    last, outcomes = play(lively, keys, acts)
    kinds = np.asarray(outcomes.turn.response.kind)
    assert set(np.unique(kinds)) == {NONE, *UserKind}
    ends = (kinds == UserKind.ACCEPT) | (kinds == UserKind.LEAVE)
    np.testing.assert_array_equal(outcomes.terminated, ends)
    assert (ends.sum(0) <= 1).all()
    # nothing is said after the end, and something is said in every turn before
    over = np.cumsum(ends, 0) - ends > 0
    np.testing.assert_array_equal(kinds == NONE, over)
    np.testing.assert_array_equal(outcomes.turn.act.kind == NONE, over)
    np.testing.assert_array_equal(outcomes.truncated[:-1], np.zeros_like(over[:-1]))
    np.testing.assert_array_equal(outcomes.truncated[-1], ~ends.any(0))
    assert last.done.all()
    np.testing.assert_array_equal(last.context.turn, (~over).sum(0))
    asked = np.isin(np.asarray(outcomes.turn.act.kind), [ASK_ITEM, ASK_ATTRIBUTE])
    np.testing.assert_array_equal(last.context.questions, asked.sum(0))
    for b in range(400):
        history = pick(outcomes.turn, (slice(None), b))
        critiques = history.response.attribute[history.response.kind == UserKind.CRITIQUE]
        assert len(set(critiques)) == len(critiques)
        np.testing.assert_array_equal(np.flatnonzero(last.context.critiqued[b]), np.sort(critiques))
        refused = history.act.slate[
            (history.act.kind == RECOMMEND) & (history.response.kind != UserKind.ACCEPT)
        ]
        np.testing.assert_array_equal(
            np.flatnonzero(last.context.rejected[b]), np.unique(refused[refused >= 0])
        )
    for given, seen in zip(
        jax.tree.leaves(outcomes.turn), jax.tree.leaves(last.history), strict=True
    ):
        np.testing.assert_array_equal(np.moveaxis(given, 0, 1), seen)


def test_reward_is_the_normalised_utility_of_what_was_accepted_minus_the_cost(small_world):
    simulator = Simulator.of(small_world, user_model=ACCEPTING, turn_cost=0.125)
    state = reset(simulator, seed_key(2))
    _, outcome = step(simulator, state, act_of(RECOMMEND, [10, 20]))
    utilities = small_world.item_embeddings @ np.asarray(state.user.embedding)
    best = max([10, 20], key=lambda i: utilities[i])
    quality = (utilities[best] - utilities.mean()) / (utilities.max() - utilities.mean())
    assert accepted_item(outcome.turn) == best
    assert outcome.reward == pytest.approx(quality - 0.125, abs=1e-5)
    assert outcome.reward.dtype == jnp.float32
    assert simulator.quality(state, jnp.int32(utilities.argmax())) == pytest.approx(1, abs=1e-5)
    # a question costs a turn and gives nothing
    _, outcome = step(simulator, state, act_of(ASK_ITEM, [10, 20]))
    assert accepted_item(outcome.turn) == NONE
    assert outcome.reward == -0.125


def test_another_reward(small_world):
    def per_critique(simulator, state, turn):
        return 2.0 * (turn.response.kind == UserKind.CRITIQUE) + state.context.turn

    changes = {**REFUSING, "critique_rate": 1.0}
    simulator = Simulator.of(small_world, user_model=changes, reward=per_critique)
    state, rewards = reset(simulator, seed_key(0)), []
    for kind in (RECOMMEND, ASK_ITEM, RECOMMEND):
        state, outcome = step(simulator, state, act_of(kind, [int(state.context.turn), 9]))
        rewards.append(float(outcome.reward))
    assert rewards == [2, 1, 4]


def test_a_finished_conversation_stays_as_it_is(small_world):
    simulator = Simulator.of(small_world, user_model=ACCEPTING)
    state, outcome = step(simulator, reset(simulator, seed_key(2)), act_of(RECOMMEND, [10, 20]))
    assert outcome.terminated
    for act in (act_of(RECOMMEND, [1, 2]), act_of(ASK_ATTRIBUTE, [3, NONE], 1, 1)):
        after, idle = step(simulator, state, act)
        for old, new in zip(jax.tree.leaves(state[1:]), jax.tree.leaves(after[1:]), strict=True):
            np.testing.assert_array_equal(old, new)
        assert idle.reward == 0
        assert not idle.terminated
        assert not idle.truncated
        assert idle.turn.act.kind == idle.turn.response.kind == NONE
        assert (idle.turn.act.slate == NONE).all()


def test_the_turn_limit_truncates_and_acceptance_in_the_last_turn_terminates(small_world):
    for changes, ended in ((REFUSING, "truncated"), (ACCEPTING, "terminated")):
        simulator = Simulator.of(small_world, max_turns=3, user_model=changes)
        state = reset(simulator, seed_key(2))
        acts = [act_of(ASK_ITEM, [1, 2]), act_of(ASK_ITEM, [1, 2]), act_of(RECOMMEND, [1, 2])]
        for t, act in enumerate(acts):
            state, outcome = step(simulator, state, act)
            flags = {name for name in ("terminated", "truncated") if getattr(outcome, name)}
            assert flags == ({ended} if t == 2 else set())
            assert state.done == (t == 2)


def test_leaving_terminates(small_world):
    simulator = Simulator.of(small_world, user_model={**REFUSING, "leave_base": 1e6})
    state, outcome = step(simulator, reset(simulator, seed_key(2)), act_of(RECOMMEND, [1, 2]))
    assert outcome.turn.response.kind == UserKind.LEAVE
    assert outcome.terminated
    assert state.done
    assert outcome.reward == -np.float32(0.02)


def test_critiques_end_with_the_attributes(small_world):
    changes = {**REFUSING, "critique_rate": 1.0}
    simulator = Simulator.of(small_world, max_turns=9, user_model=changes)
    state, said = reset(simulator, seed_key(4)), []
    for t in range(9):
        state, outcome = step(simulator, state, act_of(RECOMMEND, [2 * t, 2 * t + 1]))
        said.append(outcome.turn.response)
    assert [int(s.kind) for s in said] == [UserKind.CRITIQUE] * 6 + [UserKind.REJECT] * 3
    assert {int(s.attribute) for s in said[:6]} == set(range(6))


# Legal acts


def context_with(rejected=(), n_items=10):
    return Context(
        jnp.int32(0),
        jnp.int32(0),
        jnp.zeros(4, bool),
        jnp.isin(jnp.arange(n_items), jnp.array(rejected, int)),
    )


@pytest.mark.parametrize(
    ("kind", "slate", "expected"),
    [
        (RECOMMEND, [3, 5, 7], [3, 5, 7]),
        (RECOMMEND, [3, 3, 7], [3, NONE, 7]),
        (RECOMMEND, [7, 3, 7], [7, 3, NONE]),
        (RECOMMEND, [10, 3, -5], [NONE, 3, NONE]),
        (RECOMMEND, [9, NONE, 0], [9, NONE, 0]),
        (RECOMMEND, [1, 2, 3], [NONE, NONE, 3]),  # 1 and 2 were rejected
        (RECOMMEND, [2, 2, 1], [NONE, NONE, NONE]),
        (ASK_ITEM, [1, 2, 3], [1, 2, 3]),  # one may still ask about them
        (ASK_ITEM, [1, 1, 99], [1, NONE, NONE]),
        (ASK_ATTRIBUTE, [1, 5, 6], [1, NONE, NONE]),
    ],
)
def test_illegal_places_are_emptied(kind, slate, expected):
    act = legal(act_of(kind, slate, 1, 1), context_with([1, 2]), 4)
    np.testing.assert_array_equal(act.slate, expected)
    assert act.kind == kind


def test_attribute_and_direction_belong_to_attribute_queries():
    context = context_with()
    for kind in (RECOMMEND, ASK_ITEM):
        act = legal(act_of(kind, [1, 2], 3, 1), context, 4)
        assert (act.attribute, act.direction) == (NONE, 0)
    for attribute, heard in [(0, 0), (3, 3), (4, 3), (-1, 0)]:
        assert legal(act_of(ASK_ATTRIBUTE, [1, 2], attribute, 1), context, 4).attribute == heard
    for direction, heard in [(1, 1), (0, 1), (-1, -1), (-7, -1)]:
        assert legal(act_of(ASK_ATTRIBUTE, [1, 2], 0, direction), context, 4).direction == heard


@pytest.mark.parametrize(
    "act", [Recommendation((3, 5)), ItemQuery((5, 3)), AttributeQuery(3, 2, -1)]
)
def test_a_legal_act_stays_as_it_is(act):
    assert to_readable(legal(to_arrays(act, 2), context_with(), 4)) == act


def test_rejected_items_are_not_offered_again_but_may_be_asked_about(small_world):
    simulator = Simulator.of(small_world, user_model=REFUSING)
    state, _ = step(simulator, reset(simulator, seed_key(1)), act_of(RECOMMEND, [10, 20]))
    np.testing.assert_array_equal(np.flatnonzero(state.context.rejected), [10, 20])
    state, outcome = step(simulator, state, act_of(ASK_ITEM, [10, 20]))
    assert outcome.turn.response.kind == UserKind.CHOOSE
    np.testing.assert_array_equal(outcome.turn.act.slate, [10, 20])
    accepting = Simulator.of(small_world, user_model=ACCEPTING)
    state = state._replace(utility_null=reset(accepting, seed_key(1)).utility_null)
    state, outcome = step(accepting, state, act_of(RECOMMEND, [20, 30]))
    np.testing.assert_array_equal(outcome.turn.act.slate, [NONE, 30])
    assert accepted_item(outcome.turn) == 30


@pytest.mark.parametrize("kind", [ASK_ITEM, ASK_ATTRIBUTE])
def test_a_query_about_nothing_offers_nothing(simulator, kind):
    state = reset(simulator, seed_key(1))
    _, outcome = step(simulator, state, act_of(kind, [NONE, 10_000], 1, 1))
    readable = to_readable(outcome.turn.act)
    assert readable == Recommendation(())
    assert isinstance(response_to_readable(outcome.turn.response, outcome.turn.act), Reject)
    assert to_readable(to_arrays(readable, 2)) == readable


# Construction


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prior": "warm"}, "unknown prior 'warm'; there are 'cold', 'personal'"),
        ({"split": "test"}, "unknown split 'test'; there are 'train', 'evaluation'"),
        ({"slate_size": 1}, r"slate_size must be between 2 and the number of items \(600\)"),
        ({"slate_size": 601}, "not 601"),
        ({"max_turns": 0}, "max_turns must be at least 1, not 0"),
        ({"turn_cost": -0.1}, "turn_cost must be finite and at least 0, not -0.1"),
        ({"turn_cost": np.nan}, "turn_cost must be finite"),
        ({"user_pool": -1}, "user_pool must be at least 0, not -1"),
        ({"user_model": {"patience": 2.0}}, r"patience.*there are temperature, .*patience_spread"),
    ],
)
def test_wrong_arguments(small_world, arguments, message):
    with pytest.raises(ValueError, match=message):
        Simulator.of(small_world, **arguments)


def test_with_prior_checks_its_argument(simulator):
    with pytest.raises(ValueError, match="unknown prior 'hot'; there are 'cold', 'personal'"):
        simulator.with_prior("hot")


def test_sizes(simulator):
    assert (simulator.n_items, simulator.n_attributes, simulator.dim) == (600, 6, 8)


def test_new_states_and_new_parameters_do_not_compile_again(small_world):
    traces: list[None] = []

    @jax.jit
    def counted(simulator, state, act):
        traces.append(None)
        return simulator.step(state, act)

    for cost in (0.0, 0.1):
        simulator = Simulator.of(small_world, turn_cost=cost, user_model={"critique_rate": cost})
        for key in evaluation_keys(0, 2):
            state = reset(simulator, key)
            for t in range(3):
                state, _ = counted(simulator, state, act_of(t, [1, 2], 0, 1))
    assert len(traces) == 1

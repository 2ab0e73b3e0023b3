"""The ICER recommender: what it asks, and when it stops asking."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crs_gym.acts import RecommenderKind
from crs_gym.inference import Metropolis
from crs_gym.inference.search import attribute_queries
from crs_gym.inference.value import expected_utility, item_query_value
from crs_gym.policies import Icer, choose_threshold, make_policy
from crs_gym.simulation import Simulator, evaluation_keys, rollout
from crs_gym.simulation.rollout import view_of

INFERENCE = Metropolis.of(64)
EPISODES = 24
QUERIES = ("both", "item", "attribute", "iteration", "thompson", "random", "exhaustive", "either")


@pytest.fixture(scope="module")
def patient(small_world):
    """Users who hardly accept anything, so that all turns are played."""
    return Simulator.of(small_world, max_turns=4, user_model={"null_z": 6.0})


@pytest.fixture(scope="module")
def keys():
    return evaluation_keys(0, EPISODES)


@pytest.fixture(scope="module")
def talk(patient, keys):
    """(view, samples) of one user before the first turn."""
    state = patient.reset(keys[0])
    belief = INFERENCE.init(keys[0], state.prior, patient.items, patient.model)
    return view_of(state, belief, Icer()), INFERENCE.samples(belief)


@pytest.mark.parametrize(
    "queries",
    [q if q == "both" else pytest.param(q, marks=pytest.mark.slow) for q in QUERIES],
)
def test_asks_until_the_last_turn_and_then_recommends(patient, keys, queries):
    policy = Icer(threshold=-jnp.inf, queries=queries, effort=8, among=12)
    history = rollout(patient, policy, INFERENCE, keys).history
    kinds, slates = np.asarray(history.act.kind), np.asarray(history.act.slate)
    assert (kinds[:, :3] != RecommenderKind.RECOMMEND).all()
    assert (kinds[:, 3] == RecommenderKind.RECOMMEND).all()
    asked = set(kinds[:, :3].ravel().tolist())
    items, attributes = int(RecommenderKind.ASK_ITEM), int(RecommenderKind.ASK_ATTRIBUTE)
    both = {items, attributes}
    wanted = {"attribute": {attributes}, "random": both, "either": both}
    assert asked <= both if queries == "both" else asked == wanted.get(queries, {items})
    pairs = slates[kinds == items]
    assert (pairs >= 0).all()
    assert (pairs[:, 0] != pairs[:, 1]).all()


@pytest.mark.parametrize(
    "policy",
    [
        Icer(threshold=jnp.inf, queries="both", effort=8, among=12),  # compiled for the test above
        pytest.param(Icer(queries="none"), marks=pytest.mark.slow),
    ],
    ids=["infinite", "none"],
)
def test_an_infinite_threshold_only_recommends(patient, keys, policy):
    kinds = rollout(patient, policy, INFERENCE, keys).history.act.kind
    assert (np.asarray(kinds) == RecommenderKind.RECOMMEND).all()


@pytest.mark.parametrize("queries", ["item", "attribute", "both"])
def test_the_threshold_is_on_the_value_of_the_best_query(patient, talk, queries):
    view, samples = talk
    policy = Icer(queries=queries)
    key = jax.random.key(3)
    asking, _ = jax.random.split(key)
    _, value = policy.best_query(asking, samples, view, patient)
    kinds = [
        int(Icer(float(value) + shift, queries).act(key, view, patient, INFERENCE).kind)
        for shift in (-1e-4, 1e-4)
    ]
    assert kinds[0] != RecommenderKind.RECOMMEND
    assert kinds[1] == RecommenderKind.RECOMMEND


def test_both_is_the_better_of_the_two(patient, talk):
    view, samples = talk
    key = jax.random.key(3)
    found = {q: Icer(queries=q).best_query(key, samples, view, patient) for q in QUERIES[:3]}
    better = max(("item", "attribute"), key=lambda q: float(found[q][1]))
    assert float(found["both"][1]) == pytest.approx(float(found[better][1]), rel=1e-5)
    assert int(found["both"][0].kind) == int(found[better][0].kind)


def test_values_are_those_of_the_queries(patient, talk):
    view, samples = talk
    for queries in ("item", "thompson", "iteration", "exhaustive"):
        policy = Icer(queries=queries, among=600)
        act, value = policy.best_query(jax.random.key(0), samples, view, patient)
        exact = item_query_value(samples, act.slate, patient.items, patient.model)
        assert float(value) == pytest.approx(float(exact), rel=1e-3, abs=1e-4)
    act, value = Icer(queries="attribute").best_query(jax.random.key(0), samples, view, patient)
    every = attribute_queries(samples, patient.items, patient.model)
    assert float(value) == pytest.approx(float(every.values.max()), rel=1e-5)
    assert int(act.attribute) == int(jnp.argmax(every.values))


@pytest.mark.parametrize("offer", ["mean", "sample"])
def test_what_is_recommended(patient, talk, offer):
    view, samples = talk
    slates = {
        tuple(
            np.asarray(
                Icer(threshold=jnp.inf, offer=offer)
                .act(jax.random.key(k), view, patient, INFERENCE)
                .slate
            ).tolist()
        )
        for k in range(12)
    }
    embeddings = np.asarray(samples.embeddings)
    phis = [embeddings.mean(0)] if offer == "mean" else list(embeddings)
    utilities = [np.asarray(patient.items.embeddings) @ phi for phi in phis]
    assert slates <= {tuple(np.argsort(-u)[:2].tolist()) for u in utilities}
    assert len(slates) == 1 if offer == "mean" else len(slates) > 3
    if offer == "mean":
        best = utilities[0].max()
        assert best == pytest.approx(float(expected_utility(samples, patient.items)), rel=1e-5)


@pytest.mark.slow
def test_the_threshold_is_chosen_by_return(small_world):
    """Where every turn costs as much as the best item is worth, never asking is best."""
    dear = Simulator.of(small_world, turn_cost=1.0)
    chosen = choose_threshold(
        dear, INFERENCE, Icer(queries="attribute"), (0.0, 1e6), episodes=EPISODES
    )
    assert chosen.threshold == 1e6
    assert chosen.queries == "attribute"


def test_by_name(patient):
    assert make_policy("icer-0.25", patient, INFERENCE) == Icer(threshold=0.25)
    assert make_policy("icer-item-2", patient, INFERENCE) == Icer(threshold=2.0, queries="item")
    assert make_policy("icer-item-2", patient, INFERENCE).name == "icer-item-2"
    for wrong in ("icer-", "icer-items-1", "icer--1"):
        with pytest.raises(ValueError, match=r"icer-<queries>-<threshold>.*exhaustive"):
            make_policy(wrong, patient, INFERENCE)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="unknown 'films'; there are both, either, item"):
        Icer(queries="films")
    with pytest.raises(ValueError, match="unknown 'best'; there are sample, mean"):
        Icer(offer="best")

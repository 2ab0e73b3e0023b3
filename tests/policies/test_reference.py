"""What the reference policies say, read off whole rollouts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crs_gym.acts import NONE, RecommenderKind, UserKind
from crs_gym.inference import PriorSamples
from crs_gym.policies.acts import ask_attribute, ask_item, recommend
from crs_gym.policies.reference import (
    AskThenRecommend,
    BeliefGreedy,
    Greedy,
    OneAct,
    OneSlate,
    Oracle,
    Popularity,
    Random,
)
from crs_gym.simulation import Simulator, evaluation_keys, rollout
from crs_gym.simulation.rollout import View, view_of

SAMPLES = 512
INFERENCE = PriorSamples.of(SAMPLES, 8)
EPISODES = 48


@pytest.fixture(scope="module")
def patient(small_world):
    """Users who hardly accept anything, so that all turns are played."""
    return Simulator.of(small_world, user_model={"null_z": 6.0})


@pytest.fixture(scope="module")
def keys():
    return evaluation_keys(0, EPISODES)


@pytest.fixture(scope="module")
def users(patient, keys):
    return jax.jit(jax.vmap(patient.reset))(keys).user


def play(simulator, policy, keys):
    episodes = rollout(simulator, policy, INFERENCE, keys)
    return episodes, jax.tree.map(np.asarray, episodes.history)


@pytest.mark.parametrize("policy", [Random(), Popularity(), Greedy(), Oracle()])
def test_no_rejected_item_is_offered_again(patient, keys, policy):
    """`legal` would empty the place: all places are filled, and all items are different."""
    episodes, history = play(patient, policy, keys)
    assert (np.asarray(episodes.turns) == 7).mean() > 0.8
    for b in range(EPISODES):
        turns = int(episodes.turns[b])
        offered = history.act.slate[b, :turns].ravel()
        assert (history.act.kind[b, :turns] == RecommenderKind.RECOMMEND).all()
        assert (offered != NONE).all()
        assert len(set(offered.tolist())) == 2 * turns


def test_random_offers_every_item_alike(patient, goodness_of_fit):
    view = view_of(patient.reset(jax.random.key(0)), None, Random())
    act = jax.jit(jax.vmap(lambda key: Random().act(key, view, patient, INFERENCE)))
    slates = np.asarray(act(jax.random.split(jax.random.key(1), 20_000)).slate)
    assert (slates[:, 0] != slates[:, 1]).all()
    for place in range(2):
        counts = np.bincount(slates[:, place], minlength=600)
        assert goodness_of_fit(counts, np.full(600, 1 / 600)) > 1e-4


def test_popularity_goes_down_the_list(small_world, patient, keys):
    _, history = play(patient, Popularity(), keys)
    popular = small_world.popularity[history.act.slate[0].ravel()]
    np.testing.assert_array_equal(popular, np.sort(small_world.popularity)[::-1][:14])


def test_oracle_begins_with_the_users_best(small_world, patient, keys, users):
    _, history = play(patient, Oracle(), keys)
    utilities = np.asarray(users.embedding) @ small_world.item_embeddings.T
    shown = np.take_along_axis(utilities, history.act.slate[:, 0], 1)
    np.testing.assert_allclose(shown, -np.sort(-utilities, 1)[:, :2], atol=1e-5)


def test_oracle_must_see_the_user(patient):
    state = patient.reset(jax.random.key(0))
    view = View(state.history, state.context, state.prior, None, None)
    with pytest.raises(ValueError, match="the oracle needs to see the user"):
        Oracle().act(jax.random.key(0), view, patient, INFERENCE)


@pytest.mark.parametrize(
    ("about", "n"), [("attribute", 3), pytest.param("item", 2, marks=pytest.mark.slow)]
)
def test_ask_n_asks_n_questions_and_then_recommends(patient, keys, about, n):
    episodes, history = play(patient, AskThenRecommend(n, about), keys)
    kind = {"item": RecommenderKind.ASK_ITEM, "attribute": RecommenderKind.ASK_ATTRIBUTE}[about]
    assert (history.act.kind[:, :n] == kind).all()
    said = history.act.kind[:, n:]
    played = np.arange(n, 7) < np.asarray(episodes.turns)[:, None]
    assert (said[played] == RecommenderKind.RECOMMEND).all()
    assert (said[~played] == NONE).all()
    assert (np.asarray(episodes.turns) > n).all()
    questions = history.act.slate[:, :n]
    filled = 2 if about == "item" else 1
    assert ((questions >= 0).sum(2) == filled).all()
    # the offers are full and never repeat what was refused
    for b in range(EPISODES):
        offered = history.act.slate[b, n : int(episodes.turns[b])].ravel()
        assert (offered >= 0).all()
        assert len(set(offered.tolist())) == len(offered)


def test_one_act_never_ends_with_acceptance(small_world, patient, keys):
    episodes, history = play(patient, OneAct(), keys)
    assert not episodes.accepted.any()
    assert (episodes.turns == 7).all()
    assert (history.act.kind == RecommenderKind.ASK_ATTRIBUTE).all()
    assert (history.act.slate[..., 0] == small_world.popularity.argmax()).all()
    assert (history.response.kind == UserKind.ANSWER).all()
    np.testing.assert_allclose(episodes.reward, -7 * 0.02, rtol=1e-5)


def test_one_slate_offers_nothing_after_its_rejection(patient, keys):
    episodes, history = play(patient, OneSlate(), keys)
    first = history.act.slate[:, 0]
    assert (first == first[0]).all()  # all users have the one cold prior
    assert (first[0] >= 0).all()
    going_on = np.arange(1, 7) < np.asarray(episodes.turns)[:, None]
    assert going_on.any()
    assert (history.act.slate[:, 1:][going_on] == NONE).all()
    assert not (np.asarray(episodes.accepted) & (np.asarray(episodes.turns) > 1)).any()


def test_greedy_goes_down_the_list_for_the_priors_mean(small_world, patient, keys):
    _, history = play(patient, Greedy(), keys)
    utilities = small_world.item_embeddings @ np.asarray(patient.population.mean)
    shown = utilities[history.act.slate[0].ravel()]
    np.testing.assert_allclose(shown, -np.sort(-utilities)[:14], atol=1e-5)


@pytest.mark.parametrize("prior", ["cold", "personal"])
def test_belief_greedy_offers_what_is_most_likely_accepted(small_world, keys, prior):
    """Against the acceptance of every item, and of the slate that mere mean utility suggests."""
    simulator = Simulator.of(small_world, prior=prior)
    for b in range(4):
        state = simulator.reset(keys[b])
        belief = INFERENCE.init(keys[b], state.prior, simulator.items, simulator.model)
        embeddings, weights, null = map(np.asarray, INFERENCE.samples(belief))
        gap = embeddings @ small_world.item_embeddings.T - null[:, None]
        odds = np.exp(gap.astype(np.float64) / float(simulator.model.temperature))

        def acceptance(slate, odds=odds, weights=weights):
            total = odds[:, list(slate)].sum(1)
            return float(weights @ (total / (1 + total)))

        ours, mean = (
            policy.act(keys[b], view_of(state, belief, policy), simulator, INFERENCE).slate
            for policy in (BeliefGreedy(), Greedy())
        )
        best = max(acceptance([i]) for i in range(small_world.n_items))
        assert acceptance(ours[:1]) == pytest.approx(best, rel=1e-3)
        assert acceptance(ours) >= acceptance(mean) - 1e-6


def test_acts_have_the_types_of_the_array_form():
    slate = jnp.array([4, 7], jnp.int32)
    for act, kind, places, attribute, direction in (
        (recommend(slate), RecommenderKind.RECOMMEND, [4, 7], NONE, 0),
        (ask_item(slate), RecommenderKind.ASK_ITEM, [4, 7], NONE, 0),
        (
            ask_attribute(jnp.int32(4), jnp.int32(2), 2),
            RecommenderKind.ASK_ATTRIBUTE,
            [4, NONE],
            2,
            1,
        ),
    ):
        assert (act.kind, act.attribute, act.direction) == (kind, attribute, direction)
        np.testing.assert_array_equal(act.slate, places)
        assert all(field.dtype == jnp.int32 for field in act)


def test_policies_of_equal_fields_are_told_apart():
    """JAX finds compiled programs by the tree's structure: no two policies may share one."""
    policies = [
        Random(), Popularity(), Greedy(), BeliefGreedy(), Oracle(), OneAct(), OneSlate(),
        AskThenRecommend(1, "item"), AskThenRecommend(1, "attribute"),
    ]  # fmt: skip
    assert len({jax.tree.structure(policy) for policy in policies}) == len(policies)

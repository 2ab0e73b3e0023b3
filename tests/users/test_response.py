"""The whole response: `respond` and `log_prob` are one distribution."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.stats import norm

from crs_gym.acts import NONE, RecommenderAct, RecommenderKind, UserAct, UserKind
from crs_gym.users import Context, Items, User, UserModel, log_prob, n_uniforms, perceive, respond

N, D, G, K = 6, 3, 4, 3
BELOW_ONE = np.nextafter(np.float32(1), np.float32(0))


def all_responses():
    """Every response there is, the impossible ones included: 3 + 1 + 24 + 3 + 8 + 1."""
    slots, topics = range(K), list(product(range(G), (1, -1)))
    rows = [
        *((UserKind.ACCEPT, slot, NONE, 0) for slot in slots),
        (UserKind.REJECT, NONE, NONE, 0),
        *((UserKind.CRITIQUE, slot, g, d) for slot in slots for g, d in topics),
        *((UserKind.CHOOSE, slot, NONE, 0) for slot in slots),
        *((UserKind.ANSWER, NONE, g, d) for g, d in topics),
        (UserKind.LEAVE, NONE, NONE, 0),
    ]
    return np.array(rows, np.int32)


ROWS = all_responses()
ALL = UserAct(*(jnp.asarray(column) for column in ROWS.T))
PLACE = {tuple(row): i for i, row in enumerate(ROWS.tolist())}
EVERY_KIND = list(RecommenderKind)


def make_items(embeddings, cavs):
    embeddings, cavs = np.asarray(embeddings, np.float32), np.asarray(cavs, np.float32)
    centred = embeddings - embeddings.mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(embeddings))
    root = vectors * np.sqrt(values.clip(0))
    attributes = embeddings @ cavs.T
    arrays = (embeddings, attributes, cavs, embeddings.mean(0), root)
    return Items(*map(jnp.float32, arrays), order=jnp.argsort(attributes.T, axis=1))


def make_act(kind, slate, attribute=0, direction=1):
    if kind == RecommenderKind.ASK_ATTRIBUTE:
        slate = [slate[0], *[NONE] * (K - 1)]
    else:
        attribute, direction = NONE, 0
    return RecommenderAct(*(jnp.asarray(x, jnp.int32) for x in (kind, slate, attribute, direction)))


def make_context(turn=2, questions=1, critiqued=(False,) * G):
    return Context(
        jnp.int32(turn), jnp.int32(questions), jnp.asarray(critiqued), jnp.zeros(N, bool)
    )


def floats(model):
    return jax.tree.map(jnp.float32, model)


@jax.jit
def table(user, act, items, context, model):
    """log P of every response."""
    percept = perceive(user.embedding, act, items, model)
    return jax.vmap(lambda response: log_prob(response, user, act, percept, context, model))(ALL)


@jax.jit
def draw(uniforms, user, act, items, context, model):
    percept = perceive(user.embedding, act, items, model)
    return jax.vmap(lambda u: respond(u, user, act, percept, context, model))(uniforms)


RNG = np.random.default_rng(7)
ITEMS = make_items(RNG.normal(size=(N, D)), RNG.normal(size=(G, D)))
MODEL = floats(
    UserModel(
        temperature=0.8,
        null_z=0.5,
        answer_noise=0.9,
        target_scale=1.5,
        critique_rate=0.45,
        critique_temperature=0.6,
        leave_base=0.05,
        leave_turn=0.02,
        leave_question=0.04,
        leave_dissatisfaction=0.3,
    )
)
USER = User(*map(jnp.float32, ([0.6, -0.8, 0.4], 0.7, 1.3, 0.5)))

element = st.floats(-3, 3, width=32, allow_subnormal=False)
extreme = st.sampled_from([0.0, np.inf])
slates = st.lists(st.integers(NONE, N - 1), min_size=K, max_size=K).filter(
    lambda slate: len({i for i in slate if i >= 0}) == sum(i >= 0 for i in slate) > 0
)


@st.composite
def situations(draw_from):
    """A user, an act, items, a context and parameters, the extreme ones too."""
    items = make_items(
        draw_from(npst.arrays(np.float32, (N, D), elements=element)),
        draw_from(npst.arrays(np.float32, (G, D), elements=element)),
    )
    positive = st.floats(0.03125, 4, width=32)
    rate = st.floats(0, 1, width=32, allow_subnormal=False)
    user = User(
        draw_from(npst.arrays(np.float32, D, elements=element)),
        draw_from(extreme | positive),
        draw_from(positive),
        draw_from(st.sampled_from([0.0, 1.0]) | rate),
    )
    model = UserModel(
        temperature=0.5,
        null_z=draw_from(element),
        answer_noise=draw_from(extreme | positive),
        target_scale=draw_from(positive),
        critique_rate=0.5,
        critique_temperature=draw_from(extreme | positive),
        leave_base=draw_from(st.just(0.0) | rate),
        leave_turn=draw_from(st.just(0.0) | rate),
        leave_question=draw_from(st.just(0.0) | rate),
        leave_dissatisfaction=draw_from(st.just(0.0) | rate),
    )
    context = make_context(
        draw_from(st.integers(0, 6)),
        draw_from(st.integers(0, 6)),
        draw_from(st.just([True] * G) | st.lists(st.booleans(), min_size=G, max_size=G)),
    )
    kind = draw_from(st.sampled_from(EVERY_KIND))
    slate = draw_from(slates)
    if kind == RecommenderKind.ASK_ATTRIBUTE:
        slate = sorted(slate, reverse=True)
    act = make_act(
        kind, slate, draw_from(st.integers(0, G - 1)), draw_from(st.sampled_from([1, -1]))
    )
    return floats(user), act, items, context, floats(model)


@given(
    situations(),
    st.lists(
        st.sampled_from([0.0, float(BELOW_ONE)])
        | st.floats(0, 1, exclude_max=True, width=32, allow_subnormal=False),
        min_size=n_uniforms,
        max_size=n_uniforms,
    ),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_probabilities_sum_to_one_and_what_is_drawn_is_possible(situation, uniforms):
    log_probabilities = np.asarray(table(*situation), np.float64)
    assert not np.isnan(log_probabilities).any()
    assert np.exp(log_probabilities).sum() == pytest.approx(1.0, abs=1e-5)
    drawn = draw(np.array([uniforms], np.float32), *situation)
    response = tuple(int(field[0]) for field in drawn)
    assert log_probabilities[PLACE[response]] > -np.inf


@pytest.mark.parametrize("kind", EVERY_KIND)
@pytest.mark.parametrize("critiqued", [(False,) * G, (True, False, True, False), (True,) * G])
def test_frequencies_of_respond_are_those_of_log_prob(kind, critiqued, goodness_of_fit):
    act = make_act(kind, [4, NONE, 2] if kind != RecommenderKind.ASK_ATTRIBUTE else [4], 2, -1)
    situation = (USER, act, ITEMS, make_context(critiqued=critiqued), MODEL)
    uniforms = jax.random.uniform(jax.random.key(11), (20_000, n_uniforms))
    drawn = np.stack(draw(uniforms, *situation), 1)
    counts = np.zeros(len(ROWS))
    for row, count in zip(*np.unique(drawn, axis=0, return_counts=True), strict=True):
        counts[PLACE[tuple(row.tolist())]] += count
    probabilities = np.exp(np.asarray(table(*situation), np.float64))
    assert (probabilities > 1e-3).sum() >= 3  # else the test says little
    assert goodness_of_fit(counts, probabilities) > 1e-4


def test_recommendation_in_closed_form():
    """Every factor computed anew in NumPy, for one situation with leaving and critiques."""
    slate, critiqued = [4, NONE, 2], np.array([False, True, False, False])
    act = make_act(RecommenderKind.RECOMMEND, slate)
    actual = np.exp(table(USER, act, ITEMS, make_context(critiqued=critiqued), MODEL))

    phi = np.array([0.6, -0.8, 0.4])
    items, cavs = (np.asarray(x, np.float64) for x in (ITEMS.embeddings, ITEMS.cavs))
    utilities = items @ phi
    null = utilities.mean() + 0.5 * utilities.std()
    weights = np.exp(np.array([utilities[4], utilities[2], null]) / 0.7)
    accept_first, accept_last, refuse = weights / weights.sum()
    shortfall = max(null - max(utilities[4], utilities[2]), 0)
    rate = (0.05 + 0.02 * 2 + 0.04 * 1 + 0.3 * shortfall) / 1.3
    stay = refuse * np.exp(-rate)
    gap = cavs @ (1.5 * phi / np.linalg.norm(phi)) - (items[[4, 2]] @ cavs.T).mean(0)
    topic = np.where(critiqued, 0, np.exp(np.abs(gap) / 0.6))
    topic /= topic.sum()

    expected = np.zeros(len(ROWS))
    expected[PLACE[(UserKind.ACCEPT, 0, NONE, 0)]] = accept_first
    expected[PLACE[(UserKind.ACCEPT, 2, NONE, 0)]] = accept_last
    expected[PLACE[(UserKind.REJECT, NONE, NONE, 0)]] = stay * 0.5
    expected[PLACE[(UserKind.LEAVE, NONE, NONE, 0)]] = refuse * -np.expm1(-rate)
    for g, direction in product(range(G), (1, -1)):
        scores = direction * (items[[4, 2]] @ cavs[g])
        slot = [0, 2][int(scores.argmin())]
        value = stay * 0.5 * topic[g] * norm.cdf(direction * gap[g] / 0.9)
        expected[PLACE[(UserKind.CRITIQUE, slot, g, direction)]] = value
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-7)


def test_queries_in_closed_form():
    phi = np.array([0.6, -0.8, 0.4])
    items, cavs = (np.asarray(x, np.float64) for x in (ITEMS.embeddings, ITEMS.cavs))
    stay = np.exp(-(0.05 + 0.02 * 2 + 0.04 * 2) / 1.3)  # the query itself counts as a question
    context = make_context()
    asked = np.exp(
        table(USER, make_act(RecommenderKind.ASK_ITEM, [1, 5, 0]), ITEMS, context, MODEL)
    )
    expected = np.zeros(len(ROWS))
    weights = np.exp(items[[1, 5, 0]] @ phi / 0.7)
    for slot in range(K):
        expected[PLACE[(UserKind.CHOOSE, slot, NONE, 0)]] = stay * weights[slot] / weights.sum()
    expected[-1] = 1 - stay
    np.testing.assert_allclose(asked, expected, rtol=1e-5, atol=1e-7)

    query = make_act(RecommenderKind.ASK_ATTRIBUTE, [3], 1)
    asked = np.exp(table(USER, query, ITEMS, context, MODEL))
    gap = cavs[1] @ (1.5 * phi / np.linalg.norm(phi) - items[3])
    expected = np.zeros(len(ROWS))
    for direction in (1, -1):
        expected[PLACE[(UserKind.ANSWER, NONE, 1, direction)]] = stay * norm.cdf(
            direction * gap / 0.9
        )
    expected[-1] = 1 - stay
    np.testing.assert_allclose(asked, expected, rtol=1e-5, atol=1e-7)


def test_wording_of_an_attribute_query_changes_nothing():
    up, down = (make_act(RecommenderKind.ASK_ATTRIBUTE, [3], 1, d) for d in (1, -1))
    context = make_context()
    np.testing.assert_array_equal(
        table(USER, up, ITEMS, context, MODEL), table(USER, down, ITEMS, context, MODEL)
    )


def test_without_noise_every_response_is_sure():
    """T = 0, sigma = 0, critiques certain and of the most salient attribute."""
    items = make_items(
        [[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 0], [0, -1, 0], [0, 0, -1]],
        [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]],
    )
    sure = floats(
        UserModel(
            temperature=0,
            null_z=1.0,
            answer_noise=0,
            target_scale=1,
            critique_rate=1,
            critique_temperature=0,
        )
    )
    user = User(*map(jnp.float32, ([2.0, 0.5, 0.0], 0.0, 1.0, 1.0)))
    context = make_context()
    # utilities 2, 0.5, 0, ...; deviation sqrt(4.25 / 3) = 1.19 = the null item
    cases = [
        (make_act(RecommenderKind.RECOMMEND, [1, 0, 2]), (UserKind.ACCEPT, 1, NONE, 0)),
        # target (0.97, 0.24, 0), slate mean (0, 1/3, 1/3): attribute 0, wants more; a tie of
        # items 1 and 2 as the least of it, so the first place is named
        (make_act(RecommenderKind.RECOMMEND, [1, NONE, 2]), (UserKind.CRITIQUE, 0, 0, 1)),
        (make_act(RecommenderKind.ASK_ITEM, [3, 2, 1]), (UserKind.CHOOSE, 2, NONE, 0)),
        (make_act(RecommenderKind.ASK_ATTRIBUTE, [1], 1), (UserKind.ANSWER, NONE, 1, -1)),
    ]
    uniforms = jnp.concatenate(
        [jax.random.uniform(jax.random.key(0), (50, n_uniforms)), jnp.zeros((1, n_uniforms))]
    )
    for act, expected in cases:
        drawn = np.stack(draw(uniforms, user, act, items, context, sure), 1)
        np.testing.assert_array_equal(drawn, np.tile(expected, (51, 1)))
        probabilities = np.exp(table(user, act, items, context, sure))
        assert probabilities[PLACE[expected]] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("null_z", np.linspace(-2, 3, 11))
def test_without_noise_rounding_leaves_no_user_without_a_response(null_z):
    """Utilities that a compiler writes out twice need not be rounded alike."""
    items = make_items(np.full((N, D), 1.375) - 1.375 * np.eye(N, D)[:, :1], np.zeros((G, D)))
    user = floats(User(jnp.array([1.0, 0.0, 0.0]), 0.0, 1.0, 0.0))
    model = floats(UserModel(null_z=null_z, answer_noise=0.0, critique_temperature=0.0))
    act = make_act(RecommenderKind.RECOMMEND, [0, 1, NONE])
    probabilities = np.exp(table(user, act, items, make_context(), model))
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert set(np.unique(probabilities)) <= {0.0, 1.0}


def test_ties_without_noise_are_shared_evenly():
    items = make_items(np.tile([[1.0, 0, 0]], (N, 1)), np.eye(G, D))
    model = floats(UserModel(temperature=0, null_z=0.0, answer_noise=0, target_scale=1))
    user = User(*map(jnp.float32, ([1.0, 0, 0], 0.0, 1.0, 0.0)))
    act = make_act(RecommenderKind.ASK_ITEM, [0, 3, 5])
    probabilities = np.exp(table(user, act, items, make_context(), model))
    for slot in range(K):
        assert probabilities[PLACE[(UserKind.CHOOSE, slot, NONE, 0)]] == pytest.approx(1 / 3)
    # the target has exactly the attributes of the item asked about: more and less are as likely
    act = make_act(RecommenderKind.ASK_ATTRIBUTE, [0], 0)
    probabilities = np.exp(table(user, act, items, make_context(), model))
    for direction in (1, -1):
        assert probabilities[PLACE[(UserKind.ANSWER, NONE, 0, direction)]] == pytest.approx(0.5)


RECOMMENDED = make_act(RecommenderKind.RECOMMEND, [4, NONE, 2])
ASKED_ITEM = make_act(RecommenderKind.ASK_ITEM, [4, NONE, 2])
ASKED_ATTRIBUTE = make_act(RecommenderKind.ASK_ATTRIBUTE, [4], 2)


@jax.jit
def one(response, act, context, model):
    percept = perceive(USER.embedding, act, ITEMS, model)
    return log_prob(response, USER, act, percept, context, model)


@pytest.mark.parametrize(
    ("act", "response"),
    [
        (RECOMMENDED, (UserKind.CHOOSE, 0, NONE, 0)),
        (RECOMMENDED, (UserKind.ANSWER, NONE, 2, 1)),
        (RECOMMENDED, (UserKind.ACCEPT, 1, NONE, 0)),  # an empty place
        (RECOMMENDED, (UserKind.ACCEPT, K, NONE, 0)),  # no place at all
        (RECOMMENDED, (UserKind.ACCEPT, NONE, NONE, 0)),
        (RECOMMENDED, (UserKind.CRITIQUE, 1, 0, 1)),  # names an empty place
        (RECOMMENDED, (UserKind.CRITIQUE, NONE, 0, 1)),
        (RECOMMENDED, (UserKind.CRITIQUE, 0, 0, 0)),  # no direction
        (RECOMMENDED, (UserKind.CRITIQUE, 2, 0, 0)),
        (RECOMMENDED, (UserKind.CRITIQUE, 0, NONE, 1)),  # no attribute
        (RECOMMENDED, (UserKind.CRITIQUE, 2, NONE, 1)),
        (RECOMMENDED, (UserKind.CRITIQUE, 0, G, 1)),  # no such attribute
        (RECOMMENDED, (UserKind.CRITIQUE, 2, G, 1)),
        (ASKED_ITEM, (UserKind.ACCEPT, 0, NONE, 0)),
        (ASKED_ITEM, (UserKind.REJECT, NONE, NONE, 0)),
        (ASKED_ITEM, (UserKind.CRITIQUE, 0, 0, 1)),
        (ASKED_ITEM, (UserKind.ANSWER, NONE, 2, 1)),
        (ASKED_ITEM, (UserKind.CHOOSE, 1, NONE, 0)),
        (ASKED_ITEM, (UserKind.CHOOSE, NONE, NONE, 0)),
        (ASKED_ITEM, (UserKind.CHOOSE, K, NONE, 0)),
        (ASKED_ATTRIBUTE, (UserKind.ACCEPT, 0, NONE, 0)),
        (ASKED_ATTRIBUTE, (UserKind.REJECT, NONE, NONE, 0)),
        (ASKED_ATTRIBUTE, (UserKind.CRITIQUE, 0, 2, 1)),
        (ASKED_ATTRIBUTE, (UserKind.CHOOSE, 0, NONE, 0)),
        (ASKED_ATTRIBUTE, (UserKind.ANSWER, NONE, 1, 1)),  # another attribute
        (ASKED_ATTRIBUTE, (UserKind.ANSWER, NONE, 2, 0)),
        (ASKED_ATTRIBUTE, (UserKind.ANSWER, NONE, NONE, 1)),
    ],
)
def test_impossible_responses(act, response):
    assert one(UserAct(*map(jnp.int32, response)), act, make_context(), MODEL) == -np.inf


@pytest.mark.parametrize("direction", [1, -1])
def test_a_critique_of_the_wrong_referent_is_impossible(direction):
    context = make_context()
    values = [
        float(
            one(
                UserAct(*map(jnp.int32, (UserKind.CRITIQUE, s, 0, direction))),
                RECOMMENDED,
                context,
                MODEL,
            )
        )
        for s in (0, 2)
    ]
    assert sorted(np.isfinite(values)) == [False, True]


def test_a_critique_made_before_is_impossible():
    context = make_context(critiqued=(False, False, True, False))
    log_probabilities = np.asarray(table(USER, RECOMMENDED, ITEMS, context, MODEL))
    again = (ROWS[:, 0] == UserKind.CRITIQUE) & (ROWS[:, 2] == 2)
    assert (log_probabilities[again] == -np.inf).all()
    assert np.isfinite(log_probabilities[~again]).sum() == 2 + 1 + 6 + 1


@pytest.mark.parametrize("act", [RECOMMENDED, ASKED_ITEM, ASKED_ATTRIBUTE])
def test_nobody_leaves_where_the_hazard_is_zero(act):
    patient = MODEL._replace(
        **{name: jnp.float32(0) for name in MODEL._fields if name.startswith("leave")}
    )
    assert table(USER, act, ITEMS, make_context(), patient)[-1] == -np.inf
    assert table(USER, act, ITEMS, make_context(), MODEL)[-1] > -np.inf


def test_padding_counts_for_nothing():
    none = jnp.int32(NONE)
    padding = UserAct(none, none, none, jnp.int32(0))
    nothing = RecommenderAct(none, jnp.full(K, NONE, jnp.int32), none, jnp.int32(0))
    for act in (nothing, RECOMMENDED, ASKED_ITEM):
        assert one(padding, act, make_context(), MODEL) == 0


def test_an_empty_recommendation_can_only_be_rejected_or_left():
    act = make_act(RecommenderKind.RECOMMEND, [NONE] * K)
    log_probabilities = np.asarray(table(USER, act, ITEMS, make_context(), MODEL))
    possible = log_probabilities > -np.inf
    assert set(ROWS[possible, 0]) == {UserKind.REJECT, UserKind.LEAVE}
    assert np.exp(log_probabilities).sum() == pytest.approx(1, abs=1e-6)


@jax.jit
def batch_table(embeddings, act):
    percept = perceive(embeddings, act, ITEMS, MODEL)
    users, context = User.typical(embeddings, MODEL), make_context()
    return jax.vmap(lambda response: log_prob(response, users, act, percept, context, MODEL))(ALL)


@pytest.mark.parametrize("act", [RECOMMENDED, ASKED_ITEM, ASKED_ATTRIBUTE])
def test_batches_of_users_equal_single_users(act):
    """What a belief does: many embeddings, one response; the batch axis leads."""
    embeddings = np.random.default_rng(1).normal(size=(4, D)).astype(np.float32)
    batch = batch_table(embeddings, act)
    assert batch.shape == (len(ROWS), 4)
    for i in range(4):
        user = User(embeddings[i], MODEL.temperature, jnp.float32(1.0), MODEL.critique_rate)
        alone = table(user, act, ITEMS, make_context(), MODEL)
        np.testing.assert_allclose(batch[:, i], alone, rtol=1e-4, atol=1e-5)

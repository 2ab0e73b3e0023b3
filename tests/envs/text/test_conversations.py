"""Many conversations at once: each is what it would be alone, and what the simulator plays."""

import jax
import numpy as np
import pytest

from crs_gym.acts import (
    Accept,
    Answer,
    AttributeQuery,
    Choice,
    ItemQuery,
    Leave,
    Recommendation,
    Reject,
    readable_turns,
    to_arrays,
)
from crs_gym.dialogue import (
    CONFUSED,
    NotUnderstood,
    UserTurn,
    format_turn,
    greet,
    say,
    say_response,
)
from crs_gym.envs.text import Conversations, IcerUser
from crs_gym.envs.text.conversations import NEAR
from crs_gym.simulation import Simulator, evaluation_keys
from crs_gym.world import load_world

WORLD = load_world("films")
NOTHING = Recommendation(())
LEAVING = {"leave_base": 0.3, "critique_rate": 0.6, "null_z": 1.5}


def talk_of(opponent=None, **arguments):
    words = {k: arguments.pop(k) for k in ("variants", "max_length") if k in arguments}
    simulator = Simulator.of(WORLD, **arguments)
    return Conversations(WORLD, simulator, opponent or IcerUser(), **words)


def script(seed, turns=7):
    """Acts of all kinds, with a turn now and then that nobody understands (None)."""
    rng = np.random.default_rng(seed)
    acts = []
    for _ in range(turns):
        a, b, c = rng.choice(WORLD.n_items, 3, replace=False).tolist()
        g, sign = int(rng.integers(WORLD.n_attributes)), int(rng.choice([1, -1]))
        kinds = (Recommendation((a, b)), Recommendation((c,)), ItemQuery((a, b)))
        acts.append((*kinds, AttributeQuery(c, g, sign), None)[rng.integers(5)])
    return acts


def text_of(act, seed):
    if act is None:
        return "Lovely weather today."
    words = say(act, WORLD, seed)
    return words if seed % 2 else format_turn(act, words, WORLD)


class Scripted:
    """Says the next thing of a list, to whoever is asked."""

    kind = "lm:scripted"

    def __init__(self, *turns):
        self.turns, self.asked = list(turns), []

    def greet(self, persons):
        return ["Hello."] * len(persons)

    def respond(self, situations):
        self.asked += situations
        return [self.turns.pop(0) for _ in situations]


@pytest.mark.parametrize(
    "arguments", [{"user_model": {"null_z": 1.0}}, {"slate_size": 3, "user_model": LEAVING}]
)
def test_acts_and_outcomes_are_those_of_the_simulator(arguments):
    talk = talk_of(**arguments)
    simulator = talk.simulator
    step, reset = jax.jit(simulator.step), jax.jit(simulator.reset)
    kinds = set()
    for round_ in range(3):
        keys = evaluation_keys(round_, 8)
        talk.begin(keys)
        scripts = [script(8 * round_ + n) for n in range(8)]
        for turn in range(7):
            talk.say([text_of(scripts[n][turn], n) for n in range(8)])
        for n in range(8):
            state = reset(keys[n])
            assert talk.persons[n].user_id == int(state.user_id)
            mine = talk.persons[n].user.embedding
            np.testing.assert_allclose(mine, state.user.embedding, atol=1e-5)
            for exchange, act in zip(talk.exchanges[n], scripts[n], strict=False):
                state, outcome = step(state, to_arrays(act or NOTHING, simulator.slate_size))
                said, response = readable_turns(jax.tree.map(lambda x: x[None], outcome.turn))[0]
                assert (exchange.act, exchange.response) == (said, response)
                assert exchange.reward == pytest.approx(float(outcome.reward), abs=1e-6)
                assert exchange.terminated == bool(outcome.terminated)
                assert exchange.truncated == bool(outcome.truncated)
                accepted = response.item if isinstance(response, Accept) else -1
                assert (exchange.accepted, exchange.left) == (accepted, response == Leave())
                assert exchange.legal == (act == said)
                assert (exchange.fault == "recommender") == (act is None)
                kinds.add((type(response), act is None))
            assert state.done
            assert talk.done[n]
    assert {(Reject, True), (Accept, False), (Choice, False), (Answer, False)} < kinds
    assert ((Leave, True) in kinds) == ("slate_size" in arguments)


def test_quality_is_that_of_the_accepted_item_for_this_user():
    talk = talk_of(user_model={"null_z": -9.0}, turn_cost=0.25)
    talk.begin(evaluation_keys(2, 8))
    talk.say(["How about Heat or Up?"] * 8)
    for person, (exchange,) in zip(talk.persons, talk.exchanges, strict=True):
        utilities = WORLD.item_embeddings @ np.asarray(person.user.embedding)
        mean, best = utilities.mean(), utilities.max()
        expected = (utilities[exchange.accepted] - mean) / (best - mean)
        assert exchange.quality == pytest.approx(expected, abs=1e-4)
        assert exchange.reward == pytest.approx(expected - 0.25, abs=1e-4)


def test_how_near_a_recommendation_comes_is_the_choice_of_a_less_decided_user():
    talk = talk_of()
    talk.begin(evaluation_keys(0, 6))
    acts = [Recommendation((3, 40)), Recommendation((9,)), ItemQuery((3, 40)), NOTHING]
    acts += [AttributeQuery(4, 1, 1), Recommendation((100, 200))]
    found = talk.say([format_turn(act, say(act, WORLD, 0), WORLD) for act in acts])
    everyone = WORLD.item_embeddings.astype(float)
    for exchange, act, person in zip(found, acts, talk.persons, strict=True):
        phi = np.asarray(person.user.embedding, float)
        utilities = everyone @ phi
        null = utilities.mean() + WORLD.user_model["null_z"] * utilities.std()
        gains = np.exp((utilities[list(getattr(act, "items", ()))] - null) / NEAR)
        wanted = gains.sum() / (1 + gains.sum()) if isinstance(act, Recommendation) else 0.0
        assert exchange.near == pytest.approx(wanted, abs=1e-4)


def test_a_batch_plays_what_each_plays_alone():
    keys = evaluation_keys(3, 8)
    together = talk_of(user_model=LEAVING)
    greetings = together.begin(keys)
    for turn in range(7):
        together.say([text_of(script(n)[turn], n) for n in range(8)])
    assert len({len(past) for past in together.past}) > 1  # some end before others
    alone = talk_of(user_model=LEAVING)
    for n in range(8):
        assert alone.begin(keys[n : n + 1]) == [greetings[n]]
        turn = 0
        while not alone.done[0]:
            alone.say([text_of(script(n)[turn], n)])
            turn += 1
        assert alone.past[0] == together.past[n]
        assert alone.transcript(0) == together.transcript(n)
        for one, other in zip(alone.exchanges[0], together.exchanges[n], strict=True):
            assert one.reward == pytest.approx(other.reward, abs=1e-6)
            assert (one.act, one.response, one.reason) == (other.act, other.response, other.reason)


def test_what_is_over_stays_as_it_is():
    talk = talk_of(Scripted(UserTurn(Leave(), "Bye."), *[UserTurn(Reject(), "No.")] * 3))
    talk.begin(evaluation_keys(0, 2))
    first = talk.say(["How about Up?", "How about Up?"])
    assert [e.left for e in first] == [True, False]
    ended = list(talk.past[0])
    second = talk.say([None, "How about Heat?"])
    assert second[0] is None
    assert second[1].act == Recommendation((WORLD.titles.index("Heat"),))
    talk.say(["How about Heat?", "How about Alien?"])
    assert talk.past[0] == ended
    assert len(talk.exchanges[1]) == 3


def test_a_turn_that_is_not_understood_is_an_empty_recommendation():
    opponent = Scripted()
    talk = talk_of(opponent, turn_cost=0.125)
    talk.begin(evaluation_keys(0, 1))
    (exchange,) = talk.say(["Lovely weather today."])
    assert exchange.act == NOTHING
    assert exchange.response == Reject()
    assert (exchange.reply, exchange.reward, exchange.quality) == (CONFUSED, -0.125, 0.0)
    assert (exchange.legal, exchange.fault) == (False, "recommender")
    assert exchange.reason == "no film of the catalogue is named"
    assert opponent.asked == []  # nobody can answer that
    assert talk.fault(0) == "recommender"


def test_films_that_do_not_count_are_taken_out_and_told():
    talk = talk_of(user_model={"null_z": 50.0, "critique_rate": 0.0})
    talk.begin(evaluation_keys(0, 1))
    heat, up, alien = (WORLD.titles.index(title) for title in ("Heat", "Up", "Alien"))
    (first,) = talk.say([format_turn(Recommendation((heat, up)), "", WORLD)])
    assert first.legal
    assert first.reason == ""
    (second,) = talk.say([format_turn(Recommendation((up, alien)), "", WORLD)])
    assert (second.act, second.legal, second.fault) == (Recommendation((alien,)), False, "neither")
    assert second.reason == "films that were named twice or rejected before do not count"
    (third,) = talk.say([format_turn(ItemQuery((up, up)), "", WORLD)])
    assert (third.act, third.legal) == (ItemQuery((up,)), False)
    (fourth,) = talk.say([format_turn(Recommendation((heat, up)), "", WORLD)])
    assert (fourth.act, fourth.response, fourth.legal) == (NOTHING, Reject(), False)
    assert talk.fault(0) == "neither"  # all was understood


def test_a_user_that_cannot_be_understood_ends_its_own_conversation():
    talk = talk_of(
        Scripted(
            NotUnderstood("neither a yes nor a no is said"),
            UserTurn(Reject(), "No."),
            UserTurn(Accept(WORLD.titles.index("Up")), "Up it is."),
        ),
        turn_cost=0.125,
    )
    talk.begin(evaluation_keys(0, 2))
    broken, other = talk.say(["How about Heat?"] * 2)
    assert (broken.fault, broken.response, broken.reply) == ("user", None, "")
    assert broken.reason == "neither a yes nor a no is said"
    assert (broken.reward, broken.terminated, broken.truncated) == (-0.125, False, True)
    assert talk.fault(0) == "user"
    assert talk.done.tolist() == [True, False]
    assert other.response == Reject()
    _, accepted = talk.say([None, "How about Up?"])
    assert accepted.terminated
    assert accepted.accepted == WORLD.titles.index("Up")


def test_who_failed_first_is_remembered():
    talk = talk_of(Scripted(NotUnderstood("what?")))
    talk.begin(evaluation_keys(0, 1))
    assert talk.fault(0) == "neither"
    talk.say(["Hm."])
    talk.say(["How about Up?"])
    assert [e.fault for e in talk.exchanges[0]] == ["recommender", "user"]
    assert talk.fault(0) == "recommender"


def test_what_an_opponent_is_told():
    opponent = Scripted(UserTurn(Reject(), "No."), UserTurn(Reject(), "Nor that."))
    talk = talk_of(opponent)
    talk.begin(evaluation_keys(0, 1))
    talk.say(["Recommender: How about Up?\nUser: Yes!"])
    talk.say(["Hm."])
    talk.say(["How about Heat?"])
    first, second = opponent.asked
    assert (first.turn, second.turn) == (1, 3)
    assert first.words == "How about Up?"
    assert second.past == (
        ("User", "Hello."),
        ("Recommender", "How about Up?"),
        ("User", "No."),
        ("Recommender", "Hm."),
        ("User", CONFUSED),
    )
    assert first.person is second.person
    assert first.seed != second.seed


def test_sentences_vary_with_the_episode_unless_told_not_to():
    for variants in (True, False):
        talk = talk_of(variants=variants, user_model={"null_z": 50.0, "critique_rate": 0.0})
        greetings = talk.begin(evaluation_keys(0, 8))
        replies = [e.reply for e in talk.say(["How about Up?"] * 8)]
        assert (len(set(greetings)) > 2) == variants
        assert (len(set(replies)) > 2) == variants
    assert set(greetings) == {greet(0)}
    assert set(replies) == {say_response(Reject(), Recommendation((0,)), WORLD)}


def test_what_is_asked_for_wrongly():
    with pytest.raises(ValueError, match="max_length must be at least 1, not 0"):
        talk_of(max_length=0)
    talk = talk_of()
    with pytest.raises(ValueError, match="there are 0 conversations, and 1 texts"):
        talk.say(["Up?"])
    talk.begin(evaluation_keys(0, 2))
    with pytest.raises(ValueError, match="there are 2 conversations, and 1 texts"):
        talk.say(["Up?"])
    with pytest.raises(ValueError, match="conversation 1 goes on: it needs a text"):
        talk.say(["Up?", None])
    assert talk.exchanges == [[], []]

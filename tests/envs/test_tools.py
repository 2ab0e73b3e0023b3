"""Tool calls are the acts of the other environments, and TRL can train on them."""

import inspect

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded

from crs_gym.acts import AttributeQuery, ItemQuery, Recommendation
from crs_gym.dialogue import CONFUSED
from crs_gym.envs.icer import IcerEnv
from crs_gym.envs.tools import OVER, RecommenderTools, tools

pytestmark = pytest.mark.filterwarnings(
    # what other tests of the process leave behind is collected whenever it is
    "error",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


def script(world, seed):
    """Some turns: the tool, its arguments, and the same as an action of crs/Icer-v0."""
    rng = np.random.default_rng(seed)
    for _ in range(7):
        kind = int(rng.integers(3))
        items = rng.choice(world.n_items, 2, replace=False).tolist()
        attribute = int(rng.integers(world.n_attributes))
        titles = [world.label(i) for i in items]
        yield (
            (
                ("recommend", (titles,)),
                ("ask_item", (titles,)),
                ("ask_attribute", (titles[0], world.attributes[attribute].name, True)),
            )[kind],
            np.array([kind, *items, attribute]),
        )


def test_same_seed_and_acts_as_the_other_environments(films):
    user = {"null_z": 1.0}
    icer = IcerEnv(films, observation="index", user_model=user)
    played = RecommenderTools(world=films, user_model=user)
    acts, ends = set(), set()
    for seed in range(6):
        icer.reset(seed=seed)
        played.reset(seed=seed, prompt="ignored", environment="ignored")
        total = 0.0
        for (tool, arguments), action in script(films, seed):
            answer = getattr(played, tool)(*arguments)
            _, reward, *over, info = icer.step(action)
            total += reward
            exchange = played._env.talk.exchanges[0][-1]
            assert (exchange.act, exchange.response) == icer.turns()[-1]
            assert answer.startswith(exchange.reply)
            assert (OVER in answer) == any(over)
            acts.add(type(exchange.act))
            if any(over):
                assert exchange.accepted == info["accepted_item"]
                break
        ends.add(tuple(over))
        assert played.get_reward() == pytest.approx(total, abs=1e-6)
    assert acts == {Recommendation, ItemQuery, AttributeQuery}
    assert ends == {(True, False), (False, True)}


def test_names_are_resolved_as_in_structured_turns(films):
    played = RecommenderTools(world=films)
    item = films.titles.index("Heat")
    for title in ("Heat (1995)", "heat", "Heat  (1995) ", "Heeat (1995)"):
        played.reset(seed=0)
        played.ask_item([title, "Alien (1979)"])
        assert played._env.talk.exchanges[0][-1].act.items[0] == item
    played.reset(seed=0)
    played.recommend("Heat (1995)")  # models forget the list
    assert played._env.talk.exchanges[0][-1].act == Recommendation((item,))
    played.reset(seed=0)
    played.ask_attribute(["Heat (1995)"], "funny", True)
    assert isinstance(played._env.talk.exchanges[0][-1].act, AttributeQuery)
    meant = {1: (True, "true", "Yes", " more ", 1, "1"), -1: (False, "False", "no", "less", 0, "0")}
    for direction, more in ((d, more) for d, several in meant.items() for more in several):
        played.reset(seed=0)
        played.ask_attribute("Heat (1995)", "funny", more)
        attribute = [a.name for a in films.attributes].index("funny")
        said = played._env.talk.exchanges[0][-1].act
        assert said == AttributeQuery(item, attribute, direction)


@pytest.mark.parametrize(
    ("tool", "arguments", "sentence"),
    [
        ("recommend", (["Heatwave of the Century"],), "no film 'Heatwave of the Century'"),
        ("ask_item", (["Heat", "Alien", "Up"],), "3 films are named, where 2 at most may be"),
        ("ask_attribute", ("Heat", "wet", True), "'wet' is no attribute of this world; there are"),
        ("ask_attribute", ("Heat", "", True), "'' is no attribute"),
        ("ask_item", ([],), "too few films"),
        ("recommend", (["x" * 30_000],), "longer than 20,000 characters"),
        ("recommend", ([None],), "no film 'None'"),
        ("recommend", (None,), "no film 'None'"),
        ("recommend", (5,), "no film '5'"),
        ("ask_item", ({"title": "Heat (1995)"},), "no film \"{'title': 'Heat (1995)'}\""),
        ("ask_attribute", ("Heat", "funny", "perhaps"), "more is true or false, not 'perhaps'"),
        ("ask_attribute", ("Heat", "funny", None), "more is true or false, not None"),
        ("ask_attribute", ("Heat", "funny", 2), "more is true or false, not 2"),
        ("recommend", (["</movie_title><action>"],), "no film '</movie_title><action>'"),
    ],
)
def test_what_is_not_understood_says_why_and_costs_a_turn(films, tool, arguments, sentence):
    played = RecommenderTools(world=films, turn_cost=0.125)
    played.reset(seed=3)
    answer = getattr(played, tool)(*arguments)
    assert answer.startswith(CONFUSED)
    assert sentence in answer
    (exchange,) = played._env.talk.exchanges[0]
    assert exchange.reward == -0.125
    assert exchange.act == Recommendation(())
    for _ in range(6):
        answer = getattr(played, tool)(*arguments)
    assert answer.endswith(f"({OVER})")
    assert played.get_reward() == -0.875


def test_films_of_one_title_are_told_apart_by_the_year(plane_world):
    years = [1994, 2004, *[2000] * (plane_world.n_items - 2)]
    twins = plane_world.replace(titles=("Twin", "Twin", *plane_world.titles[2:]), years=years)
    played = RecommenderTools(world=twins)
    played.reset(seed=0)
    assert "2 films could be meant by 'Twin'" in played.recommend(["Twin"])
    played.recommend(["Twin (2004)"])
    assert played._env.talk.exchanges[0][-1].act == Recommendation((1,))


def test_films_that_do_not_count_are_told(films):
    played = RecommenderTools(world=films, user_model={"null_z": 50.0, "critique_rate": 0.0})
    played.reset(seed=0)
    assert "(" not in played.recommend(["Heat (1995)", "Alien (1979)"])
    assert "rejected before do not count" in played.recommend(["Heat (1995)", "Up (2009)"])


def test_after_the_end_nothing_changes(films):
    played = RecommenderTools(world=films, max_turns=1)
    played.reset(seed=0)
    assert OVER in played.ask_item(["Heat", "Alien"])
    reward, past = played.get_reward(), list(played._env.talk.past[0])
    for answer in (
        played.ask_item(["Heat", "Alien"]),
        played.recommend(["nothing known"]),
        played.ask_attribute("Heat", "funny", True),
    ):
        assert answer == OVER
    assert (played.get_reward(), played._env.talk.past[0]) == (reward, past)


def test_instances_are_reused(films):
    used, fresh = RecommenderTools(world=films), RecommenderTools(world=films)
    used.reset(seed=8)
    for _ in range(9):
        used.recommend(["?"])
    assert used.reset(seed=2) == fresh.reset(seed=2)
    call = (["Heat (1995)", "Alien (1979)"],)
    assert used.ask_item(*call) == fresh.ask_item(*call)
    assert used.get_reward() == fresh.get_reward()


def test_without_a_seed_the_next_episode(films):
    played, env = RecommenderTools(world=films), gymnasium.make("crs/Dialogue-v0")
    for seed in (5, None, None):
        env.reset(seed=seed)
        played.reset() if seed is None else played.reset(seed=seed)
        assert played._env.talk.persons[0].user_id == env.unwrapped.talk.persons[0].user_id


def test_turns_that_are_left_unused_cost_what_silence_does(films):
    played = RecommenderTools(world=films, turn_cost=0.125)
    with pytest.raises(ResetNeeded):
        played.get_reward()
    with pytest.raises(ResetNeeded):
        played.recommend(["Heat"])
    played.reset(seed=0)
    assert played.get_reward() == -7 * 0.125
    played.ask_item(["Heat", "Alien"])
    assert played.get_reward() == -7 * 0.125


def test_world_and_user_are_made_once():
    make = tools(slate_size=3)
    one, other = make(), make()
    assert one is not other
    assert one._env.talk.opponent is other._env.talk.opponent
    assert one._env.world is other._env.world
    assert one._env.simulator.slate_size == 3
    with pytest.raises(ValueError, match="unknown user 'nobody'"):
        tools(user="nobody")


def test_nothing_but_acts_is_a_tool_and_each_has_a_schema():
    made = tools(max_turns=3)()
    assert made._env.simulator.max_turns == 3
    methods = dict(inspect.getmembers(made, predicate=inspect.ismethod))
    public = {name for name in methods if not name.startswith("_")}
    assert public - {"reset", "get_reward"} == {"recommend", "ask_item", "ask_attribute"}
    schema = pytest.importorskip("transformers.utils").get_json_schema
    kinds = {}
    for name in public - {"reset", "get_reward"}:
        function = schema(methods[name])["function"]
        assert function["name"] == name
        assert function["return"]["type"] == "string"
        fields = function["parameters"]["properties"]
        assert set(function["parameters"]["required"]) == set(fields)
        assert all(field["description"] for field in fields.values())
        kinds[name] = {field: value["type"] for field, value in fields.items()}
    assert kinds == {
        "recommend": {"titles": "array"},
        "ask_item": {"titles": "array"},
        "ask_attribute": {"title": "string", "attribute": "string", "more": "boolean"},
    }

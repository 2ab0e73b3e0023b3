"""Prompts hold what was said and the template, and nothing of what comes later."""

import random

import pytest

from crs_gym.acts import AttributeQuery, ItemQuery, Recommendation
from crs_gym.dialogue import NotUnderstood, understand, understand_response
from crs_gym.dialogue.grammar import KINDS
from crs_gym.generation.checks import check, check_response
from crs_gym.generation.prompts import GUIDES, WORDS, prompt
from crs_gym.world import load_world
from experiments.words.talks import an_exchange

WORLD = load_world("films")
SAID = [("Recommender", "How about Heat (1995)?"), ("User", "Something lighter, please.")]
ACT = AttributeQuery(3, 4, 1)


def test_every_kind_of_turn_has_a_guide_of_its_own():
    assert set(GUIDES) == set(KINDS.values())
    assert len({guide.rules for guide in GUIDES.values()}) == len(GUIDES)


@pytest.mark.parametrize("style", ["full", "short"])
def test_prompts_differ_by_kind_and_end_with_the_template(style):
    seen = {}
    for n in range(200):
        for act in an_exchange(random.Random(n), WORLD):
            messages = prompt(SAID, "The stiff turn.", act, style)
            assert messages[-1].role == "user"
            assert (
                "The stiff turn."
                in messages[-1].content.splitlines()[-2 if style == "full" else -1]
            )
            seen.setdefault(KINDS[type(act)], set()).add(messages)
    assert set(seen) == set(KINDS.values())
    assert all(len(prompts) == 1 for prompts in seen.values())
    assert len({prompts.pop() for prompts in seen.values()}) == len(KINDS)


def test_the_full_prompt_holds_all_that_was_said_in_order():
    system, asked = prompt(SAID, "Stiff.", ACT, "full")
    assert (
        "\nRecommender: How about Heat (1995)?\nUser: Something lighter, please.\n" in asked.content
    )
    assert "recommender says" in system.content
    assert str(WORDS) in system.content
    assert "(nothing yet)" in prompt([], "Stiff.", ACT, "full")[1].content


def test_the_short_prompt_holds_the_other_sides_last_words():
    (asked,) = prompt(SAID, "Stiff.", ACT, "short")
    assert asked.content == "Something lighter, please.\nask_attribute: Stiff."
    (first,) = prompt([], "Stiff.", ACT, "short")
    assert first.content == "\nask_attribute: Stiff."


def test_an_unknown_style_is_refused():
    with pytest.raises(ValueError, match="there are full, short"):
        prompt(SAID, "Stiff.", ACT, "long")


def test_examples_keep_the_rules_that_they_illustrate():
    """Each rewritten example passes the checks for the act that its template is understood as."""
    four = (("Gravity", 2013), ("Paddington", 2014), ("Jaws", 1975), ("Chicago", 2002))
    free = [n for n, title in enumerate(WORLD.titles) if title not in dict(four)]
    titles, years = list(WORLD.titles), WORLD.years.copy()
    for place, (title, year) in zip(free, four, strict=False):
        if title not in titles:
            titles[place], years[place] = title, year
    world = WORLD.replace(titles=tuple(titles), years=years)
    films = {name: n for n, name in enumerate(map(world.label, range(world.n_items)))}
    examined = 0
    for kind, guide in GUIDES.items():
        for stiff, new in guide.examples:
            named = [n for label, n in films.items() if label in stiff]
            if kind in ("recommend", "ask_item", "ask_attribute"):
                act = understand(stiff, world)
                assert not isinstance(act, NotUnderstood), stiff
                assert check(new, act, world) is None, (new, check(new, act, world))
            else:
                funny, scary = (
                    next(g for g, words in enumerate(world.attributes) if words.name == name)
                    for name in ("funny", "scary")
                )
                asked = scary if "scar" in stiff else funny
                table = named or [films["Jaws (1975)"], films["Gravity (2013)"]]
                if kind == "reject" and "that one" in stiff:
                    table = table[:1]
                act = Recommendation(tuple(table))
                if kind == "choose":
                    act = ItemQuery(tuple(table))
                if kind == "answer":
                    act = AttributeQuery(table[0], asked, -1 if stiff.startswith("Yes") else 1)
                response = understand_response(stiff, act, world)
                assert KINDS[type(response)] == kind, (stiff, response)
                verdict = check_response(new, response, act, world)
                assert verdict is None, (new, verdict)
            examined += 1
    assert examined == 2 * len(KINDS)

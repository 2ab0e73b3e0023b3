"""What a persona tells is held against the world's arrays."""

import dataclasses
import re

import numpy as np
import pytest

from crs_gym.language.persona import FAVOURITES, Persona, Seen, Taste, persona_of
from crs_gym.world import load_world
from tests.language.people import people, person

WORLD = load_world("films")
PEOPLE = people(WORLD, 500)
NAMES = {words.name: attribute for attribute, words in enumerate(WORLD.attributes)}


@pytest.fixture(scope="module")
def personas():
    return [persona_of(who) for who in PEOPLE]


def _deviations(who):
    """(N,) the utilities in the user's own deviations from the user's own mean."""
    utilities = WORLD.item_embeddings.astype(float) @ who.user.embedding.astype(float)
    return (utilities - utilities.mean()) / utilities.std()


def _sizes(who):
    """(G,) what the user's target film has more of than the average film."""
    phi = who.user.embedding.astype(float)
    target = WORLD.user_model["target_scale"] * phi / np.linalg.norm(phi)
    return (target - WORLD.item_embeddings.mean(0)) @ WORLD.cavs.T


def test_a_persona_follows_from_the_person_and_cannot_be_changed(personas):
    for who, persona in zip(PEOPLE[:20], personas, strict=False):
        again = persona_of(dataclasses.replace(who))
        assert (again, again.text()) == (persona, persona.text())
    with pytest.raises(dataclasses.FrozenInstanceError):
        personas[0].today = ()
    seeds = {persona_of(dataclasses.replace(PEOPLE[0], seed=seed)).seen for seed in range(20)}
    assert len(seeds) > 15


def test_tastes_are_the_strongest_wishes_of_the_target_film(personas):
    for who, persona in zip(PEOPLE, personas, strict=True):
        sizes = _sizes(who)
        strongest = np.sort(np.abs(sizes))[::-1]
        assert [abs(size) for _, size in persona.tastes] == pytest.approx(
            strongest[: len(persona.tastes)], abs=1e-4
        )
        for attribute, size in persona.tastes + persona.today:
            assert size == pytest.approx(sizes[attribute], abs=1e-4)
        # today's are others, and wanted too
        told = [attribute for attribute, _ in persona.tastes + persona.today]
        assert len(set(told)) == len(told) == 8
        assert min(abs(sizes[told])) >= 0.5


def test_what_is_wanted_today_is_more_often_what_is_wanted_more(personas):
    ranks = []
    for who, persona in zip(PEOPLE, personas, strict=True):
        order = np.argsort(-np.abs(_sizes(who))).tolist()
        ranks += [order.index(attribute) for attribute, _ in persona.today]
    early, late = (np.mean([a <= r < b for r in ranks]) for a, b in ((5, 12), (12, 19)))
    assert early > 1.1 * late > 0


def test_the_words_say_which_way_and_how_much():
    low = NAMES["gory"]
    tastes = [(NAMES["funny"], 3.2), (NAMES["crazy gore"], 2.0), (NAMES["animated"], -1.5)]
    persona = Persona(
        WORLD,
        tuple(Taste(*taste) for taste in tastes),
        (
            Seen(0, 5, ((NAMES["funny"], 1), (low, -1)), ((NAMES["long"], 1),)),
            Seen(1, 3, ((NAMES["funny"], 1),), ((low, 1), (NAMES["long"], 1))),
            Seen(2, 1, ((NAMES["funny"], 1),), ()),
        ),
        (Taste(NAMES["juvenile humor"], -0.6),),
    )
    first, second, third = (WORLD.label(item) for item in range(3))
    assert persona.text() == (
        "You like films far funnier, with much crazier gore, rather closer to live action.\n"
        f"Seen, and compared with most films: {first}, loved it: funnier and less gory; "
        f"{second}, so-so: funnier, but gorier and longer; {third}, hated it.\n"
        "Today you also want something with slightly more grown-up humour."
    )


def test_stars_follow_from_utilities_and_favourites_are_never_named(personas):
    pairs = []
    for who, persona in zip(PEOPLE, personas, strict=True):
        deviations = _deviations(who)
        favourites = np.argsort(-deviations)[:FAVOURITES].tolist()
        items = [film.item for film in persona.seen]
        assert len(set(items)) == 3
        assert not set(items) & set(favourites)
        assert not any(WORLD.label(item) in persona.text() for item in favourites)
        assert all(WORLD.label(item) in persona.text() for item in items)
        assert deviations[items].tolist() == sorted(deviations[items], reverse=True)
        stars = [film.stars for film in persona.seen]
        assert stars == np.clip(np.rint(3 + deviations[items]), 1, 5).tolist()
        assert max(stars) >= 4 > 2 >= min(stars)
        pairs += zip(deviations[items], stars, strict=True)
    # rounding alone keeps it from 1
    assert np.corrcoef(np.array(pairs).T)[0, 1] > 0.95


def test_popular_films_were_seen_more_often(personas):
    seen = WORLD.popularity[[film.item for persona in personas for film in persona.seen]]
    error = seen.std() / len(seen) ** 0.5
    weighted = np.average(WORLD.popularity, weights=WORLD.popularity)
    # of films that one likes or dislikes, not of all, so the weighted mean is no exact aim
    assert seen.mean() > WORLD.popularity.mean() + 5 * error
    assert seen.mean() == pytest.approx(weighted, rel=0.1)


def test_reviews_are_true_of_the_gradings(personas):
    scores = WORLD.attribute_scores
    reasons = 0
    for who, persona in zip(PEOPLE, personas, strict=True):
        sizes = _sizes(who)
        for film in persona.seen:
            for found, side in ((film.pros, 1), (film.cons, -1)):
                for attribute, direction in found:
                    has = scores[film.item, attribute]
                    fewer = np.mean(direction * scores[:, attribute] < direction * has)
                    assert fewer > 0.5  # more, or less, than most films
                    assert np.sign(sizes[attribute]) == side * direction
            review = persona.review(film)
            told = {5: film.pros, 4: film.pros, 3: film.pros + film.cons}.get(film.stars, film.cons)
            for attribute, direction in told:
                words = WORLD.attributes[attribute]
                assert (words.more if direction > 0 else words.less) in review
            reasons += len(told)
    assert reasons > 2 * len(personas) * 3 * 0.9


def test_a_user_without_wishes_and_a_world_without_attributes():
    flat = persona_of(person(WORLD, np.zeros(WORLD.dim, np.float32)))
    assert {film.stars for film in flat.seen} == {3}
    assert flat.tastes == flat.today == ()
    assert flat.text().startswith("Seen, and compared with most films: ")

    bare = WORLD.replace(cavs=np.zeros((0, WORLD.dim)), attributes=())
    persona = persona_of(dataclasses.replace(PEOPLE[0], world=bare))
    assert re.fullmatch(r"Seen, [^\n:]*: .*, (?:loved|liked) it; .*ed it\.", persona.text())


def test_a_small_catalogue(plane_world):
    for who in people(plane_world, 50):
        persona = persona_of(who)
        utilities = plane_world.item_embeddings @ who.user.embedding
        best = np.argsort(-utilities)[: plane_world.n_items // 10]
        assert len({film.item for film in persona.seen} - set(best.tolist())) == 3


def test_a_persona_is_short_enough_for_a_small_model(personas):
    pytest.importorskip("transformers")
    from agents.lm.tiny import build_tokenizer

    texts = [persona.text() for persona in personas]
    tokenizer = build_tokenizer(WORLD, texts[:100])
    lengths = [len(ids) for ids in tokenizer(texts[100:])["input_ids"]]
    assert np.quantile(lengths, 0.99) <= 120

"""The synthetic population: its tastes, and ratings like MovieLens'."""

import numpy as np
import pytest

from crs_gym.simulation.calibration import measure
from crs_gym.world import load_world
from crs_gym.world.films import read_films
from crs_gym.world.population import GROUP_SHARES, TASTE_GROUPS, Population, rate_films


@pytest.fixture(scope="module")
def films():
    return read_films()


@pytest.fixture(scope="module")
def rated(films):
    return rate_films(films, Population(users=2000), seed=1)


def test_groups_speak_of_attributes_that_there_are(films):
    names = {a.name for a in films.attributes}
    assert all(set(likes) <= names for likes in TASTE_GROUPS.values())
    assert len(GROUP_SHARES) == len(TASTE_GROUPS)


def test_ratings_have_the_statistics_of_movielens(rated):
    """Figures of ml-latest-small, films with at least 20 ratings: see experiments/world."""
    table = rated.ratings
    users = table.user_counts
    assert table.values.mean() == pytest.approx(3.62, abs=0.1)
    assert table.values.std() == pytest.approx(1.006, abs=0.06)
    films = np.bincount(table.items, table.values) / table.item_counts
    assert films[table.item_counts >= 20].std() == pytest.approx(0.439, abs=0.1)
    assert np.mean(table.values % 1 == 0) == pytest.approx(0.712, abs=0.06)
    assert np.median(users) == pytest.approx(57, rel=0.3)
    assert len(table.values) / table.n_items / table.n_users == pytest.approx(0.086, rel=0.3)
    assert (np.unique(table.users * table.n_items + table.items, return_counts=True)[1] == 1).all()


def test_the_same_seed_gives_the_same_ratings(films, rated):
    again = rate_films(films, Population(users=2000), seed=1)
    np.testing.assert_array_equal(again.ratings.values, rated.ratings.values)
    other = rate_films(films, Population(users=2000), seed=2)
    assert len(other.ratings.values) != len(rated.ratings.values)


@pytest.mark.parametrize(
    ("group", "loved", "unloved"),
    [
        ("horror nights", "The Exorcist", "Mary Poppins"),
        ("romance", "The Notebook", "The Exorcist"),
        ("family afternoons", "Toy Story", "The Exorcist"),
        ("crude comedy", "Dumb & Dumber", "Schindler's List"),
    ],
)
def test_groups_like_what_one_would_expect(films, rated, group, loved, unloved):
    members = np.flatnonzero(rated.groups == list(TASTE_GROUPS).index(group))
    liking = rated.tastes[members] @ films.standardised.T
    place = {title: i for i, title in enumerate(films.titles)}
    assert np.mean(liking[:, place[loved]] > liking[:, place[unloved]]) > 0.9


def test_bundled_attributes_follow_the_grades(films):
    """CAVs are learnt on the embeddings: films keep the order that they were graded in."""
    world = load_world("films")
    assert world.titles == films.titles
    scores = world.attribute_scores
    rank = lambda x: np.argsort(np.argsort(x))  # noqa: E731
    agreement = [np.corrcoef(rank(scores[:, g]), rank(films.grades[:, g]))[0, 1] for g in range(33)]
    assert min(agreement) > 0.6
    assert np.mean(agreement) > 0.85


@pytest.mark.slow
def test_the_bundled_film_world_can_be_rebuilt():
    from crs_gym.simulation.calibration import calibrate
    from crs_gym.world.fitted import build_films

    bundled, built = load_world("films"), calibrate(build_films())
    assert built.titles == bundled.titles
    assert built.user_model == pytest.approx(dict(bundled.user_model), rel=0.05)
    ours, theirs = (w.user_mean @ w.item_embeddings.T for w in (built, bundled))
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.999
    for name in ("random", "popularity", "oracle"):
        figure = built.report["calibration"][name]
        assert figure == pytest.approx(bundled.report["calibration"][name], abs=0.02)


def test_the_calibration_targets_hold():
    """On evaluation users drawn anew; 0.01 is three standard errors and more."""
    figures = measure(load_world("films"), seed=5)
    assert figures["random"] <= 0.15 + 0.01
    assert figures["popularity"] <= 0.35
    assert figures["fixed"] <= 0.35
    assert figures["oracle"] >= 0.95

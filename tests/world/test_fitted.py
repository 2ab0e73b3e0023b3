import csv
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from crs_gym.simulation import Simulator
from crs_gym.simulation.calibration import calibrate
from crs_gym.world import DataError, World
from crs_gym.world.fitted import build_movielens


@pytest.fixture(scope="module")
def fitted(movielens):
    del movielens  # only to skip where the data is not at hand
    data = Path(os.environ["CRS_GYM_DATA"])
    return build_movielens(
        data / "ml-latest-small",
        dim=16,
        soft_attributes=data / "soft-attributes" / "soft-attributes.csv",
    )


def test_a_movielens_world_has_the_normal_form(fitted):
    assert fitted.name == "ml-latest-small"
    assert fitted.n_attributes == 33
    assert fitted.dim == 17
    with (Path(os.environ["CRS_GYM_DATA"]) / "ml-latest-small" / "ratings.csv").open() as file:
        rows = [(row["userId"], row["movieId"]) for row in csv.DictReader(file)]
    films = {film for film, n in Counter(film for _, film in rows).items() if n >= 20}
    users = Counter(user for user, film in rows if film in films)
    assert fitted.n_items == len(films)
    assert fitted.n_users == sum(n >= 50 for n in users.values())
    np.testing.assert_allclose(fitted.item_embeddings.mean(0), 0, atol=1e-5)
    assert fitted.item_embeddings[:, 0].std() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(fitted.attribute_scores.std(0), 1, atol=1e-4)
    covariance = np.cov(fitted.user_mean[~fitted.evaluation, 1:], rowvar=False)
    off = covariance - np.diag(np.diag(covariance))
    assert np.abs(off).max() < 1e-3 * np.diag(covariance).max()
    assert (np.diff(np.diag(covariance)) < 1e-6).all()


def test_it_calibrates_saves_and_plays(fitted, tmp_path):
    world = calibrate(fitted)
    figures = world.report["calibration"]
    # the targets are met on training users; these are others, and few
    assert figures["random"] <= 0.15 + 0.02
    assert figures["popularity"] <= 0.35 + 0.02
    assert figures["oracle"] >= 0.95 - 0.02
    path = tmp_path / "ml.world"
    world.save(path)
    assert World.load(path).hash == world.hash
    assert Simulator.of(world).dim == 17


def test_attributes_say_what_people_would_say(fitted):
    names = [a.name for a in fitted.attributes]
    labels = [fitted.label(i) for i in range(fitted.n_items)]
    scary = fitted.attribute_scores[:, names.index("scary")]
    assert scary[labels.index("Alien (1979)")] > scary[labels.index("Toy Story (1995)")]


def test_filters_that_leave_too_little(movielens):
    del movielens
    data = Path(os.environ["CRS_GYM_DATA"]) / "ml-latest-small"
    with pytest.raises(DataError, match="lower min_user_ratings"):
        build_movielens(data, dim=4, min_user_ratings=10_000)

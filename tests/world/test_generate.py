"""Generated worlds: deterministic, in normal form, with the statistics promised."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from crs_gym.world import Attribute, DataError, build
from crs_gym.world.generate import QUALITY_POPULARITY, generate


@pytest.fixture(scope="module")
def world():
    return generate(n_items=1500, dim=12, n_attributes=35, n_users=3000, seed=5)


def test_deterministic():
    sizes: dict[str, Any] = {"n_items": 40, "dim": 5, "n_attributes": 4, "n_users": 12}
    one = generate(**sizes, seed=1)
    assert one.hash == generate(**sizes, seed=1).hash
    assert one.hash != generate(**sizes, seed=2).hash
    assert one.hash != generate(**sizes, seed=1, name="other").hash


def test_sizes(world):
    assert (world.n_items, world.dim, world.n_attributes, world.n_users) == (1500, 12, 35, 3000)
    assert len(set(world.titles)) == 1500
    assert world.titles[0] == "Film 0001"
    assert ((world.years >= 1930) & (world.years < 2025)).all()
    names = [a.name for a in world.attributes]
    assert len(set(names)) == 35
    assert names[-2:] == ["attribute 34", "attribute 35"]
    assert world.attributes[names.index("funny")].more == "more funny"


def test_normal_form(world):
    phi = world.item_embeddings.astype(np.float64)
    np.testing.assert_allclose(phi.mean(0), 0, atol=1e-6)
    assert phi[:, 0].std() == pytest.approx(1, abs=1e-6)
    scores = phi @ world.cavs.T
    np.testing.assert_allclose(scores.std(0), 1, atol=1e-5)
    np.testing.assert_allclose(scores.mean(0), 0, atol=1e-5)
    assert (world.user_mean[:, 0] == 0).all()
    assert (world.user_std[:, 0] == 0).all()


def test_tastes_fall_off_as_the_rank(world):
    """Mean plus noise: variance 1 / rank, and the prior is tighter where tastes vary more."""
    variance = world.user_mean[:, 1:].var(0, dtype=np.float64)
    noise = world.user_std[0, 1:].astype(np.float64) ** 2
    spectrum = 1 / np.arange(1, 12)
    spectrum /= spectrum.sum()
    # a sample variance of 3000 normal draws has the relative error sqrt(2 / 3000)
    tolerance = 4.5 * np.sqrt(2 / 3000)
    np.testing.assert_allclose(variance + noise, spectrum, rtol=tolerance)
    known = 1 - noise / spectrum
    assert (np.diff(known) < 0).all()
    assert (world.user_std == world.user_std[0]).all()


def test_popularity(world):
    popularity = world.popularity.astype(np.float64)
    assert popularity.min() == 1000  # the floor
    assert (popularity == np.round(popularity)).all()
    above = np.log(popularity[popularity > 1000] / 1000) / 1.2
    # half of the items stay on the floor, the others are half-normal
    assert abs((popularity == 1000).mean() - 0.5) < 4 * 0.5 / np.sqrt(1500)
    assert stats.kstest(above, stats.halfnorm.cdf).pvalue > 1e-4
    correlation = stats.spearmanr(popularity, world.item_embeddings[:, 0]).statistic
    assert 0.2 < correlation < QUALITY_POPULARITY + 0.05


def test_a_quarter_of_the_users_is_kept_for_evaluation(world):
    assert world.evaluation.sum() == 750


@pytest.mark.parametrize("sizes", [{"n_items": 1}, {"dim": 1}, {"n_attributes": 0}, {"n_users": 3}])
def test_sizes_too_small(sizes):
    with pytest.raises(ValueError, match="n_items >= 2, dim >= 2, n_attributes >= 1, n_users >= 4"):
        generate(**sizes)


def test_the_smallest_world():
    world = generate(n_items=2, dim=2, n_attributes=1, n_users=4)
    assert world.evaluation.sum() == 1


# What all builders share


@pytest.mark.parametrize(("users", "count"), [(2, 1), (3, 1), (4, 1), (5, 1), (6, 2), (400, 100)])
def test_evaluation_split(users, count):
    chosen = build.evaluation_split(users, 0)
    assert chosen.sum() == count
    np.testing.assert_array_equal(chosen, build.evaluation_split(users, 0))


def test_a_larger_share_can_be_kept_for_evaluation():
    assert build.evaluation_split(337, 0, 0.5).sum() == 168
    with pytest.raises(ValueError, match="between 0 and 1"):
        build.evaluation_split(337, 0, 1.0)


def test_one_user_cannot_be_split():
    with pytest.raises(DataError, match="at least two users"):
        build.evaluation_split(1, 0)


def test_population_rotation_makes_the_covariance_diagonal():
    rng = np.random.default_rng(0)
    users = rng.standard_normal((50, 4)) @ rng.standard_normal((4, 4))
    rotation = build.population_rotation(users)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(4), atol=1e-12)
    covariance = np.cov((users @ rotation.T).T)
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-10)
    assert (np.diff(np.diag(covariance)) < 0).all()
    largest = rotation[np.arange(4), np.abs(rotation).argmax(1)]
    assert (largest > 0).all()


def assembled(**changes):
    rng = np.random.default_rng(0)
    parts: dict[str, Any] = {
        "quality": rng.normal(3, 2, 10),
        "factors": rng.normal(1, 1, (10, 2)),
        "user_mean": np.ones((4, 2)),
        "user_std": np.ones((4, 2)),
        "cavs": rng.normal(size=(2, 3)),
        "attribute_names": ["funny", "scary"],
        "titles": [str(i) for i in range(10)],
        "years": np.zeros(10),
        "genres": [()] * 10,
        "popularity": np.ones(10),
        "seed": 0,
        "name": "n",
        "source": "s",
        "licence": "l",
    }
    return build.assemble(**(parts | changes))


def test_assemble_standardises_and_words():
    world = assembled(
        wordings={"funny": Attribute("funny", "funnier", "graver", "a joke", "a tear")}
    )
    assert [tuple(a) for a in world.attributes] == [
        ("funny", "funnier", "graver", "a joke", "a tear"),
        ("scary", "more scary", "less scary", "", ""),
    ]
    np.testing.assert_allclose(world.item_embeddings.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(world.attribute_scores.std(0), 1, atol=1e-5)


def test_assemble_refuses_what_does_not_vary():
    with pytest.raises(DataError, match="all items have the same quality"):
        assembled(quality=np.full(10, 2.0))
    with pytest.raises(DataError, match=r"attributes \['scary'\] do not vary over the items"):
        assembled(cavs=np.array([[1.0, 0, 0], [0, 0, 0]]))

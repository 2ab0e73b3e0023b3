import json
import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from crs_gym.world import DataError
from crs_gym.world import softattributes as sa
from crs_gym.world.ratings import Ratings, Tags

HEADER = "rater_id,reference_title,soft_attribute,less_than,about_as,more_than\n"
TITLES = ("Heat", "Alien", "Amelie", "Up")
YEARS = np.array([1995, 1979, 2001, 2009])


def row(rater, reference, attribute, less=(), about=(), more=()):
    cells = [json.dumps(list(c)).replace('"', '""') if c else "" for c in (less, about, more)]
    return f'{rater},"{reference}",{attribute},' + ",".join(f'"{c}"' for c in cells) + "\n"


def planted(seed, n_items=200, d=6, attributes=4, pairs=4000, noise=0.3):
    """Pairs that follow known directions, and these directions."""
    rng = np.random.default_rng(seed)
    embeddings = rng.standard_normal((n_items, d))
    directions = rng.standard_normal((attributes, d))
    attribute = rng.integers(attributes, size=pairs)
    a, b = rng.integers(n_items, size=(2, pairs))
    gap = ((embeddings[a] - embeddings[b]) * directions[attribute]).sum(1)
    first = gap + noise * rng.logistic(size=pairs) > 0
    found = sa.AttributePairs(
        tuple(f"g{g}" for g in range(attributes)),
        attribute.astype(np.int32),
        np.where(first, a, b).astype(np.int32),
        np.where(first, b, a).astype(np.int32),
        np.zeros(pairs, np.int32),
        np.zeros(pairs, np.int8),
    )
    return embeddings, found, directions


def test_planted_directions_are_found():
    embeddings, pairs, directions = planted(0)
    cavs = sa.fit_cavs(embeddings, pairs, strength=1.0)
    cosine = (cavs * directions).sum(1) / np.linalg.norm(cavs, axis=1)
    cosine /= np.linalg.norm(directions, axis=1)
    assert cosine.min() > 0.98


def test_the_solution_is_that_of_scikit_learn():
    embeddings, pairs, _ = planted(1, attributes=1, pairs=500)
    features = embeddings @ sa._basis(embeddings)
    x = features[pairs.winner] - features[pairs.loser]
    model = LogisticRegression(fit_intercept=False, C=1 / 8.0, tol=1e-10, max_iter=1000)
    # each pair and its mirror: twice the loss, and C multiplies the loss where we scale the penalty
    model.fit(np.concatenate([x, -x]), np.repeat([1, 0], len(x)))
    expected = sa._basis(embeddings) @ model.coef_[0]
    np.testing.assert_allclose(sa.fit_cavs(embeddings, pairs, 4.0)[0], expected, atol=1e-5)


def test_splits_share_no_film():
    _, pairs, _ = planted(2)
    for seed in range(3):
        train, test = sa._apart(pairs, 0.3, seed)
        assert len(train.attribute) > 0
        assert len(test.attribute) > 0
        assert not set(train.items) & set(test.items)


def test_the_choice_does_not_see_the_outer_test_films(monkeypatch):
    embeddings, pairs, _ = planted(3)
    seen = []
    select = sa.select

    def spy(embeddings, pairs, *args, **kwargs):
        seen.append(set(pairs.items))
        return select(embeddings, pairs, *args, **kwargs)

    monkeypatch.setattr(sa, "select", spy)
    sa.held_out_accuracy(embeddings, pairs, n=2, splits=3, seed=7)
    for split, films in enumerate(seen):
        _, test = sa._apart(pairs, 0.3, 7 + split)
        assert not films & set(test.items)
    assert len(seen) == 3


def test_informative_attributes_are_chosen():
    embeddings, pairs, _ = planted(4, attributes=6)
    rng = np.random.default_rng(0)
    noise = pairs.attribute >= 3
    flip = noise & (rng.random(len(noise)) < 0.5)
    winner = np.where(flip, pairs.loser, pairs.winner)
    loser = np.where(flip, pairs.winner, pairs.loser)
    mixed = sa.AttributePairs(pairs.names, pairs.attribute, winner, loser, pairs.rater, pairs.kind)
    assert sa.select(embeddings, mixed, n=3).tolist() == [0, 1, 2]
    found = sa.held_out_accuracy(embeddings, mixed, n=3)
    assert found["chosen"].mean > 0.85
    assert found["all"].mean == pytest.approx((found["chosen"].mean + 0.5) / 2, abs=0.04)
    with pytest.raises(ValueError, match="between 1 and 6"):
        sa.select(embeddings, mixed, n=7)


def test_reading_rows(tmp_path):
    path = tmp_path / "soft.csv"
    path.write_text(
        HEADER
        + row(3, "Heat (1995)", "scary", less=["Up (2009)"], more=["Alien (1979)"])
        + row(4, "Heat (1995)", "funny", about=["Amelie (2001)"], more=["Up (2009)", "Jaws (1975)"])
    )
    pairs = sa.read_soft_attributes(path, TITLES, YEARS)
    assert pairs.names == ("funny", "scary")
    columns = (pairs.attribute, pairs.winner, pairs.loser, pairs.rater, pairs.kind)
    assert sorted(zip(*(c.tolist() for c in columns), strict=True)) == [
        (0, 3, 0, 4, sa.REFERENCE),
        (0, 3, 2, 4, sa.NEAR),
        (1, 0, 3, 3, sa.REFERENCE),
        (1, 1, 0, 3, sa.REFERENCE),
        (1, 1, 3, 3, sa.ACROSS),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "line 1: no columns about_as"),
        (HEADER + row("x", "Heat (1995)", "scary", more=["Up (2009)"]), "line 2: broken row"),
        (HEADER + '1,Heat (1995),scary,"[""Up",,\n', "line 2: broken row"),
        (HEADER + "1,Heat (1995),scary,7,,\n", "line 2: broken row.*not a JSON array"),
        (HEADER + row(1, "Heat (1995)", "", more=["Up (2009)"]), "line 2: the soft attribute"),
        (HEADER + row(1, "Jaws (1975)", "scary", more=["It (1990)"]), "none of its films"),
    ],
)
def test_broken_files_are_named_with_file_and_line(tmp_path, text, message):
    path = tmp_path / "soft.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as error:
        sa.read_soft_attributes(path, TITLES, YEARS)
    assert str(path) in str(error.value)
    with pytest.raises(DataError, match="no soft-attributes file"):
        sa.read_soft_attributes(tmp_path / "none.csv", TITLES, YEARS)


def test_agreement_counts_pairs_of_raters():
    # three raters on one pair of films, two of them of one mind: 1 of 3 comparisons agrees
    pairs = sa.AttributePairs(
        ("scary",),
        np.zeros(3, np.int32),
        np.array([0, 0, 1], np.int32),
        np.array([1, 1, 0], np.int32),
        np.arange(3, dtype=np.int32),
        np.zeros(3, np.int8),
    )
    assert sa.rater_agreement(pairs) == (pytest.approx(1 / 3), 3)


def test_tags_beat_films_without_them():
    n = 30
    rng = np.random.default_rng(0)
    users, items = np.divmod(np.arange(10 * n), n)
    tagged = np.arange(12)
    ratings = Ratings(
        users=users.astype(np.int32),
        items=items.astype(np.int32),
        values=rng.integers(1, 6, len(users)).astype(np.float32),
        user_ids=np.arange(10),
        item_ids=np.arange(n),
        titles=tuple(f"Film {i}" for i in range(n)),
        years=np.full(n, 2000, np.int16),
        genres=((),) * n,
        tags=Tags(
            users=np.zeros(13, np.int32),
            items=np.append(tagged, 3).astype(np.int32),
            names=("scary",) * 12 + ("rare",),
        ),
    )
    pairs = sa.pairs_from_tags(ratings, min_items=10, others=4)
    assert pairs.names == ("scary",)
    assert set(pairs.winner) == set(tagged)
    assert not set(pairs.loser) & set(tagged)
    assert len(pairs.winner) == 48
    with pytest.raises(DataError, match="no tag is on at least 20 films"):
        sa.pairs_from_tags(ratings, min_items=20)


def test_real_raters(movielens):
    """Better than chance by far on unseen films, and raters agree as the data set's authors say."""
    from crs_gym.world.factorisation import factorise
    from crs_gym.world.fitted import item_features

    ratings = movielens.filtered(min_item_ratings=20)
    path = Path(os.environ["CRS_GYM_DATA"]) / "soft-attributes" / "soft-attributes.csv"
    pairs = sa.read_soft_attributes(path, ratings.titles, ratings.years)
    assert len(pairs.names) == 60
    agreement, _ = sa.rater_agreement(pairs)
    assert agreement == pytest.approx(0.754, abs=0.01)
    fit = factorise(ratings, d=64)
    found = sa.held_out_accuracy(item_features(fit.item_bias, fit.item_mean), pairs)
    assert found["all"].mean > 0.65
    assert found["chosen"].mean > 0.67

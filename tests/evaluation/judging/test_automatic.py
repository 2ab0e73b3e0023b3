"""Scores of judges: accuracy, NDCG, what drops out."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate
from sklearn.metrics import dcg_score, ndcg_score

from crs_gym.evaluation.judging import Verdicts, evaluate, ndcg, score
from crs_gym.evaluation.judging.automatic import ENDED

GAINS = st.floats(0.01, 1)


@given(st.tuples(GAINS, GAINS), st.integers(0, 1))
def test_ndcg_is_that_of_scikit_learn(gains, picked):
    ranking = [[1.0, 0.0]] if picked == 0 else [[0.0, 1.0]]
    assert ndcg(gains, picked) == pytest.approx(ndcg_score([gains], ranking))


@given(st.floats(0.5, 0.75), st.floats(-0.25, 0))
def test_ndcg_of_gains_below_zero_is_dcg_over_the_best_dcg(good, bad):
    gains = [bad, good]
    best = dcg_score([gains], [gains])
    assert ndcg(gains, 1) == 1
    assert ndcg(gains, 0) == pytest.approx(dcg_score([gains], [[1.0, 0.0]]) / best)
    assert 0 < ndcg(gains, 0) < 1


@dataclass
class Coin:
    name: ClassVar[str] = "coin"

    def judge(self, cases, turns):
        places = np.random.default_rng(3).integers(0, 2, (len(cases), turns + 1)).astype(np.int8)
        none = np.zeros(places.shape, bool)
        return Verdicts(places, none, none)


def wrong_picks_ndcg():
    """Its mean where the gains are even over the quarters, by quadrature."""
    value, _ = integrate.dblquad(lambda bad, good: ndcg([good, bad], 1), 0.5, 0.75, -0.25, 0)
    return value * 16


def test_chance_has_half_the_accuracy_and_the_ndcg_near_that_of_the_paper(cases):
    wrong = wrong_picks_ndcg()
    assert wrong == pytest.approx(0.483, abs=0.001)
    rows = evaluate(Coin(), cases, turns=9)
    accuracy = np.mean([row.accuracy.mean for row in rows])
    quality = np.mean([row.ndcg.mean for row in rows])
    deviation = 0.5 / np.sqrt(len(cases) * len(rows))
    assert abs(accuracy - 0.5) < 4 * deviation
    assert abs(quality - (1 + wrong) / 2) < 4 * deviation * (1 - wrong) + 0.01
    # ICER, tables 3 and 4: accuracy and NDCG of the first and the last row
    for right, published in ((0.515, 0.744), (0.613, 0.793)):
        assert right + (1 - right) * wrong == pytest.approx(published, abs=0.01)


def test_rows_are_about_the_dialogues_that_go_on(cases):
    rng = np.random.default_rng(0)
    better = np.array([case.pair.better for case in cases])
    right = rng.random((len(cases), 4)) < [0.5, 0.6, 0.7, 0.9]
    places = np.where(right, better[:, None], 1 - better[:, None]).astype(np.int8)
    places[40:, 2] = places[30:, 3] = ENDED
    again, coins = rng.random((2, *places.shape)) < 0.3
    rows = score(Verdicts(places, again, coins), cases)
    assert [row.turn for row in rows] == [0, 1, 2, 3]
    assert [row.n for row in rows] == [256, 256, 40, 30]
    for row in rows:
        here = slice(0, row.n)
        hits = right[here, row.turn]
        assert row.accuracy.mean == pytest.approx(hits.mean())
        assert row.gain.mean == pytest.approx(hits.mean() - right[here, 0].mean())
        assert row.asked_again == again[here, row.turn].sum()
        assert row.coins == coins[here, row.turn].sum()
    # few of the users come twice, so that the interval is nearly the binomial one
    width = rows[1].accuracy.high - rows[1].accuracy.low
    assert width == pytest.approx(2 * 1.96 * np.sqrt(0.24 / 256), rel=0.3)
    assert rows[3].accuracy.high - rows[3].accuracy.low > width
    assert rows[0].gain == (0, 0, 0)


def test_rows_end_where_nobody_is_left_to_compare(cases):
    places = np.zeros((len(cases), 3), np.int8)
    places[1:, 2] = ENDED
    none = np.zeros(places.shape, bool)
    assert len(score(Verdicts(places, none, none), cases)) == 2
    with pytest.raises(ValueError, match="two users"):
        score(Verdicts(places[:1], none[:1], none[:1]), cases[:1])
    with pytest.raises(ValueError, match="at least 0"):
        evaluate(Coin(), cases, turns=-1)

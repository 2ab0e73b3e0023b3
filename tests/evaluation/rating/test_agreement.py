import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from crs_gym.evaluation.rating.agreement import Share, krippendorff, wilson

# units as lists of answers, of up to five kinds
UNITS = st.lists(st.lists(st.integers(0, 4), max_size=5), max_size=8)


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_is_that_of_scipy(answers):
    times, n = answers
    theirs = binomtest(times, n).proportion_ci(0.95, method="wilson")
    assert wilson(times, n) == pytest.approx((times, times / n, theirs.low, theirs.high), abs=1e-12)


def test_shares_of_nothing_and_of_too_much():
    assert wilson(0, 0) == Share(0, None, None, None)
    with pytest.raises(ValueError, match="4 of 3"):
        wilson(4, 3)


@pytest.mark.parametrize(
    ("raters", "alpha"),
    [
        # Krippendorff (2011), "Computing Krippendorff's alpha-reliability", examples A, B and C
        (("0100000010", "1110010000"), 0.095),
        (("aabbdcccedda", "babbbccceddd"), 0.692),
        (("123321412...", "1233224125.3", ".3332342251.", "12332441251."), 0.743),
    ],
)
def test_published_examples(raters, alpha):
    units = [[answer for answer in unit if answer != "."] for unit in zip(*raters, strict=True)]
    assert krippendorff(units) == pytest.approx(alpha, abs=5e-4)


@pytest.mark.parametrize(
    ("units", "alpha"),
    [
        (["aa", "bb"], 1.0),
        (["aa", "bb", "c", ""], 1.0),
        # every pair disagrees: D_o = 1, D_e = 2 * 4 / (4 * 3)
        (["ab", "ab"], -0.5),
        # D_o = 1 / 2, D_e = 2 * 3 / (4 * 3)
        (["ab", "aa"], 0.0),
        (["aa", "aa"], None),
        (["a", "b"], None),
        ([], None),
    ],
)
def test_by_hand(units, alpha):
    assert krippendorff(units) == (None if alpha is None else pytest.approx(alpha, abs=1e-12))


def by_pairs(units):
    """The definition, pair of answers by pair of answers."""
    units = [unit for unit in units if len(unit) > 1]
    answers = [answer for unit in units for answer in unit]
    expected = [a != b for a, b in itertools.permutations(answers, 2)]
    if not any(expected):
        return None
    observed = sum(
        (a != b) / (len(unit) - 1) for unit in units for a, b in itertools.permutations(unit, 2)
    )
    return 1 - (observed / len(answers)) / (sum(expected) / len(expected))


@given(UNITS)
def test_it_is_the_definition(units):
    alpha = by_pairs(units)
    assert krippendorff(units) == (None if alpha is None else pytest.approx(alpha, abs=1e-9))
    assert alpha is None or -1 <= alpha <= 1


@given(UNITS, st.randoms(use_true_random=False), st.permutations("vwxyz"))
def test_names_and_orders_do_not_matter(units, rng, names):
    renamed = [[names[answer] for answer in rng.sample(unit, len(unit))] for unit in units]
    rng.shuffle(renamed)
    alpha = krippendorff(units)
    assert krippendorff(renamed) == (None if alpha is None else pytest.approx(alpha, abs=1e-12))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(2, 5)), min_size=2))
def test_perfect_agreement(agreed):
    alpha = krippendorff([answer] * judges for answer, judges in agreed)
    assert alpha == (1.0 if len({answer for answer, _ in agreed}) > 1 else None)

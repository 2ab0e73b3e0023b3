"""Every row once an epoch, batches of like lengths, their order without a trend."""

import numpy as np
import pytest

pytest.importorskip("torch")

from agents.lm.batches import LengthBatches

LENGTHS = np.random.default_rng(0).integers(10, 300, size=1003)


@pytest.fixture
def sampler():
    return LengthBatches(LENGTHS, 8, seed=1)


def test_every_row_comes_once(sampler):
    assert len(sampler) == len(LENGTHS)
    assert sorted(sampler) == list(range(len(LENGTHS)))


def test_rows_of_a_batch_are_alike_and_batches_have_no_trend(sampler):
    batches = LENGTHS[np.array(list(sampler)[:1000])].reshape(-1, 8)
    assert np.ptp(batches, 1).mean() < 30  # of rows at random: 290 * 7 / 9
    longest = batches.max(1)
    trend = np.corrcoef(longest[:-1], longest[1:])[0, 1]
    assert abs(trend) < 3 / len(longest) ** 0.5
    assert sorted(list(sampler)[1000:]) != sorted(range(1000, 1003))


def test_epochs_and_seeds_differ_and_come_again(sampler):
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert first != second
    sampler.set_epoch(0)
    assert list(sampler) == first == list(LengthBatches(LENGTHS, 8, seed=1))
    assert list(LengthBatches(LENGTHS, 8, seed=2)) != first

"""Rows of several labels dealt out by hand."""

import numpy as np

from danlu.data.splits import iterative_stratification


def counts(labels: np.ndarray, parts: np.ndarray, count: int) -> list[list[int]]:
    return [labels[parts == part].sum(axis=0).tolist() for part in range(count)]


def test_each_label_is_shared_out() -> None:
    # Twelve rows of the first label, of which six have the second as well.
    labels = np.array([[True, row < 6] for row in range(12)])
    found = iterative_stratification(labels, np.array([0.5, 0.5]), np.random.default_rng(0))
    assert counts(labels, found, 2) == [[6, 3], [6, 3]]
    found = iterative_stratification(labels, np.full(3, 1 / 3), np.random.default_rng(0))
    assert counts(labels, found, 3) == [[4, 2]] * 3


def test_unequal_shares() -> None:
    labels = np.array([[row % 2 == 0, row % 2 == 1] for row in range(40)])
    found = iterative_stratification(labels, np.array([0.7, 0.2, 0.1]), np.random.default_rng(0))
    assert counts(labels, found, 3) == [[14, 14], [4, 4], [2, 2]]


def test_the_rarest_label_goes_first() -> None:
    labels = np.zeros((20, 2), dtype=bool)
    labels[:, 0], labels[:2, 1] = True, True
    for seed in range(10):
        found = iterative_stratification(labels, np.array([0.5, 0.5]), np.random.default_rng(seed))
        assert counts(labels, found, 2) == [[10, 1], [10, 1]]


def test_rows_without_a_label_fill_what_is_lacking() -> None:
    labels = np.zeros((10, 1), dtype=bool)
    labels[:4] = True
    found = iterative_stratification(labels, np.array([0.6, 0.4]), np.random.default_rng(0))
    assert np.bincount(found).tolist() == [6, 4] and set(found.tolist()) == {0, 1}
    assert labels[found == 0].sum() in (2, 3)

"""Which rows the final figures of an evaluation are of: one reader of evaluation.json's `final`, for every page."""

from collections.abc import Mapping
from typing import Any


def final_split(evaluation: Mapping[str, Any]) -> str:
    """Return what the final figures are of: test, validation or folds.

    They are of validation where no row tests, and of folds where none validates either.
    """
    return str(evaluation.get("final", "test"))


def final_figures(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return the final figures by metric; an empty dict if there are none."""
    return figures_of(evaluation, final_split(evaluation))


def figures_of(evaluation: Mapping[str, Any], split: str) -> dict[str, Any]:
    """Return the figures of a split, or those out of the folds, by metric."""
    found = (evaluation.get("folds") or {}).get("out_of_fold") if split == "folds" else evaluation.get(split)
    return dict(found or {})


def choose_final(split_sizes: Mapping[str, int], folded: bool) -> str:
    """Return what the final figures of a run are of.

    Args:
        split_sizes: rows of each split.
        folded: whether folds answered the rows that do not test.
    """
    return next((name for name in ("test", "validation") if split_sizes.get(name)), "folds" if folded else "")

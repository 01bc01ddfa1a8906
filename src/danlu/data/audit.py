"""Signs that a test will flatter the model: the same row on both sides of a split, a column that is the answer.

In: a dataset and its splits. Out: sentences, none where nothing was found. Nothing is changed.
"""

import polars as pl

from danlu.core.component import Frozen
from danlu.data.dataset import Dataset
from danlu.data.splits import Splits

ALMOST_ALL = 0.99


class Finding(Frozen):
    """Something a person should look at before trusting the figures."""

    subject: str
    message: str


def audit(dataset: Dataset, splits: Splits) -> tuple[Finding, ...]:
    """Look for leakage."""
    return (*_shared_rows(dataset, splits), *_telling_columns(dataset, splits))


def _shared_rows(dataset: Dataset, splits: Splits) -> list[Finding]:
    """Rows of validation and test whose every used column equals a training row's."""
    names = [column.name for column in dataset.used]
    train = splits.train.frame.select(names).unique()
    findings: list[Finding] = []
    for name, part in (("validation", splits.validation), ("test", splits.test)):
        shared = part.frame.select(names).join(train, on=names, how="semi", nulls_equal=True).height
        if shared:
            findings.append(
                Finding(
                    subject="duplicates",
                    message=f"{shared} of {part.rows.size} {name} rows also stand in the training split; "
                    "the figures flatter the model by as much",
                )
            )
    return findings


def _telling_columns(dataset: Dataset, splits: Splits) -> list[Finding]:
    """Categories that name the class almost without error: often a consequence of the answer, not a cause."""
    if dataset.task != "classification" or dataset.kind != "tabular" or dataset.target is None:
        return []
    train, target = splits.train.frame, dataset.target
    largest = train[target].rename("label").value_counts()["count"].max()
    findings: list[Finding] = []
    for column in dataset.used:
        if column.type != "category" or column.unique > train.height // 10:
            continue
        counts = train.group_by(pl.col(column.name).cast(pl.String).alias("value"), pl.col(target).alias("label")).len()
        right = int(counts.group_by("value").agg(pl.col("len").max())["len"].sum())
        if right >= ALMOST_ALL * train.height > float(str(largest)):
            findings.append(
                Finding(
                    subject=column.name,
                    message=f"alone tells {target!r} in {right / train.height:.1%} of the training rows; "
                    "would it be known before the answer is?",
                )
            )
    return findings

"""Findings of the audit, and the context its checks look at: a sample of each split, always the same one."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import polars as pl
from pydantic import Field

from danlu.core.component import Frozen
from danlu.core.seeds import Seed
from danlu.core.text import format_message
from danlu.data.audit.messages import FINDINGS
from danlu.data.columns import Column
from danlu.data.dataset import Dataset
from danlu.data.splits import Split, Splits, TrainSplit
from danlu.recipe.components import SplitterOptions
from danlu.recipe.sections.data import Data

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
MOST_ROWS = 50_000  # inspected one by one, over all splits


class Finding(Frozen):
    """Report something to look at before trusting the figures.

    Attributes:
        key: of FINDINGS, by which pages translate it.
        severity: error where the test means nothing, warning where it flatters or the model suffers, else note.
        subject: a column's name or a kind of problem.
        message: the finding, with figures.
        cure: the fix, a line of the recipe where there is one.
        figures: the figures behind it, those in the message included.
    """

    key: str
    severity: Severity
    subject: str
    message: str
    cure: str = ""
    figures: dict[str, Any] = Field(default_factory=dict)


def make_finding(key: str, severity: Severity, /, about: str = "", mend: str = "", **figures: Any) -> Finding:
    """Build a finding with the texts of FINDINGS.

    Args:
        key: of FINDINGS.
        about: the column's name; left out where FINDINGS has the subject.
        mend: a line of the recipe; left out where FINDINGS has the cure, or there is none.
        figures: a value for each placeholder of the message, and whatever else is worth keeping.
    """
    cure = format_message(FINDINGS, f"{key}.cure", figures) if f"{key}.cure" in FINDINGS else mend
    return Finding(
        key=key,
        severity=severity,
        subject=about or FINDINGS[f"{key}.subject"],
        message=format_message(FINDINGS, key, figures),
        cure=cure,
        figures=figures,
    )


@dataclass(frozen=True)
class AuditContext:
    """Hold the data that checks look at.

    Attributes:
        dataset: the rows and their meaning.
        splits: all rows of each split.
        sample: at most MOST_ROWS of them, in the same shares.
        section: the resolved `data` section.
        seed: decides the sample and all random choices of checks.
    """

    dataset: Dataset
    splits: Splits
    sample: Splits
    section: Data
    seed: Seed

    @property
    def columns(self) -> tuple[Column, ...]:
        return self.dataset.columns

    @property
    def splitter(self) -> SplitterOptions | None:
        """The splitter of the rows."""
        return self.section.split.by

    @property
    def balanced(self) -> bool:
        """Whether the recipe balances the classes."""
        return self.section.balance.name != "none"

    @cached_property
    def frames(self) -> dict[str, pl.DataFrame]:
        """The sampled rows of each split."""
        return {name: part.frame for name, part in self.sample.items()}

    @property
    def train(self) -> pl.DataFrame:
        return self.frames["train"]

    @cached_property
    def values(self) -> dict[str, pl.Series]:
        """The sampled training rows by column.

        Polars looks a column up by its name slower than some checks run.
        """
        return {series.name: series for series in self.train}

    @cached_property
    def labels(self) -> np.ndarray:
        """The class code of each sampled training row, in the order of `classes`, [rows]."""
        codes = {label: code for code, label in enumerate(self.classes)}
        assert self.dataset.target is not None
        return np.array([codes[label] for label in self.train[self.dataset.target].to_list()], dtype=np.int64)

    @cached_property
    def classes(self) -> tuple[Any, ...]:
        """The classes of the sampled training rows."""
        assert self.dataset.target is not None
        return tuple(sorted(self.train[self.dataset.target].unique().to_list()))


Check = Callable[[AuditContext], list[Finding]]


def audit_context(dataset: Dataset, splits: Splits, section: Data, seed: Seed) -> AuditContext:
    """Sample the splits for the checks."""
    total = sum(len(part) for _, part in splits.items())
    share = min(1.0, MOST_ROWS / total)
    sampled = [_subsample(part, share, seed.derive(name)) for name, part in splits.items()]
    train, validation, test = sampled
    sample = Splits(TrainSplit(train.rows, train.table), validation, test)
    return AuditContext(dataset, splits, sample, section, seed)


def _subsample(part: Split, share: float, seed: Seed) -> Split:
    if share == 1.0:
        return part
    chosen = np.random.default_rng(seed.value).permutation(len(part))[: max(1, int(share * len(part)))]
    return Split(part.rows[np.sort(chosen)], part.table)

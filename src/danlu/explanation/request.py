"""What is asked of a table's methods, what one finds, and the form that they have."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Protocol, TypeVar

import polars as pl

from danlu.core.console import progress
from danlu.core.seeds import Seed
from danlu.explanation.answers import Answer, choose_answers
from danlu.explanation.curves import choose_rows
from danlu.explanation.influence import Influence, TrainingRecord
from danlu.explanation.overall import Overall
from danlu.explanation.results import Counterfactual, LocalExplanation
from danlu.explanation.row_answers import RowAnswers
from danlu.explanation.trust_results import Trust

LEAST_FIDELITY = 0.7  # of a model in place of another, below which it does not speak for it
LISTED = 5  # rows or columns that a warning names

NO_TRAINING = "needs a run, whose kept checkpoints it reads"

Warnings = list[tuple[str, str]]
Result = TypeVar("Result")


@dataclass(frozen=True)
class ExplainRequest:
    """Hold what is to be explained.

    Attributes:
        frame: all rows of the source, as they were read.
        labelled: rows with the target as the model learned it; None where there are none.
        rows: numbers of the rows to explain, ascending.
        background: rows that stand for absent columns; None where the bundle keeps none.
        label: the label or output; None for what is predicted.
        error: the half width that is enough; None for a fixed number of calls.
        budget: most coalitions per row; None for the usual number.
        actionable: columns that a counterfactual may change; None for all.
        training: what the run kept of its training, or why it is not to be had.
    """

    answers: RowAnswers
    frame: pl.DataFrame
    labelled: pl.DataFrame | None
    rows: tuple[int, ...]
    background: pl.DataFrame | None
    seed: Seed
    label: str | None = None
    error: float | None = None
    budget: int | None = None
    actionable: tuple[str, ...] | None = None
    training: TrainingRecord | str = NO_TRAINING

    @cached_property
    def answer(self) -> Answer:
        """The number of an answer that explanations of the whole model are of.

        The label that is asked for, else the positive class, else what is predicted most often.
        """
        answers = self.answers
        outputs = answers.outputs(choose_rows(self.frame, answers.columns, self.seed))
        positive = answers.positive
        label = self.label if self.label is not None or positive is None else str(positive)
        found = choose_answers(answers.target, outputs, label)
        return max(sorted(set(found), key=lambda each: each.position), key=found.count)


@dataclass(frozen=True)
class Found:
    """Hold what one method found."""

    local: tuple[LocalExplanation, ...] = ()
    overall: tuple[Overall, ...] = ()
    counterfactuals: tuple[Counterfactual, ...] = ()
    trust: tuple[Trust, ...] = ()
    influence: tuple[Influence, ...] = ()
    warnings: tuple[tuple[str, str], ...] = ()


class Method(Protocol):
    """Explain in one way.

    Attributes:
        is_usual: whether it is done unless others are asked for.
    """

    is_usual: ClassVar[bool]

    def refusal(self, request: ExplainRequest) -> str | None:
        """Say why this method cannot be had here; None where it can."""

    def explain(self, request: ExplainRequest) -> Found:
        """Explain what is asked for; a stop keeps what is done."""


def gather(found: Iterable[Result], count: int, noun: str, warnings: Warnings) -> list[Result]:
    """Take results one by one beside a progress bar.

    A stop keeps what is done and adds a warning.

    Args:
        found: the results, computed as they are taken.
        count: how many there will be.
        noun: what each of them is about, in the plural.
        warnings: get one more if the user stops.
    """
    done: list[Result] = []
    try:
        with progress("explaining", count, noun) as bar:
            for one in found:
                done.append(one)
                bar.advance(1)
    except KeyboardInterrupt:
        warnings.append(("stopped", f"stopped after {len(done)} of {count} {noun}"))
    return done


def name_first(names: Sequence[object]) -> str:
    """Name the first few, for a warning."""
    return ", ".join(map(str, names[:LISTED])) + (" …" if len(names) > LISTED else "")

"""`danlu predict`: predict every sample of a file, folder or glob with a bundle, in order."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from danlu.artifacts.files import StrPath
from danlu.artifacts.outputs import atomic_file, refuse_existing_file, refuse_input
from danlu.core.arguments import checked
from danlu.core.console import info
from danlu.core.distributed.env import dist_env
from danlu.data.descriptors import RawData
from danlu.data.row_errors import Broken, errors_in, without_errors
from danlu.errors import ArgumentError
from danlu.launch.row_shards import RowShards
from danlu.models.answered_rows import Answered, AnswerRows, Progress, RowsInError, answered, rows_to_answer
from danlu.models.bundle_form import open_checked
from danlu.models.written_answers import WRITERS

if TYPE_CHECKING:
    from danlu.models.predictor import Predictor


@checked
def predict(
    bundle: StrPath,
    source: object,
    *,
    output: str | Path | None = None,
    keep: Sequence[str] = (),
    engine: str | None = None,
    explain: bool = False,
    own_code: bool = False,
    broken: Broken = "row",
    overwrite: bool = False,
) -> pl.DataFrame:
    """Predict every row of a source.

    With several processes each one predicts a share, and the main process collects all predictions.

    Args:
        bundle: a bundle or a run.
        source: file, folder, glob, a list of these, or builtin:NAME; or rows in memory, as in `danlu.train(data=...)`.
            Columns that the model does not use are ignored.
        output: file for the predictions: .parquet, .csv or .jsonl; by default they are only returned.
        keep: input columns to put before the predictions, such as an identifier. Image files are always named.
        engine: what computes the network, `numpy` or `torch`; by default the bundle's own order decides.
        explain: add the column `explanation`, SHAP values of each answer as JSON text, `[{"name", "value", "low",
            "high"}]`; see `danlu.explain`. Of tables, and of texts with one answer each.
        own_code: import the module that the bundle names, if its model is your own.
        broken: a row that cannot be answered, such as a broken image, has no prediction and its reason in the column
            `error` (`row`), is left out (`skip`), or is refused with all others (`fail`).
        overwrite: replace an existing output, which is never the source.

    Returns:
        one row per sample, in the order of the source.

    Raises:
        ArgumentError: `output` exists, is an input or has another suffix, a kept column has the name of a prediction
            column, or the engine cannot answer this bundle.
        ArtifactError: the bundle is damaged or no longer reproduces its golden samples.
        DataError: the source is unreadable, or a column is missing.

    Example:
        >>> import danlu
        >>> answers = danlu.predict("runs/wine", "builtin:wine")
        >>> answers.height, answers.columns[:2]
        (178, ['prediction', 'probability'])
    """
    asked = Asked(keep=keep, engine=engine, explain=explain, own_code=own_code, broken=broken)
    path = None if output is None else checked_output(Path(output), bundle, source, overwrite)
    with predicted(bundle, source, asked, path) as found:
        return found.table.lazy().collect()


@dataclass(frozen=True)
class Asked:
    """Say how rows are predicted: options of `predict` that concern no files.

    Attributes:
        keep, engine, explain, own_code, broken: as of `predict`.
    """

    keep: Sequence[str] = ()
    engine: str | None = None
    explain: bool = False
    own_code: bool = False
    broken: Broken = "row"


@contextmanager
def predicted(
    bundle: StrPath, source: object, asked: Asked, path: Path | None, progress: Progress = lambda done, rows: None
) -> Iterator[Answered]:
    """Predict like `predict`, and hold a block of a large file at a time.

    Args:
        bundle, source: as of `predict`.
        asked: how.
        path: the file for the predictions, which is whole once the block is entered; None for none.
        progress: is told how many rows are answered.

    Raises:
        ArgumentError, ArtifactError, DataError: as `predict`.
    """
    opened = open_checked(bundle)
    with rows_to_answer(opened, source, asked.keep) as rows:
        from danlu.models.predictor import Predictor  # it may import torch: only after all checks

        read, shares = rows.read, RowShards.split(rows.read.frame.height)
        predictor = Predictor.load(opened, engine=asked.engine, own_code=asked.own_code)
        for message in predictor.unseen(read):
            info(message)
        answer = partial(_explained, predictor) if asked.explain else predictor.predict_source
        own = replace(rows, read=shares.local_rows(read), words=shares.local_rows(rows.words))
        several = path is not None and len(shares.bounds) > 1
        broken = "row" if several and asked.broken == "skip" else asked.broken  # the main process leaves them out
        with answered(_refusing_kept_names(asked.keep, read.origin, answer), own, broken, progress) as found:
            if path is not None and several:
                found = _gathered(shares, found.table.lazy().collect(), path, asked.broken)
                if not dist_env().is_main:
                    yield found
                    return
            if path is not None:
                with atomic_file(path) as aside:
                    WRITERS[path.suffix](found.table, aside)
            yield found


def _gathered(shares: RowShards, answers: pl.DataFrame, path: Path, broken: Broken) -> Answered:
    """Return the answers of all processes in the main one, in others their own."""
    table, errors = shares.gather(answers, path), RowsInError()
    errors.add(table, 0)
    return Answered(without_errors(table) if broken == "skip" else table, errors)


def _refusing_kept_names(keep: Sequence[str], origin: str, answer: AnswerRows) -> AnswerRows:
    """Refuse answers whose columns are called like one that is kept."""

    def checked_answer(rows: RawData, *, broken: Broken, first_row: int) -> pl.DataFrame:
        answers = answer(rows, broken=broken, first_row=first_row)
        if twice := [name for name in keep if name in answers.columns]:
            raise ArgumentError(
                f"keep: {twice[0]!r} is also the name of a prediction column; rename that column of {origin}",
                code="DL402",
            )
        return answers

    return checked_answer


def _explained(predictor: "Predictor", rows: RawData, *, broken: Broken, first_row: int) -> pl.DataFrame:
    """Predict rows, with an explanation beside each answer."""
    from danlu.explanation.beside_predictions import require_explainable, with_explanations

    require_explainable(predictor)
    answers = predictor.predict_source(rows, broken=broken, first_row=first_row)
    return with_explanations(predictor, rows.frame.lazy().collect(), answers, errors_in(answers))


def checked_output(path: Path, bundle: StrPath, source: object, overwrite: bool) -> Path:
    """Return the file for the predictions, if they can and may be written there."""
    if path.suffix not in WRITERS:
        raise ArgumentError(
            f"{path}: cannot write {path.suffix or 'a file without suffix'} (allowed: {', '.join(WRITERS)})",
            code="DL408",
        )
    refuse_input(path, bundle)
    refuse_input(path, source)
    refuse_existing_file(path, overwrite)
    return path

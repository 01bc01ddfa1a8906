"""`danlu explain FILE.onnx`: an exported file without its bundle, by the methods that ask for answers alone.

In: the file and rows. Out: an `Explanation`. What the file reads and answers is `explanation.file_answers`' to say.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from danlu.artifacts.bundle import MANIFEST
from danlu.artifacts.files import read_json, sha256
from danlu.core.seeds import Seed
from danlu.data.sources.in_memory import read_in_memory
from danlu.data.sources.reader import read_source
from danlu.errors import ArgumentError, DataError
from danlu.tasks.base import Target
from danlu.tasks.classification import ClassTarget
from danlu.tasks.regression import NumericTarget

if TYPE_CHECKING:
    from danlu.explanation.asked import Wanted
    from danlu.explanation.results import Explanation

ONNX_FILE, DOCUMENT = "model.onnx", "danlu.json"


def exported_file(path: Path) -> Path | None:
    """Return the ONNX file that a path is or an exported folder holds; else None."""
    if path.is_file():
        return path if path.suffix == ".onnx" else None
    is_bundle = (path / MANIFEST).is_file() or (path / "model" / MANIFEST).is_file()
    return path / ONNX_FILE if not is_bundle and (path / ONNX_FILE).is_file() else None


def explain_file(
    file: Path,
    data: object | None,
    wanted: "Wanted",
    target: str | None,
) -> "Explanation":
    """Explain an exported file's answers to rows; arguments are those of `danlu.explain`.

    Raises:
        ArgumentError: there are no rows, it is no model of a table, or an argument is wrong.
        DataError: the rows lack a column, or hold words where the file reads numbers.
        ArtifactError: the file is damaged.
    """
    if data is None:
        raise ArgumentError(f"{file}: an exported file has no rows of its own; give DATA", code="DL401")
    from danlu.core.imports import require_extra
    from danlu.explanation.beside_predictions import MOST_BACKGROUND
    from danlu.explanation.curves import choose_rows
    from danlu.explanation.explain import explain_answers
    from danlu.explanation.file_answers import FileAnswers
    from danlu.explanation.results import Explanation
    from danlu.models.engines.onnxruntime_engine import open_session

    require_extra("export", "explaining an ONNX file", only=("onnxruntime",))
    frame, origin = read_rows(data)
    if target is not None and target not in frame.columns:
        raise DataError(f"{origin}: no column {target!r}, which is to hold the answers", code="DL210")
    document = file.parent / DOCUMENT
    told = read_json(document) if document.is_file() else {}
    answers = FileAnswers(open_session(file), frame, origin, told, target)
    background = choose_rows(frame, answers.columns, Seed(wanted.seed), MOST_BACKGROUND)
    said = f"the file keeps no training rows: {background.height} of the rows given stand for absent columns"
    head = Explanation(
        str(told.get("bundle") or sha256(file)),
        answers.target.task,
        answers.engine,
        {"origin": origin, "rows": frame.height},
        warnings=(("background-from-data", said),),
    )
    return explain_answers(
        answers,
        head,
        background,
        frame.select(answers.columns),
        wanted,
        labelled=None if target is None else _labelled(frame, target, answers.target),
    )


def read_rows(data: object) -> tuple[pl.DataFrame, str]:
    """Read rows as a file that no bundle speaks for."""
    named = data if isinstance(data, str | Path) else None
    read = read_source(str(named)) if named is not None else read_in_memory(data)
    frame = read.frame.lazy().collect()
    if frame.height == 0:
        raise DataError(f"{read.origin}: has no rows", code="DL203")
    return frame, read.origin


def _labelled(frame: pl.DataFrame, name: str, target: Target) -> pl.DataFrame:
    """Return the rows whose answer is known, the answers as the target takes them.

    Raises:
        ArgumentError: the file answers with several numbers or labels at once.
    """
    if not isinstance(target, ClassTarget | NumericTarget):
        raise ArgumentError(f"target: one column does not hold the {target.outputs} answers of a row", code="DL409")
    known = frame.filter(pl.col(name).is_not_null())
    if isinstance(target, NumericTarget):
        return known.with_columns(pl.col(name).cast(pl.Float64))
    values = known[name]
    is_whole = values.dtype.is_float() and bool((values == values.floor()).all())
    return known.with_columns((values.cast(pl.Int64) if is_whole else values).cast(pl.String))

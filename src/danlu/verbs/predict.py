"""`danlu predict`: a bundle's answers to a file, folder or glob of samples, in their order."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from danlu.artifacts.bundle import open_bundle
from danlu.artifacts.files import writing
from danlu.core.errors import ArgumentError, DataError
from danlu.core.names import suggestion
from danlu.data.sources import read_source

WRITERS = {
    ".parquet": lambda frame, path: frame.write_parquet(path),
    ".csv": lambda frame, path: frame.write_csv(path),
    ".jsonl": lambda frame, path: frame.write_ndjson(path),
}


def predict(
    bundle: str | Path,
    source: str | Sequence[str],
    output: str | Path | None = None,
    keep: Sequence[str] = (),
    own_code: bool = False,
    missing_values: Sequence[str] = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "?"),
) -> pl.DataFrame:
    """Answer every row of a source.

    Args:
        bundle: a bundle or a run.
        source: file, folder, glob, or builtin:NAME; columns that the model does not read are ignored.
        output: where the answers go; .parquet, .csv or .jsonl. Nowhere when left out.
        keep: input columns to put before the answers, such as an identifier.
        own_code: import the module that the bundle names, where its model is a user's own.
        missing_values: words that stand for a missing value in text files.

    Returns:
        one row a sample, in the order of the source.

    Raises:
        ArgumentError: `output` has another suffix, or a kept column the name of an answer.
        ArtifactError: the bundle is damaged or no longer answers its golden samples as it did.
        DataError: the source is unreadable, or lacks a column.
    """
    path = None if output is None else Path(output)
    if path is not None and path.suffix not in WRITERS:
        raise ArgumentError(
            f"{path}: cannot write {path.suffix or 'a file without suffix'} (allowed: {', '.join(WRITERS)})"
        )
    opened = open_bundle(bundle)
    read = read_source(source, missing_values)
    for name in keep:
        if name not in read.frame.columns:
            raise DataError(f"{read.origin}: no column {name!r}{suggestion(name, read.frame.columns)}")
    from danlu.models.predictor import Predictor  # torch, which a refusal so far did without

    answers = Predictor.verified(opened, own_code).predict_source(read)
    if twice := [name for name in keep if name in answers.columns]:
        raise ArgumentError(f"keep: {twice[0]!r} is also the name of an answer; rename that column of {read.origin}")
    if keep:
        answers = read.frame.select(keep).lazy().collect().hstack(answers)
    if path is not None:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            WRITERS[path.suffix](answers, path)
    return answers

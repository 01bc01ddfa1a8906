"""Files or rows in memory -> raw data, read as a bundle's model needs it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from danlu.artifacts.bundle import Bundle, Manifest
from danlu.data.column_names import with_blanks_of
from danlu.data.descriptors import RawData
from danlu.data.file_form import ReadOptions
from danlu.data.frames import with_words
from danlu.data.kinds.table import get_kind
from danlu.data.reading.later import read_as_trained, saved_missing_values
from danlu.data.reference import trained_ranges
from danlu.data.sources.in_memory import one_row, read_in_memory
from danlu.data.sources.reader import read_source
from danlu.data.sources.unnamed_rows import is_matrix, matrix_to_frame
from danlu.errors import DataError
from danlu.tasks.table import number_columns, parse_target


def read_for(bundle: Bundle, source: object, keep: Sequence[str] = (), *, labelled: bool = False) -> RawData:
    """Read rows that a bundle's model answers, is judged on, or is compared with.

    Whatever wrote them, they are read as the training file was; see `danlu.data.reading.later`.

    Args:
        bundle: says how its training files were read.
        source: a file, folder, glob, a list of these, or builtin:NAME; anything else is rows in memory.
        keep: columns that keep the spelling of the file.
        labelled: whether answers are needed; without, folders of images need not be classes.

    Raises:
        DataError: it cannot be read.
    """
    return as_values(bundle, read_words_for(bundle, source, keep, labelled=labelled), labelled=labelled)


def as_values(bundle: Bundle, words: RawData, *, labelled: bool = False) -> RawData:
    """Return rows of `read_words_for` as `read_for` gives them."""
    ranges = trained_ranges(bundle.reference())
    missing_values = saved_missing_values(bundle.manifest.reading)
    # What stands in a target's place says nothing about an answer to predict.
    columns = (*bundle.manifest.columns, *(_answers(bundle.manifest) if labelled else ()))
    return read_as_trained(words, columns, missing_values, ranges)


def _answers(manifest: Manifest) -> Sequence[Mapping[str, Any]]:
    """Return the columns of numbers to predict, with how they are read."""
    if told := manifest.reading.get("target"):
        return list(told)
    return [{"name": name, "type": "number", "reading": {}} for name in number_columns(parse_target(manifest.output))]


def read_words_for(
    bundle: Bundle, source: object, keep: Sequence[str] = (), *, labelled: bool = True, most_bytes: int | None = None
) -> RawData:
    """Read rows as `read_for` does, but leave words as they are written.

    Args:
        bundle, source, keep, labelled: as there.
        most_bytes: of a table in memory; a larger one stays on disk, where the model's rows can be read apart.
    """
    manifest = bundle.manifest
    several = source if isinstance(source, list | tuple) else [source]
    if all(isinstance(name, str | Path) for name in several):
        named = [str(name) for name in cast(Sequence[str | Path], several)]
        spelled = frozenset([*_worded(manifest), *keep])
        options = ReadOptions(
            saved_missing_values(manifest.reading),
            words=spelled,
            labels=frozenset(map(str, manifest.output.get("labels", ()))),
            labelled=labelled,
            likely_encoding=manifest.reading.get("encoding"),
            most_bytes=most_bytes if get_kind(manifest.kind).reads_rows_apart else None,
        )
        place = named if isinstance(source, list | tuple) else named[0]
        read = _below_titles(manifest, place, options) or read_source(place, options)
    else:
        read = read_in_memory(_named(manifest, one_row(source)))
    return replace(read, frame=with_words(with_blanks_of(read.frame, _known_names(manifest))))


def _below_titles(manifest: Manifest, source: str | list[str], options: ReadOptions) -> RawData | None:
    """Read files with as many lines above the header as the recipe said.

    None where the model's columns are not found so.
    """
    skip = manifest.reading.get("skip_rows")
    if skip is None:
        return None
    try:
        read = read_source(source, replace(options, skip_rows=skip))
    except DataError:
        return None  # read without, it says what is wrong
    return read if {column["name"] for column in manifest.columns} <= {*read.frame.columns} else None


def _named(manifest: Manifest, source: object) -> object:
    """Name the columns of a matrix.

    To a model of images, one without names is a picture.
    """
    if not is_matrix(source) or get_kind(manifest.kind).refers_to_files:
        return source
    return matrix_to_frame(source, manifest.in_training_order([column["name"] for column in manifest.columns]))


def _known_names(manifest: Manifest) -> list[str]:
    """Return the names of all columns that the model reads or predicts."""
    return [*(column["name"] for column in manifest.columns), *parse_target(manifest.output).columns]


def _worded(manifest: Manifest) -> list[str]:
    """Return the columns whose spelling counts: categories, texts, and what is predicted."""
    target = parse_target(manifest.output)
    spelled = [column["name"] for column in manifest.columns if column["type"] not in ("number", "datetime")]
    return [*spelled, *target.columns, *(name.strip() for name in (*spelled, *target.columns))]

"""Read files, folders and globs into one polars frame. Every kind of data becomes rows: an image is a path, a document
a text.

The meaning of columns is not decided here; see `columns` and `dataset`.
"""

import csv
import glob
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import polars as pl

from danlu.core.arguments import is_no_path
from danlu.core.text import suggestion
from danlu.data.builtin import read_builtin
from danlu.data.column_names import with_trimmed_names
from danlu.data.descriptors import RawData
from danlu.data.file_form import FileForm, ReadOptions, ReadTable, merge_forms
from danlu.data.sources.compressed import OPENERS, unpacked
from danlu.data.sources.encoding import doubtful_encodings, text_file
from danlu.data.sources.folder_tree import is_hidden
from danlu.data.sources.hugging_face import is_saved_dataset, read_saved_dataset, saved_splits
from danlu.data.sources.image_files import (
    IMAGE_SUFFIXES,
    advice_for,
    count_suffixes,
    describe_suffixes,
    is_decodable,
)
from danlu.data.sources.image_folders import SPLIT_WORDS, read_image_folder, read_images
from danlu.data.sources.other_formats import instead_of
from danlu.data.sources.partitions import partition_files, with_partitions
from danlu.data.sources.stacking import stack, stack_splits
from danlu.data.sources.tables import READERS
from danlu.errors import DataError
from danlu.recipe.sections.data import SplitSources, WeightedSource

# A text file longer than this is cut at paragraph ends, so that a corpus in one file can be split at all.
PIECE_CHARACTERS = 8_000
# Formats of which a folder is usually full; other files beside them describe them.
ROWS_BY_FILE = (".csv", ".tsv", ".tab", ".psv", ".parquet", ".geoparquet", ".arrow", ".feather", ".jsonl", ".txt")
PARTED = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods", ".sqlite", ".sqlite3", ".db", ".db3", ".gpkg", ".duckdb", ".ddb")
IN_MEMORY = "memory:rows"  # the source of a recipe whose rows a Python program hands over

Source = str | Sequence[str | WeightedSource] | SplitSources


def read_source(source: Source, options: ReadOptions | None = None) -> RawData:
    """Read a file, folder, glob, list of these, splits of these, or builtin:NAME.

    Args:
        source: what to read; several files are concatenated and must have the same columns; `path::PART` reads a sheet
            of a workbook, a table of a database or a file of an archive.
        options: how; by default as a recipe that says nothing of it.

    Raises:
        DataError: it is not there, is empty, or cannot be read.
    """
    options = options or ReadOptions()
    if not source or (isinstance(source, str) and not source.strip()):
        raise DataError("the source is empty; give a file, a folder, a glob or builtin:NAME", code="DL201")
    if is_no_path(source):
        raise DataError("the source's name is longer than any file's, or has a zero byte in it", code="DL201")
    if isinstance(source, SplitSources):
        read = {name: read_source(part, options) for name, part in source.given().items()}
        return stack_splits(read, ", ".join(part.origin for part in read.values()))
    if not isinstance(source, str):
        parts = [each if isinstance(each, WeightedSource) else WeightedSource(path=each) for each in source]
        origin = ", ".join(path for part in parts for path in part.paths)
        return _read_together(parts, _read_weighted, origin, options)
    if source.startswith("builtin:"):
        return read_builtin(source)
    if source == IN_MEMORY:
        raise DataError(
            f"{source}: stands for rows in memory; hand them over, as danlu.train(recipe, data=frame)", code="DL207"
        )
    path = Path(source)
    if path.is_dir():
        return _read_folder(path, options)
    if path.is_file():
        return _read_together([path], _read_file, str(path), options)
    whole, chooses, part = source.rpartition("::")
    return read_source(whole, replace(options, part=part)) if chooses else _read_glob(source, options)


def _read_glob(source: str, options: ReadOptions) -> RawData:
    """Read what a pattern matches; beside images, other files are not read."""
    matches = _matches(source)
    if not matches:
        path = Path(source)
        beside = sorted(entry.name for entry in path.parent.iterdir()) if path.parent.is_dir() else []
        raise DataError(
            f"{source}: no such file or folder{suggestion(path.name, beside) if beside else ''}", code="DL201"
        )
    if matches[0].is_dir():
        return _read_together(matches, _read_folder, source, options)
    images = [file for file in matches if _is_image(file)]
    if images and len(images) < len(matches):
        others = count_suffixes([file.name for file in matches if file not in images])
        return replace(read_images(images, source), form=FileForm(unread=others))
    return _read_files(matches, source, options)


def _matches(pattern: str) -> list[Path]:
    """Return the files of a glob, or its folders where it has none.

    Hidden ones only where it names them.
    """
    named = Path(pattern).parts
    # pathlib's glob takes no absolute pattern
    found = sorted(map(Path, glob.glob(pattern, recursive=True)))  # noqa: PTH207
    shown = [path for path in found if not any(is_hidden(part) and part not in named for part in path.parts)]
    return [path for path in shown if path.is_file()] or [path for path in shown if path.is_dir()]


def _read_weighted(source: WeightedSource, options: ReadOptions) -> RawData:
    return replace(read_source(source.path, options), weight=source.weight)


def _require_utf8_name(path: Path) -> None:
    """Raise DataError for a name of raw bytes, which most libraries of tables cannot open."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        raise DataError(f"{shown}: the name is not UTF-8; rename the file or folder", code="DL202") from None


def _read_file(path: Path, options: ReadOptions) -> RawData:
    suffix = path.suffix.lower()
    _require_utf8_name(path)
    if _is_image(path):
        return read_images([path], str(path))
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty", code="DL203")
    if suffix in OPENERS:
        return _read_packed(path, options)
    if options.part is not None and suffix not in PARTED:
        raise DataError(
            f"{path}: has no parts to choose by ::{options.part}, as {', '.join(PARTED)} have", code="DL202"
        )
    if suffix == ".txt":
        return _documents([path], str(path), options)
    read = READERS.get(suffix)
    if read is None:
        said = instead_of(path.name, suffix)
        near = f"; {said}" if said else suggestion(suffix, READERS)
        raise DataError(f"{path}: cannot read {suffix or 'a file without suffix'}{near}", code="DL202")
    table = _parsed(read, path, options)
    form, frame = table.form, with_trimmed_names(table.frame, str(path))
    if options.encoding is None:
        others = doubtful_encodings(path, form.encoding, options.likely_encoding)
        form = replace(form, other_encodings=others)
    added = {name.strip() or name: why for name, why in table.added.items()}
    return RawData(frame, str(path), path.parent, target=table.target, form=form, added=added)


def _parsed(read: Callable[[Path, ReadOptions], ReadTable], path: Path, options: ReadOptions) -> ReadTable:
    """Read a file's table by its format's reader; whatever a library raises becomes a DataError."""
    try:
        return read(path, options)
    except RecursionError:
        message = f"{path}: is nested too deep to be read; leave out what no column is made of"
        raise DataError(message, code="DL202") from None
    except (pl.exceptions.PolarsError, OSError, ValueError, csv.Error) as error:
        raise DataError(_unreadable(path, error, options), code="DL202") from error
    except pl.exceptions.PanicException as error:  # no Exception: it would end the program
        raise DataError(
            f"{path}: holds a column of a type that polars cannot take: {str(error).splitlines()[0]}", code="DL211"
        ) from error


def _read_packed(path: Path, options: ReadOptions) -> RawData:
    """Read what a compressed file holds, under the name of that file."""
    in_archive = path.suffix.lower() == ".zip"
    with unpacked(path, options.part if in_archive else None, options.most_bytes is not None) as inner:
        try:
            read = _read_file(inner, replace(options, part=None) if in_archive else options)
        except DataError as error:
            raise DataError(str(error).replace(str(inner), str(path)), code=error.code) from error
    return replace(read, origin=str(path), folder=path.parent)


def _is_image(path: Path) -> bool:
    """Return whether a file is an image, readable here or not.

    Whoever decodes it says what is wrong.
    """
    return path.suffix.lower() in IMAGE_SUFFIXES or (path.suffix.lower() not in READERS and is_decodable(path))


def _unreadable(path: Path, error: Exception, options: ReadOptions) -> str:
    """Say why a file could not be read, with the faulty line if found."""
    reason = f"cannot be read as {path.suffix.lstrip('.')}: {str(error).strip().splitlines()[0]}"
    if path.suffix.lower() != ".jsonl":
        return f"{path}: {reason}"
    text, _ = text_file(path, options.encoding, options.likely_encoding)
    line, wrong = _first_wrong_json(text.read_text(encoding="utf-8-sig"))
    return f"{path}:{line}: {wrong}; every line holds one JSON object" if line else f"{path}: {reason}"


def _first_wrong_json(text: str) -> tuple[int, str]:
    """Return the first line that is not a JSON object and why.

    Line 0 if there is none.
    """
    for number, line in enumerate(text.split("\n"), 1):
        try:
            if line.strip() and not isinstance(json.loads(line, parse_constant=_refuse_constant), dict):
                return number, "is not an object"
        except ValueError as error:
            return number, f"is not JSON ({error})"
    return 0, ""


def _refuse_constant(word: str) -> float:
    raise ValueError(f"{word} is not valid JSON; write null")


def _read_folder(folder: Path, options: ReadOptions) -> RawData:
    """Read a folder of images, else the data files directly inside."""
    if is_saved_dataset(folder):
        return RawData(read_saved_dataset(folder), str(folder), folder)
    if splits := saved_splits(folder):
        return stack_splits({name: _read_folder(folder / name, options) for name in splits}, str(folder))
    if partitions := [file for file in partition_files(folder) if _holds_table(file)]:
        return _read_files(partitions, str(folder), options)
    files = [entry for entry in sorted(folder.iterdir()) if entry.is_file() and not is_hidden(entry.name)]
    tables = [file for file in files if _holds_table(file)]
    # What lies beside tables in these formats is about them more often than a part of them.
    tables = [file for file in tables if _inner_suffix(file) in ROWS_BY_FILE] or tables
    listing = [file for file in tables if file.suffix.lower() != ".txt"]
    images = read_image_folder(folder, options, listing, lambda file: _read_file(file, options))
    if images is not None:
        return images
    unread = count_suffixes([file.name for file in files if file not in tables])
    if tables:
        read = _read_files(tables, str(folder), options)
        return replace(read, form=replace(read.form, unread=unread))
    below = count_suffixes([file.name for file in folder.rglob("*") if file.is_file()])
    if named := _folders_of_splits(folder):
        given = ", ".join(f"{split}: {path}" for split, path in named.items())
        raise DataError(
            f"{folder}: its folders are named like splits; give them as data.source: {{{given}}}", code="DL202"
        )
    inside = f" (it holds {describe_suffixes(below)})" if below else ""
    cure = advice_for(set(below)) or (
        f"put images into one folder per class ({', '.join(IMAGE_SUFFIXES)}), tables are {', '.join(READERS)}"
    )
    raise DataError(f"{folder}: the folder holds no images and no data files{inside}; {cure}", code="DL202")


def _folders_of_splits(folder: Path) -> dict[str, Path]:
    """Return folders of tables named like splits, if one is named like training."""
    named = {
        SPLIT_WORDS[entry.name.lower()]: entry
        for entry in sorted(folder.iterdir())
        if entry.is_dir() and entry.name.lower() in SPLIT_WORDS and any(_holds_table(file) for file in entry.iterdir())
    }
    return named if "train" in named and len(named) > 1 else {}


def _read_files(files: list[Path], origin: str, options: ReadOptions) -> RawData:
    if all(_is_image(file) for file in files):
        return read_images(files, origin)
    if all(file.suffix.lower() == ".txt" for file in files):
        return _documents(files, origin, options)
    files = [file for file in files if file.stat().st_size] or files  # Spark writes empty ones among its parts
    return _read_together(files, _read_file, origin, options)


Place = TypeVar("Place", WeightedSource, Path)


def _read_together(
    places: Sequence[Place], read: Callable[[Place, ReadOptions], RawData], origin: str, options: ReadOptions
) -> RawData:
    """Read several files as one table; files that hold a header alone are passed over.

    A column that is words in one of them keeps its spelling in all: `01` in a file that holds digits alone too.
    """
    parts = [read(place, options) for place in places]
    held = [(place, part) for place, part in zip(places, parts, strict=True) if part.frame.height]
    if not held:
        raise DataError(f"{origin}: has no rows", code="DL203")
    worded = {name for _, part in held for name, dtype in part.frame.schema.items() if dtype == pl.String}
    again = replace(options, words=options.words | worded)
    spelled = [
        read(place, again) if any(part.frame.schema.get(name) != pl.String for name in worded) else part
        for place, part in held
    ]
    return stack(with_partitions(spelled, [place for place, _ in held], again.words), origin)


def _holds_table(file: Path) -> bool:
    return file.is_file() and _inner_suffix(file) in (*READERS, ".txt")


def _inner_suffix(file: Path) -> str:
    """Return a file's suffix, of a compressed one that of what is inside."""
    return (file.with_suffix("") if file.suffix.lower() in OPENERS else file).suffix.lower()


def _documents(files: list[Path], origin: str, options: ReadOptions) -> RawData:
    """Read text files, one row per document or piece of one: columns `document`, `text`."""
    rows: list[tuple[str, str]] = []
    forms: list[FileForm] = []
    for file in files:
        text, encoding = text_file(file, options.encoding, options.likely_encoding)
        doubtful = {} if options.encoding else doubtful_encodings(file, encoding, options.likely_encoding)
        forms.append(FileForm(encoding=encoding, other_encodings=doubtful))
        rows.extend((file.name, piece) for piece in _pieces(text.read_text(encoding="utf-8-sig")))
    if not rows:
        raise DataError(f"{', '.join(map(str, files[:3]))}: no text inside", code="DL203")
    frame = pl.DataFrame(rows, schema={"document": pl.String, "text": pl.String}, orient="row")
    return RawData(frame, origin, files[0].parent, "corpus", form=merge_forms(forms))


def _pieces(content: str) -> list[str]:
    """Cut a long text at line ends into pieces of about PIECE_CHARACTERS.

    Nothing but outer white space is lost.
    """
    pieces: list[str] = []
    current: list[str] = []
    size = 0
    for line in content.splitlines(keepends=True):
        for start in range(0, len(line), PIECE_CHARACTERS):
            part = line[start : start + PIECE_CHARACTERS]
            current.append(part)
            size += len(part)
            if size >= PIECE_CHARACTERS:
                pieces.append("".join(current))
                current, size = [], 0
    pieces.append("".join(current))
    return [piece.strip("\n") for piece in pieces if piece.strip()]

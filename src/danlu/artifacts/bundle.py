"""The bundle: everything needed to predict, as data. Weights, JSON state, a tokenizer's JSON, golden samples.

    bundle.json           what the model is and takes, the preparation's state, SHA-256 of each other file and of itself
    config.json           the model's options: enough to build the network
    weights.safetensors   its weights; of gradient boosting lightgbm.txt in its place
    tokenizer.json        for text
    golden.parquet        raw inputs with their labels and the model's answers, put there by evaluation
    reference.json        how the columns and the answers were distributed in training
    reference.parquet     a few raw training rows, if the recipe keeps them
    signature.json        who made it, of the manifest's digest; not listed, put there by `danlu sign`

Reading a bundle runs no code of it: no pickle, no remote code. A file that the manifest does not list is never read.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, Required

import polars as pl
from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    NonNegativeInt,
    PositiveInt,
    TypeAdapter,
    ValidationError,
    with_config,
)
from typing_extensions import TypedDict

from danlu.artifacts.files import (
    StrPath,
    finish_together,
    json_bytes,
    parquet_bytes,
    read_frame,
    read_json,
    sha256,
    sha256_of_json,
    write_together,
)
from danlu.core.arguments import checked
from danlu.core.component import Frozen, first_fault
from danlu.errors import ArtifactError

FORMAT = 2
MANIFEST, CONFIG, WEIGHTS, TOKENIZER, GOLDEN, REFERENCE, REFERENCE_ROWS, SIGNATURE = (
    "bundle.json",
    "config.json",
    "weights.safetensors",
    "tokenizer.json",
    "golden.parquet",
    "reference.json",
    "reference.parquet",
    "signature.json",
)


PLAIN = ("number", "category", "datetime")  # types of columns whose cells hold one value
OPEN = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)  # of JSON: other keys are for whoever knows them


@with_config(OPEN)
class ColumnRecord(TypedDict):
    """Hold a column as JSON: its name, its type, and how it is read (`danlu.data.reading.reading.Reading`)."""

    name: Annotated[str, Field(min_length=1)]
    type: str
    reading: NotRequired[dict[str, Any]]


@with_config(OPEN)
class FileReading(TypedDict, total=False):
    """Hold as JSON how files are read, beside what is said of single columns."""

    missing_values: list[str]
    encoding: str | None
    skip_rows: NonNegativeInt | None
    target: list[ColumnRecord]


@with_config(OPEN)
class PreprocessingState(TypedDict, total=False):
    """Hold the fitted preprocessing as JSON; its kind of data knows the other keys."""

    tokenizer: dict[str, Any]


@with_config(OPEN)
class Output(TypedDict, total=False):
    """Hold what a model predicts as JSON; its task knows the other keys (`danlu.tasks.base.Target`)."""

    task: Required[str]
    labels: list[Any]


def _ascend(quantiles: list[float]) -> list[float]:
    if quantiles != sorted(quantiles):
        raise ValueError("do not ascend")
    return quantiles


Quantiles = Annotated[list[FiniteFloat], AfterValidator(_ascend)]


@with_config(OPEN)
class DescribedColumn(TypedDict, total=False):
    """Hold as JSON how a column was distributed: by quantiles, or shares."""

    type: Required[str]
    missing: Required[float]
    quantiles: Quantiles
    shares: dict[str, float]
    others: float


def _says_others(column: DescribedColumn) -> DescribedColumn:
    if "shares" in column and "others" not in column:
        raise ValueError("says shares and not that of the others")
    return column


@with_config(OPEN)
class DescribedAnswer(TypedDict, total=False):
    """Hold as JSON how an answer was distributed."""

    quantiles: Quantiles
    shares: dict[str, float]


@with_config(OPEN)
class Answers(TypedDict):
    """Hold as JSON how the answers to the test rows were distributed."""

    rows: NonNegativeInt
    columns: dict[str, DescribedAnswer]


@with_config(OPEN)
class Distribution(TypedDict):
    """Hold as JSON how the columns of the training rows were distributed, and the answers."""

    rows: NonNegativeInt
    columns: dict[str, Annotated[DescribedColumn, AfterValidator(_says_others)]]
    answers: NotRequired[Answers]


@with_config(OPEN)
class ProcessorRecord(TypedDict):
    """Hold a processor as JSON: its name, and its features that 8-bit arithmetic depends on."""

    name: str
    features: list[str]


Shape = tuple[PositiveInt, ...]


class Structure(Frozen):
    """Say how a network's sizes differ from those that its options build.

    Attributes:
        ranks: linear layers and convolutions that became two in a row, with the width between them.
        shapes: of each weight that has become smaller, by its name.
    """

    ranks: dict[str, PositiveInt] = Field(default_factory=dict)
    shapes: dict[str, Shape] = Field(default_factory=dict)


class Coding(Frozen):
    """Say which weights are stored with fewer bits, rounded to nearest by groups.

    Attributes:
        bits: of a code.
        group: neighbours along the inputs that share a scale; 0 for all of an output.
        shapes: of each weight that is stored so, by its name.
    """

    bits: Literal[4, 8]
    group: NonNegativeInt
    shapes: dict[str, Shape]


class Manifest(Frozen):
    """Describe a bundle (bundle.json).

    Attributes:
        format: version of this layout; later versions of danlu read earlier formats.
        columns: the input schema: each column with its type, and how it is read.
        output: what the model predicts (labels, or mean and standard deviation of a number).
        positive: of two classes, the one that metrics and the threshold are about; None otherwise.
        preprocessing: the fitted preprocessing state, plain values.
        template_date: the date that chat templates are told, as 2026-01-31; None for today's.
        reading: how files are read, beside what is said of single columns.
        batch_size: the batch size of the recorded predictions.
        engines: those that may answer, the first before the others; left out where danlu's rule decides.
        structure: how compression changed the network's sizes; left out where it did not.
        coding: weights that are stored with fewer bits; left out for none.
        processors: those on which an 8-bit file was tried, each with `name` and `features`; left out for none.
        steps: the steps of compression that made it, in order, as a recipe has them; left out for none.
        files: SHA-256 of every other file, by its path inside the bundle.
        digest: SHA-256 of all other fields; empty in format 1.
    """

    format: int
    name: str
    kind: str
    task: str
    columns: tuple[ColumnRecord, ...]
    output: Output
    positive: bool | int | float | str | None = None
    preprocessing: PreprocessingState
    template_date: str | None = None
    reading: FileReading = Field(default_factory=FileReading)
    batch_size: PositiveInt
    engines: tuple[str, ...] = ()
    structure: Structure | None = None
    coding: Coding | None = None
    processors: tuple[ProcessorRecord, ...] = ()
    steps: tuple[dict[str, Any], ...] = ()
    versions: dict[str, str]
    files: dict[str, str] = Field(default_factory=dict)
    digest: str = ""

    def in_training_order(self, names: Sequence[str]) -> list[str]:
        """Return columns in the order that they had in the training file."""
        places = {column["name"]: place for place, column in enumerate(self.columns)}
        return sorted(names, key=lambda name: places.get(name, len(places)))


class Bundle:
    """Hold an opened bundle whose checksums were verified."""

    def __init__(self, folder: Path, manifest: Manifest, config: dict[str, Any]) -> None:
        self.folder, self.manifest, self.config = folder, manifest, config

    def require(self, name: str) -> Path:
        """Return the path of a file that the manifest lists.

        Raises:
            ArtifactError: it does not, so the file's content was never verified.
        """
        if name not in self.manifest.files:
            raise ArtifactError(
                f"{self.folder / MANIFEST}: does not list {name}, which the model needs; copy the bundle again",
                code="DL303",
            )
        return self.folder / name

    def golden(self) -> pl.DataFrame | None:
        """Return raw inputs with the model's answers; None before the model was evaluated."""
        return self._frame(GOLDEN)

    def reference(self) -> dict[str, Any] | None:
        """Return how columns and answers were distributed in training; None if not kept.

        Raises:
            ArtifactError: the file is of another form.
        """
        if REFERENCE not in self.manifest.files:
            return None
        known = read_json(self.folder / REFERENCE)
        with _refuse_other_form(self.folder / REFERENCE, "reference of a bundle"):
            _distribution().validate_python(known)
        return dict(known)

    def reference_rows(self) -> pl.DataFrame | None:
        """Return a few raw training rows; None where the bundle keeps none.

        Raises:
            ArtifactError: they are none, or not of the columns that the model reads.
        """
        rows = self._frame(REFERENCE_ROWS)
        if rows is None:
            return None
        for column in self.manifest.columns:
            name, plain = column["name"], column["type"] in PLAIN
            absent = name not in rows.columns and column["type"] != "image"
            if absent or rows.height == 0 or (plain and rows.schema[name].is_nested()):
                raise ArtifactError(
                    f"{self.folder / REFERENCE_ROWS}: holds no rows with the column {name!r} as the model reads it; "
                    "copy the bundle again",
                    code="DL303",
                )
        return rows

    def _frame(self, name: str) -> pl.DataFrame | None:
        return read_frame(self.folder / name) if name in self.manifest.files else None

    def set_output(self, output: Mapping[str, Any], positive: bool | int | float | str | None) -> None:
        """Change the output specification; it is written with the golden samples."""
        self.manifest = self.manifest.model_copy(update={"output": output, "positive": positive})

    def add_golden(self, samples: pl.DataFrame, answers: dict[str, Any] | None = None) -> None:
        """Add golden samples to the bundle and their checksum to its manifest.

        Args:
            samples: raw inputs with labels and answers.
            answers: how the model's answers are distributed; kept where the bundle has a reference.
        """
        changed = {GOLDEN: parquet_bytes(samples)}
        reference = self.reference()
        if reference is not None and answers is not None:
            changed[REFERENCE] = json_bytes({**reference, "answers": answers})
        self.manifest = write_manifest(self.folder, self.manifest, self.manifest.files, changed)


def write_manifest(
    folder: Path, manifest: Manifest, names: Iterable[str], changed: Mapping[str, bytes] | None = None
) -> Manifest:
    """Write bundle.json with the checksums of these files, and return what it holds.

    A tokenizer's JSON within the preprocessing state is written to a file of its own, where other tools find it.

    Args:
        names: paths of the bundle's files inside it; whatever else lies there is no part of the bundle.
        changed: files that are written with it, so that no crash in between leaves a bundle with other checksums.

    Raises:
        ArtifactError: the bundle is signed, so it is not changed.
    """
    require_unsigned(folder)
    state: dict[str, Any] = {**manifest.preprocessing}
    contents = dict(changed or {})
    if "tokenizer" in state:
        tokenizer = dict(state["tokenizer"])
        contents[TOKENIZER] = tokenizer.pop("json_text").encode()
        tokenizer.pop("date", None)  # it is `template_date`
        state["tokenizer"] = tokenizer
    files = {name: sha256(folder / name) for name in sorted(set(names) - {MANIFEST, *contents})}
    files |= {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    files = dict(sorted(files.items()))
    written = manifest.model_copy(update={"format": FORMAT, "preprocessing": state, "files": files})
    # Earlier versions of danlu do not know these keys.
    unset = {name for name in ("engines", "structure", "coding", "processors", "steps") if not getattr(written, name)}
    content = written.model_dump(mode="json", exclude={"digest", *unset})
    digest = sha256_of_json(content)
    write_together(folder, {**contents, MANIFEST: json_bytes({**content, "digest": digest})})
    return manifest.model_copy(update={"format": FORMAT, "files": files, "digest": digest})


def require_unsigned(folder: Path) -> None:
    """Raise ArtifactError if a bundle is signed; such a one is never changed."""
    if (folder / SIGNATURE).exists():
        raise ArtifactError(
            f"{folder}: is signed, and a signed bundle is not changed; remove its {SIGNATURE}, or work on a copy "
            "without it, and sign again",
            code="DL318",
        )


def files_in(folder: Path) -> list[str]:
    """Return the paths of all files below a folder, relative to it."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def digest_of(manifest: Manifest) -> str:
    """Return what names a bundle; those of format 1 have no digest of their own."""
    return manifest.digest or sha256_of_json(manifest.model_dump(mode="json", exclude={"digest"}))


def bundle_folder(path: StrPath) -> Path:
    """Return the folder of a bundle, which may be that of a run.

    Raises:
        ArtifactError: there is none.
    """
    folder = Path(path)
    if not (folder / MANIFEST).is_file() and (folder / "model" / MANIFEST).is_file():
        folder = folder / "model"
    if not (folder / MANIFEST).is_file():
        raise ArtifactError(f"{path}: no bundle here (no {MANIFEST}); give a bundle or a run directory", code="DL301")
    return folder


@checked
def open_bundle(path: StrPath) -> Bundle:
    """Open and verify a bundle, or the bundle of a run directory.

    Raises:
        ArtifactError: there is none, it is damaged or was changed, or a newer danlu wrote it.
    """
    folder = bundle_folder(path)
    finish_together(folder, MANIFEST)
    manifest = _read_manifest(folder)
    for name, expected in manifest.files.items():
        _verify_file(folder, name, expected)
    bundle = Bundle(folder, manifest, {})
    bundle.config = read_json(bundle.require(CONFIG))
    if not isinstance(bundle.config, dict):
        raise ArtifactError(f"{folder / CONFIG}: holds no object; it is damaged or another kind of file", code="DL303")
    if "tokenizer" in manifest.preprocessing:
        text = _read_text(bundle.require(TOKENIZER))
        tokenizer = {**manifest.preprocessing["tokenizer"], "json_text": text, "date": manifest.template_date}
        state = {**manifest.preprocessing, "tokenizer": tokenizer}
        bundle.manifest = manifest.model_copy(update={"preprocessing": state})
    return bundle


def _read_manifest(folder: Path) -> Manifest:
    """Read bundle.json and verify its digest."""
    written = read_json(folder / MANIFEST)
    said = written.get("format") if isinstance(written, dict) else None
    if isinstance(said, int) and said > FORMAT:
        raise ArtifactError(f"{folder}: has format {said}, danlu here reads up to {FORMAT}; update danlu", code="DL302")
    with _refuse_other_form(folder / MANIFEST, "bundle manifest"):
        manifest = Manifest.model_validate(written)
    content = {key: value for key, value in written.items() if key != "digest"}
    # Format 1 had no digest; whoever takes it out of a later bundle has not made one of format 1.
    is_unsealed = manifest.format == 1 and not {"digest", "positive", "reading", "template_date"} & written.keys()
    if not is_unsealed and manifest.digest != sha256_of_json(content):
        raise ArtifactError(
            f"{folder / MANIFEST}: differs from what was written (its own digest); copy the bundle again", code="DL305"
        )
    return manifest


@contextmanager
def _refuse_other_form(file: Path, wanted: str) -> Iterator[None]:
    """Turn what is wrong with JSON into an error that names the field."""
    try:
        yield
    except ValidationError as error:
        raise ArtifactError(f"{file}: is not a valid {wanted}: {first_fault(error)}", code="DL303") from None


@cache
def _distribution() -> TypeAdapter[Distribution]:
    return TypeAdapter(Distribution)


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{file}: is not UTF-8 ({error}); copy the bundle again", code="DL303") from error


def _verify_file(folder: Path, name: str, expected: str) -> None:
    """Raise ArtifactError unless a listed file lies inside the bundle, as it was written."""
    file, parts = folder / name, name.split("/")
    unsafe = name == MANIFEST or "\\" in name or ":" in name or any(part in ("", ".", "..") for part in parts)
    if unsafe or not file.resolve().is_relative_to(folder.resolve()):
        raise ArtifactError(
            f"{folder / MANIFEST}: lists {name!r}, which is no file inside the bundle; do not use this bundle",
            code="DL303",
        )
    if not file.is_file():
        raise ArtifactError(f"{folder}: {name} is missing; copy the whole folder again", code="DL303")
    if sha256(file) != expected:
        raise ArtifactError(f"{file}: differs from what was written (SHA-256); copy the bundle again", code="DL305")

"""The bundle: everything needed to predict, as data. Weights, JSON state, a tokenizer's JSON, golden samples.

    bundle.json           what the model is and takes, the preparation's state, SHA-256 of each other file
    config.json           the model's options: enough to build the network
    weights.safetensors   its weights; of gradient boosting lightgbm.txt in its place
    tokenizer.json        for text
    golden.parquet        raw inputs and the model's answers, put there by evaluation

Reading a bundle runs no code of it: no pickle, no remote code.
"""

from pathlib import Path
from typing import Any

import polars as pl
from pydantic import Field, ValidationError

from danlu.artifacts.files import StrPath, read_json, sha256, write_bytes, write_frame, write_json
from danlu.core.component import Frozen
from danlu.errors import ArtifactError

FORMAT = 1
MANIFEST, CONFIG, WEIGHTS, TOKENIZER, GOLDEN = (
    "bundle.json",
    "config.json",
    "weights.safetensors",
    "tokenizer.json",
    "golden.parquet",
)


class Manifest(Frozen):
    """Describe a bundle (bundle.json).

    Attributes:
        format: version of this layout; later versions of danlu read earlier formats.
        columns: the input schema: each column with its type.
        output: what the model predicts (labels, or mean and standard deviation of a number).
        preprocessing: the fitted preprocessing state, plain values.
        batch_size: the batch size of the recorded predictions.
        files: SHA-256 of every other file.
    """

    format: int
    name: str
    kind: str
    task: str
    columns: tuple[dict[str, Any], ...]
    output: dict[str, Any]
    preprocessing: dict[str, Any]
    batch_size: int
    versions: dict[str, str]
    files: dict[str, str] = Field(default_factory=dict)


class Bundle:
    """Hold an opened bundle whose checksums were verified."""

    def __init__(self, folder: Path, manifest: Manifest, config: dict[str, Any]) -> None:
        self.folder, self.manifest, self.config = folder, manifest, config

    @property
    def weights(self) -> Path:
        return self.folder / WEIGHTS

    def golden(self) -> pl.DataFrame | None:
        """Return raw inputs with the model's answers; None before the model was evaluated."""
        path = self.folder / GOLDEN
        return pl.read_parquet(path) if path.is_file() else None

    def set_output(self, output: dict[str, Any]) -> None:
        """Change the output specification; it is written with the golden samples."""
        self.manifest = self.manifest.model_copy(update={"output": output})

    def add_golden(self, samples: pl.DataFrame) -> None:
        """Add golden samples to the bundle and their checksum to its manifest."""
        write_frame(self.folder / GOLDEN, samples)
        write_manifest(self.folder, self.manifest)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write bundle.json with checksums of the files present now.

    A tokenizer's JSON within the preprocessing state is written to a file of its own, where other tools find it.
    """
    state = dict(manifest.preprocessing)
    if "tokenizer" in state:
        tokenizer = dict(state["tokenizer"])
        write_bytes(folder / TOKENIZER, tokenizer.pop("json_text").encode())
        state["tokenizer"] = tokenizer
    others = sorted(path for path in folder.iterdir() if path.is_file() and path.name != MANIFEST)
    files = {path.name: sha256(path) for path in others}
    complete = manifest.model_copy(update={"preprocessing": state, "files": files})
    write_json(folder / MANIFEST, complete.model_dump(mode="json"))


def open_bundle(path: StrPath) -> Bundle:
    """Open and verify a bundle, or the bundle of a run directory.

    Raises:
        ArtifactError: there is none, it is damaged, or a newer danlu wrote it.
    """
    folder = Path(path)
    if not (folder / MANIFEST).is_file() and (folder / "model" / MANIFEST).is_file():
        folder = folder / "model"
    if not (folder / MANIFEST).is_file():
        raise ArtifactError(f"{path}: no bundle here (no {MANIFEST}); give a bundle or a run directory", code="DL301")
    written = read_json(folder / MANIFEST)
    if isinstance(written, dict) and isinstance(written.get("format"), int) and written["format"] > FORMAT:
        raise ArtifactError(
            f"{folder}: has format {written['format']}, danlu here reads up to {FORMAT}; update danlu", code="DL302"
        )
    try:
        manifest = Manifest.model_validate(written)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ArtifactError(
            f"{folder / MANIFEST}: is not a valid bundle manifest: {place}: {first['msg']}", code="DL303"
        ) from None
    for name, expected in manifest.files.items():
        file = folder / name
        if Path(name).name != name or not file.is_file():
            raise ArtifactError(f"{folder}: {name} is missing; copy the whole folder again", code="DL303")
        if sha256(file) != expected:
            raise ArtifactError(f"{file}: differs from what was written (SHA-256); copy the bundle again", code="DL305")
    if "tokenizer" in manifest.preprocessing:
        text = (folder / TOKENIZER).read_text(encoding="utf-8")
        tokenizer = {**manifest.preprocessing["tokenizer"], "json_text": text}
        manifest = manifest.model_copy(update={"preprocessing": {**manifest.preprocessing, "tokenizer": tokenizer}})
    return Bundle(folder, manifest, read_json(folder / CONFIG))

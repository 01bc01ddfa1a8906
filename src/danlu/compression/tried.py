"""One try of a search: a bundle with what was measured of it, kept on disk, so that an interrupted search goes on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from danlu.artifacts.bundle import Bundle
from danlu.artifacts.files import read_json, write_json
from danlu.compression.judge import Drop
from danlu.compression.results import Figure, Latency
from danlu.compression.timing import SpeedComparison
from danlu.errors import ArtifactError
from danlu.models.bundle_form import open_checked

TRIED = "tried.json"
ORIGINAL = "p0"


@dataclass(frozen=True)
class Tried:
    """Hold one bundle of a search: a compressed one, or the original.

    Attributes:
        id: its name below RUN/compressed; p0 for the original.
        label: its steps in a few words.
        steps: as a recipe has them.
        bundle: opened, its checksums verified.
        size_bytes, parameters, sparsity, engine: as in `Point`.
        notes: of the steps.
        drop: on the searched rows; its bound was chosen there too.
        bound: the bound that is closest there.
        speed: beside the original in its faster engine, by batch size.
        peak_memory_bytes: of a process that answers; None where it is not known.
    """

    id: str
    label: str
    steps: tuple[dict[str, Any], ...]
    bundle: Bundle
    size_bytes: int
    bundle_bytes: int
    parameters: int
    sparsity: float
    engine: str
    notes: tuple[str, ...]
    drop: Drop
    bound: str
    speed: Mapping[int, SpeedComparison]
    peak_memory_bytes: int | None

    @property
    def is_slower(self) -> bool:
        """Whether it was seen to be slower than the original at any batch size."""
        return any(each.is_slower for each in self.speed.values())

    def to_json(self) -> dict[str, Any]:
        """Return what a later search reads again."""
        return {
            "id": self.id,
            "label": self.label,
            "digest": self.bundle.manifest.digest,
            "steps": list(self.steps),
            "size_bytes": self.size_bytes,
            "bundle_bytes": self.bundle_bytes,
            "parameters": self.parameters,
            "sparsity": self.sparsity,
            "engine": self.engine,
            "notes": list(self.notes),
            "drop": {"value": self.drop.value, "upper": self.drop.upper, "flipped": self.drop.flipped},
            "bound": self.bound,
            "speed": {str(size): _speed_json(each) for size, each in self.speed.items()},
            "peak_memory_bytes": self.peak_memory_bytes,
        }


@dataclass(frozen=True)
class Refused:
    """Hold steps that cannot be applied to the model, and why."""

    label: str
    steps: tuple[dict[str, Any], ...]
    why: str


@dataclass(frozen=True)
class Kept:
    """Hold what a search has done so far, by the labels of what was tried."""

    tries: Mapping[str, Tried] = field(default_factory=dict)
    refused: Mapping[str, Refused] = field(default_factory=dict)


def keep_tried(folder: Path, tries: Sequence[Tried], refused: Sequence[Refused], key: str) -> None:
    """Write what was tried so far, for the search that is named by its key."""
    folder.mkdir(exist_ok=True)
    document = {
        "key": key,
        "tries": [each.to_json() for each in tries],
        "refused": [{"label": each.label, "steps": list(each.steps), "why": each.why} for each in refused],
    }
    write_json(folder / TRIED, document)


def read_tried(folder: Path, key: str, original: Bundle) -> Kept:
    """Return what an earlier search of the same key has done.

    Bundles that are gone or changed are left out.
    """
    file = folder / TRIED
    if not file.is_file():
        return Kept()
    written = read_json(file)
    if written.get("key") != key:
        return Kept()
    tries: dict[str, Tried] = {}
    for each in written["tries"]:
        try:
            bundle = original if each["id"] == ORIGINAL else open_checked(folder / each["id"])
        except ArtifactError:
            continue
        if bundle.manifest.digest == each["digest"]:
            tries[each["label"]] = _read(each, bundle)
    refused = {each["label"]: Refused(each["label"], tuple(each["steps"]), each["why"]) for each in written["refused"]}
    return Kept(tries, refused)


def _read(each: dict[str, Any], bundle: Bundle) -> Tried:
    speed = {int(size): _read_speed(known) for size, known in each["speed"].items()}
    simple = {
        name: each[name]
        for name in ("id", "label", "size_bytes", "bundle_bytes", "parameters", "sparsity", "engine", "bound")
    }
    return Tried(
        **simple,
        steps=tuple(each["steps"]),
        bundle=bundle,
        notes=tuple(each["notes"]),
        drop=Drop(**each["drop"]),
        speed=speed,
        peak_memory_bytes=each["peak_memory_bytes"],
    )


def _speed_json(speed: SpeedComparison) -> dict[str, Any]:
    return {
        "first": speed.first.to_json(),
        "second": speed.second.to_json(),
        "speedup": speed.speedup.to_json(),
    }


def _read_speed(known: dict[str, Any]) -> SpeedComparison:
    return SpeedComparison(Latency(**known["first"]), Latency(**known["second"]), Figure(**known["speedup"]))

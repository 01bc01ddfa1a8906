"""What compression gives: frozen values, and the JSON that they become."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from danlu.recipe.sections.compression import step_label

FORMAT = 1
RESULT_FILE = "compression.json"


@dataclass(frozen=True)
class Figure:
    """Hold a figure with its interval; no ends where it has none."""

    value: float
    low: float | None = None
    high: float | None = None

    def to_json(self) -> dict[str, float]:
        """Return `value`, and `low` and `high` where there are any."""
        ends = {"low": self.low, "high": self.high}
        return {"value": self.value, **{name: end for name, end in ends.items() if end is not None}}


@dataclass(frozen=True)
class AppliedStep:
    """Hold a step of a point, with what it alone has gained.

    Attributes:
        step: as a recipe has it, with its name.
        gain: by what was measured, as `latency` or `metric`; empty where nothing was.
    """

    step: dict[str, Any]
    gain: Mapping[str, Figure] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The step with its main option, as prune=0.5."""
        return step_label(str(self.step["name"]), self.step)

    def to_json(self) -> dict[str, Any]:
        """Return the step under its name, and its gain."""
        options = {key: value for key, value in self.step.items() if key != "name"}
        return {str(self.step["name"]): options, "gain": {name: each.to_json() for name, each in self.gain.items()}}


@dataclass(frozen=True)
class Latency:
    """Hold how long a batch takes, in ms."""

    p50: float
    p99: float

    def to_json(self) -> dict[str, float]:
        """Return `p50` and `p99`."""
        return {"p50": self.p50, "p99": self.p99}


@dataclass(frozen=True)
class Point:
    """Hold one compressed model, or the original, with what was measured of it.

    Attributes:
        id: p0 for the original.
        bundle: its folder.
        engine: that answers.
        steps: in order; none for the original.
        size_bytes: of the files that hold the network for that engine.
        bundle_bytes: of all files of the bundle.
        parameters: of the network.
        sparsity: share of zeros in linear layers and convolutions.
        notes: what the steps had to say.
        peak_memory_bytes, latency_ms, speedup, metrics, drop, flipped: as measured; None or empty where nothing was.
            latency_ms and speedup are by batch size.
        on_front: whether no other point is better in all that was asked for.
    """

    id: str
    bundle: Path
    engine: str
    steps: tuple[AppliedStep, ...]
    size_bytes: int
    bundle_bytes: int
    parameters: int
    sparsity: float
    notes: tuple[str, ...] = ()
    peak_memory_bytes: int | None = None
    latency_ms: Mapping[int, Latency] = field(default_factory=dict)
    speedup: Mapping[int, Figure] = field(default_factory=dict)
    metrics: Mapping[str, Figure] = field(default_factory=dict)
    drop: Figure | None = None
    flipped: int | None = None
    on_front: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return the entry of `points`; what was not measured is absent."""
        measured: dict[str, Any] = {
            "peak_memory_bytes": self.peak_memory_bytes,
            "latency_ms": {str(batch): each.to_json() for batch, each in self.latency_ms.items()} or None,
            "speedup": {str(batch): each.to_json() for batch, each in self.speedup.items()} or None,
            "metrics": {name: each.to_json() for name, each in self.metrics.items()} or None,
            "drop": None if self.drop is None else self.drop.to_json(),
            "flipped": self.flipped,
        }
        return {
            "id": self.id,
            "bundle": str(self.bundle),
            "engine": self.engine,
            "steps": [each.to_json() for each in self.steps],
            "size_bytes": self.size_bytes,
            "bundle_bytes": self.bundle_bytes,
            "parameters": self.parameters,
            "sparsity": self.sparsity,
            "notes": list(self.notes),
            **{name: value for name, value in measured.items() if value is not None},
            "on_front": self.on_front,
        }


@dataclass(frozen=True)
class RolledBack:
    """Hold a step that was tried and not kept, and why."""

    step: dict[str, Any]
    why: str

    def to_json(self) -> dict[str, Any]:
        """Return `step` and `why`."""
        return {"step": self.step, "why": self.why}


@dataclass(frozen=True)
class Promise:
    """Hold what compression may cost, and whether it costs no more.

    Attributes:
        smallest_drop: the smallest that could be promised on so few rows; None where the rows are enough.
    """

    metric: str
    max_drop: float
    confidence: float
    kept: bool
    smallest_drop: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the entry `budget`."""
        said = {} if self.smallest_drop is None else {"smallest_drop": self.smallest_drop}
        known = {"metric": self.metric, "max_drop": self.max_drop, "confidence": self.confidence, "kept": self.kept}
        return {**known, **said}


@dataclass(frozen=True)
class CompressionResult:
    """Hold all that one compression has found.

    Attributes:
        cpu: of this machine: `name` and `features`.
        points: the original first.
        original, chosen: ids of points.
        promise: None where no budget was asked for.
        searched, accepted: rows that steps were chosen on, and rows that judged them.
        rolled_back: steps that went the wrong way.
        beside: the chosen model beside the original on test rows, as `compare_with_original` has it; empty where
            nothing was searched.
    """

    cpu: Mapping[str, Any]
    points: tuple[Point, ...]
    original: str
    chosen: str
    promise: Promise | None = None
    searched: int = 0
    accepted: int = 0
    rolled_back: tuple[RolledBack, ...] = ()
    beside: Mapping[str, Any] = field(default_factory=dict)

    @property
    def bundle(self) -> Path:
        """The chosen point's bundle."""
        return next(point.bundle for point in self.points if point.id == self.chosen)

    def to_json(self) -> dict[str, Any]:
        """Return the document of compression.json."""
        budget = {} if self.promise is None else {"budget": self.promise.to_json()}
        return {
            "format": FORMAT,
            "cpu": dict(self.cpu),
            **budget,
            "rows": {"searched": self.searched, "accepted": self.accepted},
            "original": self.original,
            "chosen": self.chosen,
            "points": [point.to_json() for point in self.points],
            "rolled_back": [each.to_json() for each in self.rolled_back],
            **({"beside": dict(self.beside)} if self.beside else {}),
        }

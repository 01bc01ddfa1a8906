"""Try a bundle in a process of its own: does it open, does it answer its golden samples, and which engine is fastest.

What is measured is kept under the cache by the bundle's digest, the machine and the engines' versions. A bundle that
crashes its library takes nothing else down, and what was only tried leaves no memory behind.
"""

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.artifacts.bundle import MANIFEST, Bundle, digest_of
from danlu.artifacts.cache import cache_root
from danlu.artifacts.files import read_json, sha256_of_json, write_json
from danlu.core.console import emit, suppressed
from danlu.core.threads import usable_cores
from danlu.errors import ArgumentError, ArtifactError, DanluError, MissingExtra
from danlu.models.engines.table import AUTO, ENGINES

if TYPE_CHECKING:
    from danlu.models.predictor import Predictor

KEPT_FORMAT = 1
LIBRARIES = ("numpy", "torch", "onnxruntime", "openvino")
MEASURED_ROWS = (1, 32)  # a lone request, and a batch under load
MEASURE_S, MEASURED_AT_LEAST = 0.15, 5
ERRORS: dict[str, type[DanluError]] = {kind.__name__: kind for kind in (ArgumentError, ArtifactError, MissingExtra)}


@dataclass(frozen=True)
class Tried:
    """Hold what a trial found.

    Attributes:
        engine: the fastest of those that answer the bundle rightly, or the one that was asked for.
        digest: of the bundle.
        survives_fork: whether what is loaded before a fork may be used after it.
    """

    engine: str
    digest: str
    survives_fork: bool


class Trial:
    """Try a bundle in a fork.

    Args:
        folder: of the bundle.
        engine: `auto`, or the one engine that may answer.
        own_code: whether code that it names may run.
        forget: is called in the fork, to close what is none of its business.

    Attributes:
        pipe: can be read from once there is a result.
    """

    def __init__(self, folder: Path, engine: str, own_code: bool, forget: Callable[[], None]) -> None:
        self.folder = folder
        self.pipe, write = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            forget()
            _exit_with(write, lambda: _try(folder, engine, own_code))
        os.close(write)

    def result(self) -> Tried:
        """Return what was found, and wait for it where it is not there yet.

        Raises:
            ArgumentError, ArtifactError, MissingExtra: the bundle cannot be served.
        """
        with os.fdopen(self.pipe, "rb") as pipe:
            told = pipe.read()
        with suppress(ChildProcessError):  # whoever waits for all children was first
            os.waitpid(self._pid, 0)
        if not told:
            raise ArtifactError(f"{self.folder}: opening it ended its process; do not serve this bundle", code="DL310")
        found = json.loads(told)
        if "error" in found:
            kind = ERRORS.get(found["error"], ArtifactError)
            raise kind(found["message"], code=found["code"])
        return Tried(**found)


def earlier_trial(folder: Path, engine: str) -> Tried | None:
    """Return what the cache knows of a bundle; None where it must be tried."""
    return _kept(_digest(folder)) if engine == AUTO else None


def _exit_with(pipe: int, find: Callable[[], dict[str, Any]]) -> None:
    """In the fork: write what is found and end, whatever happens."""
    try:
        try:
            told = find()
        except DanluError as error:
            told = {"error": type(error).__name__, "message": str(error), "code": error.code}
        except Exception as error:
            told = {"error": "", "message": f"cannot be opened: {type(error).__name__}: {error}", "code": "DL310"}
        with os.fdopen(pipe, "wb") as written:
            written.write(json.dumps(told).encode())
        sys.stderr.flush()
    finally:
        os._exit(0)


def _try(folder: Path, engine: str, own_code: bool) -> dict[str, Any]:
    from danlu.models.bundle_form import open_checked
    from danlu.models.predictor import Predictor

    bundle = open_checked(folder)
    digest = digest_of(bundle.manifest)
    if engine != AUTO:
        return _found(Predictor.load(bundle, engine=engine, own_code=own_code), digest)
    with suppressed():  # each engine would say the same of the golden samples
        seconds = _measure_engines(bundle, own_code)
    # Where none answers, opening it in the bundle's own order says why.
    fastest = min(seconds, key=lambda name: seconds[name], default=AUTO)
    found = _found(Predictor.load(bundle, engine=fastest, own_code=own_code), digest)
    _kept_file(digest).parent.mkdir(parents=True, exist_ok=True)
    write_json(_kept_file(digest), {**found, "seconds": seconds})
    return found


def _found(predictor: "Predictor", digest: str) -> dict[str, Any]:
    return {"engine": predictor.engine.name, "digest": digest, "survives_fork": predictor.engine.survives_fork}


def _measure_engines(bundle: Bundle, own_code: bool) -> dict[str, float]:
    """Return the seconds of every engine that answers the golden samples, for `MEASURED_ROWS`."""
    from danlu.models.predictor import Predictor

    found: dict[str, float] = {}
    for name in ENGINES:
        try:
            predictor = Predictor.load(bundle, engine=name, own_code=own_code)
        except MissingExtra:
            continue
        except ArgumentError:  # it cannot answer such a bundle
            continue
        except ArtifactError as error:
            emit(f"{bundle.folder}: the engine {name} is left out: {error}")
            continue
        found[name] = _measure(predictor, bundle)
    return found


def _measure(predictor: "Predictor", bundle: Bundle) -> float:
    """Return the median seconds of the golden samples, repeated; 0 without any."""
    import polars as pl

    from danlu.data.descriptors import Origin
    from danlu.data.splits import Split
    from danlu.models.golden import golden_inputs

    golden = bundle.golden()
    if golden is None:
        return 0.0
    rows = golden_inputs(golden, predictor.preprocessor.columns)
    total = 0.0
    for count in MEASURED_ROWS:
        frame = pl.concat([rows] * (count // rows.height + 1))[:count]
        times: list[float] = []
        until = time.monotonic() + MEASURE_S
        while len(times) < MEASURED_AT_LEAST or time.monotonic() < until:
            began = time.perf_counter()
            predictor.outputs(Split.of(frame), Origin("golden samples", Path.cwd()))
            times.append(time.perf_counter() - began)
        total += sorted(times)[len(times) // 2]
    return total


def _digest(folder: Path) -> str:
    """Return the digest that a bundle's manifest states; empty where there is none."""
    manifest = folder / MANIFEST if (folder / MANIFEST).is_file() else folder / "model" / MANIFEST
    written = read_json(manifest)
    return str(written.get("digest", "")) if isinstance(written, dict) else ""


def _kept(digest: str) -> Tried | None:
    if not digest or not _kept_file(digest).is_file():
        return None
    try:
        kept = read_json(_kept_file(digest))
        return Tried(kept["engine"], digest, kept["survives_fork"]) if kept["engine"] in ENGINES else None
    except (ArtifactError, KeyError, TypeError):  # the cache may be damaged: measure again
        return None


def _kept_file(digest: str) -> Path:
    machine = [platform.machine(), platform.processor(), usable_cores()]
    key = sha256_of_json([KEPT_FORMAT, digest, machine, [_installed(name) for name in LIBRARIES]])
    return cache_root() / "serving" / f"{key[:24]}.json"


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""

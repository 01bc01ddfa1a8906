"""Imports by name or on demand: the user's own code, optional packages (extras), noisy or mismatched libraries."""

import importlib
import importlib.util
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any

from danlu.core.text import suggestion
from danlu.errors import ArgumentError, MissingExtra


def load_dotted(text: str, key: str) -> Any:
    """Import the object behind a dotted name, also from the current folder.

    Args:
        text: `package.module:name`; the name may have dots itself.
        key: the recipe's key, for the error.

    Raises:
        ArgumentError: it is not such a name, or the object does not exist.
    """
    module, colon, name = text.partition(":")
    if not (colon and module and name):
        raise ArgumentError(f"{key}: {text!r} must be written as package.module:name", code="DL411")
    found: Any = _import_user_module(module, key)
    for part in name.split("."):
        if not hasattr(found, part):
            near = suggestion(part, [known for known in vars(found) if not known.startswith("_")])
            raise ArgumentError(f"{key}: {module} has no {name!r}{near}", code="DL411")
        found = getattr(found, part)
    return found


def _import_user_module(name: str, key: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # last, so that installed packages take precedence
    try:
        return importlib.import_module(name)
    except Exception as error:  # the user's module may raise anything
        what = f"{type(error).__name__}: {error}"
        missing = isinstance(error, ModuleNotFoundError) and name.split(".")[0] == error.name
        cure = f"install it, or run danlu in the folder that holds it (now {here})" if missing else "fix that first"
        raise ArgumentError(f"{key}: cannot import {name} ({what}); {cure}", code="DL411") from error


EXTRAS: dict[str, tuple[str, ...]] = {
    "image": ("torchvision", "timm", "PIL"),
    "heif": ("pi_heif",),
    "text": ("transformers", "tokenizers", "peft"),
    "formats": ("fastexcel", "pyreadstat", "duckdb", "zstandard"),
    "boosting": ("lightgbm",),
    "gguf": ("gguf", "accelerate"),
    "export": ("onnx", "onnxscript", "onnxruntime"),
    "explain": ("captum",),
    "compress": ("torch_pruning", "onnx", "onnxscript", "onnxruntime"),
    "openvino": ("openvino", "onnx", "onnxscript"),
    "serve": ("uvicorn", "uvloop", "httptools", "msgspec", "starlette", "prometheus_client", "python_multipart"),
    "grpc": ("grpc", "google.protobuf"),
    "otel": ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"),
    "postgres": ("pg8000",),
    "sign": ("cryptography",),
    "tuning": ("optuna",),
    "umap": ("umap",),
    "low-bit": ("torchao",),
    "tensorboard": ("tensorboard",),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
    "wandb": ("wandb",),
    "swanlab": ("swanlab",),
}


def missing_packages(extra: str) -> tuple[str, ...]:
    """Return the modules of `extra` that are not installed.

    At most the packages that hold them are imported.
    """
    return tuple(module for module in EXTRAS[extra] if not _is_installed(module))


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # nor is the package that would hold it
        return False


def install_command(extra: str) -> str:
    """Return the command that installs an extra."""
    return f"pip install 'danlu[{extra}]'"


def require_extra(extra: str, purpose: str, only: Sequence[str] = ()) -> None:
    """Raise MissingExtra unless every module of `extra` is installed.

    Args:
        extra: a key of EXTRAS.
        purpose: what needs it, e.g. "a timm model"; begins the message.
        only: the modules of it that are needed; all by default.
    """
    absent = [module for module in missing_packages(extra) if not only or module in only]
    if absent:
        raise MissingExtra(
            f"{purpose} needs {', '.join(absent)}, not installed here: {install_command(extra)}", code="DL701"
        )


def load_onnxruntime() -> Any:
    """Import ONNX Runtime with its telemetry off, unless the environment says otherwise.

    From 1.32 on its releases keep a device id in the home folder and send events to their maker
    (https://github.com/microsoft/onnxruntime/blob/main/docs/Privacy.md); the variable counts before the first import.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


class _SilencedLogging:
    """Count the blocks of all threads that silence logging; the last restores it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks = 0
        self._before = 0

    def __enter__(self) -> None:
        import logging

        with self._lock:
            if self._blocks == 0:
                self._before = logging.root.manager.disable
                logging.disable(logging.WARNING)
            self._blocks += 1

    def __exit__(self, *_: object) -> None:
        import logging

        with self._lock:
            self._blocks -= 1
            if self._blocks == 0:
                logging.disable(self._before)


_SILENCED = _SilencedLogging()  # one per process, as is what it guards


def silence_libraries() -> AbstractContextManager[None]:
    """Silence library logging below errors within the block, in all threads."""
    return _SILENCED


@cache
def patch_torchvision() -> Any:
    """Register torchvision's missing operator schemas once, before its first import.

    Does nothing where they exist.

    Returns:
        the library object, which must be kept alive; the cache does.
    """
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None or _compiled_operators_load(Path(found.origin).parent):
        return None
    import torch

    library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def _compiled_operators_load(package: Path) -> bool:
    """Return whether torchvision's compiled operators load into this torch."""
    import torch

    compiled = next(iter([*package.glob("_C*.so"), *package.glob("_C*.pyd")]), None)
    if compiled is None:
        return False
    try:
        torch.ops.load_library(str(compiled))  # type: ignore[no-untyped-call]
    except OSError:
        return False
    return True

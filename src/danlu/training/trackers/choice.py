"""Choose the callbacks that a recipe asks for, and check that they are available."""

import inspect
from typing import Any, cast

from danlu.core.dotted import load_dotted
from danlu.core.errors import ArgumentError
from danlu.core.extras import require_extra
from danlu.recipe.sections import Training
from danlu.training.callbacks import Callback

CALLBACKS_KEY = "training.callbacks"
CALLBACK_METHODS = ("on_start", "on_step", "on_log", "on_end")


def build_callbacks(options: Training) -> tuple[Callback, ...]:
    """Build the trackers and the user's own callbacks.

    Raises:
        MissingExtra: a tracker's package is not installed.
        ArgumentError: a dotted name cannot be imported, or is not a callback.
    """
    check_trackers(options)
    chosen: list[Callback] = []
    if options.track.tensorboard:
        from danlu.training.trackers.tensorboard import TensorBoard

        chosen.append(TensorBoard())
    if options.track.mlflow is not None:
        from danlu.training.trackers.mlflow import MLflow

        chosen.append(MLflow(options.track.mlflow))
    return (*chosen, *(_make_callback(text) for text in options.callbacks))


def check_trackers(options: Training) -> None:
    """Check everything that `build_callbacks` needs, before any work; imports no tracker.

    Raises:
        MissingExtra, ArgumentError: as there.
    """
    if options.track.tensorboard:
        require_extra("tensorboard", "training.track.tensorboard")
    if options.track.mlflow is not None:
        require_extra("mlflow", "training.track.mlflow")
        _check_mlflow_uri(options.track.mlflow)
    for text in options.callbacks:
        _load_callback_class(text)


def _check_mlflow_uri(uri: str) -> None:
    """Reject folders: MLflow no longer writes to them, but reports it late."""
    if uri.startswith("file:") or "://" not in uri:
        raise ArgumentError(
            f"training.track.mlflow: {uri!r} is a folder, which MLflow no longer writes to; "
            "use a database such as sqlite:///mlflow.db, or a server as http://HOST:5000"
        )


def _make_callback(text: str) -> Callback:
    made: Callback = _load_callback_class(text)()
    return made


def _load_callback_class(text: str) -> type[Callback]:
    found: Any = load_dotted(text, CALLBACKS_KEY)
    lacking = [name for name in CALLBACK_METHODS if not callable(getattr(found, name, None))]
    if not inspect.isclass(found) or lacking:
        what = f"lacks {', '.join(lacking)}" if inspect.isclass(found) else "is not a class"
        raise ArgumentError(
            f"{CALLBACKS_KEY}: {text} {what}; inherit from danlu.training.callbacks.Callback, which has all methods of a callback"
        )
    try:
        inspect.signature(found).bind()
    except TypeError as error:
        raise ArgumentError(f"{CALLBACKS_KEY}: {text} must take no arguments ({error})") from None
    return cast("type[Callback]", found)

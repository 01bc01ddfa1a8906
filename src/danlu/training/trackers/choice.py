"""Choose the callbacks that a recipe asks for, and check that they are available."""

import inspect
from typing import Any, cast

from danlu.core.dotted import load_dotted
from danlu.core.errors import ArgumentError
from danlu.core.extras import require
from danlu.recipe.sections import Training
from danlu.training.callbacks import Callback

KEY = "training.callbacks"
METHODS = ("on_start", "on_step", "on_log", "on_end")


def callbacks_for(options: Training) -> tuple[Callback, ...]:
    """Build the trackers and the user's own callbacks.

    Raises:
        MissingExtra: a tracker's package is not installed.
        ArgumentError: a dotted name cannot be imported, or is not a callback.
    """
    require_trackers(options)
    chosen: list[Callback] = []
    if options.track.tensorboard:
        from danlu.training.trackers.tensorboard import TensorBoard

        chosen.append(TensorBoard())
    if options.track.mlflow is not None:
        from danlu.training.trackers.mlflow import MLflow

        chosen.append(MLflow(options.track.mlflow))
    return (*chosen, *(_own(text) for text in options.callbacks))


def require_trackers(options: Training) -> None:
    """Check everything that `build_callbacks` needs, before any work; imports no tracker.

    Raises:
        MissingExtra, ArgumentError: as there.
    """
    if options.track.tensorboard:
        require("tensorboard", "training.track.tensorboard")
    if options.track.mlflow is not None:
        require("mlflow", "training.track.mlflow")
        _refuse_folders(options.track.mlflow)
    for text in options.callbacks:
        _own_class(text)


def _refuse_folders(uri: str) -> None:
    """Reject folders: MLflow no longer writes to them, but reports it late."""
    if uri.startswith("file:") or "://" not in uri:
        raise ArgumentError(
            f"training.track.mlflow: {uri!r} is a folder, which MLflow no longer writes to; "
            "use a database such as sqlite:///mlflow.db, or a server as http://HOST:5000"
        )


def _own(text: str) -> Callback:
    made: Callback = _own_class(text)()
    return made


def _own_class(text: str) -> type[Callback]:
    found: Any = load_dotted(text, KEY)
    lacking = [name for name in METHODS if not callable(getattr(found, name, None))]
    if not inspect.isclass(found) or lacking:
        what = f"lacks {', '.join(lacking)}" if inspect.isclass(found) else "is not a class"
        raise ArgumentError(
            f"{KEY}: {text} {what}; inherit from danlu.training.callbacks.Callback, which has all methods of a callback"
        )
    try:
        inspect.signature(found).bind()
    except TypeError as error:
        raise ArgumentError(f"{KEY}: {text} must take no arguments ({error})") from None
    return cast("type[Callback]", found)

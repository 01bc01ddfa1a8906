"""Optional parts of danlu (extras) and the packages that each needs."""

import importlib.util

from danlu.core.errors import MissingExtra

EXTRAS: dict[str, tuple[str, ...]] = {
    "image": ("torchvision", "timm", "PIL"),
    "text": ("transformers", "tokenizers", "peft"),
    "boosting": ("lightgbm",),
    "gguf": ("gguf", "accelerate"),
    "tuning": ("optuna",),
    "low-bit": ("torchao",),
    "tensorboard": ("tensorboard",),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
}


def missing_packages(extra: str) -> tuple[str, ...]:
    """Return the modules of `extra` that are not installed, without importing any."""
    return tuple(module for module in EXTRAS[extra] if importlib.util.find_spec(module) is None)


def install_command(extra: str) -> str:
    """Return the command that installs an extra."""
    return f"pip install 'danlu[{extra}]'"


def require_extra(extra: str, purpose: str) -> None:
    """Raise MissingExtra unless every module of `extra` is installed.

    Args:
        extra: a key of EXTRAS.
        purpose: what needs it, e.g. "a timm model"; begins the message.
    """
    absent = missing_packages(extra)
    if absent:
        raise MissingExtra(f"{purpose} needs {', '.join(absent)}, not installed here: {install_command(extra)}")

"""Imports by name or on demand: the user's own code, optional packages (extras), noisy or mismatched libraries."""

import importlib
import sys
from pathlib import Path
from typing import Any

from danlu.core.errors import ArgumentError
from danlu.core.names import suggestion


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
        raise ArgumentError(f"{key}: {text!r} must be written as package.module:name")
    found: Any = _import_user_module(module, key)
    for part in name.split("."):
        if not hasattr(found, part):
            near = suggestion(part, [known for known in vars(found) if not known.startswith("_")])
            raise ArgumentError(f"{key}: {module} has no {name!r}{near}")
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
        raise ArgumentError(f"{key}: cannot import {name} ({what}); {cure}") from error

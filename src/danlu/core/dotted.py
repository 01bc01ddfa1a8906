"""Things of the user's own that a recipe names, as `package.module:Class`."""

import importlib
import sys
from pathlib import Path
from typing import Any

from danlu.core.errors import ArgumentError
from danlu.core.names import suggestion


def load_dotted(text: str, key: str) -> Any:
    """What a dotted name stands for. A module beside which the command is run is found too.

    Args:
        text: `package.module:name`; the name may have dots itself.
        key: of the recipe, for the error.

    Raises:
        ArgumentError: it is not such a name, or there is nothing of that name.
    """
    module, colon, name = text.partition(":")
    if not (colon and module and name):
        raise ArgumentError(f"{key}: {text!r} must be written as package.module:name")
    found: Any = _module(module, key)
    for part in name.split("."):
        if not hasattr(found, part):
            near = suggestion(part, [known for known in vars(found) if not known.startswith("_")])
            raise ArgumentError(f"{key}: {module} has no {name!r}{near}")
        found = getattr(found, part)
    return found


def _module(name: str, key: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # last, so that nothing here stands before what is installed
    try:
        return importlib.import_module(name)
    except Exception as error:  # whatever the user's own module raises
        what = f"{type(error).__name__}: {error}"
        missing = isinstance(error, ModuleNotFoundError) and name.split(".")[0] == error.name
        cure = f"install it, or run danlu in the folder that holds it (now {here})" if missing else "mend it first"
        raise ArgumentError(f"{key}: cannot import {name} ({what}); {cure}") from error

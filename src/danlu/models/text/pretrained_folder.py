"""Code inside a model's folder: detected before any of it runs, and refused unless the recipe allows it."""

import json
from pathlib import Path
from typing import Any

from danlu.errors import DataError

CONFIG_FILES = ("config.json", "tokenizer_config.json")  # their `auto_map` names classes defined in the folder


def requires_remote_code(folder: Path, allowed: bool) -> bool:
    """Return whether a folder's model or tokenizer needs Python code from the folder.

    Args:
        folder: holds the model.
        allowed: whether the recipe sets `allow_remote_code: true`.

    Raises:
        DataError: it does and is not allowed, or it needs code from elsewhere, which is never downloaded.
    """
    for name in CONFIG_FILES:
        classes = _auto_map_classes(folder / name)
        if not classes:
            continue
        elsewhere = [each for each in classes if "--" in each]
        if elsewhere:
            raise DataError(
                f"{folder / name}: needs the code {elsewhere[0]}, which is not in the folder; danlu downloads no code"
            )
        if not allowed:
            raise DataError(
                f"{folder / name}: this model needs Python code from its folder ({classes[0]}), which is not run "
                "unasked; read it, and if you trust it set model.allow_remote_code: true"
            )
    return any(_auto_map_classes(folder / name) for name in CONFIG_FILES)


def _auto_map_classes(file: Path) -> list[str]:
    """Return the class paths that `auto_map` names, such as `modeling.Model`."""
    if not file.is_file():
        return []
    try:
        found: Any = json.loads(file.read_text(encoding="utf-8")).get("auto_map", {})
    except (ValueError, AttributeError) as error:
        raise DataError(f"{file}: is not a JSON object: {error}") from error
    values = found.values() if isinstance(found, dict) else [found]
    flat = (each for value in values for each in (value if isinstance(value, list | tuple) else [value]))
    return [each for each in flat if isinstance(each, str)]

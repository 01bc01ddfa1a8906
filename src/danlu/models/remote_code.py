"""Code that a model's folder brings: found before anything of it runs, and refused unless the recipe allows it."""

import json
from pathlib import Path
from typing import Any

from danlu.core.errors import DataError

FILES = ("config.json", "tokenizer_config.json")  # whose `auto_map` names classes of the folder's own


def runs_code(folder: Path, allowed: bool) -> bool:
    """Whether a folder's model or tokenizer is code that lies in it.

    Args:
        allowed: whether the recipe says `allow_remote_code: true`.

    Raises:
        DataError: it is and may not be run, or it is code from elsewhere, which is never fetched.
    """
    for name in FILES:
        classes = _classes(folder / name)
        if not classes:
            continue
        elsewhere = [each for each in classes if "--" in each]
        if elsewhere:
            raise DataError(
                f"{folder / name}: wants the code {elsewhere[0]}, which is not in the folder; danlu fetches none"
            )
        if not allowed:
            raise DataError(
                f"{folder / name}: this model is code of its own ({classes[0]}), which is not run unasked; read it, "
                "and where you trust it say model.allow_remote_code: true"
            )
    return any(_classes(folder / name) for name in FILES)


def _classes(file: Path) -> list[str]:
    """What `auto_map` names, as `modeling.py` class paths."""
    if not file.is_file():
        return []
    try:
        found: Any = json.loads(file.read_text(encoding="utf-8")).get("auto_map", {})
    except (ValueError, AttributeError) as error:
        raise DataError(f"{file}: is not a JSON object: {error}") from error
    values = found.values() if isinstance(found, dict) else [found]
    flat = (each for value in values for each in (value if isinstance(value, list | tuple) else [value]))
    return [each for each in flat if isinstance(each, str)]

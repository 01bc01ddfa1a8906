"""danlu's command line with some modules out of reach, as where they are not installed.

`python -m danlu.deployment.barred '["torch"]' serve ...`
"""

import json
import runpy
import sys
from collections.abc import Sequence
from typing import Any


class Barred:
    """Find modules as another finder of `sys.meta_path` does, but not barred ones."""

    def __init__(self, finder: Any, modules: Sequence[str]) -> None:
        self._finder, self._modules = finder, frozenset(modules)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Return where a module is; None where it is barred or not there."""
        return None if name.partition(".")[0] in self._modules else self._finder.find_spec(name, path, target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)


if __name__ == "__main__":
    barred = json.loads(sys.argv.pop(1))
    sys.meta_path[:] = [Barred(finder, barred) for finder in sys.meta_path]
    runpy.run_module("danlu", run_name="__main__", alter_sys=True)

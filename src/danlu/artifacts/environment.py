"""The environment of a run: versions, device, commit, command; enough to repeat it or explain differences."""

import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from danlu.core.world import this_world

PACKAGES = ("danlu", "torch", "numpy", "polars", "scikit-learn", "timm", "torchvision", "transformers", "tokenizers")


def versions() -> dict[str, str]:
    """Return the versions of installed packages that influence results."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def environment(device: str, seed: int, threads: int) -> dict[str, Any]:
    """Build the content of environment.json."""
    return {
        "versions": versions(),
        "platform": platform.platform(),
        "device": device,
        "threads": threads,
        "seed": seed,
        "processes": this_world().size,
        "launch": this_world().launch,
        "git": _commit(),
        "command": command_line(),
    }


def command_line() -> list[str]:
    """Return the command that was run."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]]


def _commit() -> str | None:
    """Return the git commit of the current folder, or None."""
    git = shutil.which("git")
    if git is None:
        return None
    done = subprocess.run([git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None

"""What a run ran on: versions, device, commit, command. Enough to run it again or to explain why it differs."""

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
    """The installed versions of what decides a result; packages that are not installed are left out."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def environment(device: str, seed: int, threads: int) -> dict[str, Any]:
    """environment.json."""
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
    """What was asked for."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]]


def _commit() -> str | None:
    """The commit of the folder that the run was started in, if that is a git checkout."""
    git = shutil.which("git")
    if git is None:
        return None
    done = subprocess.run([git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None

"""The environment of a run: versions, device, commit, command; enough to repeat it or explain differences."""

import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from danlu.core.distributed.env import dist_env

PACKAGES = ("danlu", "torch", "numpy", "polars", "scikit-learn", "timm", "torchvision", "transformers", "tokenizers")


def installed_versions() -> dict[str, str]:
    """Return the versions of installed packages that influence results."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def describe_environment(device: str, seed: int, threads: int) -> dict[str, Any]:
    """Build the content of environment.json."""
    return {
        "versions": installed_versions(),
        "platform": platform.platform(),
        "device": device,
        "threads": threads,
        "seed": seed,
        "processes": dist_env().world_size,
        "launch": dist_env().launch_id,
        "git": _git_commit(),
        "command": command_line(),
    }


def command_line() -> list[str]:
    """Return the command that was run."""
    program = Path(sys.argv[0])
    return [program.parent.name if program.name == "__main__.py" else program.name, *sys.argv[1:]]  # python -m danlu


def _git_commit() -> str | None:
    """Return the git commit of the current folder, or None."""
    git = shutil.which("git")
    if git is None:
        return None
    done = subprocess.run([git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None

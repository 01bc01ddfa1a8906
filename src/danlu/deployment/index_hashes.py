"""SHA-256 of packages' files, as the index that pip is configured for states them. Asks that index: only when told to.

Nothing is installed and no package's code runs: pip resolves exact versions of wheels alone and reports.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from danlu.core.console import info
from danlu.deployment.packages import Package, normalized
from danlu.errors import ArgumentError

# Machines of the usual nodes; a wheel for any Linux says one of these tags, or `any`.
MACHINES = ("x86_64", "aarch64")
TAGS = (
    *("manylinux_2_28", "manylinux_2_27", "manylinux_2_24", "manylinux_2_17", "manylinux2014", "manylinux_2_5"),
    *("manylinux2010", "manylinux1", "linux"),
)
PATIENCE_S = 600


def with_hashes(packages: Sequence[Package], python: str) -> list[Package]:
    """Return the packages with the SHA-256 of their wheels for Linux.

    A version that no index has (`2.13.0+cpu`) keeps none, and so does a package without a wheel.

    Args:
        packages: with exact versions.
        python: version of the image's Python, as 3.11.

    Raises:
        ArgumentError: the index cannot be asked, or has none of the packages.
    """
    found: dict[str, dict[str, None]] = {package.name: {} for package in packages}
    for machine in MACHINES:
        for package, value in _report([package for package in packages if "+" not in package.version], machine, python):
            found[package][value] = None
    told = [replace(package, sha256=tuple(found[package.name])) for package in packages]
    if not any(package.sha256 for package in told):
        raise ArgumentError("--hashes: the package index has none of the packages; see pip config", code="DL402")
    return told


def _report(packages: Sequence[Package], machine: str, python: str) -> list[tuple[str, str]]:
    """Return name and hash of each wheel; ask for halves where one is missing."""
    try:
        return _ask([package.pin for package in packages], machine, python)
    except ArgumentError as error:
        if len(packages) == 1:
            if machine == MACHINES[0]:
                info(f"no wheel of {packages[0].pin} for {machine}: {error}")
            return []
        middle = len(packages) // 2
        return [*_report(packages[:middle], machine, python), *_report(packages[middle:], machine, python)]


def _ask(pins: Sequence[str], machine: str, python: str) -> list[tuple[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "--quiet"]
        command += ["--disable-pip-version-check", "--report", "-", "--only-binary", ":all:", "--target", folder]
        command += ["--python-version", python, "--implementation", "cp"]
        command += [word for tag in TAGS for word in ("--platform", f"{tag}_{machine}")]
        done = subprocess.run([*command, *pins], capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["pip said nothing"]
        raise ArgumentError(f"--hashes: pip cannot find them: {said[-1]}", code="DL402")
    told: list[dict[str, Any]] = json.loads(done.stdout)["install"]
    return [
        (normalized(each["metadata"]["name"]), each["download_info"]["archive_info"]["hashes"]["sha256"])
        for each in told
    ]

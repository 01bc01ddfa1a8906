"""The steps of a Dockerfile replayed without an engine for images: by a common user, in an empty environment."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

NOBODY = 65534
PATIENCE_S = 600
# Options of subprocess for a user who is not root.
USER: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


@dataclass(frozen=True)
class Image:
    """What a Dockerfile would have made: the environment's folder, the bundle's, and the commands."""

    root: Path
    entry: list[str]
    health: list[str]

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": f"{self.root}/opt/danlu/bin:/usr/bin:/bin", "HOME": "/nonexistent", "USER": "danlu"}


def _common_python() -> Path:
    """A Python of this version that a user who is not root can run, and make environments with."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for folder in (Path(sys.base_prefix) / "bin", Path("/usr/local/bin"), Path("/usr/bin")):
        with suppress(OSError):
            command = [folder / name, "-c", "import ensurepip"]
            if subprocess.run(command, capture_output=True, check=False, **USER).returncode == 0:
                return folder / name
    pytest.skip(f"no {name} here that other users can run")


@contextmanager
def replayed(folder: Path) -> Iterator[Image]:
    """Run the RUN steps of a folder's Dockerfile; absolute paths of the image lie below a folder of their own."""
    text = re.sub(r"\\\n\s*", "", (folder / "Dockerfile").read_text(encoding="utf-8"))
    root = Path(tempfile.mkdtemp(prefix="image-"))
    try:
        build = Path(shutil.copytree(folder, root / "build"))
        for made in (root, root / "opt", root / "bin"):
            made.mkdir(exist_ok=True)
            made.chmod(0o755)
        (root / "bin" / "python").symlink_to(_common_python())
        shutil.copytree(build / "model", root / "srv" / "model")
        for key in build.glob("*.pub"):
            shutil.copy(key, root / "srv")
        if USER:
            for made in (root / "opt", build):
                shutil.chown(made, NOBODY, NOBODY)
        kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_"))}
        for step in re.findall(r"^RUN (.+)$", text, re.MULTILINE):
            command = step.replace("/opt/danlu", f"{root}/opt/danlu")
            done = subprocess.run(
                ["/bin/sh", "-c", command],
                cwd=build,
                env={**kept, "PATH": f"{root}/bin:/usr/bin:/bin", "HOME": str(root / "opt")},
                capture_output=True,
                text=True,
                check=False,
                timeout=PATIENCE_S,
                **USER,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        entry, arguments, health = (
            json.loads(re.search(rf"{word} (\[.+\])$", text, re.MULTILINE)[1])  # type: ignore[index]
            for word in ("^ENTRYPOINT", "^CMD", "HEALTHCHECK .*CMD")
        )
        moved = [word.replace("/srv/", f"{root}/srv/") for word in arguments]
        yield Image(root, [*entry, *moved], health)
    finally:
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def started(image: Image, port: str = "0") -> Iterator[str]:
    """Start an image's server on this machine alone, and give its address."""
    replaced = {"0.0.0.0": "127.0.0.1", "8080": port}
    command = [replaced.get(word, word) for word in image.entry]
    process = subprocess.Popen(
        [*command, "--json"], env=image.environment, cwd="/", stdout=subprocess.PIPE, text=True, **USER
    )
    assert process.stdout is not None
    try:
        yield str(json.loads(process.stdout.readline())["url"])
    finally:
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
        process.stdout.close()

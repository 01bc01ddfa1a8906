"""Files of an image: Dockerfile, requirements with hashes, danlu's wheel, the bundle, a bill of materials; and compose.

No engine for images runs here: the files are written, nothing is built.
"""

import json
import math
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from danlu._version import __version__
from danlu.artifacts.bundle import MANIFEST, SIGNATURE
from danlu.artifacts.files import sha256, write_bytes, write_json, write_text
from danlu.deployment.measure import MEBIBYTE, Measured
from danlu.deployment.own_wheel import write_own_wheel
from danlu.deployment.packages import OWN, Package
from danlu.deployment.sbom import bill_of_materials
from danlu.deployment.subject import Subject
from danlu.launch.clusters import manifest_text, render

PORT, USER = 8080, 10001
MODEL = "/srv/model"
SBOM, REQUIREMENTS, UNHASHED = "bom.cdx.json", "requirements.txt", "requirements-unhashed.txt"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
READY = "/v2/health/ready"
HEALTH = ("python", "-c", f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{PORT}{READY}', timeout=2)")
MEMORY_STEP = 16 * MEBIBYTE
REQUESTED, ALLOWED = 1.1, 1.5  # times the memory that was measured
RATE = 100  # requests of one row a second that a replica is to answer
LEAST_CPU_M = 100


@dataclass(frozen=True)
class Resources:
    """Hold what a replica requests and may take, of what was measured.

    Attributes:
        measured: on the bundle.
        workers: processes that answer.
    """

    measured: Measured
    workers: int = 1

    @property
    def memory_mib(self) -> tuple[int, int]:
        """What is requested, and the limit."""
        steps = [math.ceil(self.measured.memory_bytes * factor / MEMORY_STEP) for factor in (REQUESTED, ALLOWED)]
        return steps[0] * MEMORY_STEP // MEBIBYTE, steps[1] * MEMORY_STEP // MEBIBYTE

    @property
    def cpu_m(self) -> tuple[int, int]:
        """Thousandths of a core: what `RATE` requests a second take, and a core a worker."""
        requested = max(LEAST_CPU_M, math.ceil(self.measured.cpu_ms * RATE / 10) * 10)
        return requested, max(1000 * self.workers, 2 * requested)

    @property
    def start_s(self) -> int:
        """Seconds that a start may take: ten times that measured, a minute at least."""
        return max(60, math.ceil(10 * self.measured.ready_s))

    def described(self) -> str:
        """Return how the figures came about."""
        return (
            f"measured: {self.measured.described()}. Memory: requested {REQUESTED} times that, limited to {ALLOWED} "
            f"times; processor: requested for {RATE} such requests a second ({LEAST_CPU_M}m at least)."
        )


def server_arguments(subject: Subject, workers: int, keys: Sequence[str]) -> list[str]:
    """Return the arguments of `danlu serve` in the image."""
    trusted = [word for key in keys for word in ("--trusted", f"/srv/{key}")]
    listening = ["--host", "0.0.0.0", "--port", str(PORT)]  # noqa: S104  (the container's own network)
    return [f"{subject.name}={MODEL}", *listening, "--engine", subject.engine, "--workers", str(workers), *trusted]


def write_container(
    subject: Subject, packages: Sequence[Package], resources: Resources, trusted: Sequence[Path], folder: Path
) -> list[Package]:
    """Write an image's files into a folder, and return what it installs, danlu's wheel first.

    Args:
        subject: the bundle.
        packages: with hashes, where the index was asked.
        resources: as measured.
        trusted: public keys, one of which has to have signed the bundle; they are copied.
        folder: exists.
    """
    wheel = write_own_wheel(folder)
    hashed = [package for package in packages if package.sha256]
    unhashed = [package for package in packages if not package.sha256] if hashed else []
    wheel_hash = sha256(wheel)
    lines = [f"./{wheel.name} --hash=sha256:{wheel_hash}"]
    lines += [_requirement(package) for package in (hashed or packages)]
    write_text(folder / REQUIREMENTS, "\n".join(lines) + "\n")
    if unhashed:
        write_text(folder / UNHASHED, "\n".join([*_indexes(unhashed), *(each.pin for each in unhashed)]) + "\n")
    _copy_bundle(subject, folder / "model")
    keys = [f"trusted-{number}.pub" for number, _ in enumerate(trusted, start=1)]
    for name, key in zip(keys, trusted, strict=True):
        write_bytes(folder / name, key.read_bytes())
    copied = [REQUIREMENTS, wheel.name, "model", *keys, *([UNHASHED] if unhashed else [])]
    write_text(folder / ".dockerignore", "\n".join(["*", *(f"!{name}" for name in copied)]) + "\n")
    text = render(
        "danlu.deployment",
        "Dockerfile.j2",
        subject=subject,
        python=PYTHON,
        port=PORT,
        user=USER,
        wheel=wheel.name,
        hashed=bool(hashed),
        unhashed=unhashed,
        keys=keys,
        start_s=resources.start_s,
        health=json.dumps(HEALTH),
        arguments=json.dumps(server_arguments(subject, resources.workers, keys)),
    )
    write_text(folder / "Dockerfile", text)
    own = Package(OWN, __version__, tuple(each.name for each in packages), "Apache-2.0", (wheel_hash,))
    installed = [own, *packages]
    write_json(folder / SBOM, bill_of_materials(subject, installed))
    return installed


def write_compose(subject: Subject, resources: Resources, file: Path, *, builds: bool) -> None:
    """Write a compose file that serves the image on this machine alone.

    Args:
        subject: the bundle.
        resources: as measured.
        file: to write.
        builds: whether the image's files lie beside it.
    """
    _, memory = resources.memory_mib
    service: dict[str, Any] = {
        "image": subject.image,
        **({"build": {"context": "."}} if builds else {}),
        "ports": [f"127.0.0.1:{PORT}:{PORT}"],
        "user": f"{USER}:{USER}",
        "read_only": True,
        "tmpfs": ["/tmp"],  # noqa: S108
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "init": True,
        "restart": "unless-stopped",
        "stop_grace_period": "40s",
        "healthcheck": {
            "test": ["CMD", *HEALTH],
            "interval": "10s",
            "timeout": "3s",
            "retries": 3,
            "start_period": f"{resources.start_s}s",
        },
        "mem_limit": f"{memory}m",
        "cpus": resources.cpu_m[1] / 1000,
    }
    comment = f"# docker compose up: http://127.0.0.1:{PORT}\n# {resources.described()}\n"
    write_text(file, manifest_text(comment, {"name": subject.name, "services": {"model": service}}))


def _requirement(package: Package) -> str:
    return " \\\n    ".join([package.pin, *(f"--hash=sha256:{value}" for value in package.sha256)])


def _indexes(packages: Sequence[Package]) -> list[str]:
    """Return the further index that builds for processors come from: torch's own."""
    own = any(package.version.endswith("+cpu") for package in packages)
    return ["--extra-index-url https://download.pytorch.org/whl/cpu"] if own else []


def _copy_bundle(subject: Subject, folder: Path) -> None:
    """Copy the files that the manifest lists, the manifest and its signature."""
    shutil.rmtree(folder, ignore_errors=True)
    beside = [name for name in (MANIFEST, SIGNATURE) if (subject.folder / name).is_file()]
    for name in (*subject.bundle.manifest.files, *beside):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(subject.folder / name, folder / name)

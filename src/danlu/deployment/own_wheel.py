"""danlu as a wheel, made of the very files that run here, so that an image has the code that was measured.

Always the same bytes of the same files: no times, sorted names.
"""

import base64
import hashlib
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

from danlu._version import __version__
from danlu.artifacts.files import translate_write_errors
from danlu.deployment.packages import OWN
from danlu.errors import ArtifactError

EPOCH = (1980, 1, 1, 0, 0, 0)
MODE = 0o644 << 16
LEFT_OUT = ("__pycache__", ".pyc", ".partial")


def write_own_wheel(folder: Path) -> Path:
    """Write danlu's wheel into a folder and return its file.

    Raises:
        ArtifactError: danlu runs here without having been installed, so nothing says what it is.
    """
    known = distribution(OWN)
    metadata = known.read_text("METADATA")
    if metadata is None:
        raise ArtifactError("danlu has no metadata here; install it with pip, then deploy", code="DL301")
    info, source = f"{OWN}-{__version__}.dist-info", Path(__file__).parents[1]
    contents = {f"{OWN}/{path.relative_to(source).as_posix()}": path.read_bytes() for path in _files(source)}
    contents[f"{info}/METADATA"] = metadata.encode()
    contents[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: danlu\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    contents[f"{info}/entry_points.txt"] = (known.read_text("entry_points.txt") or "").encode()
    record = "".join(f"{name},sha256={_digest(content)},{len(content)}\n" for name, content in contents.items())
    contents[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    target = folder / f"{OWN}-{__version__}-py3-none-any.whl"
    with translate_write_errors(target), zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, content in contents.items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr, entry.compress_type = MODE, zipfile.ZIP_DEFLATED
            wheel.writestr(entry, content)
    return target


def _files(source: Path) -> Iterator[Path]:
    found = (path for path in sorted(source.rglob("*")) if path.is_file())
    return (path for path in found if not any(part in LEFT_OUT or part.endswith(LEFT_OUT[1:]) for part in path.parts))


def _digest(content: bytes) -> str:
    """Return SHA-256 as RECORD files have it."""
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()

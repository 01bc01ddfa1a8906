"""Faults put into commands: a process that dies at its n-th change of the disk, and bits that turn in files.

A command runs in a fork of a warm process (as in `tests.support.warm`). In it the functions that change names on the
disk, or wait for it, are counted, and at the n-th the process ends at once, as `kill -9` ends one.
"""

import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from danlu.errors import DanluError
from danlu.recipe.load import check_recipe, dump_recipe
from tests.support.warm import WARM

NAMES = ("rename", "replace", "mkdir", "fsync", "unlink", "rmdir")  # of `os`; all of danlu's writing goes by them
DIED = 128 + signal.SIGKILL
PATIENCE_S = 300
# What two equal runs differ in: when and how they were started, how fast they were, how often one was judged.
VOLATILE = {"environment.json", "looks.jsonl", "throughput.jsonl", "report.html", "MODEL_CARD.md", ".lock"}


def wine_recipe(*, hidden: int, steps: int, resamples: int) -> dict[str, Any]:
    """A run of seconds that writes three checkpoints."""
    return {
        "name": "wine",
        "data": {"source": "builtin:wine"},
        "model": {"name": "mlp", "hidden": [hidden]},
        "training": {
            "max_steps": steps,
            "batch_size": 64,
            "device": "cpu",
            "checkpoint": {"every_steps": steps // 3},
        },
        "evaluation": {"resamples": resamples, "slices": False, "baselines": False},
    }


def wine_search(trials: int) -> dict[str, Any]:
    """A search for the learning rate, the section `tuning` of a recipe."""
    return {"sampler": "random", "trials": trials, "space": {"training.optimizer.lr": {"log": [1e-3, 1e-1]}}}


def write_recipe(values: dict[str, Any], path: Path) -> Path:
    path.write_text(dump_recipe(check_recipe(values)), encoding="utf-8")
    return path


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: its exit code, or DIED.
        changes: of the disk that it made, or was about to make.
        said: what it wrote on stderr.
    """

    code: int
    changes: int
    said: str


def command(*arguments: str | Path, die_at: int | None = None, call: str = "tests.support.faults:danlu") -> Ended:
    """Run `danlu`, or another function; `die_at` is the change of the disk, from 1, instead of which it dies."""
    with tempfile.TemporaryDirectory() as folder:
        counted = Path(folder, "count")
        words = map(str, arguments)
        try:
            done = WARM.run("tests.support.faults:watched", call, str(counted), die_at, *words, timeout=PATIENCE_S)
        except subprocess.TimeoutExpired as late:
            return Ended(-1, 0, f"hangs: {late.stderr!r}")
        changes = counted.stat().st_size if counted.exists() else 0
        return Ended(done.returncode, changes, done.stderr)


def watched(call: str, counted: str, die_at: int | None, *arguments: str) -> None:
    """In the fork: do it, and perhaps die."""
    file = os.open(counted, os.O_WRONLY | os.O_CREAT | os.O_APPEND)  # a byte a change: it survives the process
    left = [-1 if die_at is None else die_at]

    def counting(do: Callable[..., Any], waits: bool) -> Callable[..., Any]:
        def changed(*given: Any, **named: Any) -> Any:
            os.write(file, b".")
            left[0] -= 1
            if left[0] == 0:
                os._exit(DIED)
            return None if waits else do(*given, **named)

        return changed

    for name in NAMES:
        setattr(os, name, counting(getattr(os, name), name == "fsync"))
    module, _, name = call.partition(":")
    getattr(importlib.import_module(module), name)(*arguments)


def danlu(*arguments: str) -> None:
    """Be the command line."""
    sys.argv = ["danlu", *arguments]
    from danlu.cli.main import main

    main()


def ends(folder: Path) -> dict[str, bytes]:
    """Return what is left of a command that two equal ones leave alike, by path.

    Which checkpoints there are depends on how fast the disk takes them.
    """
    every = (path for path in folder.rglob("*") if path.is_file() and path.name not in VOLATILE)
    found = (path for path in every if path.parent.parent.name != "checkpoints")
    return {path.relative_to(folder).as_posix(): _plain(path) for path in sorted(found)}


def _plain(path: Path) -> bytes:
    """Return a file's content without what differs from one equal run to another."""
    content = path.read_bytes()
    if path.name == "trials.jsonl":
        lines = [json.loads(line) for line in content.splitlines()]
        return repr([{**line, "seconds": 0, "check": ""} for line in lines]).encode()
    if path.name == "evaluation.json":
        return repr({**json.loads(content), "looks": {}, "digest": ""}).encode()
    return content


def differences(found: dict[str, bytes], expected: dict[str, bytes]) -> list[str]:
    """Return the names of files that are more, fewer or other than expected."""
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))


@dataclass(frozen=True)
class Case:
    """A command into whose course faults are put.

    Attributes:
        name: of the case.
        before: makes what the command needs in an empty folder.
        words: the command's arguments; FOLDER stands for the folder.
        made: what it makes there, a name below the folder.
        again: the ways to go on, in their order; the first that ends well counts.
        holds: what must be true at once after the death; returns what is wrong, or nothing.
        call: the function that is called with the words, as `module:function`; by default the command line.
    """

    name: str
    before: Callable[[Path], None]
    words: tuple[str, ...]
    made: str
    again: dict[str, tuple[str, ...]]
    holds: Callable[[Path], str] = lambda folder: ""
    call: str = "tests.support.faults:danlu"

    def arguments(self, words: tuple[str, ...], folder: Path) -> list[str]:
        return [word.replace("FOLDER", str(folder)) for word in words]


def deaths(case: Case, folder: Path, every: int = 1, first: int = 1) -> Iterator[tuple[int, str, str]]:
    """Let a command die at each of its changes of the disk, and go on.

    Args:
        case: the command.
        folder: empty; all cases have the same path in it, since some files name theirs.
        every: take every so-manieth change only.
        first: the first change taken.

    Yields:
        the number of the change, how it ended (`absent`, `whole`, or a key of `case.again`), and what is wrong, if
        anything is.
    """
    at = folder / "case"

    def begin() -> None:
        shutil.rmtree(at, ignore_errors=True)
        at.mkdir()
        case.before(at)

    begin()
    whole = command(*case.arguments(case.words, at), call=case.call)
    if whole.code:
        raise RuntimeError(f"{case.name}: {whole.said}")
    expected = ends(at)
    for change in range(first, whole.changes + 1, every):
        begin()
        died = command(*case.arguments(case.words, at), die_at=change, call=case.call)
        if died.code == 0:  # a thread made one change less this time
            continue
        if died.code != DIED:
            yield change, "dies", f"exit {died.code}: {died.said}"
            continue
        yield change, *_go_on(case, at, expected)
    shutil.rmtree(at)


def _go_on(case: Case, at: Path, expected: dict[str, bytes]) -> tuple[str, str]:
    wrong = case.holds(at)
    if wrong:
        return "holds", wrong
    if not differences(ends(at), expected):
        return "whole", ""
    was_there = (at / case.made).exists()
    said = ""
    for way, words in case.again.items():
        done = command(*case.arguments(words, at))
        said += f"{way}: exit {done.code}: {done.said.strip().splitlines()[-1:]}; "
        if done.code in (-1, DIED) or "Traceback" in done.said or "unexpected error" in done.said:
            return way, said
        if done.code == 0:
            other = differences(ends(at), expected)
            return (way if was_there else "absent"), f"differs in {other[:5]}" if other else ""
    return "stuck", said


def turned(file: Path, bit: int) -> bytes:
    """Turn one bit of a file, and return what it held."""
    content = file.read_bytes()
    changed = bytearray(content)
    changed[bit // 8 % len(content)] ^= 1 << bit % 8
    file.write_bytes(changed)
    return content


@dataclass(frozen=True)
class Reader:
    """A command that reads files which an earlier one wrote.

    Attributes:
        name: of the command.
        folder: with the files; it is copied for each fault.
        files: patterns below the folder of what the command reads.
        answer: asks the command about a copy, and returns all that it says.
    """

    name: str
    folder: Path
    files: tuple[str, ...]
    answer: Callable[[Path], object]

    def paths(self) -> list[str]:
        found = (path for pattern in self.files for path in self.folder.glob(pattern) if path.is_file())
        return sorted({path.relative_to(self.folder).as_posix() for path in found if path.stat().st_size})


@dataclass(frozen=True)
class Flip:
    """A turned bit and what came of it: `same`, `refused`, or what is wrong."""

    reader: str
    file: str
    bit: int
    how: str


def flips(readers: list[Reader], count: int, seed: int, folder: Path) -> Iterator[Flip]:
    """Turn one bit of one file at a time, drawn by a seed: first a command, then its file, then the bit."""
    drawn = random.Random(seed)
    expected = {reader.name: _asked(reader, folder, None, 0)[1] for reader in readers}
    for _ in range(count):
        reader = drawn.choice(readers)
        file = drawn.choice(reader.paths())
        bit = drawn.randrange(8 * (reader.folder / file).stat().st_size)
        how, answer = _asked(reader, folder, file, bit)
        if how == "same" and answer != expected[reader.name]:
            how = "another answer"
        yield Flip(reader.name, file, bit, how)


def _asked(reader: Reader, folder: Path, file: str | None, bit: int) -> tuple[str, object]:
    """Ask a command about a copy of its files, one of which is damaged."""
    copied = Path(shutil.copytree(reader.folder, folder / reader.folder.name))
    try:
        if file is not None:
            turned(copied / file, bit)
        return "same", reader.answer(copied)
    except DanluError:
        if file is None:
            raise
        return "refused", None
    except BaseException as error:
        if file is None or isinstance(error, KeyboardInterrupt):
            raise
        return f"unforeseen: {type(error).__name__}: {error}"[:300], None
    finally:
        shutil.rmtree(copied)


def readers_of(run: Path, folder: Path) -> list[Reader]:
    """The commands that read a finished run, one of which finds it interrupted."""
    import danlu

    stopped = Path(shutil.copytree(run, folder / "prepared" / "stopped"))
    for name in ("model", "predictions"):
        shutil.rmtree(stopped / name)
    for name in ("evaluation.json", "report.html", "MODEL_CARD.md", "looks.jsonl"):
        (stopped / name).unlink()
    shutil.rmtree(danlu.RunDirectory.open(stopped).checkpoints()[-1])
    source = danlu.load_recipe(run / "recipe.yaml").data.source

    def predicted(copied: Path) -> object:
        return danlu.predict(copied, source).to_dict(as_series=False)

    def evaluated(copied: Path) -> object:
        return {**danlu.evaluate(copied), "looks": {}}, ends(copied / "predictions")

    def compared(copied: Path) -> object:
        return json.dumps([danlu.compare([copied, run])["metrics"], danlu.runs(copied.parent)])

    def resumed(copied: Path) -> object:
        danlu.resume(copied)
        return (copied / "metrics.jsonl").read_bytes(), ends(copied / "model")

    data = ("recipe.yaml", "data/*")
    return [
        Reader("predict", run / "model", ("*",), predicted),
        Reader("evaluate", run, (*data, "model/*"), evaluated),
        Reader("compare", run, ("recipe.yaml", "evaluation.json", "predictions/test.parquet"), compared),
        Reader("resume", stopped, (*data, "environment.json", "*.jsonl", "checkpoints/*/*"), resumed),
    ]

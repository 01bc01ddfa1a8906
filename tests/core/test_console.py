"""What a person sees while waiting: a bar on a terminal, lines elsewhere, and nothing of either on stdout."""

import logging
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from danlu.core import console
from danlu.core.console import PlainProgress, each_line_once, info
from tests.conftest import DANLU, Command
from tests.support.warm import program


@pytest.mark.slow
@pytest.mark.training
def test_a_terminal_shows_a_bar(tmp_path: Path) -> None:
    reader, writer = pty.openpty()
    arguments = [DANLU, "train", "wine", "-o", tmp_path, "--set", "training.epochs=200"]
    done = subprocess.Popen(arguments, stderr=writer, stdout=subprocess.PIPE, text=True)
    os.close(writer)
    seen = b""
    while True:
        try:
            part = os.read(reader, 4096)
        except OSError:  # the other end was closed
            break
        if not part:
            break
        seen += part
    answer, _ = done.communicate(timeout=60)
    assert done.returncode == 0
    assert re.search(rb"training .*\d+/\d+", seen)
    assert b"validation/loss" in seen
    assert answer.startswith("run ")


def test_elsewhere_lines_are_printed_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    shown = PlainProgress("training", 1000, "samples")
    for _ in range(10):
        now[0] += 1.0
        shown.advance(100, "loss 0.5")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "training: 500/1000 samples, 100/s, 5 s left  loss 0.5",
        "training: 1000/1000 samples, 100/s, 0 s left  loss 0.5",
    ]


class Handle:
    """Stands for IPython's DisplayHandle: one output of a cell, and what was put into it."""

    made: ClassVar[list["Handle"]] = []

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.made.append(self)

    def display(self, data: dict[str, str], raw: bool) -> None:
        assert raw and self.lines == [], "an output is made once"
        self.lines.append(data["text/plain"])

    def update(self, data: dict[str, str], raw: bool) -> None:
        assert raw and self.lines, "only what is there can be replaced"
        self.lines.append(data["text/plain"])


@pytest.fixture
def in_a_kernel(monkeypatch: pytest.MonkeyPatch) -> list[Handle]:
    """As in the process of a notebook; gives the outputs of the cell."""
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(DisplayHandle=Handle))  # type: ignore[arg-type]
    monkeypatch.setattr(Handle, "made", [])
    return Handle.made


def test_a_notebook_shows_one_line_that_is_replaced(
    in_a_kernel: list[Handle], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    with console.progress("training", 1000, "samples") as shown:
        for _ in range(1000):
            now[0] += 0.01
            shown.advance(1, "loss 0.5")
    (output,) = in_a_kernel
    assert len(output.lines) <= 10 / console.LINE_EVERY_S + 2, "twice a second, however many steps there are"
    assert output.lines[-1] == "training: 1000/1000 samples, 100/s, 0 s left  loss 0.5"
    assert capsys.readouterr() == ("", "")


def test_ipython_in_a_terminal_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not console.in_notebook()
    for shell in (None, SimpleNamespace()):
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda shell=shell: shell))  # type: ignore[arg-type]
        assert not console.in_notebook()


def test_work_inside_another_librarys_work_can_be_silent(
    in_a_kernel: list[Handle], capsys: pytest.CaptureFixture[str]
) -> None:
    with console.silenced():
        console.info("not said")
        with console.progress("training", 10, "samples") as shown:
            shown.advance(10)
    assert in_a_kernel == [] and capsys.readouterr().err == ""
    console.info("said again")
    assert capsys.readouterr().err == "said again\n"


@pytest.mark.training
def test_answers_alone_are_on_stdout(table_run: Path, danlu: Command) -> None:
    done = danlu("predict", table_run, "builtin:wine")
    assert done.returncode == 3  # the table of the fixture has more columns than the built-in
    assert done.stdout == ""
    assert "no column" in done.stderr


AS_A_LIBRARY = """
import contextlib, io, logging, sys
import danlu

def train(name):
    with contextlib.redirect_stderr(io.StringIO()) as err:
        danlu.train(RECIPE, output=sys.argv[1], name=name)
    return err.getvalue().splitlines()

def starts(told):
    return [line.split()[0] for line in told]

RECIPE = {"data": {"source": "builtin:wine", "target": "cultivar"}, "training": {"epochs": 2}}

class Kept(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())

lines = []
bare = train("bare")
logging.getLogger().addHandler(Kept())  # of the root, whose level is WARNING
assert train("handled") == [], "the program's handler alone"
assert bare and starts(bare) == starts(lines), (bare, lines)
lines.clear()
logging.getLogger("danlu").setLevel(logging.ERROR)
assert train("silent") == lines == []
logging.getLogger().handlers.clear()
assert train("bare and silent") == []
print(len(bare))
"""


@pytest.mark.training
def test_a_program_hears_messages_through_logging_and_can_silence_them(tmp_path: Path) -> None:
    done = program(AS_A_LIBRARY, tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0


def test_messages_of_the_command_line_are_not_doubled_by_handlers_of_libraries(
    capsys: pytest.CaptureFixture[str],
) -> None:
    doubling = logging.StreamHandler(sys.stderr)
    logging.getLogger().addHandler(doubling)
    try:
        console.info("100% done")
    finally:
        logging.getLogger().removeHandler(doubling)
    assert capsys.readouterr().err == "100% done\n"


def test_a_line_that_comes_again_is_said_once_where_that_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(console, "emit", said.append)

    @each_line_once()
    def work() -> None:
        for line in ("cut", "other", "cut"):
            info(line)

    work()
    work()
    info("cut")
    assert said == ["cut", "other", "cut", "other", "cut"]

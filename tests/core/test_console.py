"""What a person sees while waiting: a bar on a terminal, lines elsewhere, and nothing of either on stdout."""

import logging
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from danlu.core import console
from danlu.core.console import PlainProgress
from tests.conftest import DANLU, Command


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
    arguments = [DANLU.parent / "python", "-c", AS_A_LIBRARY, tmp_path]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
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

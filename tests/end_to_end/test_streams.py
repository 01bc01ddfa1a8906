"""Streams that are closed or full, limits on files, signs that act on a terminal, damage beside what is asked for."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

import danlu
from danlu.cli.show import format_value, say
from danlu.core.console import info
from danlu.core.text import printable
from danlu.errors import DanluError
from danlu.experiment.run_evaluation import require_numbers
from danlu.training.stop_signals import catch_stop_signals
from tests.conftest import DANLU
from tests.support.disk import files_of_at_most


def shell(line: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Run a line of the shell in which `danlu` is the installed command."""
    words = line.replace("danlu ", f"{DANLU} ", 1)
    return subprocess.run(["/bin/bash", "-c", words], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("danlu schema >/dev/full", 1, "No space left on device"),
        ("danlu --version >/dev/full", 1, "No space left on device"),
        ("danlu runs 2>&-", 0, ""),
        ("danlu runs >&- 2>&- <&-", 0, ""),
        ("danlu runs nowhere-2 --json 2>&-", 2, ""),
        ("danlu predict RUN missing.csv 2>/dev/full", 3, ""),
        ("danlu schema | head -1 >/dev/null; exit ${PIPESTATUS[0]}", 0, ""),
    ],
)
def test_a_stream_that_is_closed_or_full_is_told_where_it_can_be(
    table_run: Path, tmp_path: Path, line: str, code: int, said: str
) -> None:
    (tmp_path / "runs").mkdir()
    done = shell(line.replace("RUN", str(table_run)), tmp_path)
    assert done.returncode == code, done.stderr
    assert said in done.stderr and "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


@pytest.mark.training
def test_a_limit_on_the_size_of_files_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    with files_of_at_most(6000), pytest.raises(DanluError, match=r"cannot be written: File too large; .*ulimit -f"):
        danlu.train("wine", output=tmp_path, name="small")
    assert list(tmp_path.iterdir()) == []


HOSTILE = "a\x1b[31mb\rc\x9b1;1Hd\u202eg\x07"


def test_signs_that_act_on_a_terminal_are_shown_by_their_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert printable(HOSTILE) == "a\\x1b[31mb\\rc\\x9b1;1Hd\\u202eg\\x07"
    assert printable("é 最初 a\tb\nc") == "é 最初 a\tb\nc"
    say(HOSTILE)
    info(HOSTILE)
    said = capsys.readouterr()
    assert said.out == said.err == printable(HOSTILE) + "\n"
    assert format_value(HOSTILE) == printable(HOSTILE)


def test_a_column_cannot_act_on_the_terminal(tmp_path: Path) -> None:
    lines = "".join(f"{n % 7},{n % 2}\n" for n in range(60))
    (tmp_path / "a.csv").write_text(f"x\x1b]0;owned\x07,y\n{lines}", encoding="utf-8")
    (tmp_path / "r.yaml").write_text("data: {source: a.csv, target: y}\n")
    done = shell("danlu check r.yaml", tmp_path)
    assert "\x1b" not in done.stdout + done.stderr and "\x07" not in done.stdout + done.stderr
    assert "x\\x1b]0;owned\\x07" in done.stdout


def test_one_damaged_run_hides_no_other(table_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    contents = ["{", "[]", '{"main": 1}', '{"main": {}}', '{"a": NaN}', "[" * 50_000, '{"version": 1}', "\udcff"]
    for number, content in enumerate(contents):
        run = Path(shutil.copytree(table_run, tmp_path / f"damaged-{number}"))
        (run / "evaluation.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    shutil.copytree(table_run, tmp_path / "sound")
    capsys.readouterr()
    assert [row["run"] for row in danlu.runs(tmp_path)] == ["sound"]
    said = capsys.readouterr().err
    assert all(f"damaged-{number}: skipped: " in said for number in range(len(contents)))


def test_a_model_that_answers_nan_is_not_judged(table_run: Path, tmp_path: Path) -> None:
    answers = np.ones((4, 3), dtype=np.float32)
    require_numbers(answers, "test")
    answers[2, 1] = np.nan
    with pytest.raises(DanluError, match="answers 1 of 4 rows of test with NaN, the first in its place 3") as caught:
        require_numbers(answers, "test")
    assert caught.value.code == "DL504"
    run = Path(shutil.copytree(table_run, tmp_path / "run"))
    _poison(run / "model")
    with pytest.raises(DanluError, match="with NaN"):
        danlu.evaluate(run)


def _poison(bundle: Path) -> None:
    """Put NaN into the weights of a bundle, as a forger of its checksums would, and take out the golden samples."""
    from safetensors.torch import load_file, save_file

    from danlu.artifacts.bundle import GOLDEN, open_bundle, write_manifest

    opened = open_bundle(bundle)
    tensors = load_file(bundle / "weights.safetensors")
    next(values for values in tensors.values() if values.is_floating_point()).fill_(float("nan"))
    save_file(tensors, bundle / "weights.safetensors")
    write_manifest(bundle, opened.manifest, set(opened.manifest.files) - {GOLDEN})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_that_warns_asks_training_to_stop(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with catch_stop_signals() as stop:
        os.kill(os.getpid(), number)
        assert stop.signal == number
        assert signal.getsignal(number) == before  # a second one ends the program
    assert signal.getsignal(number) == before


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with catch_stop_signals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
        assert not stop
    finally:
        signal.signal(signal.SIGHUP, before)

"""Several processes are started as one command, fail as one and end as one."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import danlu as package
from danlu.artifacts.run import RunDirectory
from danlu.core import console
from danlu.core.threads import plan_threads
from danlu.data.sources.reader import read_source
from danlu.errors import ArgumentError, DataError
from danlu.launch.failures import is_lost_peer
from danlu.launch.processes import check_processes, drop_launch_options
from danlu.recipe.load import check_recipe, dump_recipe, load_recipe
from danlu.recipe.sections.training import Parallel, Threads
from tests.conftest import DANLU, Command
from tests.support.processes import REPOSITORY

LAUNCH = """
import sys
from danlu.errors import DanluError
from danlu.launch.failures import report_failure
from danlu.launch.processes import launch_command
processes, restarts, *command = sys.argv[1:]
try:
    sys.exit(launch_command(command, int(processes), int(restarts)))
except DanluError as error:
    sys.exit(report_failure(error))
"""


@pytest.fixture
def danlu(installed_danlu: Command) -> Command:
    """Here in a process of its own, as whoever installed it has it."""
    return installed_danlu


def started(what: str, folder: Path, processes: int = 2, restarts: int = 0) -> "subprocess.Popen[str]":
    worker = (sys.executable, "-m", "tests.support.stand_in", what, str(folder))
    return subprocess.Popen(
        [sys.executable, "-c", LAUNCH, str(processes), str(restarts), *worker],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def launched(what: str, folder: Path, processes: int = 2, restarts: int = 0) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a launch."""
    process = started(what, folder, processes, restarts)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


@pytest.mark.slow
def test_all_start_and_the_first_alone_answers(tmp_path: Path) -> None:
    code, out, err = launched("answer", tmp_path, processes=3)
    assert code == 0
    assert out == f"rank 0 of 3, threads {os.environ['OMP_NUM_THREADS']}\n"
    assert err == "said once\n"


@pytest.mark.slow
def test_an_error_that_all_meet_is_shown_once_and_not_tried_again(tmp_path: Path) -> None:
    assert launched("same_error", tmp_path, restarts=3) == (3, "", "churn.csv: no such file [DL201]\n")


@pytest.mark.slow
def test_the_cause_is_shown_and_not_that_others_noticed(tmp_path: Path) -> None:
    code, out, err = launched("error_of_one", tmp_path, restarts=3)
    assert code == 3
    assert out == ""
    assert [line for line in err.splitlines() if "gloo" not in line] == ["rows of rank 1 are wrong"]


@pytest.mark.slow
def test_what_was_not_foreseen_names_its_rank(tmp_path: Path) -> None:
    code, _, err = launched("bug_of_one", tmp_path, restarts=3)
    assert code == 1
    told = "ZeroDivisionError: division by zero (unexpected error; --debug shows the traceback) [DL900]"
    assert err == f"rank 1: danlu: {told}\n"


@pytest.mark.slow
def test_a_killed_process_has_all_begin_again(tmp_path: Path) -> None:
    code, out, err = launched("killed_once", tmp_path, processes=4, restarts=1)
    assert code == 0, err
    assert out == "all there again: 16, restarts 1\n"
    assert "process 3 was killed by SIGKILL; restarting all from the newest checkpoint (restart 1 of 1)" in err


@pytest.mark.slow
def test_restarts_come_to_an_end(tmp_path: Path) -> None:
    code, _, err = launched("killed_always", tmp_path, restarts=1)
    assert code == 1
    assert err.splitlines()[-1].startswith("process 1 was killed by SIGKILL; tried 2 times. The newest checkpoint")


@pytest.mark.slow
def test_what_cannot_be_asked_to_end_is_ended(tmp_path: Path) -> None:
    assert launched("deaf", tmp_path) == (3, "", "rank 1 has failed\n")


@pytest.mark.slow
def test_a_stop_does_not_wait_for_those_whose_peer_was_killed(tmp_path: Path) -> None:
    launcher = started("stubborn", tmp_path, restarts=3)
    until(lambda: len(list(tmp_path.glob("ready-*"))) == 2)
    launcher.send_signal(signal.SIGTERM)
    _, err = launcher.communicate(timeout=60)
    assert launcher.returncode == 128 + signal.SIGKILL
    assert "begin again" not in err


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_to_stop_reaches_each_process_once(number: signal.Signals, tmp_path: Path) -> None:
    launcher = started("stoppable", tmp_path, restarts=3)
    until(lambda: len(list(tmp_path.glob("ready-*"))) == 2)
    launcher.send_signal(number)
    _, err = launcher.communicate(timeout=60)
    assert launcher.returncode == 3  # as one such process ends
    assert err == "stopped at step 7\n"
    assert [(tmp_path / f"checkpoint-{rank}").read_text() for rank in (0, 1)] == [number.name] * 2


@pytest.mark.slow
def test_processes_stop_when_the_launcher_is_killed(tmp_path: Path) -> None:
    launcher = started("stoppable", tmp_path)
    until(lambda: len([file for file in tmp_path.glob("ready-*") if file.read_text()]) == 2)
    launcher.kill()
    launcher.communicate(timeout=60)
    until(lambda: len([file for file in tmp_path.glob("checkpoint-*") if file.read_text()]) == 2)
    assert (tmp_path / "checkpoint-1").read_text() == "SIGTERM"


@pytest.mark.slow
def test_torchrun_shows_an_error_once_too(tmp_path: Path) -> None:
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3")
    done = subprocess.run(
        [*torchrun, "-m", "tests.support.stand_in", "same_error", str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode != 0
    assert done.stderr.splitlines().count("churn.csv: no such file [DL201]") == 1


def until(happened: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_wrong_recipe_is_refused_before_anything_starts(tmp_path: Path, danlu: Command) -> None:
    done = danlu("train", "wine", "-o", tmp_path, "--processes", 2, "--set", "training.epoch=3")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert 'training.epoch: unknown key; the nearest is "epochs"' in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_there_is_refused_before_anything_starts(table_run: Path, danlu: Command) -> None:
    done = danlu("run", "wine", "-o", table_run.parent, "--name", table_run.name, "--processes", 2)
    assert done.returncode == 2
    assert done.stderr.count("exists already") == 1


@pytest.mark.slow
def test_a_finished_run_has_nothing_to_go_on_with(table_run: Path, danlu: Command) -> None:
    done = danlu("train", "--resume", table_run, "--processes", 2)
    assert done.returncode == 2
    assert done.stderr.count("training is finished") == 1


def test_processes_must_fit_the_recipe() -> None:
    recipe = load_recipe("wine")
    check_processes(recipe, 3)
    training = recipe.training.model_copy(update={"parallel": Parallel(tensor=2)})
    split = recipe.model_copy(update={"training": training})
    check_processes(split, 4)
    with pytest.raises(ArgumentError, match="takes 2 processes, and there are 3"):
        check_processes(split, 3)
    with pytest.raises(ArgumentError, match="must be at least 1"):
        check_processes(recipe, 0)


@pytest.mark.slow
def test_there_are_no_fewer_than_no_restarts(danlu: Command, tmp_path: Path) -> None:
    done = danlu("train", "wine", "-o", tmp_path, "--processes", 2, "--restarts", -1)
    assert (done.returncode, done.stderr) == (2, "--restarts -1: must be 0 or more [DL402]\n")


def test_a_launched_process_launches_none(monkeypatch: pytest.MonkeyPatch) -> None:
    in_world(monkeypatch, rank=0, size=2)
    with pytest.raises(ArgumentError, match="one of several already"):
        check_processes(load_recipe("wine"), 2)


def test_processes_get_the_arguments_but_for_their_number() -> None:
    given = ["train", "wine", "--processes", "4", "--set", "seed=1", "--restarts=2", "-o", "here", "--processes=8"]
    assert list(drop_launch_options(given)) == [
        "train",
        "wine",
        "--set",
        "seed=1",
        "-o",
        "here",
    ]


def in_world(monkeypatch: pytest.MonkeyPatch, rank: int, size: int) -> None:
    for name, value in (("RANK", rank), ("LOCAL_RANK", rank), ("WORLD_SIZE", size), ("LOCAL_WORLD_SIZE", size)):
        monkeypatch.setenv(name, str(value))


def test_the_first_process_speaks_for_all(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    for rank in (0, 1):
        in_world(monkeypatch, rank, 2)
        console.info("hello")
        with console.progress("training", 100, "samples") as bar:
            now[0] += 10.0
            bar.advance(50)
    said = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in said] == ["hello", "training"]


def test_cores_are_shared_among_the_processes_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    in_world(monkeypatch, rank=1, size=3)
    shared = plan_threads(Threads(), cores=8, environment={})
    assert (shared.compute, shared.data) == (2, 2)
    assert plan_threads(Threads(compute=5), cores=8, environment={}).compute == 5
    assert plan_threads(Threads(), cores=2, environment={}).compute == 1


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:31636."), True),
        (RuntimeError("[gloo/transport/tcp/pair.cc:537] Read error [127.0.0.1]:2: Connection reset by peer."), True),
        (RuntimeError("NCCL error: remote process exited or there was a network error"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("connection closed"), False),
        (DataError("connection closed by the database"), False),
    ],
)
def test_a_lost_peer_is_known_by_what_backends_say(error: Exception, lost: bool) -> None:
    assert is_lost_peer(error) is lost


@pytest.mark.slow
def test_a_launched_danlu_gives_its_answer_and_its_run(tmp_path: Path, danlu: Command) -> None:
    arguments = ("breast-cancer", "-o", tmp_path, "--set", "training.epochs=1", "--json")
    done = danlu("train", *arguments, "--processes", 1)
    assert done.returncode == 0, done.stderr
    (run,) = tmp_path.iterdir()
    assert json.loads(done.stdout) == {"format": 1, "run": str(run)}
    assert re.fullmatch(r"breast-cancer-\d{8}-\d{4}", run.name)
    again = danlu("train", *arguments, "--processes", 1)
    assert again.returncode == 0, again.stderr
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.slow
def test_two_processes_train_one_run(tmp_path: Path, danlu: Command) -> None:
    done = danlu("train", "breast-cancer", "-o", tmp_path, "--processes", 2, "--set", "training.epochs=2")
    assert done.returncode == 0, done.stderr
    (run,) = tmp_path.iterdir()
    assert (run / "model" / "bundle.json").is_file()
    assert done.stdout.count(str(run)) == 3
    assert done.stderr.count("trained") == 1


@pytest.mark.slow
def test_two_processes_run_every_stage_and_speak_as_one(tmp_path: Path, danlu: Command) -> None:
    done = danlu("run", "breast-cancer", "-o", tmp_path, "--processes", 2, "--set", "training.epochs=2")
    assert done.returncode == 0, done.stderr
    assert "rank" not in done.stderr
    assert "Warning" not in done.stderr
    assert done.stdout.count("report.html") == 1
    (run,) = tmp_path.iterdir()
    assert (run / "evaluation.json").is_file()


@pytest.mark.slow
def test_a_killed_worker_changes_nothing(tmp_path: Path, danlu: Command, table_recipe: dict[str, object]) -> None:
    """One of two is killed on the way: all begin again from the newest checkpoint, and the end is the same."""
    recipe = tmp_path / "recipe.yaml"
    training = {"max_steps": 160, "batch_size": 32, "checkpoint": {"every_steps": 8}, "parallel": {"shard": 2}}
    values = {**table_recipe, "model": {"name": "mlp", "normalization": "none"}, "training": training}
    recipe.write_text(dump_recipe(check_recipe(values)), encoding="utf-8")
    whole = danlu("train", recipe, "-o", tmp_path, "--name", "whole", "--processes", 2)
    assert whole.returncode == 0, whole.stderr
    process = subprocess.Popen(
        [DANLU, "train", str(recipe), "-o", str(tmp_path), "--name", "killed", "--processes", "2"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    victim = wait_for_worker(process, tmp_path / "killed", step=48)
    os.kill(victim, signal.SIGKILL)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert "SIGKILL" in said
    for name in ("metrics.jsonl", "model/weights.safetensors"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.slow
def test_a_run_goes_on_with_the_machines_that_are_left(tmp_path: Path, table_recipe: dict[str, object]) -> None:
    """Two agents of torchrun stand for two machines, one of which is lost."""
    recipe = tmp_path / "recipe.yaml"
    training = {"max_steps": 2_000, "batch_size": 32, "checkpoint": {"every_steps": 20}, "parallel": {"shard": 2}}
    values = {**table_recipe, "model": {"name": "mlp", "normalization": "none"}, "training": training}
    recipe.write_text(dump_recipe(check_recipe(values)), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "1:2", "--max-restarts", "3"]
    command += ["--rdzv-id", "machines", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}"]
    command += ["--rdzv-conf", "join_timeout=60,last_call_timeout=3", "-m", "danlu", "train", str(recipe)]
    command += ["-o", str(tmp_path), "--name", "run"]
    agents = []
    for _ in range(2):
        agents.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        time.sleep(2)  # the first keeps the place where they meet
    try:
        until = time.monotonic() + 120
        while time.monotonic() < until and len(list((tmp_path / "run" / "checkpoints").glob("step-*"))) < 2:
            time.sleep(0.1)
        for worker in Path(f"/proc/{agents[1].pid}/task/{agents[1].pid}/children").read_text().split():
            os.kill(int(worker), signal.SIGKILL)
        agents[1].kill()
        assert agents[0].wait(timeout=240) == 0
    finally:
        for agent in agents:
            agent.kill()
    run = RunDirectory(tmp_path / "run")
    assert (run.model / "bundle.json").is_file()
    assert [file.name for file in run.checkpoints()[-1].glob("weights*")] == ["weights.safetensors"]
    steps = [line["step"] for line in run.metrics() if "train/loss" in line]
    assert steps == sorted(set(steps))
    assert steps[-1] == 2_000


def wait_for_worker(launcher: "subprocess.Popen[str]", run: Path, step: int) -> int:
    """A worker of a launcher that is not the main one, once the run has a checkpoint of this step or a later one."""
    until = time.monotonic() + 120
    while time.monotonic() < until and launcher.poll() is None:
        if any(int(path.name[5:]) >= step for path in (run / "checkpoints").glob("step-*")):
            children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
            environments = {int(child): Path(f"/proc/{child}/environ").read_bytes() for child in children}
            return next(child for child, found in environments.items() if b"\0RANK=1\0" in found)
        time.sleep(0.02)
    raise AssertionError("the run came to no such step")


@pytest.mark.slow
@pytest.mark.parametrize("rows", [178, 2])
def test_several_processes_share_out_the_rows_to_be_answered(
    tmp_path: Path, danlu: Command, table_run: Path, table_file: Path, rows: int
) -> None:
    read_source(str(table_file)).frame.lazy().collect().head(rows).write_csv(tmp_path / "rows.csv")
    package.predict(table_run, str(tmp_path / "rows.csv"), output=tmp_path / "one.csv")
    done = danlu("predict", table_run, tmp_path / "rows.csv", "-o", tmp_path / "three.csv", "--processes", 3)
    assert done.returncode == 0, done.stderr
    assert f"{rows} predictions in" in done.stderr
    assert_frame_equal(pl.read_csv(tmp_path / "three.csv"), pl.read_csv(tmp_path / "one.csv"), rel_tol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.csv", "rows.csv", "three.csv"]


def test_shared_out_rows_need_a_file(danlu: Command, table_run: Path) -> None:
    done = danlu("predict", table_run, "builtin:wine", "--processes", 2)
    assert done.returncode == 2
    assert "--output" in done.stderr

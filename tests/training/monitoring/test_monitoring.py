"""Watching training: the meter, throughput.jsonl, alarms, the module that broke, the profile."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from danlu.artifacts.files import read_jsonl
from danlu.artifacts.run import RunDirectory
from danlu.core import console
from danlu.core.console import BarProgress, PlainProgress, format_duration
from danlu.core.devices.cpu import CPU
from danlu.core.devices.gpu import GPU
from danlu.recipe.sections.training import Training
from danlu.training.monitoring import meter as metering
from danlu.training.monitoring import profiling
from danlu.training.monitoring.alarms import MIN_NORMS, Alarms
from danlu.training.monitoring.callbacks import CallbackContext
from danlu.training.monitoring.meter import Meter, ThroughputLogger
from danlu.training.monitoring.nonfinite import first_nonfinite_module
from danlu.training.monitoring.profiling import profile_steps


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path)


def setting(run: RunDirectory, model: nn.Module | None = None, first_step: int = 0) -> CallbackContext:
    return CallbackContext(run, model or nn.Linear(1, 1), Training(), steps=100, first_step=first_step)


# Progress


class Bar:
    """Stands in for rich, and counts how often it draws."""

    def __init__(self) -> None:
        self.drawn = 0
        self.fields: dict[str, object] = {}

    def add_task(self, title: str, **fields: object) -> int:
        return 0

    def update(self, task: int, **fields: object) -> None:
        self.fields = fields

    def refresh(self) -> None:
        self.drawn += 1


def test_a_bar_is_drawn_a_few_times_a_second_however_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    now, bar, asked = [0.0], Bar(), []
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    shown = BarProgress(bar, "training", 10_000, "samples")  # type: ignore[arg-type]

    def note() -> str:
        asked.append(now[0])
        return "loss 1"

    for _ in range(1000):
        now[0] += 0.01
        shown.advance(2, note)
    assert bar.drawn == len(asked) <= 51
    assert bar.fields["note"] == "loss 1" and bar.fields["rate"] == "200/s"
    assert 1950 < bar.fields["completed"] <= 2000  # type: ignore[operator]


def test_a_run_that_goes_on_counts_its_rate_from_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    shown = PlainProgress("training", 10_000, "samples", done=9000)
    now[0] = 10.0
    shown.advance(100, "a")
    assert capsys.readouterr().err == "training: 9100/10000 samples, 10/s, 90 s left  a\n"


def test_times_are_said_as_people_say_them() -> None:
    assert [format_duration(seconds) for seconds in (3.2, 119, 125, 7199, 12_000)] == [
        "3 s", "119 s", "2:05 min", "119:59 min", "3:20 h",
    ]  # fmt: skip


# Throughput


def test_rates_are_of_training_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(metering.time, "perf_counter", lambda: now[0])
    shown = PlainProgress("training", 1000, "samples")
    meter = Meter(shown, CPU(), tokens_per_sample=64)
    for _ in range(10):
        now[0] += 0.5
        meter.advance(8)
    with meter.paused():
        now[0] += 100.0
    figures = meter.read()
    assert (figures["seconds"], figures["samples_per_s"], figures["steps_per_s"]) == (5.0, 16.0, 2.0)
    assert figures["tokens_per_s"] == 1024.0
    assert figures["peak_bytes"] > 1e6
    assert "mfu" not in figures  # nobody knows a CPU's peak
    now[0] += 1.0
    meter.advance(8)
    assert meter.read()["samples_per_s"] == 8.0  # since the last reading
    meter.loss, meter.remark = 0.5, "best validation/loss 0.4"
    assert meter.progress_note().startswith("loss 0.5000  best validation/loss 0.4  512 tokens/s  ")
    assert shown.done == 88


def test_the_share_of_a_cards_peak_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fast(GPU):
        name = "NVIDIA A100-SXM4-40GB"  # type: ignore[assignment]

        def peak_bytes(self) -> int | None:
            return None

    now = [0.0]
    monkeypatch.setattr(metering.time, "perf_counter", lambda: now[0])
    meter = Meter(PlainProgress("t", 1, "samples"), Fast("cuda"), flops_per_step=78e12, precision="bf16")
    now[0] += 0.5
    meter.advance(8)
    assert meter.read()["mfu"] == pytest.approx(0.5)
    assert meter.progress_note() == "MFU 50%"


def test_a_line_of_throughput_for_each_logged_loss_and_a_resumed_run_writes_on(run: RunDirectory) -> None:
    def log(first_step: int, steps: list[int]) -> None:
        callback = ThroughputLogger(Meter(PlainProgress("t", 1, "samples"), CPU()))
        callback.on_start(setting(run, first_step=first_step))
        for step in steps:
            callback.meter.advance(4)
            callback.on_log({"step": step, "epoch": 0.1, "train/loss": 1.0})
            callback.on_log({"step": step, "epoch": 0.1, "validation/loss": 1.0})

    log(0, [1, 2, 3])
    log(2, [3, 4])  # step 3 is done again
    lines = read_jsonl(run.path / "throughput.jsonl")
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert all(line["samples_per_s"] > 0 for line in lines)
    assert not (run.path / "metrics.jsonl").exists()


# Alarms


def told(run: RunDirectory) -> list[str]:
    return [f"{line['step']} {line['kind']}" for line in read_jsonl(run.path / "alarms.jsonl")]


def feed_norms(alarms: Alarms, norms: list[float], first: int = 1) -> None:
    for step, norm in enumerate(norms, start=first):
        alarms.record_grad_norm(step, torch.tensor(norm))
    alarms.on_log({"step": first + len(norms) - 1})


def test_a_gradient_that_explodes_is_told_once(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    alarms = Alarms()
    alarms.on_start(setting(run))
    feed_norms(alarms, [1.0 + 0.3 * (step % 5) for step in range(MIN_NORMS)])
    feed_norms(alarms, [5.0, float("inf"), 90.0, 200.0], first=MIN_NORMS + 1)
    assert told(run) == [f"{MIN_NORMS + 3} exploding gradient"]
    err = capsys.readouterr().err
    assert (
        err.startswith(f"step {MIN_NORMS + 3}: the gradient's norm is 90, 56 times its median") and err.count("\n") == 1
    )


def test_a_first_large_gradient_is_no_alarm(run: RunDirectory) -> None:
    alarms = Alarms()
    alarms.on_start(setting(run))
    feed_norms(alarms, [100.0] + [1.0] * 50)
    assert told(run) == []


def test_a_gradient_that_vanishes_is_told(run: RunDirectory) -> None:
    alarms = Alarms()
    alarms.on_start(setting(run))
    feed_norms(alarms, [1.0] * 50 + [1e-9] * (MIN_NORMS - 1))
    assert told(run) == []
    feed_norms(alarms, [1e-9], first=100)
    assert told(run) == ["100 vanishing gradient"]


@pytest.mark.parametrize("image", [False, True])
def test_units_that_never_fire_are_told_after_two_validations(run: RunDirectory, image: bool) -> None:
    layer: nn.Module = nn.Conv2d(2, 10, 1) if image else nn.Linear(2, 10)
    model = nn.Sequential(layer, nn.ReLU())
    with torch.no_grad():
        layer.bias[:4] = -100.0  # type: ignore[union-attr,index]
        layer.bias[4:] = 100.0  # type: ignore[union-attr,index]
    batch = torch.randn(8, 2, 3, 3) if image else torch.randn(8, 2)
    alarms = Alarms()
    alarms.on_start(setting(run, model))
    for step in (10, 20, 30):
        with alarms.watch_units():
            model(batch)
        assert not model[1]._forward_hooks  # nothing is left that costs a step anything
        alarms.on_log({"step": step, "validation/loss": 1.0})
    (line,) = read_jsonl(run.path / "alarms.jsonl")
    assert line["kind"] == "dead units in 1"
    assert line["message"].startswith("40% of the 10 units of 1 answered 0 to every sample looked at in 2 validations")


def test_a_unit_that_fires_now_and_then_is_alive(run: RunDirectory) -> None:
    model = nn.Sequential(nn.Linear(2, 10), nn.ReLU())
    alarms = Alarms()
    alarms.on_start(setting(run, model))
    for step in range(6):
        nn.init.constant_(model[0].bias, 100.0 if step % 2 else -100.0)
        with alarms.watch_units():
            model(torch.randn(8, 2))
    assert told(run) == []


def test_enough_samples_are_looked_at_and_no_more(run: RunDirectory) -> None:
    model = nn.Sequential(nn.Linear(2, 10), nn.ReLU())
    alarms = Alarms()
    alarms.on_start(setting(run, model))
    with alarms.watch_units():
        hooks = []
        for _ in range(5):
            model(torch.randn(300, 2))
            hooks.append(len(model[1]._forward_hooks))
    assert hooks == [1, 1, 1, 0, 0]


# The module that broke


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        self.power = Power()

    def forward(self, numeric: Tensor) -> Tensor:
        return self.power(self.body(numeric))  # type: ignore[no-any-return]


class Power(nn.Module):
    scale = 1.0

    def forward(self, values: Tensor) -> Tensor:
        return torch.exp(values.abs() * self.scale)


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


def test_a_module_whose_output_overflows_is_named_with_what_went_in(net: Net) -> None:
    net.power.scale = 1e6
    said = first_nonfinite_module(net, lambda: net(numeric=torch.ones(3, 4)))
    assert said.startswith("power (Power) gives") and "(infinite); it was given values from" in said
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_weights_that_broke_before_are_named(net: Net) -> None:
    net.body[2].weight.data[0, 0] = float("nan")  # type: ignore[operator,index,union-attr]
    said = first_nonfinite_module(net, lambda: net(numeric=torch.ones(3, 4)))
    assert said == (
        "the weights of body.2 (Linear) hold 1 of 18 values that are not finite (NaN); an earlier step put them there"
    )


def test_a_bad_batch_is_no_modules_fault(net: Net) -> None:
    said = first_nonfinite_module(net, lambda: net(numeric=torch.full((3, 4), float("nan"))))
    assert said.startswith("the batch itself holds 12 of 12 values that are not finite (NaN)")


def test_a_loss_and_a_gradient_that_break_alone_are_told_apart(net: Net) -> None:
    batch = torch.ones(3, 4)
    assert "the loss made of it is not" in first_nonfinite_module(net, lambda: net(numeric=batch).sum() / 0)
    net.body[0].weight.grad = torch.full((8, 4), float("inf"))  # type: ignore[union-attr]
    said = first_nonfinite_module(net, lambda: net(numeric=batch).sum())
    assert "the gradient of body.0.weight holds 32 of 32" in said
    net.zero_grad()
    assert "is finite when the step is done again" in first_nonfinite_module(net, lambda: net(numeric=batch).sum())


# The profile


def steps(run: RunDirectory, count: int, wanted: bool = True) -> None:
    model = nn.Linear(50, 50)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with profile_steps(run, wanted) as profile:
        for _ in range(count):
            with profile.label("data"):
                batch = torch.randn(32, 50)
            with profile.label("forward"):
                loss = model(batch).square().mean()
            with profile.label("backward"):
                loss.backward()
            with profile.label("optimizer"):
                optimizer.step()
                optimizer.zero_grad()
            profile.step()


def test_a_profile_is_a_trace_and_a_table_of_five_steps(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    steps(run, 30)
    trace = json.loads((run.path / "profile" / "trace.json").read_text())
    names = [event.get("name", "") for event in trace["traceEvents"] if event.get("ph") == "X"]
    assert [names.count(label) for label in profiling.LABELS] == [5, 5, 5, 5]
    assert {name for name in names if name.startswith("ProfilerStep")} == {f"ProfilerStep#{n}" for n in range(3, 8)}
    table = (run.path / "profile" / "table.txt").read_text()
    rows = [line.split()[0] for line in table.splitlines()[:6]]
    assert rows == ["part", "data", "forward", "backward", "optimizer", "other"]
    shares = [float(line.split()[-1].rstrip("%")) for line in table.splitlines()[1:6]]
    assert sum(shares) == pytest.approx(100, abs=0.5)
    assert "aten::addmm" in table
    assert "part of a step" in capsys.readouterr().err


def test_too_few_steps_are_said_to_be(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    steps(run, 3)
    assert not (run.path / "profile").exists()
    assert "no profile: training ended before step 4" in capsys.readouterr().err


def test_a_short_run_is_profiled_as_far_as_it_goes(run: RunDirectory) -> None:
    steps(run, 5)
    assert "forward" in (run.path / "profile" / "table.txt").read_text()


def test_nothing_is_profiled_unless_it_is_wanted(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    steps(run, 10, wanted=False)
    assert list(run.path.iterdir()) == []
    assert capsys.readouterr().err == ""

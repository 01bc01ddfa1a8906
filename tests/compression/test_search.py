"""A search within a budget: what is tried, what is promised, and what an interruption leaves."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import pytest

import danlu
from danlu.artifacts.bundle import MANIFEST, Bundle, open_bundle
from danlu.artifacts.run import RunDirectory
from danlu.cli.compress import compress as command
from danlu.compression import search
from danlu.compression.acceptance import smallest_promise
from danlu.compression.choice import choose, front
from danlu.compression.halves import split_in_halves
from danlu.compression.judge import BOOTSTRAP, Drop, Judge
from danlu.compression.material import first_candidate, open_material
from danlu.compression.proposals import Proposal, propose
from danlu.compression.results import CompressionResult, Figure, Latency
from danlu.compression.timing import SpeedComparison
from danlu.compression.tried import Tried
from danlu.core.seeds import Seed
from danlu.data.splits import Split
from danlu.errors import ArgumentError, DataError, Stopped
from danlu.metrics.base import Predictions
from danlu.recipe.sections.compression import Budget
from danlu.reporting.page import write_report

STEPS = "prune={amount: 0.2, what: weights},prune={amount: 0.4, what: weights},prune={amount: 0.99, what: weights}"
TWICE = SpeedComparison(Latency(2.0, 3.0), Latency(1.0, 2.0), Figure(2.0, 1.9, 2.1))


@pytest.fixture
def run(table_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a run; what is compared is twice as fast, so that no test depends on the machine's other work."""
    monkeypatch.setattr(search, "compare_engines", lambda *_: {1: TWICE, 32: TWICE})
    monkeypatch.setattr(search, "peak_memory", lambda _: 1000)
    return Path(shutil.copytree(table_run, tmp_path / "run"))


def _split(rows: int) -> Split:
    return Split.of(pl.DataFrame({"x": range(rows)}))


def test_halves_are_disjoint_and_keep_groups_together() -> None:
    groups = np.repeat(np.arange(20), 3)
    searched, accepted = split_in_halves(_split(60), groups, Seed(1))
    assert sorted([*searched.rows, *accepted.rows]) == list(range(60))
    assert set(groups[searched.rows]).isdisjoint(groups[accepted.rows])
    assert len(searched) == len(accepted) == 30
    again, other = (split_in_halves(_split(60), groups, Seed(seed))[0] for seed in (1, 2))
    assert np.array_equal(searched.rows, again.rows) and not np.array_equal(searched.rows, other.rows)


def test_halves_of_too_few_rows_or_groups_are_refused() -> None:
    with pytest.raises(DataError, match="has 3"):
        split_in_halves(_split(3), None, Seed(0))
    with pytest.raises(DataError, match="has 2"):
        split_in_halves(_split(60), np.repeat([0, 1], 30), Seed(0))


def _tried(name: str, upper: float, speedup: float, width: float = 0.01) -> Tried:
    figure = Figure(speedup, speedup - width, speedup + width)
    speed = {32: SpeedComparison(Latency(1, 1), Latency(1 / speedup, 1), figure)}
    bundle = cast(Bundle, None)
    return Tried(name, name, (), bundle, 100, 100, 9, 0.0, "torch", (), Drop(0.0, upper, 0), "lost", speed, None)


def test_the_front_is_cheaper_with_every_step_and_holds_nothing_slower() -> None:
    tries = [
        _tried("fast", 0.03, 3.0),
        _tried("safe", 0.01, 1.0),
        _tried("beaten", 0.04, 2.0),
        _tried("slow", 0.0, 0.9),
        _tried("not seen to be slower", 0.005, 0.99, width=0.02),
    ]
    assert [each.id for each in front(tries, "latency")] == ["not seen to be slower", "safe", "fast"]


def test_judging_ends_at_the_first_failure() -> None:
    ordered = [_tried(name, 0.0, speed) for name, speed in (("a", 1.0), ("b", 2.0), ("c", 3.0), ("d", 4.0))]
    uppers = {"a": 0.01, "b": 0.02, "c": 0.06, "d": 0.0}  # d would hold, but comes after a failure
    drops = {name: Drop(0.0, upper, 0) for name, upper in uppers.items()}
    chosen = choose(ordered, 0.02, drops)
    assert chosen is not None and chosen.id == "b"
    assert choose(ordered, 0.001, drops) is None


@pytest.mark.training
def test_a_drop_of_accuracy_is_exact_and_that_of_other_metrics_has_the_right_sign(run: Path) -> None:
    truth = np.arange(30) % 3
    sure = np.eye(3)[truth] * 0.9 + 0.1 / 3
    worse = sure.copy()
    worse[:3] = np.roll(worse[:3], 1, axis=1)
    before, after = Predictions(truth, sure), Predictions(truth, worse)
    with open_material(run) as material:
        judge = Judge(material, Budget(metric="accuracy", max_drop=0.05))
        drop = judge.drop(before, after, "lost")
        assert (drop.value, drop.flipped) == (pytest.approx(0.1), 3) and 0.1 < drop.upper < 0.3
        assert judge.closest_bound(before, before) == "lost"
        assert judge.drop(before, before, "lost").upper == pytest.approx(smallest_promise(30, 0.95))
        lower = Judge(material, Budget(metric="log-loss", max_drop=0.05))
        assert lower.closest_bound(before, after) == BOOTSTRAP
        loss = lower.drop(before, after, BOOTSTRAP)
        assert loss.value > 0 and loss.upper > loss.value
        assert lower.drop(after, before, BOOTSTRAP).value == pytest.approx(-loss.value)
        searched, accepted = judge.halves
        assert set(searched.rows).isdisjoint(accepted.rows)
        with pytest.raises(ArgumentError, match="'rmse' is not evaluated"):
            Judge(material, Budget(metric="rmse", max_drop=0.1))


@pytest.mark.training
def test_a_chain_of_proposals_ends_where_it_costs_too_much_and_8_bits_follow_its_strongest(run: Path) -> None:
    with open_material(run) as material:
        first = first_candidate(material)

        def works(proposal: Proposal) -> bool:
            return "amount=0.5" not in proposal.label

        labels = [each.label for each in propose(material, first, works)]
    assert labels[:2] == ["quantize", "quantize scheme=int8-dynamic"]
    pruned = [label for label in labels if label.startswith("prune")]
    assert [label.partition(" epochs")[0] for label in pruned[:2]] == ["prune amount=0.3", "prune amount=0.5"]
    assert pruned[2] == f"{pruned[0]}, quantize"
    assert labels[-1] == "distill size=small, quantize" and len(set(labels)) == len(labels)


@pytest.mark.training
def test_given_steps_are_measured_one_by_one_and_those_that_cost_too_much_are_rolled_back(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = command(run, steps=STEPS, budget="accuracy=0.3", as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert code == 0 and told == json.loads((run / "compression.json").read_text())
    assert told["budget"] == {"metric": "accuracy", "max_drop": 0.3, "confidence": 0.95, "kept": True}
    original, plain, *tried = told["points"]
    assert (original["id"], original["steps"], original["on_front"]) == ("p0", [], True)
    assert plain["engine"] == "onnxruntime" and plain["speedup"]["32"]["value"] == 1.0
    assert original["speedup"]["32"]["value"] == 0.5 and original["latency_ms"]["1"] == {"p50": 2.0, "p99": 3.0}
    amounts = [[step["prune"]["amount"] for step in point["steps"]] for point in tried]
    assert amounts == [[0.2], [0.2, 0.4], [0.2, 0.4, 0.99]]
    first = tried[0]
    assert set(first["steps"][0]["gain"]) == {"latency", "metric", "size"}
    assert first["drop"]["high"] >= smallest_promise(told["rows"]["accepted"], 0.95)
    assert {"peak_memory_bytes", "latency_ms", "metrics", "flipped", "sparsity", "size_bytes"} <= set(first)
    assert [each["step"]["amount"] for each in told["rolled_back"]] == [0.99]
    assert told["chosen"] != tried[-1]["id"] and "accuracy is" in told["rolled_back"][0]["why"]
    page = (run / "report.html").read_text(encoding="utf-8")
    assert 'id="compression"' in page and "The promise holds for" in page and "prune=0.99" in page
    assert told["beside"]["rows"] > 0 and told["beside"]["layers"]["layers"]
    write_report(RunDirectory(run), "zh")
    assert "守住了承诺" in (run / "report.html").read_text(encoding="utf-8")
    assert danlu.load(told["points"][2]["bundle"]).bundle.manifest.steps[0]["amount"] == 0.2

    _without_onnx(monkeypatch)
    # A budget that so few rows cannot promise: the best is still written, and what could be promised is said.
    code = command(run, steps="prune={amount: 0.2, what: weights}", budget="accuracy=0.01", output=run.parent / "out")
    out = capsys.readouterr().out
    again = json.loads((run / "compression.json").read_text())
    assert code == 1 and not again["budget"]["kept"] and (run.parent / "out" / MANIFEST).is_file()
    assert again["budget"]["smallest_drop"] == pytest.approx(smallest_promise(again["rows"]["accepted"], 0.95))
    assert "so few rows can promise" in out
    ids = [[Path(point["bundle"]).name for point in found["points"][1:]] for found in (told, again)]
    assert not set(ids[0]) & set(ids[1])  # no bundle of an earlier search is written over


def _without_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the file of ONNX Runtime, which takes most of a search's time."""
    monkeypatch.setattr("danlu.compression.once.with_onnx", lambda candidate, _: candidate)


def _interrupt(monkeypatch: pytest.MonkeyPatch, at: int, how: Callable[[], None]) -> list[int]:
    """Call `how` in the `at`-th application of steps; return what counts applications."""
    applied, real = [0], search.apply_steps

    def apply(*arguments: Any) -> Any:
        applied[0] += 1
        if applied[0] == at:
            how()
        return real(*arguments)

    monkeypatch.setattr(search, "apply_steps", apply)
    return applied


def _raise_stopped() -> None:
    raise Stopped("stopped at step 3 of 9", code="DL510")


def _told(found: CompressionResult) -> list[Any]:
    return [(point.steps, point.metrics, point.drop, point.speedup, point.size_bytes) for point in found.points]


@pytest.mark.training
@pytest.mark.parametrize("how", [_raise_stopped, lambda: os.kill(os.getpid(), signal.SIGTERM)])
def test_an_interrupted_search_goes_on_and_finds_the_same(
    run: Path, monkeypatch: pytest.MonkeyPatch, how: Callable[[], None]
) -> None:
    _without_onnx(monkeypatch)
    whole = danlu.compress(run, steps=STEPS, budget="accuracy=0.3")
    with monkeypatch.context() as patched:
        _interrupt(patched, 3, how)  # the first moves the original to ONNX Runtime
        with pytest.raises(Stopped, match=r"--budget accuracy=0.3 --resume"):
            danlu.compress(run, steps=STEPS, budget="accuracy=0.3")
    kept = json.loads((run / "compressed" / "tried.json").read_text())["tries"]
    applied = _interrupt(monkeypatch, 0, _raise_stopped)
    resumed = danlu.compress(run, steps=STEPS, budget="accuracy=0.3", resume=True)
    assert applied[0] == len(whole.points) - len(kept)  # nothing is done twice
    assert [point.id for point in resumed.points][: len(kept)] == [each["id"] for each in kept]
    assert _told(resumed) == _told(whole)


@pytest.mark.training
@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "metric", "steps"),
    [("diabetes", "rmse", None), ("corpus", "perplexity", "quantize=int8-weights"), ("text", "accuracy", "quantize")],
)
def test_every_task_is_searched(
    source: str,
    metric: str,
    steps: str | None,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search, "compare_engines", lambda *_: {1: TWICE, 32: TWICE})
    monkeypatch.setattr(search, "peak_memory", lambda _: None)
    if source == "diabetes":
        recipe = {"name": "d", "data": {"source": "builtin:diabetes"}, "model": "mlp", "training": {"epochs": 2}}
        run = danlu.run(recipe, output=tmp_path).path
    else:
        run = Path(shutil.copytree(request.getfixturevalue(f"{source}_run"), tmp_path / "run"))
    found = danlu.compress(run, budget={metric: 1e6 if metric != "accuracy" else 0.5}, steps=steps, minutes=0.1)
    assert len(found.points) >= 2 and found.points[0].metrics[metric].low is not None
    assert found.points[-1].drop is not None and (found.points[-1].flipped is None) == (source != "text")
    assert open_bundle(found.bundle).manifest.files

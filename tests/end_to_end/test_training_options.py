"""What a recipe's `training` section asks for happens: tried by training real data, judged by what is left of it."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import danlu as package
from danlu.artifacts.files import sha256_of_json
from danlu.artifacts.run import RunDirectory
from danlu.core.devices import open_device
from danlu.core.seeds import Seed
from danlu.errors import ArtifactError, DanluError
from danlu.experiment.auto_settings import find_largest_batch_size
from danlu.experiment.data_context import fit_preprocessing, load_data
from danlu.experiment.prepare import build_setup
from danlu.experiment.probe import build_probe, count_flops_on_host
from danlu.experiment.setup import TrainingSetup, create_train_state
from danlu.recipe.load import check_recipe, load_recipe
from tests.conftest import Command


def fitting_of(recipe: dict[str, Any]) -> TrainingSetup:
    opened = load_data(check_recipe(recipe))
    return build_setup(opened, fit_preprocessing(opened), open_device("cpu"))


def trained(recipe: dict[str, Any], training: dict[str, Any], folder: Path) -> Path:
    values = {**recipe, "training": {**recipe["training"], **training}}
    return package.train(values, output=folder).path


def figures(run: Path, key: str) -> list[float]:
    return [line[key] for line in RunDirectory.open(run).metrics() if key in line]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "weights.safetensors")


PLAIN = {"epochs": 4, "clip_norm": None}
WAYS: dict[str, dict[str, Any]] = {
    "bf16": {"precision": "bf16"},
    "bf16-master": {"precision": "bf16-master"},
    "bf16-stochastic": {"precision": "bf16-stochastic"},
    "fp16": {"precision": "fp16"},
    "accumulate": {"accumulate": 3},
    "in-backward": {"memory": {"optimizer_in_backward": True}},
    "checkpointing": {"memory": {"checkpointing": "full"}},
    "ema": {"average": {"ema": {"decay": 0.8}}},
    "swa": {"average": {"swa": {"start": 0.5}}, "schedule": "constant"},
    "schedule-free": {"optimizer": "schedule-free-adamw"},
    "penalties": {"l1": 1e-4, "l2": 1e-4, "max_norm": 3.0, "clip_value": 0.5},
    "plateau": {"schedule": {"plateau": {"patience": 1}}},
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_every_way_of_training_learns_and_its_bundle_answers(
    way: dict[str, Any], table_recipe: dict[str, Any], tmp_path: Path
) -> None:
    values = {**table_recipe, "model": {"name": "mlp", "normalization": "layer", "dropout": 0.0}}
    run = trained(values, {"epochs": 8, "clip_norm": None, **way}, tmp_path)
    losses = figures(run, "validation/loss")
    assert min(losses) < 0.6 * losses[0] or min(losses) < 0.2
    assert all(value.dtype == torch.float32 for value in weights(run).values() if value.is_floating_point())
    assert package.evaluate(run)["test"]["accuracy"]["value"] > 0.8


@pytest.mark.parametrize("way", ["accumulate", "in-backward", "checkpointing"])
def test_ways_that_save_memory_change_nothing(way: str, table_recipe: dict[str, Any], tmp_path: Path) -> None:
    values = {**table_recipe, "model": {"name": "mlp", "normalization": "layer", "dropout": 0.0}}
    plain = trained(values, PLAIN, tmp_path / "plain")
    other = trained(values, {**PLAIN, **WAYS[way]}, tmp_path / way)
    for name, value in weights(plain).items():
        torch.testing.assert_close(weights(other)[name], value, atol=2e-4, rtol=2e-3)
    assert figures(other, "train/loss") == pytest.approx(figures(plain, "train/loss"), rel=1e-3, abs=1e-5)


def test_a_step_that_does_not_fit_is_made_in_parts(corpus_recipe: dict[str, Any], monkeypatch: Any) -> None:
    """The allocator refuses more than six blocks at once; the step is that of the whole batch none the less."""
    from danlu.models.text.hf_wrapper import HFModelWrapper

    values = {**corpus_recipe, "training": {"max_steps": 3, "batch_size": 16, "optimizer": {"sgd": {"lr": 0.1}}}}
    forward = HFModelWrapper.forward

    def limited(self: Any, input_ids: torch.Tensor, **others: Any) -> Any:
        if len(input_ids) > 6:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: 1 bytes")
        return forward(self, input_ids, **others)

    found: dict[bool, tuple[list[float], dict[str, torch.Tensor]]] = {}
    for memory_is_short in (False, True):
        fitting = fitting_of(values)
        machine = create_train_state(fitting)
        if memory_is_short:
            monkeypatch.setattr(HFModelWrapper, "forward", limited)
        batches = itertools.islice(fitting.balanced.loader.batches(16, machine.device), 3)
        losses = [float(machine.make_step(batch, 0.1, Seed(0), step)) for step, batch in enumerate(batches, 1)]
        assert machine.step.num_microbatches == (4 if memory_is_short else 1)
        found[memory_is_short] = losses, dict(machine.model.state_dict())
    assert found[True][0] == pytest.approx(found[False][0], rel=1e-5)
    for name, value in found[False][1].items():
        torch.testing.assert_close(found[True][1][name], value, atol=1e-6, rtol=1e-4)


@pytest.mark.slow
def test_memory_that_runs_out_for_a_single_sample_ends_the_run(corpus_recipe: dict[str, Any], monkeypatch: Any) -> None:
    from danlu.models.text.hf_wrapper import HFModelWrapper

    def refused(self: Any, input_ids: torch.Tensor, **others: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    fitting = fitting_of(corpus_recipe)
    machine = create_train_state(fitting)
    monkeypatch.setattr(HFModelWrapper, "forward", refused)
    batch = next(fitting.balanced.loader.batches(16, machine.device))
    with pytest.raises(torch.OutOfMemoryError):
        machine.make_step(batch, 0.1, Seed(0), 1)


def test_the_largest_batch_is_the_one_that_fits(corpus_recipe: dict[str, Any], monkeypatch: Any) -> None:
    fitting = fitting_of({**corpus_recipe, "training": {"max_steps": 4, "batch_size": 2}})
    trial = build_probe(fitting)
    needed = {size: trial.predict_footprint(size).peak_bytes for size in (4, 8, 16)}
    assert needed[4] < needed[8] < needed[16]
    free = int(needed[8] / 0.8) + 1
    monkeypatch.setattr(type(fitting.accelerator), "free_bytes", lambda self: free)
    assert find_largest_batch_size(fitting) == 8


def test_a_foreseen_footprint_is_that_of_the_step(corpus_recipe: dict[str, Any]) -> None:
    trial = build_probe(fitting_of({**corpus_recipe, "training": {"max_steps": 4, "batch_size": 32}}))
    foreseen, real = trial.predict_footprint(32), trial.measure_footprint(32)
    assert foreseen.peak_bytes == pytest.approx(real.peak_bytes, rel=0.05)
    assert foreseen.flops == pytest.approx(real.flops, rel=0.02)


def test_what_is_auto_is_found_and_kept_in_the_recipe(table_recipe: dict[str, Any], tmp_path: Path) -> None:
    run = trained(table_recipe, {"epochs": 4, "batch_size": "auto", "optimizer": {"lr": "auto"}}, tmp_path)
    resolved = load_recipe(run / "recipe.yaml").training
    assert isinstance(resolved.batch_size, int) and resolved.batch_size >= 2
    assert 1e-5 < resolved.optimizer.lr < 10  # type: ignore[attr-defined]
    assert (run / "lr-range.svg").read_text().startswith("<svg")
    rates = figures(run, "lr")
    assert max(rates) == pytest.approx(resolved.optimizer.lr)  # type: ignore[attr-defined]


def test_the_rate_follows_the_batch_size(table_recipe: dict[str, Any], tmp_path: Path) -> None:
    scaling = {"rule": "linear", "reference": 8}
    training = {"epochs": 2, "batch_size": 32, "optimizer": {"lr": 1e-3}, "schedule": "constant"}
    run = trained(table_recipe, {**training, "lr_scaling": scaling}, tmp_path)
    assert set(figures(run, "lr")) == {4e-3}


OWN = """
import torch
from danlu.training.monitoring.callbacks import Callback

def absolute(logits, target):
    return torch.nn.functional.cross_entropy(logits, target) * 2

class Net(torch.nn.Module):
    def __init__(self, inputs, outputs, width):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(inputs.numeric, width), torch.nn.ReLU(), torch.nn.Linear(width, outputs))

    def forward(self, numeric, categories=None):
        return self.layers(numeric)

class Told(Callback):
    def on_start(self, setting):
        self.file = setting.run.path / "told.txt"
        self.steps = 0

    def on_step(self, step, loss):
        self.steps += 1

    def on_end(self):
        self.file.write_text(str(self.steps))
"""


@pytest.mark.slow
def test_models_losses_and_callbacks_of_ones_own(table_recipe: dict[str, Any], tmp_path: Path, danlu: Command) -> None:
    (tmp_path / "mine.py").write_text(OWN, encoding="utf-8")
    data = {"source": table_recipe["data"]["source"], "target": "cultivar", "columns": {"shelf": "drop"}}
    training = {"epochs": 10, "loss": "mine:absolute", "callbacks": ["mine:Told"]}
    values = {"data": data, "model": {"name": "own:mine:Net", "options": {"width": 16}}, "training": training}
    (tmp_path / "recipe.yaml").write_text(json.dumps(values), encoding="utf-8")
    done = danlu("run", "recipe.yaml", "--name", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "run"
    assert int((run / "told.txt").read_text()) == RunDirectory.open(run).metrics()[-1]["step"]
    refused = danlu("predict", run, data["source"], cwd=tmp_path)
    assert refused.returncode == 1
    assert "opening a bundle runs no code unasked" in refused.stderr
    assert danlu("predict", run, data["source"], "--own-code", cwd=tmp_path).returncode == 0
    values["training"] = {"loss": "mine:absolut"}
    (tmp_path / "recipe.yaml").write_text(json.dumps(values), encoding="utf-8")
    misspelt = danlu("check", "recipe.yaml", cwd=tmp_path)
    assert misspelt.returncode == 2
    assert "training.loss: mine has no 'absolut'" in misspelt.stderr and "absolute" in misspelt.stderr


def test_a_bundle_with_code_of_its_own_is_not_opened_unasked(table_run: Path, tmp_path: Path) -> None:
    import shutil

    copied = Path(shutil.copytree(table_run / "model", tmp_path / "model"))
    (copied / "config.json").write_text(json.dumps({"name": "own:os:system", "options": {"command": "true"}}))
    manifest = json.loads((copied / "bundle.json").read_text())
    import hashlib

    manifest["files"]["config.json"] = hashlib.sha256((copied / "config.json").read_bytes()).hexdigest()
    manifest["digest"] = sha256_of_json({key: value for key, value in manifest.items() if key != "digest"})
    (copied / "bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="runs no code unasked"):
        package.load(copied)


def test_the_module_that_gives_no_numbers_is_named(table_recipe: dict[str, Any], tmp_path: Path) -> None:
    training = {"epochs": 5, "clip_norm": None, "optimizer": {"name": "sgd", "lr": 1e30}}
    with pytest.raises(DanluError, match=r"training loss is (nan|inf) at step \d+: (the weights of )?\w[\w.]* \(\w+\)"):
        trained(table_recipe, training, tmp_path)


def test_profiling_says_where_the_time_goes(table_recipe: dict[str, Any], tmp_path: Path, danlu: Command) -> None:
    (tmp_path / "recipe.yaml").write_text(json.dumps(table_recipe), encoding="utf-8")
    done = danlu("train", tmp_path / "recipe.yaml", "-o", tmp_path, "--name", "run", "--profile")
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "run" / "profile" / "table.txt").read_text()
    for part in ("data", "forward", "backward", "optimizer"):
        assert f"\n{part}" in table
    trace = json.loads((tmp_path / "run" / "profile" / "trace.json").read_text())
    assert any(event.get("name") == "backward" for event in trace["traceEvents"])


@pytest.mark.slow
def test_plan_foresees_and_says_what_would_fit(tmp_path: Path, corpus_recipe: dict[str, Any], danlu: Command) -> None:
    (tmp_path / "recipe.yaml").write_text(json.dumps(corpus_recipe), encoding="utf-8")
    done = danlu("plan", tmp_path / "recipe.yaml", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["fits"] and found["steps"] == 150 and found["step_seconds"] > 0
    tensors = build_probe(fitting_of(corpus_recipe)).predict_footprint(16).peak_bytes
    short = danlu("plan", tmp_path / "recipe.yaml", "--memory", tensors * 0.9 / 0.8 / 1e9)
    assert short.returncode == 1
    assert "it does not fit; these settings would:" in short.stdout
    assert "--set training.accumulate=2" in short.stdout


def test_the_same_steps_however_they_are_reached(table_recipe: dict[str, Any]) -> None:
    """The feed gives batch s of a run that goes on at s as it does in one from the start."""
    fitting = fitting_of(table_recipe)
    whole = list(itertools.islice(fitting.balanced.loader.batches(32, torch.device("cpu")), 12))
    for first in (1, 4, 5, 9):
        later = fitting.balanced.loader.batches(32, torch.device("cpu"), first)
        for batch in whole[first:]:
            again = next(later)
            assert again.rows.tolist() == batch.rows.tolist() and again.epoch == batch.epoch
            assert torch.equal(again.target, batch.target)


@pytest.mark.parametrize(
    ("optimizer", "found"),
    [
        ({"name": "sgd", "momentum": 0.9}, lambda group: group["momentum"]),
        ({"name": "adamw"}, lambda group: group["betas"][0]),
        ({"name": "sgd", "momentum": 0.0}, lambda group: group["momentum"]),
    ],
    ids=["sgd", "adamw", "without"],
)
def test_one_cycle_sets_the_momentum_that_an_optimizer_has(
    table_recipe: dict[str, Any], optimizer: dict[str, Any], found: Callable[[dict[str, Any]], float]
) -> None:
    training = {"epochs": 5, "batch_size": 32, "optimizer": optimizer, "schedule": "one-cycle"}
    fitting = fitting_of({**table_recipe, "training": training})
    machine = create_train_state(fitting)
    batches = fitting.balanced.loader.batches(32, machine.device)
    momenta = []
    for step in range(1, fitting.plan.steps + 1):
        machine.make_step(next(batches), machine.lr(step - 1), fitting.seed.derive("step", step - 1), step)
        momenta.append(found(machine.step.optimizer.param_groups[0]))
    if optimizer.get("momentum") == 0.0:
        assert set(momenta) == {0.0}
        return
    assert momenta[0] == pytest.approx(0.95)
    assert min(momenta) == pytest.approx(0.85, abs=0.01)
    assert momenta[-1] == pytest.approx(0.95)


@pytest.mark.slow
def test_operations_of_a_model_that_is_nowhere_whole_are_those_of_its_steps() -> None:
    config = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    data = {"source": "builtin:speeches-corpus", "sequence_length": 32, "vocabulary": 400}
    training = {"max_steps": 2, "batch_size": 8, "optimizer": {"name": "adamw", "lr": 1e-3}}
    fitting = fitting_of({"data": data, "model": {"name": "hf:llama", "config": config}, "training": training})
    assert count_flops_on_host(fitting, 8) == build_probe(fitting).predict_footprint(8).flops

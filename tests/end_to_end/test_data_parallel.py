"""Data parallel training: several processes give the figures, gradient norms and weights of one."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

import danlu
from danlu.artifacts.run import RunDirectory
from danlu.core.devices.cpu import CPU
from danlu.core.distributed.env import DistEnv
from danlu.core.distributed.process_groups import ProcessGroups
from danlu.errors import ArgumentError
from danlu.recipe.load import check_recipe
from danlu.recipe.sections.training import Parallel
from danlu.training.distributed.compatibility import check_supported
from danlu.training.distributed.layout import choose_layout
from danlu.training.distributed.parallel_context import ParallelContext
from tests.support.processes import together

TOLERANCE = 1e-5  # relative; fp32, whose sums come in another order
ROUNDING = 1.2e-7

TABLE: dict[str, Any] = {
    "name": "table",
    "seed": 3,
    "data": {"source": "builtin:breast-cancer"},
    "model": {"name": "mlp", "hidden": [32, 16], "dropout": 0.0, "normalization": "none"},
    "training": {"epochs": 3, "batch_size": 30, "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9}},
    "evaluation": {"baselines": False},
}
LLAMA = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
CORPUS: dict[str, Any] = {
    "name": "corpus",
    "seed": 3,
    "data": {"sequence_length": 32, "vocabulary": 300},
    "model": {"name": "hf:llama", "config": LLAMA},
    "training": {"max_steps": 6, "batch_size": 18, "optimizer": {"name": "adamw", "lr": 1e-3}},
}


def with_training(recipe: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**recipe, "training": {**recipe["training"], **changes}}


def train_all(recipes: dict[str, dict[str, Any]], output: str) -> list[str]:
    """In one of several processes: train each recipe into a run of its name."""
    return [str(danlu.train(recipe, output=output, name=name).path) for name, recipe in recipes.items()]


def train_in_little_memory(recipes: dict[str, dict[str, Any]], output: str) -> list[str]:
    """As `train_all`, on a machine that has less memory than the model takes."""
    CPU.total_bytes = lambda self: 50_000  # type: ignore[method-assign]
    return train_all(recipes, output)


def trained(processes: int, folder: Path, recipes: dict[str, dict[str, Any]]) -> dict[str, RunDirectory]:
    """The runs of several processes, which are started once."""
    output = str(folder / "runs")
    together(
        processes, "tests.end_to_end.test_data_parallel:train_all", folder / "words", recipes=recipes, output=output
    )
    return {name: RunDirectory(folder / "runs" / name) for name in recipes}


@pytest.fixture(scope="module")
def recipes(corpus_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    text = "".join(file.read_text(encoding="utf-8") for file in sorted(corpus_folder.glob("*.txt")))
    folder = tmp_path_factory.mktemp("text")
    for number in range(12):
        (folder / f"{number}.txt").write_text(text[3_000 * number : 3_000 * (number + 1)], encoding="utf-8")
    corpus = {**CORPUS, "data": {**CORPUS["data"], "source": str(folder / "*.txt")}}
    return {
        "table": TABLE,
        "table-parts": with_training(TABLE, accumulate=3),
        "table-norms": {**TABLE, "model": {**TABLE["model"], "normalization": "batch"}},
        "table-stopping": with_training(
            TABLE, epochs=12, early_stopping={"metric": "validation/auroc", "patience": 1}, batch_size=97
        ),
        "corpus": corpus,
        "corpus-sgd": with_training(corpus, optimizer={"name": "sgd", "lr": 0.5}, average="ema"),
    }


@pytest.fixture(scope="module")
def alone(recipes: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunDirectory]:
    """Runs of one process."""
    output = tmp_path_factory.mktemp("alone")
    return {name: danlu.train(recipe, output=output, name=name) for name, recipe in recipes.items()}


def alike(one: RunDirectory, other: RunDirectory, tolerance: float = TOLERANCE) -> None:
    """The logged figures and the final weights are the same."""
    lines, others = one.metrics(), other.metrics()
    assert [line["step"] for line in lines] == [line["step"] for line in others]
    for line, theirs in zip(lines, others, strict=True):
        assert line == pytest.approx(theirs, rel=tolerance)
    weights, expected = (load_file(run.model / "weights.safetensors") for run in (one, other))
    assert weights.keys() == expected.keys()
    for name, value in weights.items():
        wide, theirs = value.double(), expected[name].double()
        # Weights that ended near zero are sums of larger steps, whose rounding stays: float32's at 1.
        assert (wide - theirs).norm() <= tolerance * theirs.norm() + ROUNDING, name


SHARED: dict[str, dict[str, Any]] = {
    "shard": {"shard": 2},
    "shard-data": {"shard": 2, "data": 2},
    "offload": {"shard": 4, "offload": True},
}
COMPRESSED = {"bf16": 0.01, "powersgd": 0.1}
# The mean of weights after one plain gradient step is the step along the mean gradient.
PLAIN: dict[str, Any] = {"optimizer": {"name": "sgd", "lr": 0.1}, "clip_norm": None}


def laid_out(recipes: dict[str, dict[str, Any]], layout: str, options: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Recipes in a layout, under names with that of the layout before them."""
    return {f"{layout}.{name}": with_training(recipe, parallel=options) for name, recipe in recipes.items()}


def without_norms(recipes: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Those whose batch norms do not keep them from sharing a copy."""
    return {name: recipe for name, recipe in recipes.items() if name != "table-norms"}


@pytest.fixture(scope="module")
def of_two(recipes: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunDirectory]:
    """What two processes train, all in one launch."""
    table = {"table": recipes["table"]}
    often = with_training(recipes["table"], **PLAIN)
    rarely = with_training(recipes["table"], optimizer={"name": "adamw", "lr": 1e-2}, checkpoint={"every_steps": 5})
    cases = laid_out(recipes, "copies-2", {})
    cases |= laid_out({"table-norms": recipes["table-norms"]}, "own-norms", {"sync_batch_norm": False})
    for compress in COMPRESSED:
        cases |= laid_out(table, compress, {"compress": compress})
    cases |= laid_out(without_norms(recipes), "shard", SHARED["shard"])
    cases |= laid_out({"often": often}, "met", {"local": {"every": 1, "lr": 1.0, "momentum": 0.0}})
    cases |= laid_out({"rarely": rarely}, "met", {"local": {"every": 7, "momentum": 0.3}})
    return trained(2, tmp_path_factory.mktemp("two"), cases)


@pytest.fixture(scope="module")
def of_four(recipes: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunDirectory]:
    """What four processes train, all in one launch."""
    cases = laid_out(recipes, "copies-4", {})
    for layout in ("shard-data", "offload"):
        cases |= laid_out(without_norms(recipes), layout, SHARED[layout])
    return trained(4, tmp_path_factory.mktemp("four"), cases)


@pytest.mark.slow
def test_copies_of_a_model_train_as_one(
    recipes: dict[str, dict[str, Any]],
    alone: dict[str, RunDirectory],
    of_two: dict[str, RunDirectory],
    of_four: dict[str, RunDirectory],
) -> None:
    for name in recipes:
        alike(of_two[f"copies-2.{name}"], alone[name])
        alike(of_four[f"copies-4.{name}"], alone[name])


@pytest.mark.slow
def test_the_model_that_is_kept_has_the_validation_loss_of_the_log(of_two: dict[str, RunDirectory]) -> None:
    """Each process has statistics of its own in its batch norms, and the bundle those of the first."""
    run = of_two["own-norms.table-norms"]
    logged = min(line["validation/loss"] for line in run.metrics() if "validation/loss" in line)
    assert danlu.evaluate(run.path)["validation"]["log-loss"]["value"] == pytest.approx(logged, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("compress", COMPRESSED)
def test_gradients_that_travel_in_fewer_bytes_train_nearly_as_one(
    alone: dict[str, RunDirectory], of_two: dict[str, RunDirectory], compress: str
) -> None:
    run = of_two[f"{compress}.table"]
    assert run.metrics()[-1] == pytest.approx(alone["table"].metrics()[-1], rel=COMPRESSED[compress])
    assert run.metrics()[-1] != pytest.approx(alone["table"].metrics()[-1], rel=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("layout", SHARED)
def test_processes_that_share_one_copy_train_as_one(
    recipes: dict[str, dict[str, Any]],
    alone: dict[str, RunDirectory],
    of_two: dict[str, RunDirectory],
    of_four: dict[str, RunDirectory],
    layout: str,
) -> None:
    runs = of_two | of_four
    for name in without_norms(recipes):
        alike(runs[f"{layout}.{name}"], alone[name])


@pytest.mark.slow
def test_a_model_too_large_for_a_copy_each_is_shared(
    tmp_path: Path, recipes: dict[str, dict[str, Any]], alone: dict[str, RunDirectory]
) -> None:
    one = {"table": recipes["table"]}
    work = "tests.end_to_end.test_data_parallel:train_in_little_memory"
    together(2, work, tmp_path / "words", recipes=one, output=str(tmp_path))
    run = RunDirectory(tmp_path / "table")
    alike(run, alone["table"])
    assert list(run.checkpoints()[-1].glob("weights.rank-0001.safetensors"))


@pytest.mark.slow
def test_copies_that_meet_after_every_step_train_as_one(
    tmp_path: Path, recipes: dict[str, dict[str, Any]], of_two: dict[str, RunDirectory]
) -> None:
    alike(of_two["met.often"], danlu.train(with_training(recipes["table"], **PLAIN), output=tmp_path, name="one"))


@pytest.mark.slow
def test_copies_that_meet_now_and_then_agree_and_learn(of_two: dict[str, RunDirectory]) -> None:
    losses = [line["validation/loss"] for line in of_two["met.rarely"].metrics() if "validation/loss" in line]
    assert losses[0] > 0.15 > losses[-1]


@pytest.mark.parametrize(
    ("layout", "changes", "said"),
    [
        ({"shard": 2}, {"optimizer": "muon"}, "training.optimizer: muon needs whole matrices"),
        ({"shard": 2}, {"precision": "bf16-master"}, "training.precision: bf16-master needs all weights"),
        ({"shard": 2, "compress": "bf16"}, {}, "training.parallel.compress: needs whole replicas"),
        ({"offload": True}, {}, "training.parallel.offload: moves sharded state"),
        ({"shard": 3}, {}, "training.parallel: shard 3 takes 3 processes, and there are 2"),
        ({"tensor": 2}, {"distill": {"teacher": "a"}}, "training.distill: compares whole outputs"),
        ({"shard": 2}, {"distill": {"teacher": "a", "hidden": {}}}, "training.distill.hidden: reads layers of a whole"),
        (
            {},
            {"memory": {"optimizer_in_backward": True}, "clip_norm": None},
            "training.memory.optimizer_in_backward: steps a weight before",
        ),
    ],
    ids=["optimizer", "precision", "compress", "offload", "ways", "distill", "hidden", "in-backward"],
)
def test_what_several_processes_cannot_do_is_refused(
    layout: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    options = check_recipe(with_training(TABLE, parallel=layout, **changes)).training

    def refuse() -> None:
        assert isinstance(options.parallel, Parallel)
        chosen = choose_layout(options.parallel, 2)
        check_supported(options, ParallelContext(ProcessGroups(DistEnv(world_size=2)), chosen, None, options.parallel))

    with pytest.raises(ArgumentError, match=said):
        refuse()

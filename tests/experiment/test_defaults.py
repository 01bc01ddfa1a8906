"""Every default that a recipe leaves to the data, as one table each."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from danlu.data.dataset import Dataset
from danlu.data.kinds.table import get_kind
from danlu.errors import RecipeError
from danlu.experiment.defaults import resolve_recipe
from danlu.recipe.load import check_recipe
from danlu.recipe.schema import Recipe
from danlu.recipe.sections.data import SplitOptions
from danlu.recipe.sections.training import Finetune, Memory, Parallel, Training
from danlu.tasks.table import get_task
from danlu.training.schedules import Cosine

TASKS = {
    "tabular": "classification",
    "image": "classification",
    "text": "classification",
    "words": "token-classification",
    "corpus": "language-modelling",
    "chat": "language-modelling",
    "preference": "preference",
}


def dataset_of(kind: str = "tabular", rows: int = 100, task: str | None = None, documents: int = 0) -> Dataset:
    columns: dict[str, Any] = {"y": [row % 2 for row in range(rows)]}
    if documents:
        columns["document"] = [row % documents for row in range(rows)]
    chosen = task or TASKS[kind]
    target = None if chosen in ("language-modelling", "preference") else "y"
    return Dataset(pl.DataFrame(columns), (), get_kind(kind), get_task(chosen), "", target, "the test", Path())


def resolved(
    kind: str = "tabular",
    rows: int = 100,
    task: str | None = None,
    documents: int = 0,
    model: Any = None,
    data: dict[str, Any] | None = None,
    **training: Any,
) -> Recipe:
    values: dict[str, Any] = {"data": {"source": "x", **(data or {})}, "training": training}
    if model is not None:
        values["model"] = model
    return resolve_recipe(check_recipe(values), dataset_of(kind, rows, task, documents))


def lr_of(recipe: Recipe) -> float:
    return float(recipe.training.optimizer.lr)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("kind", "model", "epochs", "batch_size"),
    [
        ("tabular", "mlp", 100, 16),
        ("image", "timm:resnet18", 30, 32),
        ("text", "hf:bert", 10, 32),
        ("words", "hf:bert", 10, 32),
        ("corpus", "hf:llama", 3, 16),
        ("chat", "hf:llama", 3, 16),
        ("preference", "hf:llama", 1, 16),
    ],
)
def test_defaults_by_kind_of_data(kind: str, model: str, epochs: int, batch_size: int) -> None:
    recipe = resolved(kind)
    assert recipe.model is not None
    assert (recipe.model.name, recipe.training.epochs, recipe.training.batch_size) == (model, epochs, batch_size)
    assert lr_of(recipe) == 1e-3 and recipe.training.early_stopping is None
    assert recipe.training.schedule == Cosine()


@pytest.mark.parametrize(
    ("rows", "expected"),
    [(1, 16), (768, 16), (769, 32), (1536, 32), (1537, 64), (24_576, 512), (24_577, 1024), (10**6, 1024)],
)
def test_batch_size_of_a_table(rows: int, expected: int) -> None:
    assert resolved(rows=rows).training.batch_size == expected


OPTIMIZERS = {
    "sgd": 1e-2,
    "adam": 1e-3,
    "adamw": 1e-3,
    "rmsprop": 1e-3,
    "adagrad": 1e-2,
    "adafactor": 1e-2,
    "lion": 3e-4,
    "muon": 2e-3,
    "schedule-free-adamw": 2.5e-3,
    "adamw-8bit": 1e-3,
}
FAMILIES: dict[str, tuple[float, int | None]] = {
    "linear": (10.0, None),
    "mlp": (1.0, None),
    "resnet": (1.0, 16),
    "ft-transformer": (0.5, 16),
    "tabm": (1.0, 16),
    "additive": (10.0, 16),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_learning_rate_by_optimizer_and_family(optimizer: str, family: str) -> None:
    recipe = resolved(model=family, optimizer=optimizer)
    factor, patience = FAMILIES[family]
    assert lr_of(recipe) == pytest.approx(OPTIMIZERS[optimizer] * factor)
    stopping = recipe.training.early_stopping
    assert (stopping.patience if stopping else None) == patience


# Full fine-tuning in few steps, mean accuracy of three seeds. Digits 5 to 9 by a network of 0 to 4, 60 steps: AdamW
# 5e-5 .53, SGD 5e-4 .42, 5e-3 .96, 5e-2 .99, Lion 1.5e-5 .22, 5e-5 .61. Speakers of sentences by a BERT of masked
# words, 100 steps: AdamW 5e-5 .85, SGD 5e-4 .89, 5e-3 .96, 5e-2 .97, Lion 1.5e-5 .54, 5e-5 .87.
@pytest.mark.parametrize(
    ("mode", "optimizer", "expected"),
    [
        ("full", "adamw", 5e-5),
        ("full", "sgd", 5e-3),
        ("gradual", "sgd", 5e-3),
        ("full", "lion", 5e-5),
        ("full", "muon", 1e-4),
        ("gradual", "adamw", 5e-5),
        ("head", "adamw", 1e-3),
        ("head", "lion", 3e-4),
        ("lora", "adamw", 5e-4),
        ("dora", "adamw", 5e-4),
        ("qlora", "adamw", 5e-4),
        ("lora", "sgd", 5e-3),
    ],
)
def test_learning_rate_of_pretrained_texts(mode: str, optimizer: str, expected: float) -> None:
    model = {"name": "hf:./folder", "finetune": {"mode": mode}}
    assert lr_of(resolved("text", model=model, optimizer=optimizer)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("pretrained", "mode", "optimizer", "expected"),
    [
        ("w.safetensors", "full", "adamw", 5e-5),
        ("w.safetensors", "full", "sgd", 5e-3),
        ("w.safetensors", "full", "lion", 5e-5),
        ("w.safetensors", "gradual", "adamw", 5e-5),
        ("w.safetensors", "head", "adamw", 1e-3),
        ("w.safetensors", "head", "lion", 3e-4),
        ("w.safetensors", "lora", "adamw", 5e-4),
        (None, "full", "adamw", 1e-3),
        (None, "full", "sgd", 1e-2),
    ],
)
def test_learning_rate_of_image_models(pretrained: str | None, mode: str, optimizer: str, expected: float) -> None:
    model = {"name": "timm:resnet18", "pretrained": pretrained, "finetune": {"mode": mode}}
    assert lr_of(resolved("image", model=model, optimizer=optimizer)) == pytest.approx(expected)


def test_what_is_said_stays() -> None:
    early = {"metric": "validation/accuracy", "patience": 3}
    recipe = resolved(
        model="resnet",
        epochs=7,
        batch_size=9,
        optimizer={"adamw": {"lr": 0.5}},
        early_stopping=early,
        schedule="linear",
    )
    training = recipe.training
    assert (training.epochs, training.batch_size, lr_of(recipe)) == (7, 9, 0.5)
    assert training.early_stopping is not None and training.early_stopping.patience == 3
    assert training.schedule is not None and training.schedule.name == "linear"
    auto = resolved(batch_size="auto", optimizer={"adamw": {"lr": "auto"}}).training
    assert auto.batch_size == "auto" and auto.optimizer.lr == "auto"  # type: ignore[attr-defined]


def test_steps_alone_mean_as_many_epochs_as_they_take() -> None:
    assert resolved(max_steps=70).training.epochs == 70
    assert resolved(max_steps=70, epochs=3).training.epochs == 3


def test_an_optimizer_that_averages_itself_has_a_constant_schedule() -> None:
    schedule = resolved(optimizer="schedule-free-adamw").training.schedule
    assert schedule is not None
    assert (schedule.name, schedule.warmup) == ("constant", 0.05)  # type: ignore[attr-defined]
    with pytest.raises(RecipeError, match=r"training\.average"):
        resolved(optimizer="schedule-free-adamw", average="ema")


@pytest.mark.parametrize("model", ["boosting", "tree"])
def test_models_that_fit_themselves(model: str) -> None:
    recipe = resolved(model=model)
    assert recipe.training.batch_size == 1024 and recipe.training.epochs is None
    stopping = recipe.training.early_stopping
    assert (stopping.patience if stopping else None) == (50 if model == "boosting" else None)


@pytest.mark.parametrize(
    ("kind", "documents", "expected"),
    [
        ("tabular", 0, "stratified"),
        ("image", 0, "stratified"),
        ("words", 0, "random"),
        ("corpus", 0, "random"),
        ("corpus", 19, "random"),
        ("corpus", 20, "group"),
        ("preference", 0, "random"),
    ],
)
def test_how_rows_are_split(kind: str, documents: int, expected: str) -> None:
    by = resolved(kind, documents=documents).data.split.by
    assert by is not None and by.name == expected
    assert getattr(by, "column", None) == ("document" if expected == "group" else None)


@pytest.mark.parametrize(
    ("model", "data", "expected"),
    [
        ("mlp", {}, "impute"),
        ("boosting", {}, "keep"),
        ("boosting", {"select": {"keep": 3}}, "impute"),
        ("boosting", {"balance": "smote"}, "impute"),
        ("boosting", {"balance": "class-weights"}, "keep"),
        ("boosting", {"clean": {"missing": "impute"}}, "impute"),
        ("boosting", {"clean": {"missing": "keep"}}, "keep"),
        ("mlp", {"clean": {"missing": "drop"}}, "drop"),
    ],
)
def test_what_is_done_about_missing_values(model: str, data: dict[str, Any], expected: str) -> None:
    missing = resolved(model=model, data=data).data.clean.missing
    assert missing is not None and missing.name == expected


@pytest.mark.parametrize(
    ("model", "data", "said"),
    [
        ("mlp", {}, "mlp"),
        ("boosting", {"select": {"keep": 3}}, r"data\.select"),
        ("boosting", {"balance": "smote"}, "smote"),
    ],
)
def test_gaps_cannot_be_kept_for_what_minds_them(model: str, data: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        resolved(model=model, data={**data, "clean": {"missing": "keep"}})


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, None),
        ({"image_size": 48}, 48),
        ({"augment": [{"random-crop": {"size": 24}}]}, 24),
        ({"image_size": 24, "augment": [{"random-crop": {"size": 24}}]}, 24),
    ],
)
def test_size_of_images(data: dict[str, Any], expected: int | None) -> None:
    assert resolved("image", data=data).data.image_size == expected


def test_sizes_of_images_that_contradict_one_another() -> None:
    with pytest.raises(RecipeError, match="24"):
        resolved("image", data={"image_size": 48, "augment": [{"random-crop": {"size": 24}}]})
    with pytest.raises(RecipeError, match="once"):
        resolved("image", data={"augment": [{"random-crop": {"size": 24}}, {"random-crop": {"size": 24}}]})


def test_what_does_not_fit_the_data_is_refused() -> None:
    for kind, task, values, key in (
        ("tabular", None, {"model": "timm:resnet18"}, "model.name"),
        ("tabular", "regression", {"data": {"balance": "class-weights"}}, "data.balance"),
        ("image", None, {"data": {"balance": "smote"}}, "data.balance"),
        ("tabular", None, {"data": {"augment": ["random-crop"]}}, "data.augment"),
        (
            "tabular",
            "regression",
            {"early_stopping": {"metric": "validation/accuracy"}},
            "training.early_stopping.metric",
        ),
        ("corpus", None, {"model": {"name": "hf:./folder", "finetune": {"mode": "head"}}}, "model.finetune.mode"),
        ("words", None, {"model": {"name": "hf:bert", "pooling": "mean"}}, "model.pooling"),
    ):
        with pytest.raises(RecipeError) as error:
            resolved(kind, task=task, **values)  # type: ignore[arg-type]
        assert error.value.problems[0].key == key


@pytest.mark.parametrize(("classes", "task", "fine"), [(2, "classification", True), (3, "classification", False)])
def test_a_threshold_is_between_two_classes(classes: int, task: str, fine: bool) -> None:
    recipe = check_recipe({"data": {"source": "x"}, "evaluation": {"threshold": {"metric": "f1"}}})
    frame = pl.DataFrame({"y": [row % classes for row in range(60)]})
    dataset = Dataset(frame, (), get_kind("tabular"), get_task(task), "", "y", "the test", Path())
    if fine:
        resolve_recipe(recipe, dataset)
    else:
        with pytest.raises(RecipeError, match="two classes"):
            resolve_recipe(recipe, dataset)


def test_defaults_that_do_not_depend_on_the_data() -> None:
    training = Training()
    assert training.optimizer.name == "adamw"
    plain = {
        "accumulate": 1,
        "lr_scaling": None,
        "clip_norm": 1.0,
        "clip_value": None,
        "l1": 0.0,
        "l2": 0.0,
        "max_norm": None,
        "label_smoothing": 0.0,
        "average": None,
        "precision": "auto",
        "compile": "auto",
        "device": "auto",
        "parallel": "auto",
    }
    assert {key: getattr(training, key) for key in plain} == plain
    assert training.preference.beta == 0.1
    assert Memory() == Memory(
        checkpointing="none",
        offload_activations=False,
        offload_optimizer=False,
        optimizer_in_backward=False,
        loss_chunk="auto",
    )
    assert (SplitOptions().validation, SplitOptions().test, SplitOptions().by) == (0.15, 0.15, None)
    assert (Finetune().mode, Finetune().layer_decay, Finetune().rank, Finetune().dropout) == ("full", 1.0, None, 0.0)
    parallel = Parallel()
    ways = (parallel.data, parallel.shard, parallel.tensor, parallel.pipeline, parallel.context)
    assert ways == ("auto", 1, 1, 1, 1) and parallel.schedule == "1f1b"
    assert Training.model_fields["early_stopping"].default is None


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        ("sgd", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.0}),
        ("adam", {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}),
        ("adamw", {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}),
        ("rmsprop", {"alpha": 0.99, "momentum": 0.0, "centered": False, "eps": 1e-8, "weight_decay": 0.0}),
        ("adagrad", {"eps": 1e-10, "weight_decay": 0.0}),
        ("adafactor", {"beta2_decay": -0.8, "clip": 1.0, "weight_decay": 0.0}),
        ("lion", {"betas": (0.9, 0.99), "weight_decay": 0.1}),
        ("muon", {"momentum": 0.95, "nesterov": True, "iterations": 5, "betas": (0.9, 0.95), "weight_decay": 0.1}),
        ("schedule-free-adamw", {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}),
        ("adamw-8bit", {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}),
    ],
)
def test_defaults_of_optimizers(optimizer: str, expected: dict[str, Any]) -> None:
    chosen = resolved(optimizer=optimizer).training.optimizer
    assert {key: getattr(chosen, key) for key in expected} == expected

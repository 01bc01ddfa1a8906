"""A task is one class and one line of a table; nothing outside of the tasks compares their names."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import pytest

import danlu
from danlu.core.component import components
from danlu.metrics.base import Metric
from danlu.tasks import metric_table, table
from danlu.tasks.base import Head, Target, Words
from danlu.tasks.loss_weighting import LossWeighting
from danlu.tasks.regression import NumericTarget, NumericTask, regression_predict
from danlu.tasks.table import TASKS, get_task

if TYPE_CHECKING:
    from torch import Tensor

SOURCE = Path(danlu.__file__).parent
NAMES = "|".join(TASKS)
COMPARISONS = (
    re.compile(r"\btask\b(\.name)?\s*(==|!=)\s*[\"']"),
    re.compile(rf"\btask\b(\.name)?\s*(in|not in)\s*[(\[{{][^)\]}}]*[\"']({NAMES})[\"']"),
    re.compile(rf"[\"']({NAMES})[\"']\s*(==|!=)"),
    re.compile(r"profile\[\"task\"\]\s*(==|!=|in\b)"),
)


@pytest.mark.parametrize(
    "line",
    ['if dataset.task == "regression":', 'if task in (None, "multi-label"):', 'if profile["task"] == "preference":'],
)
def test_a_comparison_of_names_is_found(line: str) -> None:
    assert any(pattern.search(line) for pattern in COMPARISONS)


def test_nothing_compares_the_name_of_a_task() -> None:
    found = [
        f"{file.relative_to(SOURCE)}:{number}: {line.strip()}"
        for file in sorted(SOURCE.rglob("*.py"))
        if SOURCE / "tasks" not in file.parents
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if any(pattern.search(line) for pattern in COMPARISONS)
    ]
    assert found == []


def test_a_task_is_listed_under_its_own_name_and_has_words_in_both_languages() -> None:
    assert {name: get_task(name).name for name in TASKS} == {name: name for name in TASKS}
    for task in TASKS.values():
        assert {language for language, texts in task.words.items() if texts["name"]} == {"en", "zh"}
        assert task.main_metric in task.default_metrics


class LaplaceTarget(NumericTarget):
    """Predict a number, as the toy task has it."""

    task: str = "laplace"


class Laplace(NumericTask):
    """Predict a number by the absolute error."""

    name: Literal["laplace"] = "laplace"
    words: ClassVar[Words] = {"en": {"name": "Laplace regression"}, "zh": {"name": "拉普拉斯回归"}}
    own_metrics: ClassVar[Mapping[str, Metric]] = {}
    metrics_of = ("regression",)
    default_metrics = ("mae", "rmse")
    main_metric = "mae"
    target_class: ClassVar[type[Target]] = LaplaceTarget

    def head(self, target: NumericTarget) -> Head:
        return Head(absolute_error, regression_predict, len)


def absolute_error(logits: "Tensor", target: "Tensor", emphasis: LossWeighting) -> "tuple[Tensor, int]":
    return (logits[:, 0].float() - target).abs().sum(), len(target)


@pytest.fixture
def laplace(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Add the toy task to the table, as another package's entry point would."""
    monkeypatch.setitem(table.TASKS, "laplace", Laplace)
    for cached in (components, get_task, metric_table.all_metrics):
        cached.cache_clear()
    yield
    monkeypatch.undo()
    for cached in (components, get_task, metric_table.all_metrics):
        cached.cache_clear()


@pytest.mark.training
@pytest.mark.usefixtures("laplace")
def test_a_task_of_another_package_goes_from_a_file_to_a_bundle(tmp_path: Path) -> None:
    from danlu.experiment.data_context import load_data
    from danlu.models.predictor import Predictor
    from danlu.recipe.load import load_recipe

    recipe = load_recipe("wine")
    data = recipe.data.model_copy(update={"source": "builtin:diabetes", "target": "progression", "task": Laplace()})
    training = recipe.training.model_copy(update={"epochs": 3})
    recipe = recipe.model_copy(update={"name": "laplace", "data": data, "training": training})
    assert load_data(recipe).dataset.task == Laplace()
    run = danlu.run(recipe, output=tmp_path / "run")
    evaluation = run.evaluation()
    assert evaluation["task"] == "laplace" and evaluation["main"]["metric"] == "mae"
    assert set(evaluation["baselines"]) == {"mean", "ridge", "gradient-boosting"}
    assert isinstance(Predictor.load(run.path).target, LaplaceTarget)

"""A task is one class and one line of a table; nothing outside of the tasks compares their names."""

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import pytest

import danlu
from danlu.artifacts.files import read_json
from danlu.metrics.base import Metric
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


PROGRAM = """
import sys
import danlu
from danlu.tasks import table
from tests.tasks.test_new_task import Laplace
table.TASKS["laplace"] = Laplace  # as an entry point would, before anything asks for the table
run = danlu.run(
    {"data": {"source": "builtin:diabetes", "target": "progression", "task": "laplace"}, "training": {"epochs": 3}},
    output=sys.argv[1],
)
from danlu.models.predictor import Predictor
print(run.path, type(Predictor.load(run.path).target).__name__)
"""


@pytest.mark.slow
@pytest.mark.training
def test_a_task_of_another_package_goes_from_a_file_to_a_bundle(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, check=True)
    folder, target = done.stdout.split()
    evaluation = read_json(Path(folder) / "evaluation.json")
    assert target == "LaplaceTarget"
    assert evaluation["task"] == "laplace" and evaluation["main"]["metric"] == "mae"
    assert set(evaluation["baselines"]) == {"mean", "ridge", "gradient-boosting"}

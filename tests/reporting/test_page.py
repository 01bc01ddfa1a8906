"""The report: what it says of a run, and that it is one safe file that loads nothing."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from danlu.artifacts.run import RunDirectory
from danlu.reporting.page import write_report

HOSTILE = "<script>alert(1)</script>"
BASELINE_MEANING = "a linear model of the same columns"
VOID = {"meta", "br", "link", "img", "hr", "input"}
SPREAD = {"min": 0.0, "first_quartile": 1.0, "median": 2.0, "third_quartile": 3.0, "max": 5.0, "mean": 2.1, "std": 1.2}
NUMBERS = {**SPREAD, "histogram": [1, 4, 9, 4, 2, 0, 0, 1]}


class Page(HTMLParser):
    """A page's tags, checked to be closed in order; its text; and what its attributes hold."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.source, self.open = text, []  # type: ignore[var-annotated]
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], "tags left open"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def labels(self) -> list[str]:
        return [str(svg["aria-label"]) for svg in self.all("svg")]


def column(name: str, kind: str = "number", used: bool = True, missing: int = 0, **spread: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "reason": "numbers", "used": used, "missing": missing, "unique": 9, **spread}


def profile(task: str, kind: str, target: dict[str, Any] | None, columns: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "origin": "churn.csv",
        "kind": kind,
        "task": task,
        "task_reason": "said in the recipe",
        "rows": 1000,
        "splits": {"train": 700, "validation": 150, "test": 150},
        "target": target,
        "columns": columns,
        "samples": {"columns": ["x", "y"], "rows": [["1", "no"], ["2", "yes"]]},
        "dropped": {},
        "findings": [],
    }


def valued(**figures: float) -> dict[str, Any]:
    return {name.replace("_", "-"): {"value": value} for name, value in figures.items()}


def baseline(meaning: str, **figures: float) -> dict[str, Any]:
    return {"meaning": meaning, "validation": valued(**figures), "test": valued(**figures)}


def class_figures(labels: list[str], counts: list[list[int]], **figures: float) -> dict[str, Any]:
    one = {"precision": 0.9, "recall": 0.8, "f1": 0.85, "support": 75}
    return {
        **valued(**figures),
        "classes": dict.fromkeys(labels, one),
        "confusion": {"labels": labels, "counts": counts},
    }


def classification(model: float = 0.92, linear: float = 0.8, labels: tuple[str, str] = ("no", "yes")) -> dict[str, Any]:
    right = round(model * 150)
    counts = [[75, 0], [150 - right, right - 75]]
    judged = class_figures(list(labels), counts, accuracy=model, log_loss=0.2)
    return {
        "main": {"metric": "accuracy", "higher_is_better": True},
        "validation": judged,
        "test": judged,
        "baselines": {
            "majority": baseline("always the most frequent class", accuracy=0.5, log_loss=0.69),
            "logistic-regression": baseline(BASELINE_MEANING, accuracy=linear, log_loss=0.4),
        },
    }


def classification_profile(labels: tuple[str, str] = ("no", "yes")) -> dict[str, Any]:
    classes = {label: {"train": 350, "validation": 75, "test": 75} for label in labels}
    columns = [
        column("age", missing=10, **NUMBERS),
        column("plan", "category", most_frequent=[["basic", 600], ["gold", 400]]),
        column("customer", "identifier", used=False),
        column("signup", "datetime", first="2020-01-01", last="2024-01-01"),
        column("note", "text", characters=NUMBERS),
        column("empty"),
    ]
    return profile("classification", "tabular", {"name": "churned", "classes": classes}, columns)


LOG = [
    {"step": 1, "epoch": 0.5, "train/loss": 0.7, "lr": 1e-3},
    {"step": 2, "epoch": 1.0, "validation/loss": 0.6},
    {"step": 3, "epoch": 1.5, "train/loss": 0.4, "lr": 1e-3},
    {"step": 4, "epoch": 2.0, "validation/loss": 0.3},
    {"step": 6, "epoch": 3.0, "validation/loss": 0.5},
]


@pytest.fixture
def report(tmp_path: Path) -> Any:
    """Write a run directory by hand, report it, and read the page back."""

    def write(profile: dict[str, Any], evaluation: dict[str, Any] | None, log: list[dict[str, Any]] = LOG) -> Page:
        folder = tmp_path / "churn-run"
        (folder / "data").mkdir(parents=True, exist_ok=True)
        (folder / "recipe.yaml").write_text("name: churn\nmodel: {name: mlp}\n")
        environment = {"versions": {"python": "3.11", "torch": "2.11"}, "device": "cpu", "seed": 7, "git": None}
        (folder / "environment.json").write_text(json.dumps({**environment, "command": ["danlu", "run", "a b.yaml"]}))
        (folder / "data" / "profile.json").write_text(json.dumps(profile))
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
        if evaluation is not None:
            (folder / "evaluation.json").write_text(json.dumps(evaluation))
        path = write_report(RunDirectory.open(folder))
        assert path == folder / "report.html"
        return Page(path.read_text(encoding="utf-8"))

    return write


def assert_self_contained(page: Page) -> None:
    (script,) = re.findall(r"<script>(.*?)</script>", page.source, re.DOTALL)
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page.source)
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.split("; ")[-1] == f"script-src 'sha256-{allowed}'"  # this script, and no other
    assert len(page.all("script")) == 1
    assert not page.all("link")
    for _, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href"):
                assert value is not None
                assert value.startswith("#")
    assert not re.search(r"@import|url\((?!#)", page.source)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def assert_accessible(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in page.all("svg"))
    assert all(cell.get("scope") for cell in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))


def test_classification_page_tells_the_whole_run(report: Any) -> None:
    page = report(classification_profile(), classification())
    assert_self_contained(page)
    assert_accessible(page)
    assert "danlu report - churn-run" in page.text
    assert "predicts “churned” (2 classes) from 5 columns" in page.text
    assert "Of 1,000 rows it learned from 700" in page.text
    assert "accuracy is 0.92: 138 of 150 rows answered rightly" in page.text
    assert "ahead of majority" in page.text
    assert "better by 0.12, which is 18 of 150 test samples." in page.text
    assert "should be preferred" not in page.text
    assert "The weights of step 4 were kept" in page.text
    assert "“yes” taken for “no” (12 times)" in page.text
    for told in ("model: {name: mlp}", "python 3.11, torch 2.11", "danlu run 'a b.yaml'", "10 (1.0%)"):
        assert told in page.text
    for figure in ("Confusion matrix", "Training curves", "Samples a class", "Histogram from 0 to 5"):
        assert any(label.startswith(figure) for label in page.labels), figure


def test_best_figure_of_each_row_on_test_is_marked_without_colour(report: Any) -> None:
    page = report(classification_profile(), classification(model=0.8, linear=0.92))
    marked = re.findall(r'<strong class="best">([\d.]+) <span[^>]*aria-label="best on test">★', page.source)
    assert marked == ["0.92", "0.2"]  # accuracy is the linear model's, log loss the model's


def test_a_clear_difference_says_whether_the_model_is_better_or_worse(report: Any) -> None:
    evaluation = classification(model=0.8, linear=0.92) | {
        "intervals": {"method": "percentile", "confidence": 0.95, "resamples": 100, "resampled_by": "row"}
    }
    evaluation["baselines"]["majority"]["differences"] = {"test": {}}
    told = {
        "accuracy": (-0.12, -0.2, -0.05),
        "log-loss": (-0.2, -0.3, -0.1),
        "brier": (0.1, 0.05, 0.2),
        "f1": (-0.01, -0.1, 0.1),
        "own.py:cost": (0.3, 0.2, 0.4),
    }
    evaluation["baselines"]["logistic-regression"]["differences"] = {
        "test": {name: dict(zip(("value", "low", "high"), each, strict=True)) for name, each in told.items()}
    }
    page = report(classification_profile(), evaluation)
    assert_accessible(page)
    cells = dict(re.findall(r'<tr><th scope="row">([\w.:-]+)</th><td class="n">(.*?)</td></tr>', page.source))
    marks = {name: re.findall("[★▼≠]", cells[name]) for name in told}
    assert marks == {"accuracy": ["▼"], "log-loss": ["★"], "brier": ["▼"], "f1": [], "own.py:cost": ["≠"]}
    assert "clearly worse: 0 is outside" in cells["accuracy"]


def test_losing_to_the_linear_model_is_said_plainly(report: Any) -> None:
    page = report(classification_profile(), classification(model=0.8, linear=0.92))
    assert (
        "The model is behind logistic-regression on the test split: the simpler model should be preferred "
        "unless there is another reason" in page.text
    )
    assert "worse by 0.12" in page.text


def test_level_with_the_linear_model_also_prefers_the_simpler(report: Any) -> None:
    page = report(classification_profile(), classification(model=0.92, linear=0.92 + 1e-12))
    assert "level with logistic-regression" in page.text
    assert "the simpler model should be preferred" in page.text


def test_a_warning_stands_out_from_a_note_and_only_keys_are_shown_as_code(report: Any) -> None:
    told = classification_profile()
    told["findings"] = [
        {"severity": "note", "subject": "age", "message": "is odd", "cure": "look at it; data.clean has cures"},
        {"severity": "warning", "subject": "plan", "message": "leaks", "cure": "data.columns: {plan: drop}"},
    ]
    page = report(told, classification())
    assert '<p class="remark"><strong>Note: age.' in page.source
    assert '<p class="note"><strong>Warning: plan.' in page.source
    assert "Mend: look at it; data.clean has cures" in page.source
    assert "<code>data.columns: {plan: drop}</code>" in page.source


def test_a_difference_of_few_samples_may_be_chance(report: Any) -> None:
    page = report(classification_profile(), classification(model=0.92, linear=0.9))
    assert "which is 3 of 150 test samples; so small a difference may be chance" in page.text
    assert "ahead of logistic-regression by so little that it may be chance" in page.text


def test_no_better_than_the_majority_has_learned_nothing(report: Any) -> None:
    page = report(classification_profile(), classification(model=0.5))
    assert "level with majority, which never looks at the input: it has learned nothing" in page.text


def test_regression_page_judges_by_the_error(report: Any) -> None:
    evaluation = {
        "main": {"metric": "rmse", "higher_is_better": False},
        "validation": valued(rmse=3.0, mae=2.0, r2=0.5),
        "test": valued(rmse=3.1, mae=2.1),  # r2 is undefined there
        "baselines": {"mean": baseline("the mean", rmse=5.0), "ridge": baseline(BASELINE_MEANING, rmse=3.0, r2=0.5)},
    }
    page = report(profile("regression", "tabular", {"name": "cost", **NUMBERS}, [column("age", **NUMBERS)]), evaluation)
    assert_self_contained(page)
    assert_accessible(page)
    assert "ahead of mean" in page.text
    assert "better by 1.9" in page.text
    assert "The model is behind ridge on the test split: the simpler model should be preferred" in page.text
    assert "Confusion matrix" not in page.text
    assert any(label.startswith("Histogram of cost from 0 to 5, median 2") for label in page.labels)


def test_language_model_is_compared_by_perplexity(report: Any) -> None:
    evaluation = {
        "main": {"metric": "perplexity", "higher_is_better": False},
        "validation": valued(perplexity=60.0, bits_per_byte=1.5),
        "test": valued(perplexity=75.0, bits_per_byte=1.6),
        "baselines": {"unigram": baseline("by frequency", perplexity=300.0), "bigram": baseline("", perplexity=100.0)},
    }
    columns = [column("document", "identifier", used=False), column("text", "text", characters=NUMBERS)]
    page = report(profile("language-modelling", "corpus", None, columns), evaluation)
    assert_self_contained(page)
    assert_accessible(page)
    assert "predicts the next token" in page.text
    assert "perplexity 75 against 300, 75.0% below the baseline's" in page.text
    assert "should be preferred" not in page.text


def test_hostile_names_are_shown_and_not_obeyed(report: Any) -> None:
    labels = (HOSTILE, '$x" onload="alert(1)\x00]]>')
    known = classification_profile(labels)
    known["columns"].append(column(HOSTILE, "category", most_frequent=[[HOSTILE, 3]]))
    known["target"]["name"] = f'"{HOSTILE}'
    known["findings"] = [{"severity": "warning", "subject": HOSTILE, "message": f"tells {HOSTILE}", "cure": HOSTILE}]
    evaluation = classification(labels=labels)
    evaluation["baselines"][HOSTILE] = baseline(HOSTILE, accuracy=0.4)
    page = report(known, evaluation)
    assert_self_contained(page)
    assert_accessible(page)
    assert page.source.lower().count("<script") == 1
    assert "alert" not in re.findall(r"<script>(.*?)</script>", page.source, re.DOTALL)[0]
    assert f"Warning: {HOSTILE}. tells {HOSTILE}" in page.text


def test_500_columns_and_100_classes_stay_small_and_folded(report: Any) -> None:
    labels = [f"class {index}" for index in range(100)]
    counts = [[5 if row == answer else int(answer == row + 1) for answer in range(100)] for row in range(100)]
    judged = class_figures(labels, counts, accuracy=0.8)
    evaluation = {**classification(), "validation": judged, "test": judged}
    known = classification_profile()
    known["target"]["classes"] = {label: {"train": 7, "validation": 1, "test": 2} for label in labels}
    known["columns"] = [column(f"column {index}", **NUMBERS) for index in range(500)]
    page = report(known, evaluation)
    assert len(page.source.encode()) < 1_000_000
    assert "500 columns" in page.text
    assert len(page.all("details")) == 3  # the figures of validation, classes, columns
    assert "too large to draw" in page.text
    assert "“class 0” taken for “class 1” (1 time)" in page.text
    assert not any(label.startswith("Confusion") for label in page.labels)


def test_watched_metric_decides_which_step_was_kept(report: Any) -> None:
    log = [
        {**line, "validation/accuracy": 1 - line["step"] / 10} if "validation/loss" in line else line for line in LOG
    ]
    page = report(classification_profile(), classification(), log)
    assert "The weights of step 2 were kept, where validation accuracy was best (0.8)" in page.text


def test_a_run_without_evaluation_log_or_baselines_has_a_page(report: Any) -> None:
    known = classification_profile()
    assert "has not been evaluated yet" in report(known, None, []).text
    page = report(known, {**classification(), "baselines": {}})
    assert "no baseline to compare it with" in page.text
    assert "★" not in page.text


def test_training_images_are_pictures_that_the_page_lets_itself_show(report: Any) -> None:
    known = classification_profile()
    known["samples"] = {"images": [{"label": "cat", "png": "iVBORw0KGgo="}]}
    source = report(known, classification()).source
    assert '<img src="data:image/png;base64,iVBORw0KGgo="' in source
    # Browsers show nothing of what the page's own policy does not name.
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', source)
    assert "img-src data:" in policy.split("; ")


@pytest.mark.training
def test_same_run_gives_the_same_bytes(report: Any) -> None:
    first, second = (report(classification_profile(), classification()).source for _ in range(2))
    assert first == second

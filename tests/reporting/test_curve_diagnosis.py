"""What the report says of training: the gap between the curves, what was noticed, how fast it was."""

import json
from pathlib import Path
from typing import Any

import pytest

from danlu.artifacts.run import RunDirectory
from danlu.errors import ArtifactError
from danlu.reporting.curve_diagnosis import diagnose_curves, training_loss_at
from danlu.reporting.page import write_report
from tests.reporting.test_page import (
    Page,
    assert_accessible,
    assert_self_contained,
    classification,
    classification_profile,
)


def curves(training: list[float], validation: list[float]) -> list[dict[str, Any]]:
    """A log of two training losses before each validation."""
    lines: list[dict[str, Any]] = []
    for index, (train, valid) in enumerate(zip(training, validation, strict=True)):
        lines += [{"step": 10 * index + at, "epoch": index, "train/loss": train, "lr": 1e-3} for at in (5, 10)]
        lines.append({"step": 10 * index + 10, "epoch": index + 1, "validation/loss": valid})
    return lines


LOGS = {
    "overfitting": curves([0.6, 0.4, 0.2, 0.1], [0.62, 0.5, 0.55, 0.7]),
    "underfitting": curves([0.69, 0.68, 0.68, 0.68], [0.69, 0.68, 0.68, 0.68]),
    "unfinished": curves([0.6, 0.5, 0.4, 0.3], [0.62, 0.52, 0.42, 0.33]),
    "wide gap": curves([0.5, 0.1, 0.05, 0.04], [0.6, 0.4, 0.401, 0.402]),
    "fine": curves([0.6, 0.31, 0.3, 0.3], [0.62, 0.33, 0.32, 0.321]),
}


@pytest.mark.parametrize("sign", LOGS)
def test_the_curves_are_read_as_they_look(sign: str) -> None:
    found = diagnose_curves(LOGS[sign], classification())
    assert found is not None and found.diagnosis == sign


def test_noise_is_not_overfitting_and_too_few_points_say_nothing() -> None:
    noise = diagnose_curves(curves([0.3, 0.3, 0.29], [0.33, 0.32, 0.33]), {})
    assert noise is not None and noise.diagnosis == "fine"
    assert diagnose_curves(LOGS["overfitting"][:6], {}) is None
    assert diagnose_curves([line for line in LOGS["fine"] if "train/loss" not in line], {}) is None


def test_training_loss_is_averaged_between_validations() -> None:
    log = [{"step": step, "train/loss": float(step)} for step in range(1, 9)]
    assert training_loss_at(log, [4, 8, 9]) == [2.5, 6.5, 6.5]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "recipe.yaml").write_text("name: churn\n")
    (tmp_path / "environment.json").write_text("{}")
    (tmp_path / "data" / "profile.json").write_text(json.dumps(classification_profile()))
    (tmp_path / "evaluation.json").write_text(json.dumps(classification()))
    return tmp_path


def page_of(folder: Path, log: list[dict[str, Any]]) -> Page:
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    return Page(write_report(RunDirectory.open(folder)).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("sign", "told"),
    [
        ("overfitting", "Validation loss rose from there to 0.7 while training loss went on falling to 0.1"),
        ("underfitting", "the model has learned hardly anything (underfitting)"),
        ("unfinished", "Validation loss was still falling when training ended"),
        ("wide gap", "the model knows its training samples much better than others"),
        ("fine", "neither learning by heart nor an end that came too early"),
    ],
)
def test_the_page_says_what_to_try(folder: Path, sign: str, told: str) -> None:
    page = page_of(folder, LOGS[sign])
    assert told in page.text
    assert ("data.augment" in page.text) == (sign in ("overfitting", "wide gap"))
    assert_self_contained(page)
    assert_accessible(page)


def test_the_gap_is_told_and_shown(folder: Path) -> None:
    page = page_of(folder, LOGS["overfitting"])
    assert "At step 20, where validation loss was least, it was 0.5, and training loss 0.4: a gap of 0.1." in page.text
    assert "gap" in {word.strip() for word in page.words}  # the shaded area of the picture


def test_alarms_throughput_and_the_range_test_are_on_the_page(folder: Path) -> None:
    alarm = {"step": 1200, "kind": "exploding gradient", "message": "the norm is <b>9</b>"}
    (folder / "alarms.jsonl").write_text(json.dumps(alarm) + "\n")
    lines = [
        {"step": step, "seconds": 60.0 * step, "samples_per_s": 100.0 * step, "steps_per_s": 3.0, "peak_bytes": 2e9}
        for step in (1, 2, 3)
    ]
    (folder / "throughput.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    picture = """<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 9 9"
        onload="alert(1)"><script>alert(1)</script><style>p {color: red}</style><path id="a" d="M0 0"/>
        <use xlink:href="#a"/><use xlink:href="http://example.org/x"/>
        <text fill="url(http://example.org)">by rate</text></svg>"""
    (folder / "lr-range.svg").write_text(picture)
    page = page_of(folder, LOGS["fine"])
    assert "Step 1,200: exploding gradient. the norm is <b>9</b>." in page.text
    assert "Training took 3:00 min without validation, at 200 samples a second; 2.00 GB of memory" in page.text
    assert "Loss by learning rate" in page.labels and "by rate" in page.text
    assert "example.org" not in page.source and "alert" not in page.source
    assert "#lr-range-a" in [use.get("href") for use in page.all("use")]
    assert_self_contained(page)
    assert_accessible(page)


@pytest.mark.training
def test_throughput_of_a_language_model_on_a_card_says_more(folder: Path) -> None:
    line = {"step": 1, "seconds": 20.0, "samples_per_s": 10.0, "tokens_per_s": 5120.0, "steps_per_s": 1.0, "mfu": 0.41}
    (folder / "throughput.jsonl").write_text(json.dumps(line) + "\n")
    told = page_of(folder, LOGS["fine"]).text
    assert "took 20 s without validation, at 10 samples a second (5,120 tokens); 41% of what the card could" in told


def test_a_picture_that_is_none_is_refused(folder: Path) -> None:
    (folder / "lr-range.svg").write_text("<svg")
    with pytest.raises(ArtifactError, match=r"lr-range\.svg: not an SVG image .*; delete it"):
        page_of(folder, LOGS["fine"])

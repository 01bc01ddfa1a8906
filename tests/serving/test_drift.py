"""Drift of what is asked and answered against the bundle's reference, by the audit's own tests."""

from pathlib import Path
from typing import Any

from danlu.serving.answering import Served
from danlu.serving.drift import Drift
from tests.serving.test_answering import rows_of


def observed(served: Served, requests: list[list[Any]], window: int = 2_000) -> dict[str, Any]:
    drift = Drift(served, window, every_s=0)
    for given in requests:
        rows = served.read(given)
        drift.observe(rows, served.answer([rows])[0])
    return drift.report()


def keys_of(report: dict[str, Any], about: str) -> set[str]:
    return {finding["key"] for finding in report["findings"] if finding["subject"] == about}


def test_rows_like_those_of_the_training_have_not_drifted(wine: Served, table_file: Path) -> None:
    rows = rows_of(wine, str(table_file))
    report = observed(wine, [rows[:50], rows[50:]])
    assert (report["seen"], report["rows"], report["errors"]) == (len(rows), len(rows), 0)
    assert {column["name"] for column in report["inputs"]} == {column.name for column in wine.columns}
    assert [column["name"] for column in report["answers"]] == ["prediction"]
    assert not [finding for finding in report["findings"] if finding["key"] in ("drifted", "unseen-values")]


def test_a_column_in_another_unit_and_answers_of_one_kind_are_found(wine: Served, table_file: Path) -> None:
    rows = [{**row, "alcohol": row["alcohol"] * 10, "shelf": "attic"} for row in rows_of(wine, str(table_file))]
    report = observed(wine, [rows])
    assert "drifted" in keys_of(report, "alcohol")
    assert "nothing-seen" in keys_of(report, "shelf")
    assert not keys_of(report, "hue") & {"drifted"}
    same = [answer for answer in [rows[0]] for _ in range(100)]
    assert "drifted" in keys_of(observed(wine, [same]), "prediction")


def test_only_the_latest_rows_are_kept_and_broken_ones_are_counted(wine: Served, table_file: Path) -> None:
    rows = rows_of(wine, str(table_file))
    words = [{**row, "alcohol": str(row["alcohol"])} for row in rows[:30]]
    report = observed(wine, [rows[:40], [*words, {}]], window=35)
    assert (report["seen"], report["rows"], report["errors"]) == (71, 35, 1)
    assert observed(wine, [rows], window=20)["rows"] == 20


def test_pictures_have_drift_of_answers_alone(digits: Served, image_folder: Path) -> None:
    files = [path.read_bytes() for path in sorted(image_folder.rglob("*.png"))[:40]]
    report = observed(digits, [files])
    assert report["inputs"] == []
    assert report["answers"][0]["drift"]["distance"] >= 0


def test_nothing_asked_is_no_drift(wine: Served) -> None:
    report = Drift(wine).report()
    assert (report["rows"], report["findings"], report["why"]) == (0, [], "no-rows")

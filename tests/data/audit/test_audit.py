"""The audit finds what is planted, says how to mend it, and keeps calm over data that is as it should be."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import danlu as package
from danlu.core.text import format_message
from danlu.data.audit.messages import FINDINGS
from danlu.data.builtin import read_builtin
from danlu.reporting.i18n import Translator
from danlu.reporting.sections.findings import translate_findings as in_language
from tests.conftest import Command

ROWS = 1000


def clean_table(seed: int = 0, rows: int = ROWS) -> pl.DataFrame:
    """Numbers, a category and a class that the numbers say a little about."""
    generator = np.random.default_rng(seed)
    numbers = {f"x{index}": generator.normal(size=rows) for index in range(6)}
    label = np.where(numbers["x0"] + generator.normal(size=rows) > 0, "yes", "no")
    return pl.DataFrame({**numbers, "c": np.array(["u", "v", "w"])[generator.integers(0, 3, rows)], "y": label})


def findings(frame: pl.DataFrame, folder: Path, **data: Any) -> list[dict[str, Any]]:
    frame.write_parquet(folder / "table.parquet")
    recipe = {"data": {"source": str(folder / "table.parquet"), "target": "y", **data}}
    found = json.loads(json.dumps(package.check(recipe)["findings"]))
    for each, chinese in zip(found, in_language(Translator("zh"), {"findings": found}), strict=True):
        # What is kept is enough to say it again, in either language.
        assert format_message(FINDINGS, each["key"], each["figures"]) == each["message"]
        assert chinese["language"] == "zh" and re.search("[\u4e00-\u9fff]", chinese["message"])
    return list(found)


def subjects(found: list[dict[str, Any]], *severities: str) -> set[str]:
    return {finding["subject"] for finding in found if not severities or finding["severity"] in severities}


@pytest.mark.training
def test_data_without_faults_raises_no_alarm(tmp_path: Path) -> None:
    """At a level of one alarm in a thousand sets, fifty sets have none, and hardly ever one."""
    alarms = [
        finding for seed in range(50) for finding in findings(clean_table(seed, 300), tmp_path, missing_values=[])
    ]
    assert len(subjects(alarms, "error", "warning")) <= 1


@pytest.mark.parametrize("name", ["breast-cancer", "wine", "diabetes", "digits", "speeches", "speeches-corpus"])
def test_the_built_in_sets_are_calm(name: str) -> None:
    assert not subjects(package.check(name)["findings"], "error", "warning")


def test_rows_on_both_sides_are_counted(tmp_path: Path) -> None:
    frame = clean_table()
    found = findings(pl.concat([frame, frame.head(100)]), tmp_path)
    shared = [finding for finding in found if finding["subject"] == "duplicates"]
    assert {finding["figures"]["split"] for finding in shared} == {"validation", "test", "train"}
    assert sum(finding["figures"]["rows"] for finding in shared) <= 100
    assert shared[0]["cure"] == "data.clean.duplicates: drop"
    assert not subjects(findings(pl.concat([frame, frame.head(100)]), tmp_path, clean={"duplicates": "drop"}))


def test_a_test_that_mostly_repeats_training_is_an_error(tmp_path: Path) -> None:
    frame = clean_table(rows=300)
    assert "duplicates" in subjects(findings(pl.concat([frame] * 3), tmp_path), "error")


def test_the_same_inputs_with_two_answers_are_told(tmp_path: Path) -> None:
    frame = clean_table()
    other = frame.head(50).with_columns(y=pl.when(pl.col("y") == "yes").then(pl.lit("no")).otherwise(pl.lit("yes")))
    found = findings(pl.concat([frame, other]), tmp_path)
    (contradiction,) = [finding for finding in found if finding["subject"] == "contradictions"]
    assert contradiction["figures"]["rows"] == 100


@pytest.mark.parametrize("form", ["number", "category", "gap", "time"])
def test_a_column_that_is_the_answer_in_disguise_is_found(tmp_path: Path, form: str) -> None:
    frame, generator = clean_table(), np.random.default_rng(1)
    yes = frame["y"].to_numpy() == "yes"
    leaks = {
        "number": pl.Series(yes * 2.0 + generator.normal(0, 0.05, ROWS)),
        "category": pl.Series(np.where(yes, np.array(["A", "B"])[generator.integers(0, 2, ROWS)], "C")),
        "gap": pl.Series(generator.normal(size=ROWS)).set(pl.Series(~yes), None),
        # A time that stands there once in all the file: those of one class are the later ones.
        "time": pl.Series(
            [
                f"{day % 28 + 1:02}.{month % 12 + 1:02}.{2020 + 2 * later} 10:{minute % 60:02}"
                for minute, (later, day, month) in enumerate(zip(yes, range(ROWS), range(7, ROWS + 7), strict=True))
            ]
        ),
    }
    found = findings(frame.with_columns(refund=leaks[form]), tmp_path)
    (leak,) = [finding for finding in found if finding["subject"] == "refund" and finding["severity"] == "warning"]
    assert leak["cure"] == "data.columns: {refund: drop}"
    assert leak["figures"]["strength"] > 0.99


def test_an_identifier_that_tells_the_answer_is_told_though_the_model_is_not_given_it(tmp_path: Path) -> None:
    frame = clean_table()
    cases = [f"{'P' if label == 'yes' else 'Q'}{row:05}" for row, label in enumerate(frame["y"])]
    found = findings(frame.with_columns(case=pl.Series(cases)), tmp_path)
    (leak,) = [finding for finding in found if finding["subject"] == "case"]
    assert leak["severity"] == "note" and "it is left out of the model" in leak["message"]


def test_a_number_in_the_targets_order_is_found_for_regression(tmp_path: Path) -> None:
    frame = clean_table().drop("y").with_columns(y=pl.col("x0") * 3 + pl.col("x1"))
    found = findings(frame.with_columns(copy=pl.col("y") ** 3), tmp_path)
    assert "copy" in subjects(found, "warning")
    assert "x0" not in subjects(found)


def test_groups_on_both_sides_are_found_unless_the_split_keeps_them_whole(tmp_path: Path) -> None:
    frame = clean_table().with_columns(user_id=pl.int_range(ROWS) % 60)
    found = findings(frame, tmp_path)
    (torn,) = [finding for finding in found if finding["subject"] == "user_id"]
    assert torn["cure"] == "data.split.by: {group: user_id}"
    assert "user_id" not in subjects(findings(frame, tmp_path, split={"by": {"group": "user_id"}}), "warning")


def test_dates_that_a_split_mixes_are_noted(tmp_path: Path) -> None:
    frame = clean_table().with_columns(when=pl.date(2024, 1, 1) + pl.duration(days=pl.int_range(ROWS)))
    assert "when" in subjects(findings(frame, tmp_path), "note")
    found = findings(frame, tmp_path, split={"by": {"time": "when"}})
    assert "when" not in subjects(found)


def test_drift_between_the_splits_is_found(tmp_path: Path) -> None:
    part = pl.Series(["train"] * 700 + ["validation"] * 150 + ["test"] * 150)
    frame = clean_table().with_columns(part=part)
    split = {"by": {"column": "part"}}
    assert "drift" not in subjects(findings(frame, tmp_path, split=split))
    late = pl.col("part") == "test"
    moved = frame.with_columns(x3=pl.col("x3") + pl.when(late).then(0.8).otherwise(0.0))
    drift = [finding for finding in findings(moved, tmp_path, split=split) if finding["subject"] == "drift"]
    assert [each["column"] for each in drift[0]["figures"]["columns"]] == ["x3"]
    others = frame.with_columns(c=pl.when(late & (pl.col("c") == "u")).then(pl.lit("w")).otherwise(pl.col("c")))
    assert "drift" in subjects(findings(others, tmp_path, split=split), "warning")


def test_values_far_outside_the_training_range_are_found(tmp_path: Path) -> None:
    part = pl.Series("part", ["train"] * 700 + ["validation"] * 150 + ["test"] * 150)
    frame, split = clean_table().with_columns(part), {"by": {"column": "part"}}
    assert not [each for each in findings(frame, tmp_path, split=split) if each["key"] == "far-values"]
    far = frame.with_columns(x2=pl.when(pl.int_range(pl.len()) >= 998).then(50.0).otherwise(pl.col("x2")))
    (found,) = [each for each in findings(far, tmp_path, split=split) if each["key"] == "far-values"]
    assert (found["subject"], found["severity"]) == ("x2", "warning")
    assert (found["figures"]["count"], found["figures"]["rows"], found["figures"]["split"]) == (2, 150, "test")
    assert "data.clean.outliers: {action: clip}" in found["cure"]


def test_drift_in_how_columns_go_together_is_found(tmp_path: Path) -> None:
    """Every column alone is as before; only a classifier sees that one has other gaps and values together."""
    generator = np.random.default_rng(2)
    part = pl.Series(["train"] * 1400 + ["validation"] * 300 + ["test"] * 300)
    frame = clean_table(rows=2000).with_columns(part=part)
    late = pl.Series(part == "test")
    small = pl.Series(generator.normal(size=2000) * 0.15)
    narrowed = frame.with_columns(
        *(pl.when(late).then(pl.col(name) * 0.55 + small).otherwise(pl.col(name)).alias(name) for name in ("x1", "x2"))
    )
    found = findings(narrowed, tmp_path, split={"by": {"column": "part"}})
    assert any("a classifier tells test rows" in finding["message"] for finding in found)


def test_classes_of_unequal_size_are_noted_unless_something_is_done(tmp_path: Path) -> None:
    frame = clean_table()
    rare = pl.concat([frame.filter(pl.col("y") == "no"), frame.filter(pl.col("y") == "yes").head(20)])
    cures = "".join(finding["cure"] for finding in findings(rare, tmp_path))
    assert "data.balance" in cures
    cures = "".join(finding["cure"] for finding in findings(rare, tmp_path, balance="class-weights"))
    assert "data.balance" not in cures


def test_a_class_that_the_test_lacks_is_told(tmp_path: Path) -> None:
    part = pl.Series(["train"] * 700 + ["validation"] * 150 + ["test"] * 150)
    frame = clean_table().with_columns(part=part)
    frame = frame.with_columns(y=pl.when(pl.col("part") == "test").then(pl.lit("no")).otherwise(pl.col("y")))
    found = findings(frame, tmp_path, split={"by": {"column": "part"}})
    assert any("the test split has no 'yes'" in finding["message"] for finding in found)


def test_wrong_labels_are_listed_first() -> None:
    frame = read_builtin("builtin:breast-cancer").frame
    extreme = frame.with_row_index("row").head(500).sort("worst area")
    smallest, largest = (
        extreme.filter(pl.col("diagnosis") == "benign"),
        extreme.filter(pl.col("diagnosis") == "malignant"),
    )
    wrong = [*smallest["row"].head(3), *largest["row"].tail(3)]
    flipped = frame.with_row_index("row").with_columns(
        diagnosis=pl.when(pl.col("row").is_in(wrong))
        .then(pl.when(pl.col("diagnosis") == "benign").then(pl.lit("malignant")).otherwise(pl.lit("benign")))
        .otherwise(pl.col("diagnosis"))
    )
    from danlu.core.seeds import Seed
    from danlu.data.audit.finding import audit_context
    from danlu.data.audit.labels import label_errors
    from danlu.data.descriptors import RawData
    from danlu.data.interpret import interpret
    from danlu.data.splits import Split, Splits, TrainSplit
    from danlu.recipe.load import check_recipe

    section = check_recipe({"data": {"source": "x", "target": "diagnosis"}}).data
    dataset = interpret(RawData(flipped.drop("row"), "the test", Path()), section)
    rows = np.arange(flipped.height)
    splits = Splits(
        TrainSplit(rows[:500], dataset.frame), Split(rows[500:530], dataset.frame), Split(rows[530:], dataset.frame)
    )
    (finding,) = label_errors(audit_context(dataset, splits, section, Seed(0)))
    listed = [each["row"] for each in finding.figures["rows"]]
    assert len(set(wrong) & set(listed)) >= 5


@pytest.mark.parametrize("words", [True, False])
def test_infinite_values_are_told_however_they_are_written(tmp_path: Path, words: bool) -> None:
    frame = clean_table().with_columns(x5=pl.when(pl.int_range(ROWS) % 100 == 0).then(np.inf).otherwise(pl.col("x5")))
    found = findings(frame.with_columns(pl.col("x5").cast(pl.String)) if words else frame, tmp_path)
    (told,) = [finding for finding in found if finding["subject"] == "x5"]
    assert "infinite" in told["message"] and told["figures"]["infinite"] > 0


def test_columns_that_carry_little_are_noted(tmp_path: Path) -> None:
    generator = np.random.default_rng(4)
    frame = clean_table().with_columns(
        same=pl.lit(1.0),
        nearly=pl.Series(np.where(np.arange(ROWS) == 5, 2.0, 1.0)),
        empty=pl.when(pl.int_range(ROWS) % 10 == 0).then(pl.col("x0")).otherwise(None),
        amount=pl.Series(np.exp(generator.normal(0, 3, ROWS))),
        town=pl.Series([("Bonn", "bonn ", "Lima")[i] for i in generator.integers(0, 3, ROWS)]),
        shop=pl.Series([f"s{i}" for i in generator.integers(0, 120, ROWS)]),
        huge=pl.when(pl.int_range(ROWS) == 3).then(float("inf")).otherwise(pl.col("x1")),
    )
    found = {finding["subject"]: finding for finding in findings(frame, tmp_path)}
    assert found["town"]["cure"] == "data.clean.categories: merge"
    assert found["town"]["severity"] == "warning"
    assert "log1p" in found["amount"]["cure"]
    assert "encode: target" in found["shop"]["cure"]
    assert "infinite in 1 rows" in found["huge"]["message"]
    assert {"same", "nearly", "empty"} <= set(found)


@pytest.mark.training
def test_the_command_prints_cures_and_strict_means_it(tmp_path: Path, danlu: Command) -> None:
    frame = clean_table()
    pl.concat([frame, frame.head(100)]).write_csv(tmp_path / "table.csv")
    (tmp_path / "recipe.yaml").write_text("data: {source: table.csv, target: y}\n")
    plain = danlu("check", "recipe.yaml", cwd=tmp_path)
    assert plain.returncode == 0
    assert "warning: duplicates: " in plain.stdout
    assert "    data.clean.duplicates: drop" in plain.stdout
    strict = danlu("check", "recipe.yaml", "--strict", "--json", cwd=tmp_path)
    assert strict.returncode == 3
    told = json.loads(strict.stdout)
    assert (next(iter(told)), told["format"]) == ("format", 1)
    assert {"questions", "encoding", "separator", "skipped_rows", "unread", "splits"} <= told.keys()
    known = {"type", "format", "decimal", "grouping", "encoding", "missing_words", "reason"}
    assert all(known <= column["reading"].keys() for column in told["columns"])
    assert told["findings"][0]["severity"] == "warning"
    mended = danlu("check", "recipe.yaml", "--strict", "--set", "data.clean.duplicates=drop", cwd=tmp_path)
    assert mended.returncode == 0


def test_the_audit_of_a_large_table_looks_at_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from danlu.data.audit import finding

    monkeypatch.setattr(finding, "MOST_ROWS", 400)
    frame = clean_table().with_columns(copy=pl.col("y"))
    assert "copy" in subjects(findings(frame, tmp_path), "warning")


def test_a_sorted_file_does_not_look_as_if_it_drifted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a part of the rows is compared; the first ones of a sorted file would be unlike all others."""
    from danlu.data.audit import drift

    monkeypatch.setattr(drift, "MAX_COMPARED", 200)
    assert "drift" not in subjects(findings(clean_table().sort("x1"), tmp_path))


def of_key(found: list[dict[str, Any]], key: str) -> dict[str, Any]:
    return next((finding for finding in found if finding["key"] == key), {})


def test_shares_far_from_what_was_asked_are_told(tmp_path: Path) -> None:
    one_large = clean_table(rows=400).with_columns(who=pl.Series(["all"] * 300 + [f"p{row}" for row in range(100)]))
    found = of_key(findings(one_large, tmp_path, split={"by": {"group": "who"}}), "uneven-shares")
    shares = {each["split"]: each for each in found["figures"]["shares"]}
    assert found["severity"] == "warning" and found["figures"]["by"] == "group"
    assert {name: (each["asked"], round(each["share"] * 400)) for name, each in shares.items()} == {
        "validation": (0.15, 15),
        "test": (0.15, 15),
    }
    assert "test 4% instead of 15%" in found["message"]


def test_shares_as_asked_are_not_told(tmp_path: Path) -> None:
    frame = clean_table(rows=400).with_columns(
        who=pl.Series([f"p{row // 4}" if row % 2 else None for row in range(400)]),
        part=pl.Series(["train"] * 100 + ["validation"] * 100 + ["test"] * 200),
    )
    for split in ({"by": {"group": "who"}}, {"by": {"column": "part"}}, {"test": 0.0}, {"validation": 0.3}):
        assert not of_key(findings(frame, tmp_path, split=split), "uneven-shares")
    few = clean_table(rows=12).with_columns(y=pl.Series(["no", "yes"] * 6))
    assert not of_key(findings(few, tmp_path), "uneven-shares")  # three rows and two, of 1.8 each


def test_classes_spelt_in_several_ways_are_told_with_counts(tmp_path: Path) -> None:
    labels = ["yes"] * 40 + ["Yes"] * 12 + [" no"] * 8 + ["no"] * 40
    frame = clean_table(rows=100).with_columns(y=pl.Series(labels))
    found = of_key(findings(frame, tmp_path), "label-spellings")
    assert found["subject"] == "y" and found["severity"] == "warning" and "one way" in found["cure"]
    assert found["figures"]["variants"] == {"no": {"no": 40, " no": 8}, "yes": {"yes": 40, "Yes": 12}}
    assert "'no' (40) = ' no' (8), 'yes' (40) = 'Yes' (12)" in found["message"]
    assert not of_key(findings(clean_table(), tmp_path), "label-spellings")


def test_labels_of_several_a_row_are_compared_too(tmp_path: Path) -> None:
    frame = clean_table(rows=80).with_columns(y=pl.Series(["red,Round", "red", "round,red", "round"] * 20))
    found = of_key(findings(frame, tmp_path, task="multi-label", target_separator=","), "label-spellings")
    assert found["figures"]["variants"] == {"round": {"round": 40, "Round": 20}}

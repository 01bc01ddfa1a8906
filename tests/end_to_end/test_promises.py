"""The page of promises names tests that there are, in both languages alike; and what only that page asked for."""

import gzip
import json
import os
import re
import shutil
from pathlib import Path

import polars as pl
import pytest

import danlu
from danlu.artifacts.files import sha256
from danlu.artifacts.run import RunDirectory
from danlu.errors import ArtifactError, DataError
from danlu.experiment.run_data import PROFILE_FILE, SPLIT_FILE, read_parts, read_profile, write_profile

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / name for name in ("promises.md", "promises.zh.md")]
NAMED = re.compile(r"^\|[^|]+\| `(test_\w+)` \|$", re.MULTILINE)


def test_every_promise_names_a_test_that_there_is() -> None:
    tests = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
    defined = set(re.findall(r"^def (test_\w+)\(", tests, re.MULTILINE))
    english, chinese = (NAMED.findall(page.read_text(encoding="utf-8")) for page in PAGES)
    assert len(english) > 30 and english == chinese
    assert sorted(set(english) - defined) == []


def test_a_row_in_two_splits_is_refused(table_run: Path, tmp_path: Path) -> None:
    """Even if the checksums were made anew."""
    run = RunDirectory(Path(shutil.copytree(table_run, tmp_path / "run")))
    file = run.path / "data" / SPLIT_FILE
    sound = pl.read_parquet(file)
    assert sum(map(len, read_parts(run).values())) == sound.height
    last = sound["row"].max()
    moved = sound.with_columns(pl.when(pl.col("row") == last).then(pl.lit("test")).otherwise("part").alias("part"))
    for wrong in (pl.concat([sound, moved]), sound.with_columns(row=pl.col("row") - 1), sound.rename({"part": "p"})):
        wrong.write_parquet(file)
        with pytest.raises(ArtifactError, match="differs from what was written"):
            danlu.evaluate(run)
        write_profile(run, read_profile(run))
        assert read_profile(run)["files"][SPLIT_FILE] == sha256(file)
        with pytest.raises(ArtifactError, match="has a row in two splits, or one that the data does not have"):
            danlu.evaluate(run)
    assert (run.path / "data" / PROFILE_FILE).is_file()


def test_a_search_that_was_begun_is_never_resumed_as_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What makes a folder a search is written before what makes it a run that can be resumed."""
    import danlu.search.study as study

    written: list[str] = []
    write = study.write_run_recipe

    def noted(file: Path, recipe: danlu.Recipe) -> None:
        written.append(file.name)
        assert (file.name == "recipe.yaml") == (file.parent / "search.yaml").is_file()
        write(file, recipe)

    monkeypatch.setattr(study, "write_run_recipe", noted)
    search = {
        "data": {"source": "builtin:wine"},
        "model": "linear",
        "training": {"max_steps": 1, "device": "cpu"},
        "tuning": {"trials": 1, "sampler": "random", "space": {"training.optimizer.lr": {"log": [1e-3, 1e-1]}}},
    }
    danlu.tune(search, output=tmp_path, name="s")
    assert written == ["search.yaml", "recipe.yaml"]


ROWS = "a,y\n" + "".join(f"{n % 7},{n % 2}\n" for n in range(200))
HOSTILE: dict[str, bytes] = {
    "cut.csv.gz": gzip.compress(ROWS.encode())[:60],
    "noise.csv.gz": b"\x1f\x8b" + bytes(range(50)),
    "deep.json": b"[" * 100_000 + b"]" * 100_000,
    "deep.jsonl": (b'{"a":' + b"[" * 5000 + b"]" * 5000 + b',"y":1}\n') * 3,
    "empty.csv": b"",
    "headed.csv": b"a,y\n",
    "noise.parquet": b"PAR1" + bytes(range(100)) + b"PAR1",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_data_is_refused_by_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(HOSTILE[name])
    with pytest.raises(DataError, match=name) as refused:
        danlu.check({"data": {"source": str(tmp_path / name), "target": "y"}})
    assert refused.value.exit_code == 3


def test_a_file_whose_name_is_not_utf_8_is_refused_by_what_can_be_shown_of_it(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/x\xfe.csv"
    try:
        Path(os.fsdecode(raw)).write_text(ROWS)
    except OSError:
        pytest.skip("this file system takes no such names")
    with pytest.raises(DataError, match=r"x\\xfe\.csv: the name is not UTF-8"):
        danlu.check({"data": {"source": os.fsdecode(raw), "target": "y"}})


def test_a_column_that_is_no_content_is_refused() -> None:
    for key, name, said in (("text", "ash", "holds Float64"), ("text", "cultivar", "is the target")):
        with pytest.raises(DataError, match=said):
            danlu.check({"data": {"source": "builtin:wine", key: name}})
    with pytest.raises(DataError, match="is no list of labels"):
        danlu.check({"data": {"source": "builtin:wine", "task": "multi-label"}})


def labelled(folder: Path) -> str:
    """A table with two labels, two numbers and a text."""
    rows = [
        {
            "a": n % 2,
            "b": n // 2 % 2,
            "k": n % 3,
            "x": n * 0.37 % 5,
            "y": n * 0.73 % 7,
            "c": f"the {n} words of a text number {n}",
        }
        for n in range(60)
    ]
    pl.DataFrame(rows).write_csv(folder / "t.csv")
    return str(folder / "t.csv")


@pytest.mark.parametrize("targets", [("a", "b"), ("x", "y")])
@pytest.mark.parametrize(
    ("key", "section"),
    [
        ("data.text", {"data": {"text": "NAME"}}),
        ("data.image", {"data": {"image": "NAME"}}),
        ("data.split.by", {"data": {"split": {"by": {"group": {"column": "NAME"}}}}}),
        ("data.split.by", {"data": {"split": {"by": {"time": {"column": "NAME"}}}}}),
        ("data.split.by", {"data": {"split": {"by": {"column": {"column": "NAME"}}}}}),
        ("evaluation.folds", {"evaluation": {"folds": {"grouped": "NAME"}}}),
        ("evaluation.folds", {"evaluation": {"folds": {"column": "NAME"}}}),
    ],
)
def test_one_of_several_targets_is_nothing_else(
    key: str, section: dict[str, dict[str, object]], targets: tuple[str, str], tmp_path: Path
) -> None:
    asked = json.loads(json.dumps(section).replace("NAME", targets[1]))
    asked["data"] = {"source": labelled(tmp_path), "target": targets, **asked.get("data", {})}
    with pytest.raises(DataError, match=f"{key} names '{targets[1]}', which is a target") as refused:
        danlu.check(asked)
    assert refused.value.code == "DL212"


def test_a_column_holds_texts_or_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.text and data\.image both name 'c'"):
        danlu.check({"data": {"source": labelled(tmp_path), "target": "a", "text": "c", "image": "c"}})


def test_words_that_are_no_dates_are_refused_by_check_where_the_recipe_says_dates(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"column 'c', row 1: 'the 0 words .*' is not a date like 2024-01-31"):
        danlu.check({"data": {"source": labelled(tmp_path), "target": "a", "columns": {"c": "datetime"}}})


def test_a_split_that_leaves_one_class_to_learn_is_refused_by_check(tmp_path: Path) -> None:
    split = {"by": {"group": {"column": "k"}}}
    with pytest.raises(DataError, match="the training split holds one class alone"):
        danlu.check({"data": {"source": labelled(tmp_path), "target": "k", "split": split}})

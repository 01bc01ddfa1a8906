"""Wrong input: one clear paragraph, the right exit code, no half-written run, no traceback."""

import ctypes
import ctypes.util
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image

from danlu.errors import DataError
from danlu.tasks.classification import ClassTarget
from danlu.tasks.multi_label import MultiLabelTarget
from danlu.tasks.tagging import TagTarget
from tests.conftest import DANLU, Command

DATA_WRONG, RECIPE_WRONG, OTHER = 3, 2, 1
Refusal = Callable[..., str]
Table = Callable[..., Path]


@pytest.fixture
def refused(danlu: Command, tmp_path: Path) -> Refusal:
    """Run a recipe over a source, and return the refusal's text."""

    def run(source: Path | str, code: int, *settings: str, target: str = "y") -> str:
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(
            f"data: {{source: '{source}', target: {target}}}\ntraining: {{epochs: 1}}\n", encoding="utf-8"
        )
        arguments = [part for setting in settings for part in ("--set", setting)]
        done = danlu("run", recipe, *arguments, cwd=tmp_path)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        assert "unexpected error" not in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert done.stdout == ""
        assert not (tmp_path / "runs").exists()
        return done.stderr

    return run


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Write a table of 60 rows with these columns put over its own."""

    def write(**columns: object) -> Path:
        frame = pl.DataFrame({"x": [i * 0.5 for i in range(60)], "y": [("yes", "no")[i % 2] for i in range(60)]})
        frame = frame.with_columns(**{name: pl.Series(values, strict=False) for name, values in columns.items()})
        frame.write_csv(tmp_path / "data.csv")
        return tmp_path / "data.csv"

    return write


def test_a_missing_file_is_named_with_the_nearest(refused: Refusal, table: Table, tmp_path: Path) -> None:
    table()
    message = refused(tmp_path / "dat.csv", DATA_WRONG)
    assert "dat.csv: no such file or folder" in message
    assert 'nearest is "data.csv"' in message


def test_an_empty_file(refused: Refusal, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    assert "empty.csv: the file is empty" in refused(tmp_path / "empty.csv", DATA_WRONG)


def test_a_header_without_rows(refused: Refusal, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("x,y\n")
    assert "data.csv: has no rows" in refused(tmp_path / "data.csv", DATA_WRONG)


def test_an_unknown_target_is_named_with_the_nearest(refused: Refusal, table: Table) -> None:
    message = refused(table(churned=["a", "b"] * 30), DATA_WRONG, target="churnd")
    assert "no column 'churnd'; the nearest is \"churned\" (allowed: x, y, churned)" in message


def test_an_unknown_target_in_another_case(refused: Refusal, table: Table) -> None:
    message = refused(table(CHURNED=["a", "b"] * 30), DATA_WRONG, target="churned")
    assert 'the nearest is "CHURNED"' in message


def test_a_column_name_that_is_a_pattern(refused: Refusal, table: Table) -> None:
    assert "the column name '^.*$' is a pattern" in refused(table(**{"^.*$": [1, 2] * 30}), DATA_WRONG)


def test_a_target_all_one_class(refused: Refusal, table: Table) -> None:
    assert "'y' is 'yes' in every row" in refused(table(y=["yes"] * 60), DATA_WRONG)


def test_a_column_of_mixed_types(refused: Refusal, table: Table) -> None:
    values = [str(i) for i in range(59)] + ["twelve"]
    message = refused(table(age=values), DATA_WRONG)
    assert "'age' mixes numbers (98.3%) and words ('twelve', first in value 60)" in message
    assert "data.missing_values" in message


@pytest.mark.parametrize(("form", "settled"), [("{},500", 'decimal: ",", grouping: ""'), ("01/{:02}/2024", "%d/%m/%Y")])
def test_words_that_can_be_read_in_two_ways(refused: Refusal, table: Table, form: str, settled: str) -> None:
    message = refused(table(x=list(range(60)), price=[form.format(i % 12 + 1) for i in range(60)]), DATA_WRONG)
    assert "price: its" in message and "can be read in 2 ways" in message
    assert settled in message


def test_a_missing_target(refused: Refusal, table: Table) -> None:
    message = refused(table(y=["yes", "no", None] * 20), DATA_WRONG)
    assert "'y' is missing in 20 of 60 rows" in message


def test_a_target_that_is_not_a_number(refused: Refusal, table: Table, tmp_path: Path) -> None:
    pl.DataFrame({"x": [i * 0.3 for i in range(60)], "y": [0.5, float("nan")] * 30}).write_parquet(
        tmp_path / "data.parquet"
    )
    assert "'y' is missing in 30 of 60 rows" in refused(tmp_path / "data.parquet", DATA_WRONG)


@pytest.mark.parametrize("value", [float("inf"), 1e200])
def test_a_target_beyond_all_numbers(refused: Refusal, table: Table, value: float) -> None:
    message = refused(table(y=[0.5 * i for i in range(59)] + [value]), DATA_WRONG)
    assert f"the target 'y' is {value} in 1 of 60 rows" in message


@pytest.mark.parametrize("value", [[[1]], {"a": 1}, b"x", date(2026, 1, 1)])
def test_a_target_that_is_no_word_or_number(refused: Refusal, tmp_path: Path, value: object) -> None:
    pl.DataFrame({"x": [0.5, 1.5] * 30, "y": [value] * 60}).write_parquet(tmp_path / "data.parquet")
    assert "a target holds strings, numbers or booleans" in refused(tmp_path / "data.parquet", DATA_WRONG)


def test_a_class_with_one_sample(refused: Refusal, table: Table) -> None:
    message = refused(table(y=["yes", "no"] * 29 + ["no", "maybe"]), DATA_WRONG)
    assert "class 'maybe' of 'y' has 1 sample(s)" in message
    assert "data.split.by: random" in message


def test_text_that_several_encodings_fit_is_shown_with_line_and_cure(refused: Refusal, tmp_path: Path) -> None:
    rows = "x,y\n" + "1,高\n2,低\n" * 30
    (tmp_path / "data.csv").write_bytes(rows.encode("gb18030"))
    message = refused(tmp_path / "data.csv", DATA_WRONG)
    assert "data.csv:2: is not UTF-8, and several encodings fit: gb18030 reads '高', big5 reads '詢'" in message
    assert "`data.encoding: gb18030`" in message


def test_text_that_is_not_of_the_encoding_that_the_recipe_says(refused: Refusal, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("x,y\n1,a\n", encoding="utf-16")
    message = refused(tmp_path / "data.csv", DATA_WRONG, "data.encoding=gb18030")
    assert "it begins as utf-16 does; write `data.encoding: utf-16`" in message


@pytest.mark.parametrize(
    ("line", "reason"),
    [('{"x": 1, "y', "is not JSON"), ("[1]", "is not an object"), ('{"x": NaN}', "NaN is not valid JSON; write null")],
)
def test_a_wrong_line_of_json_is_named(refused: Refusal, tmp_path: Path, line: str, reason: str) -> None:
    (tmp_path / "data.jsonl").write_text('{"x": 1, "y": "a"}\n' * 40 + line + "\n")
    message = refused(tmp_path / "data.jsonl", DATA_WRONG)
    assert "data.jsonl:41: " in message
    assert reason in message


def test_ragged_rows(refused: Refusal, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("x,y\n1,a\n2,b,c,d\n")
    assert "data.csv:3: has 4 values, but the header has 2 columns" in refused(tmp_path / "data.csv", DATA_WRONG)


def test_a_file_of_unknown_kind(refused: Refusal, tmp_path: Path) -> None:
    (tmp_path / "data.xyz").write_bytes(b"PK")
    assert "cannot read .xyz" in refused(tmp_path / "data.xyz", DATA_WRONG)


def test_a_broken_parquet_file(refused: Refusal, tmp_path: Path) -> None:
    (tmp_path / "data.parquet").write_bytes(b"PAR1 this is no parquet PAR1")
    assert "cannot be read as parquet" in refused(tmp_path / "data.parquet", DATA_WRONG)


def test_a_truncated_image_is_named(refused: Refusal, image_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for source in sorted(image_folder.rglob("*.png"))[::10]:
        (folder / source.parent.name).mkdir(parents=True, exist_ok=True)
        (folder / source.parent.name / source.name).write_bytes(source.read_bytes())
    broken = sorted(folder.rglob("*.png"))[3]
    broken.write_bytes(broken.read_bytes()[:70])
    message = refused(folder, DATA_WRONG, "model=timm:test_resnet", target="label")
    assert f"{broken}: broken or cut short" in message


def test_class_folders_that_are_splits(refused: Refusal, image_folder: Path, tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / "bare" / part).mkdir(parents=True)
        shutil.copy(next(image_folder.rglob("*.png")), tmp_path / "bare" / part)
    message = refused(tmp_path / "bare", DATA_WRONG, target="label")
    assert "bare: its folders are named like splits, not like classes (test, train)" in message


def test_an_image_that_would_fill_the_memory(refused: Refusal, image_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    shutil.copytree(image_folder, folder)
    Image.new("1", (20_000, 20_000)).save(folder / "digit-0" / "0000.tif", compression="packbits")
    assert "0000.tif: has 400,000,000 pixels, more than" in refused(folder, DATA_WRONG, target="label")


def test_a_folder_without_images(refused: Refusal, tmp_path: Path) -> None:
    (tmp_path / "photos" / "cats").mkdir(parents=True)
    assert "holds no images and no data files" in refused(tmp_path / "photos", DATA_WRONG, target="label")


def test_a_missing_image_of_a_table(refused: Refusal, tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(40)]
    pl.DataFrame({"file": names, "y": ["a", "b"] * 20}).write_csv(tmp_path / "data.csv")
    message = refused(tmp_path / "data.csv", DATA_WRONG, "model=timm:test_resnet")
    assert f"{tmp_path / '0.png'}: no such image" in message or "no such image" in message


def test_a_misspelt_key(refused: Refusal, table: Table) -> None:
    message = refused(table(), RECIPE_WRONG, "trainng.epochs=3")
    assert 'trainng: unknown key; the nearest is "training"' in message


def test_a_negative_learning_rate(refused: Refusal, table: Table) -> None:
    message = refused(table(), RECIPE_WRONG, "training.optimizer.lr=-1")
    assert "training.optimizer.lr: must be greater than 0, got -1" in message


def test_a_model_for_another_kind_of_data(refused: Refusal, table: Table) -> None:
    assert "takes image data" in refused(table(), RECIPE_WRONG, "model=timm:resnet18")


def test_an_unknown_timm_model(refused: Refusal, image_folder: Path) -> None:
    message = refused(image_folder, RECIPE_WRONG, "model=timm:resnet81", target="label")
    assert "timm has no model 'resnet81'; the nearest is" in message


def test_an_unknown_architecture(refused: Refusal, text_file: Path) -> None:
    message = refused(text_file, RECIPE_WRONG, "model=hf:brt", target="era")
    assert "transformers has no architecture 'brt'" in message


def test_a_folder_that_holds_no_model(refused: Refusal, text_file: Path, tmp_path: Path) -> None:
    message = refused(text_file, DATA_WRONG, f"model=hf:{tmp_path}/MiniLM", target="era")
    assert "MiniLM is not a model's folder: it has no config.json" in message


def test_an_unknown_metric(refused: Refusal, table: Table) -> None:
    message = refused(table(), RECIPE_WRONG, "evaluation.metrics=[acuracy]")
    assert "no metric 'acuracy' for classification; the nearest is \"accuracy\"" in message


def test_a_metric_to_watch_that_is_not_measured(refused: Refusal, table: Table) -> None:
    message = refused(table(), RECIPE_WRONG, "training.early_stopping.metric=validation/rmse")
    assert "'validation/rmse' is not a classification metric" in message


def test_an_existing_run_is_never_overwritten_unasked(table: Table, danlu: Command, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(f"data: {{source: '{table()}', target: y}}\ntraining: {{epochs: 1}}\n")
    arguments = ("train", "r.yaml", "--name", "mine")
    assert danlu(*arguments, cwd=tmp_path).returncode == 0
    marker = tmp_path / "runs" / "mine" / "marker"
    marker.touch()
    done = danlu(*arguments, cwd=tmp_path)
    assert done.returncode == RECIPE_WRONG
    assert "runs/mine: exists already; choose another --name, or replace it with --overwrite" in done.stderr
    assert marker.exists()
    assert danlu(*arguments, "--overwrite", cwd=tmp_path).returncode == 0
    assert not marker.exists()


def test_a_folder_that_is_no_run_is_never_overwritten(table: Table, danlu: Command, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(f"data: {{source: '{table()}', target: y}}\ntraining: {{epochs: 1}}\n")
    (tmp_path / "runs" / "thesis").mkdir(parents=True)
    (tmp_path / "runs" / "thesis" / "chapter.tex").write_text("the work of years")
    done = danlu("train", "r.yaml", "--name", "thesis", "--overwrite", cwd=tmp_path)
    assert done.returncode == RECIPE_WRONG
    assert "is not a run of danlu" in done.stderr
    assert [file.name for file in (tmp_path / "runs" / "thesis").iterdir()] == ["chapter.tex"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("train wine --name a/../../b", "DL402", "names one folder below the folder of runs"),
        ("tune wine --name ../b", "DL402", "names one folder below the folder of runs"),
        ("run wine --name ../b --processes 2", "DL402", "names one folder below the folder of runs"),
        ("train wine --verify 5", "DL401", "name it with --resume, or leave --verify out"),
        ("train wine --restarts 2", "DL401", "add --processes, or leave it out"),
        ("run wine --restarts 0", "DL401", "add --processes, or leave it out"),
        ("plan wine --memory -1", "DL402", "--memory -1: must be a number of GB above 0"),
        ("plan wine --memory 0", "DL402", "must be a number of GB above 0"),
        ("plan wine --memory nan", "DL402", "must be a number of GB above 0"),
        ("plan wine --memory inf", "DL402", "must be a number of GB above 0"),
    ],
)
def test_an_option_out_of_place_is_refused(
    danlu: Command, tmp_path: Path, arguments: str, code: str, said: str
) -> None:
    done = danlu(*arguments.split(), cwd=tmp_path)
    assert done.returncode == RECIPE_WRONG, done.stderr
    assert said in done.stderr and f"[{code}]" in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == "" and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", ["/proc/danlu", "data.csv/runs"])
def test_an_output_folder_that_cannot_be_written(table: Table, danlu: Command, tmp_path: Path, folder: str) -> None:
    (tmp_path / "r.yaml").write_text(f"data: {{source: '{table()}', target: y}}\ntraining: {{epochs: 1}}\n")
    done = danlu("train", "r.yaml", "-o", folder, cwd=tmp_path)
    assert done.returncode == OTHER, done.stderr
    assert "cannot be written" in done.stderr
    assert "--output" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes of its own, where this process may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, b"size=2m") != 0:
        pytest.skip(f"cannot mount a small disk here: {os.strerror(ctypes.get_errno())}")
    yield folder
    libc.umount2(os.fsencode(folder), 2)


def test_a_disk_too_small_is_refused_before_training(small_disk: Path, danlu: Command) -> None:
    done = danlu("train", "wine", "-o", small_disk / "runs", "--set", "model.hidden=[2048, 2048]")
    assert done.returncode == OTHER
    assert "MB free and the run needs about" in done.stderr
    assert list((small_disk / "runs").iterdir()) == []


@pytest.mark.slow
def test_a_disk_that_fills_while_training_leaves_no_half_run(small_disk: Path) -> None:
    # 1.4 MB are free when the run asks for room, and a moment later something else takes them.
    script = (
        "import sys; from pathlib import Path\n"
        "from danlu.artifacts import run\n"
        "make = run.make_unique\n"
        "def fill(*args):\n"
        "    made = make(*args)\n"
        f"    disk = Path({str(small_disk)!r})\n"
        "    free = __import__('shutil').disk_usage(disk).free\n"
        "    (disk / 'other').write_bytes(b'x' * (free - 40_000))\n"
        "    return made\n"
        "run.make_unique = fill\n"
        "from danlu.cli.main import main\n"
        f"sys.argv = ['danlu', 'train', 'wine', '-o', {str(small_disk / 'runs')!r}, '--set', 'training.epochs=3']\n"
        "main()\n"
    )
    done = subprocess.run([DANLU.parent / "python", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == OTHER, done.stderr
    assert "cannot be written: No space left on device" in done.stderr or "the disk is full" in done.stderr
    assert "Traceback" not in done.stderr
    assert list((small_disk / "runs").iterdir()) == []


@pytest.mark.parametrize(
    ("target", "asked", "values", "said"),
    [
        (ClassTarget(column="y", labels=("a", "b")), "codes", ["a", "c"], "'y' has the class 'c', which"),
        (
            MultiLabelTarget(column="y", labels=("a", "b")),
            "multi_hot",
            ['["a"]', '["b", "c"]'],
            "'y' has the label 'c', which",
        ),
        (TagTarget(column="y", labels=("a", "b")), "codes", ['["a", "c"]'], "'y' has the tag 'c', which"),
    ],
)
def test_an_answer_that_training_does_not_know(target: Any, asked: str, values: list[str], said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        getattr(target, asked)(pl.DataFrame({"y": values}))
    assert f", or remove the {said.split()[3]}" in str(caught.value)

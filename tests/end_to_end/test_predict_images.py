"""Predicting image files: relative folders, one file, globs, and broken ones among them."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import danlu as package
from danlu.errors import DataError
from tests.conftest import Command


@pytest.fixture
def digits(image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve images, three a class, in the folder where the command runs."""
    for folder in sorted(image_folder.iterdir()):
        (tmp_path / "shapes" / folder.name).mkdir(parents=True)
        for image in sorted(folder.iterdir())[:3]:
            shutil.copy(image, tmp_path / "shapes" / folder.name)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "shapes"


def read(text: str) -> pl.DataFrame:
    return pl.read_csv(text.encode())


def test_a_relative_folder_one_file_and_a_glob_are_answered_by_name(
    image_run: Path, digits: Path, danlu: Command
) -> None:
    done = danlu("predict", image_run, "shapes/", cwd=digits.parent)
    assert done.returncode == 0, done.stderr
    whole = read(done.stdout)
    paths = sorted(f"shapes/{path.relative_to(digits)}" for path in digits.rglob("*.png"))
    assert whole.columns[:3] == ["image", "prediction", "probability"]
    assert whole["image"].to_list() == paths
    expected = package.load(image_run).predict([Path(path) for path in paths])
    np.testing.assert_allclose(whole["probability"], expected["probability"], rtol=1e-5)

    one = danlu("predict", image_run, paths[4], cwd=digits.parent)
    assert one.returncode == 0, one.stderr
    assert read(one.stdout).row(0)[:2] == whole.row(4)[:2]

    shutil.copytree(digits / "digit-2", "photos")
    several = danlu("predict", image_run, "photos/*.png", cwd=digits.parent)
    assert several.returncode == 0, several.stderr
    found = read(several.stdout)
    assert found["image"].to_list() == sorted(map(str, Path("photos").iterdir()))
    twos = whole.filter(pl.col("image").str.contains("digit-2"))
    assert found["prediction"].to_list() == twos["prediction"].to_list()


def test_every_image_of_a_folder_is_answered_whatever_its_folders_mean(image_run: Path, digits: Path) -> None:
    (digits / "empty").mkdir()
    shutil.copy(next(digits.rglob("*.png")), digits / "stray.png")
    assert package.predict(image_run, "shapes").height == 13
    shutil.copytree(digits, "outer/inner")
    assert package.predict(image_run, "outer")["image"][0].startswith("outer/inner/digit-0/")
    kept = package.predict(image_run, "shapes", keep=["image", "label"])
    assert kept.columns[:3] == ["image", "label", "prediction"]


@pytest.fixture
def damaged(digits: Path) -> Path:
    """The same with an image cut short, an empty one and one that is none; rows 3, 4 and 11."""
    paths = sorted(digits.rglob("*.png"))
    content = paths[3].read_bytes()
    paths[3].write_bytes(content[: len(content) // 2])
    paths[4].write_bytes(b"")
    paths[11].write_bytes(b"no image at all")
    return digits


def test_a_broken_image_is_one_row_with_an_error(image_run: Path, damaged: Path, danlu: Command) -> None:
    done = danlu("predict", image_run, "shapes", "-o", "a.jsonl", cwd=damaged.parent)
    assert done.returncode == 0, done.stderr
    assert "3 rows without a prediction; the first, row 4: DL230: shapes/digit-1/" in done.stderr
    answers = pl.read_ndjson("a.jsonl")
    assert answers.height == 12
    assert answers.columns[-1] == "error"
    whole = [row for row in range(12) if row not in (3, 4, 11)]
    assert answers["prediction"].is_null().arg_true().to_list() == [3, 4, 11]
    assert answers["probability"].is_null().arg_true().to_list() == [3, 4, 11]
    assert answers["error"].is_null().arg_true().to_list() == whole
    assert answers["error"][4].startswith(f"DL230: {answers['image'][4]}: the file is empty")
    alone = package.load(image_run).predict([Path(answers["image"][row]) for row in whole])
    assert answers[whole]["prediction"].to_list() == alone["prediction"].to_list()
    np.testing.assert_allclose(answers[whole]["probability"], alone["probability"], rtol=1e-5)

    assert danlu("predict", image_run, "shapes", "--strict", cwd=damaged.parent).returncode == 3


def test_broken_images_are_left_out_or_refused_if_asked(image_run: Path, damaged: Path, danlu: Command) -> None:
    done = danlu("predict", image_run, "shapes", "--broken", "skip", "--keep", "label", cwd=damaged.parent)
    assert done.returncode == 0, done.stderr
    answers = read(done.stdout)
    assert (answers.height, "error" in answers.columns) == (9, False)
    assert answers["label"].to_list() == [Path(image).parent.name for image in answers["image"]]
    assert danlu("predict", image_run, "shapes", "--broken", "skip", "--strict", cwd=damaged.parent).returncode == 3
    done = danlu("predict", image_run, "shapes", "--broken", "fail", cwd=damaged.parent)
    assert (done.returncode, done.stdout) == (3, "")
    assert "shapes/digit-1/" in done.stderr
    with pytest.raises(DataError, match="shapes/digit-1/"):
        package.predict(image_run, "shapes", broken="fail")


def test_errors_of_images_to_predict_advise_what_predicting_can_do(image_run: Path, damaged: Path) -> None:
    model = package.load(image_run)
    broken: list[Any] = [*sorted(damaged.rglob("*.png"))[3:5], b"", b"no image", None]
    told = model.predict(broken)["error"].to_list()
    told += model.predict([Path("missing.png")])["error"].to_list()
    for each in [*broken, Path("missing.png")]:
        with pytest.raises(DataError) as caught:
            model.predict([each], broken="fail")
        told.append(str(caught.value))
    assert all('--broken skip (in Python broken="skip")' in each for each in told)
    assert not any("data.clean" in each for each in told)


def test_where_every_image_is_broken_every_row_has_an_error(image_run: Path, damaged: Path) -> None:
    paths = sorted(damaged.rglob("*.png"))
    answers = package.load(image_run).predict([paths[3], b"", None, paths[4]])
    assert answers.height == 4
    assert answers["prediction"].null_count() == 4
    missing = package.load(image_run).predict([paths[0], Path("missing.png")])
    assert "missing.png: no such image" in missing["error"][1]
    assert answers["error"].str.starts_with("DL230: ").all()


@pytest.mark.slow
def test_several_processes_give_the_same_rows_in_error(image_run: Path, damaged: Path, danlu: Command) -> None:
    one = danlu("predict", image_run, "shapes", "-o", "one.parquet", cwd=damaged.parent)
    two = danlu("predict", image_run, "shapes", "-o", "two.parquet", "--processes", "2", cwd=damaged.parent)
    assert (one.returncode, two.returncode) == (0, 0), two.stderr
    alone, together = pl.read_parquet("one.parquet"), pl.read_parquet("two.parquet")
    assert together.columns == alone.columns
    assert together.select("image", "prediction", "error").equals(alone.select("image", "prediction", "error"))


def test_broken_images_are_counted_by_whoever_compares_or_judges(
    image_run: Path, damaged: Path, danlu: Command
) -> None:
    told = package.check("shapes", against=image_run)
    assert told["columns"][0]["unreadable"] == 3
    assert [finding["severity"] for finding in told["findings"]] == ["error"]
    done = danlu("evaluate", image_run, "shapes", "-o", "figures", cwd=damaged.parent)
    assert "9 rows, 3 left out" in done.stdout, done.stderr


def test_files_of_a_folder_that_are_no_images_are_said(image_run: Path, digits: Path, danlu: Command) -> None:
    (digits / "digit-0" / "notes.txt").write_text("a zero")
    done = danlu("predict", image_run, "shapes", cwd=digits.parent)
    assert "shapes: 1 .txt not read" in done.stderr

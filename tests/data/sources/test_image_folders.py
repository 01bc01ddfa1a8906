"""Folders of images: what is read, what is counted as unread, and what is asked."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import danlu as package
from danlu.data.descriptors import RawData
from danlu.data.file_form import ReadOptions
from danlu.data.sources import image_files
from danlu.data.sources.image_files import is_decodable
from danlu.data.sources.reader import read_source
from danlu.errors import DataError
from tests.conftest import Command
from tests.support.pictures import classes, picture, save


def labels(read: RawData) -> dict[str, int]:
    return dict(sorted(Counter(read.frame["label"].to_list()).items()))


def check(source: Any, **data: Any) -> dict[str, Any]:
    return package.check({"data": {"source": str(source) if isinstance(source, Path) else source, **data}})


def written(found: dict[str, Any]) -> list[str]:
    (question,) = found["questions"]
    assert question["code"] == "DL205"
    return [reading["write"] for reading in question["readings"]]


@pytest.fixture
def without_heif(monkeypatch: pytest.MonkeyPatch) -> None:
    formats = tuple(name for name in image_files.decodable_formats() if name != "HEIF")
    monkeypatch.setattr(image_files, "decodable_formats", lambda: formats)


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 40  # the first box of a photo; enough to know it by


@pytest.fixture
def without_openjpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decode as a Pillow does that has no JPEG 2000."""
    formats = tuple(form for form in image_files.decodable_formats() if form != "JPEG2000")
    monkeypatch.setattr(image_files, "decodable_formats", lambda: formats)


def test_jpeg_2000_is_a_picture_like_others(tmp_path: Path) -> None:
    root = classes(tmp_path / "all")
    for number in range(3):
        save(root / f"cat/p{number}.jp2")
    read = read_source(str(root))
    assert (labels(read), read.form.unread) == ({"cat": 15, "dog": 12}, {})


@pytest.mark.usefixtures("without_openjpeg")
def test_what_can_be_decoded_is_taken_whatever_its_suffix_and_the_rest_is_counted(tmp_path: Path) -> None:
    root = classes(tmp_path / "mixed")
    for number in range(3):
        save(root / f"cat/f{number}.jfif", format="JPEG")
        save(root / f"cat/e{number}.JPE", format="JPEG")
        save(root / f"cat/m{number}.ppm")
        save(root / f"cat/a{number}.avif")
        save(root / f"cat/p{number}.jp2")
        save(root / f"dog/n{number}", format="PNG")
        save(root / f"dog/w{number}.dat", format="WEBP")
        (root / f"dog/notes{number}.txt").write_text("a dog")
    read = read_source(str(root))
    assert labels(read) == {"cat": 24, "dog": 18}
    assert read.form.unread == {".jp2": 3, ".txt": 3}
    found = check(root)
    assert found["unread"] == {".jp2": 3, ".txt": 3}
    (said,) = [finding for finding in found["findings"] if finding["key"] == "unread-files"]
    assert said["severity"] == "warning"
    assert said["message"] == "6 in the folder, by suffix: 3 .jp2, 3 .txt"
    assert "JPEG 2000" in said["cure"]


def test_texts_beside_images_are_a_note(tmp_path: Path) -> None:
    (classes(tmp_path / "all") / "cat" / "0.xml").write_text("<a/>")
    (said,) = [finding for finding in check(tmp_path / "all")["findings"] if finding["key"] == "unread-files"]
    assert (said["severity"], said["cure"]) == ("note", "")


@pytest.mark.parametrize("suffix", [".jpg", "", ".dat", ".heic"])
def test_the_content_decides_about_a_suffix_that_says_nothing(tmp_path: Path, suffix: str) -> None:
    assert is_decodable(save(tmp_path / f"a{suffix}", format="PNG"))
    (tmp_path / "b.dat").write_bytes(b"BM is how this text begins")
    assert not is_decodable(tmp_path / "b.dat")


def test_an_empty_class_is_an_error(tmp_path: Path) -> None:
    (classes(tmp_path / "empty") / "bird").mkdir()
    with pytest.raises(DataError, match=r"empty/bird: the class bird has no image: it is empty") as caught:
        read_source(str(tmp_path / "empty"))
    assert caught.value.code == "DL206"


@pytest.mark.usefixtures("without_heif")
def test_a_class_of_heic_alone_is_an_error_that_names_the_extra(tmp_path: Path) -> None:
    for number in range(12):
        path = classes(tmp_path / "all") / "bird" / f"{number}.heic"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(HEIC)
    with pytest.raises(DataError, match=r"12 \.heic\); HEIC is read with an extra: pip install 'danlu\[heif\]'"):
        read_source(str(tmp_path / "all"))
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.heic").write_bytes(HEIC)
    with pytest.raises(DataError, match=r"1 \.heic\); HEIC is read with an extra"):
        read_source(str(tmp_path / "photos"))


def test_a_folder_of_texts_beside_classes_is_no_class(tmp_path: Path) -> None:
    root = classes(tmp_path / "all")
    (root / "annotations").mkdir()
    (root / "annotations" / "0.xml").write_text("<a/>")
    read = read_source(str(root))
    assert labels(read) == {"cat": 12, "dog": 12}
    assert read.form.unread == {".xml": 1}


@pytest.mark.parametrize("folder", ["cat/.ipynb_checkpoints", "@eaDir/cat", "cat/@eaDir", "__MACOSX/cat", ".git/x"])
def test_hidden_folders_at_any_depth_are_passed_over(tmp_path: Path, folder: str) -> None:
    root = classes(tmp_path / "hidden")
    save(root / folder / "0-checkpoint.png")
    (root / "cat" / "._0.png").write_bytes(b"left by a Mac")
    read = read_source(str(root))
    assert labels(read) == {"cat": 12, "dog": 12}
    assert read.form.unread == {}


def test_stray_images_beside_the_classes_are_counted(tmp_path: Path) -> None:
    save(classes(tmp_path / "all") / "stray.png")
    found = check(tmp_path / "all")
    assert (found["rows"], found["unread"]) == (24, {".png": 1})


def test_a_link_to_a_folder_above_does_not_go_round(tmp_path: Path) -> None:
    root = classes(tmp_path / "all")
    (root / "cat" / "up").symlink_to(root, target_is_directory=True)
    assert labels(read_source(str(root))) == {"cat": 12, "dog": 12}


def test_the_layout_of_imagenet_is_read_as_given_splits(tmp_path: Path) -> None:
    for name, count in (("train", 12), ("val", 4), ("Test", 5)):
        classes(tmp_path / "splits" / name, count)
    read = read_source(str(tmp_path / "splits"))
    assert read.split_column == "split"
    found = check(tmp_path / "splits")
    assert found["splits"] == {"train": 24, "validation": 8, "test": 10}
    assert found["questions"] == []
    assert {column["name"]: column["used"] for column in found["columns"]} == {"image": True, "split": False}
    assert check(tmp_path / "splits", split={"by": "random"})["splits"]["train"] == 30  # the recipe comes first


def test_given_splits_without_validation_take_some_of_the_training_images(tmp_path: Path) -> None:
    classes(tmp_path / "splits" / "train", 20)
    classes(tmp_path / "splits" / "test", 4)
    found = check(tmp_path / "splits")
    assert found["splits"] == {"train": 34, "validation": 6, "test": 8}
    again = check(tmp_path / "splits")
    assert again["samples"] == found["samples"]


def test_given_splits_without_test_take_some_of_the_training_images(tmp_path: Path) -> None:
    classes(tmp_path / "splits" / "train", 20)
    classes(tmp_path / "splits" / "val", 4)
    assert check(tmp_path / "splits")["splits"] == {"train": 34, "validation": 8, "test": 6}


def test_splits_without_classes_are_refused(tmp_path: Path) -> None:
    for name in ("train", "test"):
        save(tmp_path / "splits" / name / "0.png")
    with pytest.raises(DataError, match=r"named like splits.*test has no folder for each class inside"):
        read_source(str(tmp_path / "splits"))
    assert labels(read_source(str(tmp_path / "splits"), ReadOptions(class_folder=1))) == {"test": 1, "train": 1}


def test_a_split_with_a_name_of_its_own_is_asked_about(tmp_path: Path) -> None:
    root = tmp_path / "splits2"
    classes(root / "train")
    classes(root / "holdout", 4)
    found = check(root)
    assert found["rows"] == 32
    assert written(found) == [
        f"data.source={{train: {root}/train, test: {root}/holdout}}",
        "data.class_folder=2",
    ]
    assert check(root, class_folder=2)["questions"] == []
    assert check([str(root / "train"), str(root / "holdout")])["questions"] == []
    apart = check({"train": str(root / "train"), "test": str(root / "holdout")})
    assert (apart["questions"], apart["splits"]) == ([], {"train": 20, "validation": 4, "test": 8})


def test_classes_below_other_folders_are_asked_about(tmp_path: Path) -> None:
    classes(tmp_path / "nested" / "data" / "images")
    (answer,) = written(check(tmp_path / "nested"))
    assert answer == f"data.source={tmp_path}/nested/data/images"
    found = check(answer.removeprefix("data.source="))
    assert (found["questions"], found["rows"]) == ([], 24)
    assert check(tmp_path / "nested", class_folder=3)["questions"] == []


def test_folders_that_hold_the_same_folders_are_asked_about(tmp_path: Path) -> None:
    root = tmp_path / "segmented"
    classes(root / "images", names=("a", "b"))
    classes(root / "masks", names=("a", "b"))
    assert written(check(root)) == [
        f"data.source={root}/images",
        f"data.source={root}/masks",
        "data.class_folder=2",
    ]
    animals = tmp_path / "animals"
    for name in ("cat", "dog"):
        classes(animals / name, 6, ("indoor", "outdoor"))
    assert written(check(animals)) == ["data.class_folder=1", "data.class_folder=2"]
    assert labels(read_source(str(animals), ReadOptions(class_folder=1))) == {"cat": 12, "dog": 12}
    assert labels(read_source(str(animals), ReadOptions(class_folder=2))) == {"indoor": 12, "outdoor": 12}


def test_names_that_say_what_files_are_for_are_no_classes(tmp_path: Path) -> None:
    classes(tmp_path / "pairs", names=("images", "masks"))
    assert written(check(tmp_path / "pairs"))[-1] == "data.class_folder=1"
    assert check(tmp_path / "pairs", class_folder=1)["questions"] == []
    for split in ("train", "val"):
        for role in ("images", "masks"):
            classes(tmp_path / "deep" / split / role, 4)
    assert written(check(tmp_path / "deep")) == ["data.class_folder=3", "data.class_folder=2"]
    assert check(tmp_path / "deep", class_folder=3)["splits"]["validation"] == 16


def test_folders_within_classes_belong_to_their_class(tmp_path: Path) -> None:
    classes(tmp_path / "all" / "cat", 6, ("tabby", "siamese"))
    classes(tmp_path / "all" / "dog", 6, ("poodle", "husky"))
    read = read_source(str(tmp_path / "all"))
    assert (labels(read), read.questions) == ({"cat": 12, "dog": 12}, ())
    classes(tmp_path / "inner" / "cat", 6, ("images",))
    classes(tmp_path / "inner" / "dog", 6, ("images",))
    assert labels(read_source(str(tmp_path / "inner"))) == {"cat": 6, "dog": 6}


@pytest.mark.parametrize("level", [4, 9])
def test_a_level_without_images_is_refused(tmp_path: Path, level: int) -> None:
    with pytest.raises(DataError, match=f"no image is {level} folders deep"):
        read_source(str(classes(tmp_path / "all")), ReadOptions(class_folder=level))


def test_an_open_question_is_listed_by_check_and_refused_by_whoever_trains(tmp_path: Path, danlu: Command) -> None:
    classes(tmp_path / "nested" / "data" / "images")
    (tmp_path / "r.yaml").write_text("data: {source: nested}\nmodel: small-resnet\n")
    done = danlu("check", tmp_path / "r.yaml", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["questions"][0]["readings"][0]["example"] == "cat, dog"
    assert danlu("check", tmp_path / "r.yaml", "--strict").returncode == 3
    for verb in ("train", "run", "tune"):
        done = danlu(verb, tmp_path / "r.yaml", "-o", tmp_path / "runs")
        assert done.returncode == 3
        assert f"--set 'data.source={tmp_path}/nested/data/images' (cat, dog) [DL205]" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """Images in folders, and tables beside that name them."""
    root = tmp_path / "listed"
    classes(root / "images")
    rows = [(name, number) for name in ("cat", "dog") for number in range(12)]
    forms = {
        "plain": "images/{}/{}.png",
        "bare": "images/{}/{}",
        "windows": "images\\{}\\{}.png",
        "below": "{}/{}.png",
        "mixed": "images\\{}/{}",
    }
    (root / "tables").mkdir()
    for name, form in forms.items():
        text = "id,label\n" + "".join(f"{form.format(label, number)},{label}\n" for label, number in rows)
        (root / f"{name}.csv").write_text(text)
    return root


@pytest.mark.parametrize("form", ["plain", "bare", "windows", "below", "mixed"])
def test_a_table_names_images_as_people_write_them(listed: Path, form: str) -> None:
    found = check(listed / f"{form}.csv", target="label")
    (column,) = found["columns"]
    assert (found["kind"], column["type"], column["reason"]) == ("image", "image", "paths of image files")
    assert len(found["samples"]["images"]) == 12
    assert not [each for each in found["findings"] if each["key"] == "broken-images"]


def test_a_table_may_name_files_without_suffix(tmp_path: Path) -> None:
    for number in range(6):
        save(tmp_path / "pixels" / f"{number}", format="PNG")
    rows = "".join(f"pixels/{number},{'ab'[number % 2]}\n" for number in range(6))
    (tmp_path / "t.csv").write_text("file,label\n" + rows)
    assert check(tmp_path / "t.csv", target="label")["kind"] == "image"


def test_one_table_beside_a_folder_of_images_has_the_answers(listed: Path) -> None:
    for name in ("bare", "windows", "below", "mixed"):
        (listed / f"{name}.csv").unlink()
    read = read_source(str(listed))
    assert (read.frame.columns, read.origin) == (["id", "label"], str(listed / "plain.csv"))


def test_several_tables_beside_images_are_asked_about(listed: Path) -> None:
    answers = written(check(listed))
    assert answers[0] == f"data.source={listed}/bare.csv"
    assert answers[-1] == f"data.source={listed}/images"


def test_a_name_without_suffix_that_two_images_have_is_refused(listed: Path) -> None:
    save(listed / "images" / "cat" / "0.jpg")
    with pytest.raises(DataError, match=r"images/cat/0: several images have that name \(0\.jpg, 0\.png\)"):
        check(listed / "bare.csv", target="label")


def test_words_that_files_beside_happen_to_have_are_no_images(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        save(tmp_path / f"{name}.png")
    rows = "".join(f"{'cat' if number % 2 else 'dog'},{number % 5},{number % 3}\n" for number in range(60))
    (tmp_path / "t.csv").write_text("animal,x,y\n" + rows)
    found = check(tmp_path / "t.csv", target="y")
    assert (found["kind"], found["columns"][0]["type"]) == ("tabular", "category")


def test_two_images_a_row_are_refused_until_one_is_chosen(listed: Path) -> None:
    rows = "".join(f"images/cat/{n}.png,images\\dog\\{n},{n},{'ab'[n % 2]}\n" for n in range(12))
    (listed / "two.csv").write_text("front,back,age,label\n" + rows)
    with pytest.raises(DataError, match=r"a row has 2 images \(front, back\).*data.image: front") as caught:
        check(listed / "two.csv", target="label")
    assert caught.value.code == "DL231"
    found = check(listed / "two.csv", target="label", image="back")
    assert {column["name"]: column["used"] for column in found["columns"]} == {
        "front": False,
        "back": True,
        "age": False,
    }
    assert check(listed / "two.csv", target="label", columns={"front": "drop"})["kind"] == "image"


def test_without_labels_every_image_of_a_folder_is_read(tmp_path: Path) -> None:
    root = classes(tmp_path / "all")
    save(root / "stray.png")
    (root / "bird").mkdir()
    read = read_source(str(root), ReadOptions(labelled=False))
    assert read.frame.height == 25
    assert read.frame["label"].null_count() == 1


def test_one_image_and_a_glob_of_images_are_rows(tmp_path: Path) -> None:
    root = classes(tmp_path / "all")
    assert read_source(str(root / "cat/3.png")).frame.rows() == [(str(root / "cat/3.png"),)]
    assert read_source(str(root / "*/1*.png")).frame.height == 6
    picture(1).save(tmp_path / "odd", format="PNG")
    assert read_source(str(tmp_path / "odd")).layout == "images"


def test_relative_folders_are_opened_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes(tmp_path / "shapes")
    monkeypatch.chdir(tmp_path)
    read = read_source("shapes/")
    first = read.folder / read.frame["image"][0]
    assert str(first) == "shapes/cat/0.png"
    assert Image.open(first).size == (24, 24)


def test_a_glob_takes_the_images_and_counts_the_rest(tmp_path: Path) -> None:
    root = classes(tmp_path / "all")
    (root / "cat/notes.txt").write_text("a cat")
    read = read_source(str(root / "cat/*"))
    assert (read.layout, read.frame.height, read.form.unread) == ("images", 12, {".txt": 1})


def test_a_glob_passes_over_what_programs_left(tmp_path: Path) -> None:
    root = classes(tmp_path / "all")
    save(root / "@eaDir/cat/SYNOPHOTO_THUMB.jpg")
    assert read_source(str(root / "**/*.*")).frame.height == 24
    with pytest.raises(DataError, match="no such file"):
        read_source(str(root / "**/*.jpg"))
    assert read_source(str(root / "@eaDir/*/*.jpg")).frame.height == 1  # asked for by its name


def test_a_glob_of_folders_reads_each(tmp_path: Path) -> None:
    classes(tmp_path / "day1")
    classes(tmp_path / "day2", 4)
    assert labels(read_source(str(tmp_path / "day*"))) == {"cat": 16, "dog": 16}


@pytest.mark.usefixtures("without_openjpeg")
def test_without_labels_an_image_that_cannot_be_decoded_is_a_row(tmp_path: Path) -> None:
    root = classes(tmp_path / "all")
    save(root / "cat/p.jp2")
    assert read_source(str(root)).frame.height == 24
    assert read_source(str(root), ReadOptions(labelled=False)).frame.height == 25
    assert read_source(str(root / "cat"), ReadOptions(labelled=False)).frame.height == 13
    (tmp_path / "empty.png").touch()
    assert read_source(str(tmp_path / "empty.png")).frame.height == 1


def test_the_labels_of_a_model_tell_which_folders_are_classes(tmp_path: Path) -> None:
    known = ReadOptions(labels=frozenset(["cat", "dog"]))
    deep = classes(tmp_path / "nested/data/images").parents[1]
    read = read_source(str(deep), known)
    assert (labels(read), read.questions) == ({"cat": 12, "dog": 12}, ())
    for name, count in (("train", 12), ("holdout", 4)):
        classes(tmp_path / "parts" / name, count)
    assert labels(read_source(str(tmp_path / "parts"), known)) == {"cat": 16, "dog": 16}
    for name in ("images", "masks"):
        classes(tmp_path / "segmented" / name)
    assert read_source(str(tmp_path / "segmented"), known).questions

"""Faults put into commands, a few of those of `benchmarks/faults.py`: deaths at changes of the disk, turned bits."""

import shutil
from pathlib import Path

import pytest

import danlu
from danlu.core.console import silenced
from tests.support.faults import (
    DIED,
    Case,
    command,
    deaths,
    flips,
    readers_of,
    wine_recipe,
    wine_search,
    write_recipe,
)

FLIPS = 48
RECIPE = wine_recipe(hidden=4, steps=6, resamples=10)


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipes")
    for name, values in {"plain": RECIPE, "search": {**RECIPE, "tuning": wine_search(2)}}.items():
        write_recipe(values, folder / f"{name}.yaml")
    return folder


@pytest.mark.parametrize(
    ("verb", "recipe", "every"),
    [
        ("train", "plain", 22),
        pytest.param("run", "plain", 12, marks=pytest.mark.slow),
        pytest.param("tune", "search", 9, marks=pytest.mark.slow),
    ],
)
def test_a_command_that_dies_anywhere_ends_as_if_it_had_not(
    verb: str, recipe: str, every: int, recipes: Path, tmp_path: Path
) -> None:
    asked = (verb, str(recipes / f"{recipe}.yaml"), "-o", "FOLDER", "--name", "mine")
    ways = {"resumed": (verb, "--resume", "FOLDER/mine"), "overwritten": (*asked, "--overwrite")}
    case = Case(verb, lambda folder: None, asked, "mine", ways)
    found = list(deaths(case, tmp_path, every, first=2))
    assert len(found) >= 2
    assert [each for each in found if each[2]] == []
    assert {how for _, how, _ in found} <= {"resumed", "overwritten", "absent", "whole"}


def test_an_evaluation_that_dies_anywhere_leaves_a_bundle_that_opens(recipes: Path, tmp_path: Path) -> None:
    trained = danlu.train(recipes / "plain.yaml", output=tmp_path, name="trained").path

    def opened(folder: Path) -> str:
        done = command("predict", folder / "mine", "builtin:wine", "-o", folder / "answers.csv")
        (folder / "answers.csv").unlink(missing_ok=True)
        return "" if done.code == 0 else done.said

    def before(folder: Path) -> None:
        shutil.copytree(trained, folder / "mine")

    words = ("evaluate", "FOLDER/mine")
    case = Case("evaluate", before, words, "none", {"again": words}, opened)
    found = list(deaths(case, tmp_path, every=14, first=4))
    assert len(found) >= 2
    assert [each for each in found if each[2]] == []


def test_what_is_put_in_to_die_does_die(recipes: Path, tmp_path: Path) -> None:
    died = command("train", recipes / "plain.yaml", "-o", tmp_path, "--name", "mine", die_at=3)
    assert died.code == DIED and died.changes == 3
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.training
def test_a_turned_bit_of_whatever_a_later_command_reads_changes_no_answer(table_run: Path, tmp_path: Path) -> None:
    with silenced():
        found = list(flips(readers_of(table_run, tmp_path), FLIPS, seed=1, folder=tmp_path))
    assert [each for each in found if each.how not in ("same", "refused")] == []
    assert {each.reader for each in found} == {"predict", "evaluate", "compare", "resume"}
    assert sum(each.how == "refused" for each in found) > FLIPS / 2

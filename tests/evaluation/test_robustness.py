"""The model on harder versions of the test rows: what is changed, by how much, and what is told of it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import danlu as package
from danlu.core.component import components
from danlu.core.seeds import Seed
from danlu.data.dataset import Dataset
from danlu.data.images.decode import decode
from danlu.data.interpret import open_dataset
from danlu.errors import RecipeError
from danlu.evaluation.robustness import Perturbation
from danlu.recipe.load import check_recipe

SEED = Seed(7)


def opened(source: str, **more: Any) -> Dataset:
    return open_dataset(check_recipe({"data": {"source": source, **more}}).data)


def step(name: str, **options: Any) -> Perturbation:
    made = components("perturbation")[name].model_validate({"name": name, **options})
    assert isinstance(made, Perturbation)
    return made


def rows_of(dataset: Dataset, count: int) -> pl.DataFrame:
    frame = dataset.frame
    assert isinstance(frame, pl.DataFrame)
    return frame.head(count)


def test_noise_moves_numbers_by_a_share_of_their_deviation() -> None:
    dataset = opened("builtin:breast-cancer")
    before = rows_of(dataset, 500)
    after = step("noise", std=0.2).apply(before, dataset, SEED)
    assert after[dataset.target].equals(before[dataset.target])  # type: ignore[index]
    for column in dataset.used:
        moved = (after[column.name] - before[column.name]).to_numpy()
        assert moved.std() == pytest.approx(0.2 * before[column.name].std(), rel=0.2)  # type: ignore[operator]
    assert step("noise", std=0.2).apply(before, dataset, SEED).equals(after)


def test_values_are_missing_as_often_as_is_said() -> None:
    dataset = opened("builtin:breast-cancer")
    before = rows_of(dataset, 500)
    after = step("missing", share=0.3).apply(before, dataset, SEED)
    used = [column.name for column in dataset.used]
    share = after.select(used).null_count().sum_horizontal()[0] / (500 * len(used))
    assert share == pytest.approx(0.3, abs=0.02)
    assert after[dataset.target].null_count() == 0  # type: ignore[index]


def test_typing_errors_are_as_many_as_is_said_and_of_the_texts_own_characters() -> None:
    dataset = opened("builtin:speeches", text="text", target="era")
    before = rows_of(dataset, 50)
    after = step("typos", share=0.1).apply(before, dataset, SEED)
    for old, new in zip(before["text"], after["text"], strict=True):
        assert set(new) <= set(old)
        assert abs(len(new) - len(old)) < 0.1 * len(old)
        assert new != old
    assert step("typos", share=0.1).apply(before, dataset, SEED)["text"].equals(after["text"])


def test_of_a_text_every_way_of_mistyping_is_met() -> None:
    dataset = opened("builtin:speeches", text="text", target="era")
    frame = pl.DataFrame({"text": ["ab"] * 400})
    seen = set(step("typos", share=0.5).apply(frame, dataset, SEED)["text"])
    assert {"ab", "b", "a", "aab", "abb", "ba"} <= seen


@pytest.mark.parametrize(
    ("name", "options"), [("noise", {"std": 0.2}), ("blur", {"radius": 0.1}), ("rotate", {"degrees": 90.0})]
)
def test_images_are_changed_and_keep_their_size(name: str, options: dict[str, Any]) -> None:
    dataset = opened("builtin:digits")
    before = rows_of(dataset, 8)
    after = step(name, **options).apply(before, dataset, SEED)
    for old, new in zip(before[dataset.content], after[dataset.content], strict=True):
        plain, hard = decode(old, dataset.folder), decode(new, dataset.folder)
        assert hard.size == plain.size
        assert np.abs(np.asarray(plain.convert("L"), float) - np.asarray(hard.convert("L"), float)).mean() > 1


@pytest.mark.training
def test_figures_of_harder_rows_stand_beside_those_of_the_rows_as_they_are(tmp_path: Path) -> None:
    recipe = {
        "data": {"source": "builtin:breast-cancer"},
        "model": "linear",
        "training": {"epochs": 10},
        "evaluation": {"baselines": False, "robustness": [{"noise": {"std": 3.0}}, "missing"], "resamples": 200},
    }
    run = package.run(recipe, output=tmp_path, name="run").path
    told = json.loads((run / "evaluation.json").read_text())["robustness"]
    clean = json.loads((run / "evaluation.json").read_text())["test"]
    assert told["rows"] == len(pl.read_parquet(run / "predictions" / "test.parquet"))
    assert told["plain"]["auroc"]["value"] == pytest.approx(clean["auroc"]["value"], abs=1e-6)
    noisy, holed = told["found"]
    assert (noisy["name"], noisy["std"], holed["name"]) == ("noise", 3.0, "missing")
    assert noisy["metrics"]["auroc"]["value"] < told["plain"]["auroc"]["value"]
    difference = noisy["differences"]["auroc"]
    expected = noisy["metrics"]["auroc"]["value"] - told["plain"]["auroc"]["value"]
    assert difference["value"] == pytest.approx(expected, abs=1e-9)
    assert difference["low"] <= difference["value"] <= difference["high"] < 0


def test_what_does_not_fit_the_data_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"blur takes image data; builtin:wine is tabular"):
        package.check({"data": {"source": "builtin:wine"}, "evaluation": {"robustness": ["blur"]}})

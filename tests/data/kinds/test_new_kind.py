"""A kind of data is one class and one line: an eighth one goes all the way from a file to predictions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import polars as pl
import pytest

import danlu
from danlu.artifacts.files import read_json
from danlu.core.seeds import Seed
from danlu.data.builtin import read_builtin
from danlu.data.columns import Column
from danlu.data.dataset import Dataset
from danlu.data.descriptors import DataRequirements, Origin, RawData
from danlu.data.interpret import open_dataset
from danlu.data.kind import DataKind, Preprocessor, use_only
from danlu.data.kinds import table
from danlu.data.loader import PreparedDataset
from danlu.data.near_duplicates import near_texts
from danlu.data.specs import TabularInputs
from danlu.data.splits import TrainSplit
from danlu.data.tabular.preprocessor import to_dataset
from danlu.recipe.sections.data import Data

COLUMN = "series"


class SeriesPreprocessor(Preprocessor):
    """Read a series of numbers from text, and standardize each place."""

    kind: Literal["series"] = "series"
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def fit(cls, train: TrainSplit, dataset: Dataset, section: Data, hints: DataRequirements, seed: Seed) -> Self:
        values = parse(train.column(COLUMN))
        return cls(mean=tuple(values.mean(axis=0).tolist()), std=tuple(values.std(axis=0).tolist()))

    @property
    def columns(self) -> tuple[str, ...]:
        return (COLUMN,)

    @property
    def inputs(self) -> TabularInputs:
        return TabularInputs(numeric=len(self.mean), cardinalities=())

    def transform(self, frame: pl.DataFrame, place: Origin) -> PreparedDataset:
        scaled = (parse(frame[COLUMN]) - np.array(self.mean)) / np.array(self.std)
        return to_dataset(scaled.astype(np.float32), np.zeros((frame.height, 0), dtype=np.int64))


class SeriesKind(DataKind):
    """Decide all that is particular to series of numbers."""

    name = "series"
    prepared_as = "tabular"
    preprocessor = SeriesPreprocessor
    default_model = "mlp"
    default_epochs = 5

    def recognize(self, columns: tuple[Column, ...], section: Data, source: RawData) -> tuple[Column, ...] | None:
        names = [column.name for column in columns]
        return use_only(columns, (COLUMN,), "the series alone") if COLUMN in names else None

    def default_batch_size(self, rows: int) -> int:
        return 24

    def unnamed_to_frame(self, samples: Any, columns: Sequence[str]) -> pl.DataFrame:
        return pl.DataFrame({columns[0]: [" ".join(map(str, row)) for row in samples]})

    def near_duplicates(self, values: Sequence[Any], folder: Path, similarity: float) -> np.ndarray:
        return near_texts(values, similarity)


def parse(texts: pl.Series) -> np.ndarray:
    return np.array([[float(part) for part in text.split()] for text in texts.to_list()])


@pytest.fixture
def series(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The measurements of scikit-learn's breast cancer data, one text for each row."""
    monkeypatch.setattr(table, "KINDS", {"series": SeriesKind(), **table.KINDS})
    monkeypatch.setenv("DANLU_CACHE", str(tmp_path / "cache"))
    raw = read_builtin("builtin:breast-cancer")
    frame = raw.frame.lazy().collect()
    measured = frame.select(pl.selectors.float()).rows()
    texts = [" ".join(f"{value:.6g}" for value in row) for row in measured]
    file = tmp_path / "series.csv"
    pl.DataFrame({COLUMN: texts, "answer": frame[str(raw.target)]}).write_csv(file)
    return file


def recipe_of(file: Path) -> dict[str, Any]:
    return {"name": "series", "data": {"source": str(file), "target": "answer"}}


def test_a_new_kind_claims_its_data_and_gives_the_defaults(series: Path) -> None:
    dataset = open_dataset(Data(source=str(series), target="answer"))
    assert dataset.kind.name == "series"
    assert [column.name for column in dataset.used] == [COLUMN]
    written = danlu.new(str(series), target="answer")
    assert "rows of series data" in written
    assert "epochs: 5" in written and "batch_size: 24" in written and "name: mlp" in written


def test_without_its_line_in_the_table_the_same_file_is_of_another_kind(
    series: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "KINDS", {name: kind for name, kind in table.KINDS.items() if name != "series"})
    assert open_dataset(Data(source=str(series), target="answer")).kind.name != "series"


@pytest.mark.training
def test_a_new_kind_goes_from_a_file_to_predictions(series: Path, tmp_path: Path) -> None:
    run = danlu.run({**recipe_of(series), "evaluation": {"resamples": 0}}, output=tmp_path / "runs")
    evaluation = read_json(run.path / "evaluation.json")
    assert evaluation["test"]["accuracy"]["value"] > 0.9
    assert {"majority", "logistic-regression"} <= set(evaluation["baselines"])
    assert read_json(run.path / "model" / "bundle.json")["kind"] == "series"
    rows = pl.read_csv(series)
    predictor = danlu.load(run.path)
    named = predictor.predict(rows.head(60))
    assert (named["prediction"] == rows["answer"].head(60)).mean() > 0.9
    unnamed = predictor.predict(parse(rows[COLUMN].head(60)).tolist())
    assert unnamed["prediction"].to_list() == named["prediction"].to_list()


def test_augmented_samples_of_a_new_kind_are_shown_by_their_numbers(series: Path, tmp_path: Path) -> None:
    recipe = recipe_of(series)
    recipe["data"]["augment"] = [{"noise": 0.1}]
    page = danlu.visualize(recipe, output=tmp_path / "page.html", samples=2, epochs=1).path.read_text(encoding="utf-8")
    assert page.count("<table>") == 2 and "numeric" in page

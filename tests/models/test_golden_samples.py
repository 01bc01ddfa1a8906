"""How far answers may lie from those that were recorded."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from danlu.errors import ArtifactError
from danlu.models import predictor
from danlu.models.predictor import GOLDEN_TOLERANCE, Predictor


def replayed(recorded: list[list[float]], found: list[list[float]]) -> float:
    class Answering(Predictor):
        """Answers what it is told to."""

        def __init__(self) -> None:
            preprocessor: Any = SimpleNamespace(columns=("x",))
            self.preprocessor = preprocessor
            engine: Any = SimpleNamespace(name="told", tolerance=GOLDEN_TOLERANCE, golden="answer")
            self.engine = engine

        def outputs(self, part: Any, place: Any, batch_size: int | None = None) -> np.ndarray:
            assert len(part) == len(found)
            return np.array(found, dtype=np.float32)

    golden = pl.DataFrame({"x": list(range(len(recorded))), "answer": recorded})
    return Answering().replay(golden)


def test_the_largest_deviation_is_of_the_size_of_large_answers() -> None:
    assert replayed([[0.5, 0.5]], [[0.50005, 0.49995]]) == pytest.approx(5e-5, rel=1e-2)
    assert replayed([[1000.0]], [[1000.05]]) == pytest.approx(5e-5, rel=1e-2)
    assert replayed([[1.0], [2.0]], [[1.0], [2.0]]) == 0.0


@pytest.mark.parametrize(
    ("recorded", "found"),
    [([[0.5]], [[0.5002]]), ([[1000.0]], [[1000.2]]), ([[0.5], [0.1]], [[0.5], [0.2]]), ([[0.5]], [[float("nan")]])],
)
def test_what_rounding_does_not_explain_is_refused(recorded: list[list[float]], found: list[list[float]]) -> None:
    with pytest.raises(ArtifactError, match="golden samples"):
        replayed(recorded, found)


def test_the_tolerance() -> None:
    assert GOLDEN_TOLERANCE == 1e-4
    replayed([[0.5]], [[0.50009]])
    with pytest.raises(ArtifactError):
        replayed([[0.5]], [[0.50011]])


def test_a_deviation_of_exactly_the_tolerance_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    deviation = replayed([[0.5]], [[0.50005]])
    monkeypatch.setattr(predictor, "GOLDEN_TOLERANCE", deviation)
    assert replayed([[0.5]], [[0.50005]]) == deviation

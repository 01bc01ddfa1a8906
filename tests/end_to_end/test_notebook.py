"""A real notebook in a real kernel: its cells stay small, and their results show themselves."""

import json
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

pytestmark = [pytest.mark.slow, pytest.mark.training]
CELLS = (
    """
import danlu
recipe = {"data": {"source": "builtin:wine", "target": "cultivar"}, "training": {"epochs": 300, "batch_size": 16}}
run = danlu.run(recipe, name="wine")
run
""",
    "danlu.evaluate(run.path)",
    "danlu.load(run.path)",
    "danlu.runs()",
    """
from sklearn.datasets import load_iris
from danlu.sklearn import DanluClassifier
DanluClassifier(training={"epochs": 20}).fit(*load_iris(return_X_y=True, as_frame=True))
""",
)
LARGEST = 16_000  # bytes of a cell's outputs, as they are saved


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[list[Any]]:
    """The outputs of each cell after the notebook was executed."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    folder = tmp_path_factory.mktemp("notebook")
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return [cell.outputs for cell in notebook.cells]


def test_outputs_stay_small(cells: list[list[Any]]) -> None:
    sizes = [len(json.dumps(outputs)) for outputs in cells[:4]]  # the box of an estimator is scikit-learn's
    assert max(sizes) < LARGEST, sizes


def test_progress_is_one_output_with_its_last_line(cells: list[list[Any]]) -> None:
    (bar,) = [output for output in cells[0] if output.output_type == "display_data"]
    assert list(bar.data) == ["text/plain"]
    assert bar.data["text/plain"].startswith("training: ") and "\n" not in bar.data["text/plain"]
    told = "".join(output.text for output in cells[0] if output.output_type == "stream")
    assert "trained" in told and told.count("\n") < 15, told
    assert "\x1b" not in json.dumps(cells[0]), "no escapes of a terminal"


def test_results_are_tables(cells: list[list[Any]]) -> None:
    for outputs in cells[:4]:
        result = next(output for output in outputs if output.output_type == "execute_result")
        assert '<div class="danlu"' in result.data["text/html"]
        assert len(result.data["text/plain"]) < 500


def test_a_fit_is_silent_and_shows_scikit_learns_box(cells: list[list[Any]]) -> None:
    assert [output.output_type for output in cells[4]] == ["execute_result"]
    assert "DanluClassifier" in cells[4][0].data["text/html"]

"""Which engine answers a bundle: by the bundle's order, by name, and never one whose answers are off."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from _pytest.capture import CaptureFixture

import danlu as package
from danlu.artifacts.bundle import MANIFEST, open_bundle, write_manifest
from danlu.artifacts.files import read_json
from danlu.errors import ArgumentError, ArtifactError
from danlu.models.engines.numpy_engine import NumpyEngine
from danlu.models.engines.torch_engine import TorchEngine
from danlu.models.predictor import Predictor
from tests.conftest import Command
from tests.support.warm import LIGHT, program

HEAVY = ("torch", "sklearn", "scipy", "lightgbm", "transformers", "pandas", "pyarrow")


@pytest.fixture
def copied(table_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(table_run / "model", tmp_path / "bundle"))


def ordered(bundle: Path, *engines: str) -> Path:
    """The bundle, with an order of engines of its own."""
    opened = open_bundle(bundle)
    write_manifest(bundle, opened.manifest.model_copy(update={"engines": engines}), opened.manifest.files)
    return bundle


def off(engine: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an engine answer something else."""
    right = engine.run
    monkeypatch.setattr(engine, "run", lambda self, inputs: right(self, inputs) + np.eye(3)[0])


def test_a_table_is_answered_by_numpy_as_by_torch(table_run: Path, table_file: Path) -> None:
    rows = pl.read_csv(table_file, try_parse_dates=True).with_columns(
        pl.when(pl.int_range(pl.len()) % 3 == 0).then(pl.lit("never seen")).otherwise("shelf").alias("shelf"),
        pl.when(pl.int_range(pl.len()) % 5 == 0).then(None).otherwise("alcohol").alias("alcohol"),
    )
    first, other = package.load(table_run), package.load(table_run, engine="torch")
    assert (first.engine.name, other.engine.name) == ("numpy", "torch")
    found, expected = first.predict(rows), other.predict(rows)
    assert found["prediction"].to_list() == expected["prediction"].to_list()
    for name in expected.columns[1:]:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5)


def test_a_text_is_answered_by_torch(text_run: Path) -> None:
    assert package.load(text_run).engine.name == "torch"
    with pytest.raises(ArgumentError, match=r"engine: numpy cannot answer .*not hf:bert; these can: torch"):
        package.load(text_run, engine="numpy")


def test_what_only_torch_answers_is_refused_to_others_by_name(corpus_run: Path) -> None:
    assert package.load(corpus_run).engine.name == "torch"
    with pytest.raises(ArgumentError, match=r"engine: numpy cannot answer .*computed by torch alone; these can: torch"):
        package.load(corpus_run, engine="numpy")


def test_an_unknown_engine_is_named_with_the_nearest(table_run: Path, danlu: Command) -> None:
    with pytest.raises(ArgumentError, match=r"engine: 'nunpy' is unknown.*numpy"):
        package.load(table_run, engine="nunpy")
    done = danlu("predict", table_run, "builtin:wine", "--engine", "nunpy")
    assert (done.returncode, "nunpy" in done.stderr) == (2, True)


def test_the_bundle_says_the_order(copied: Path) -> None:
    assert "engines" not in read_json(copied / MANIFEST)
    assert package.load(ordered(copied, "torch", "numpy")).engine.name == "torch"
    assert package.load(ordered(copied, "one that is not known here", "numpy")).engine.name == "numpy"
    assert package.load(ordered(copied, "torch"), engine="numpy").engine.name == "numpy"


def test_an_engine_whose_golden_answers_are_off_is_refused(
    table_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: CaptureFixture[str]
) -> None:
    off(NumpyEngine, monkeypatch)
    with pytest.raises(ArtifactError, match="engine numpy"):
        package.load(table_run, engine="numpy")
    assert package.load(table_run).engine.name == "torch"
    assert "the engine numpy does not answer, the next one does" in capsys.readouterr().err


def test_weights_of_another_network_are_refused_by_name(copied: Path) -> None:
    opened = open_bundle(copied)
    config = read_json(copied / "config.json")
    (copied / "config.json").write_text(json.dumps({**config, "hidden": [64, 64, 64]}))
    write_manifest(copied, opened.manifest, opened.manifest.files)
    with pytest.raises(ArtifactError, match="do not fit mlp"):
        package.load(copied, engine="numpy")


def test_who_asks_for_the_network_is_answered_by_it(table_run: Path, table_file: Path) -> None:
    import torch

    predictor, rows = Predictor.load(table_run), pl.read_csv(table_file, try_parse_dates=True).head(4)
    network = predictor.model
    assert isinstance(predictor.engine, TorchEngine)
    with torch.no_grad():
        network.linear.bias[0].add_(50.0)  # type: ignore[index, union-attr, operator]
    assert set(predictor.predict(rows)["prediction"]) == {predictor.target.labels[0]}  # type: ignore[attr-defined]


def test_tables_are_predicted_without_torch(table_run: Path, table_file: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from danlu.cli.main import main\n"
        f"sys.argv = ['danlu', 'predict', {str(table_run)!r}, {str(table_file)!r}, '-o', {str(tmp_path / 'a.csv')!r}]\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        f"print(*(name for name in {HEAVY!r} if name in sys.modules))\n"
    )
    done = program(code, forks=LIGHT)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
    assert pl.read_csv(tmp_path / "a.csv").height == 178


def test_a_run_is_judged_by_the_engine_that_is_named(table_run: Path, table_file: Path, tmp_path: Path) -> None:
    said = [
        package.evaluate(table_run, str(table_file), engine=name, output=tmp_path / name) for name in ("numpy", "torch")
    ]
    first, other = (figures["data"]["log-loss"]["value"] for figures in said)
    assert first == pytest.approx(other, abs=1e-5)
    with pytest.raises(ArgumentError, match="engine: 'numpi' is unknown"):
        package.evaluate(table_run, engine="numpi")

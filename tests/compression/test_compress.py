"""Runs that are compressed, and bundles that came out: they answer, are explained, exported, compressed again."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import danlu
from danlu.artifacts.bundle import open_bundle
from danlu.compression.compress import compress_by_steps
from danlu.compression.parsing import parse_steps
from danlu.errors import ArgumentError, ArtifactError, DataError
from tests.conftest import Command


@pytest.fixture(scope="module")
def run(table_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(table_run, tmp_path_factory.mktemp("compressed") / "run"))


@pytest.fixture(scope="module")
def pruned(run: Path) -> Path:
    return compress_by_steps(run, parse_steps("prune=0.5"), run.parent / "pruned").bundle


@pytest.fixture(scope="module")
def int8(run: Path) -> Path:
    return compress_by_steps(run, parse_steps("quantize={rows: 64}"), run.parent / "int8").bundle


def _rows(run: Path) -> pl.DataFrame:
    from danlu.models.golden import golden_inputs

    golden = open_bundle(run).golden()
    assert golden is not None
    return golden_inputs(golden, danlu.load(run).preprocessor.columns)


@pytest.mark.training
def test_removed_neurons_are_gone_from_the_file(run: Path, pruned: Path) -> None:
    from danlu.artifacts.tensors import load_tensors

    before, after = (load_tensors(folder / "weights.safetensors") for folder in (run / "model", pruned))
    hidden = {name: (before[name].shape, after[name].shape) for name in before if name.endswith("weight")}
    assert any(new[0] * 2 == old[0] for old, new in hidden.values())
    assert all(new[0] == old[0] for old, new in hidden.values() if old[0] == 3)  # the answer keeps its labels
    model = danlu.load(pruned)
    assert model.engine.name == "onnxruntime" and model.replay(open_bundle(pruned).golden()) < 1e-4  # type: ignore[arg-type]
    in_torch = danlu.load(pruned, engine="torch").predict(_rows(run))
    assert in_torch["prediction"].to_list() == model.predict(_rows(run))["prediction"].to_list()


@pytest.mark.training
def test_an_8_bit_file_answers_and_keeps_its_own_golden_answers(run: Path, int8: Path) -> None:
    bundle = open_bundle(int8)
    assert {"model.int8.onnx", "weights.safetensors"} <= set(bundle.manifest.files)
    assert bundle.manifest.coding is not None and bundle.manifest.processors
    golden = bundle.golden()
    assert golden is not None and {"answer", "answer_int8", "answer_int8_exact"} <= set(golden.columns)
    model = danlu.load(int8)
    assert model.engine.name == "onnxruntime" and model.engine.golden == "answer_int8"
    assert danlu.load(int8, engine="torch").engine.golden == "answer"
    size = (int8 / "weights.safetensors").stat().st_size, (run / "model" / "weights.safetensors").stat().st_size
    assert size[0] < 0.5 * size[1]
    original, answers = danlu.load(run).predict(_rows(run)), model.predict(_rows(run))
    assert (original["prediction"] == answers["prediction"]).mean() >= 0.85


@pytest.mark.training
def test_another_processor_is_said_to_be_untried(
    int8: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from danlu.core.cpu import Processor

    monkeypatch.setattr("danlu.models.engines.onnxruntime_engine.this_processor", lambda: Processor("old", ("sse",)))
    model = danlu.load(int8)
    assert "untried" in capsys.readouterr().err
    assert model.engine.name == "onnxruntime" and model.engine.tolerance > 1e-4


@pytest.mark.training
@pytest.mark.slow
def test_a_compressed_bundle_is_explained_exported_and_compressed_again(
    run: Path, pruned: Path, int8: Path, tmp_path: Path
) -> None:
    for number, bundle in enumerate((pruned, int8)):
        found = danlu.explain(bundle, _rows(run), rows=[0], methods=["shap"])
        assert found.local
        danlu.export(bundle, tmp_path / f"onnx-{number}", to="onnx")
    with pytest.raises(ArgumentError, match="no layer 'nowhere'"):
        danlu.compress(run, steps="quantize={keep: [nowhere]}", output=tmp_path / "none")
    inside = Path(shutil.copytree(pruned, run / "compressed" / "first"))
    again = danlu.compress(inside, steps="prune={amount: 0.5, what: weights}", output=tmp_path / "again")
    assert again.points[1].sparsity == pytest.approx(0.5, abs=0.001 + 0.5 / again.points[1].parameters)
    assert [step["name"] for step in open_bundle(tmp_path / "again").manifest.steps] == ["prune", "prune"]
    with pytest.raises(ArgumentError, match="without its run"):
        danlu.compress(pruned, steps="prune=0.5")
    last = Path(shutil.copytree(int8, run / "compressed" / "last"))
    with pytest.raises(ArgumentError, match="nothing can follow"):
        danlu.compress(last, steps="prune=0.5")


@pytest.mark.training
def test_the_command_tells_what_it_wrote(danlu: Command, run: Path, tmp_path: Path) -> None:
    steps = "prune={amount: 0.8, what: weights, epochs: 1, schedule: polynomial, distill: true}"
    ran = danlu("compress", run, "--steps", steps, "-o", tmp_path / "out", "--json")
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["format"] == 1 and told["chosen"] == "p1" and told["original"] == "p0"
    original, made = told["points"]
    assert made["sparsity"] == pytest.approx(0.8, abs=0.001 + 0.5 / made["parameters"]) and original["sparsity"] == 0
    assert made["steps"][0]["prune"]["amount"] == 0.8 and made["bundle"] == str(tmp_path / "out")
    assert json.loads((run / "compression.json").read_text()) == told
    assert not list(run.glob(".compressing-*"))


@pytest.mark.training
@pytest.mark.parametrize(
    ("steps", "error", "said"),
    [
        ("quantize,prune=0.5", ArgumentError, "cannot follow quantize"),
        ("quantize=float8", ArgumentError, "no processor computes"),
        ("distill=large", ArgumentError, "choose a smaller"),
        ("distill={options: {hidden: [8], nonsense: 1}}", ArgumentError, "nonsense"),
    ],
)
def test_what_does_not_fit_is_refused(run: Path, tmp_path: Path, steps: str, error: Any, said: str) -> None:
    with pytest.raises(error, match=said):
        danlu.compress(run, steps=steps, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.training
@pytest.mark.slow
def test_a_full_disk_leaves_nothing_behind(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("danlu.experiment.written_bundle.write_json", full)
    with pytest.raises(ArtifactError, match="No space left"):
        danlu.compress(run, steps="prune={amount: 0.5, what: weights}", output=tmp_path / "out")
    assert not (tmp_path / "out").exists() and not list(run.glob(".compressing-*"))


@pytest.mark.training
def test_too_few_rows_to_calibrate_on_are_refused(run: Path) -> None:
    from dataclasses import replace

    from danlu.compression.int8 import calibration_batches
    from danlu.compression.material import open_material
    from danlu.core.seeds import Seed
    from danlu.data.splits import Splits, TrainSplit

    with open_material(run) as material:
        splits = material.context.splits
        few = TrainSplit(splits.train.rows[:5], splits.train.table)
        short = replace(material, context=replace(material.context, splits=Splits(few, splits.validation, splits.test)))
        with pytest.raises(DataError, match="has 5 training rows, and 8 are needed"):
            calibration_batches(short, 100, Seed(0))
        rows = [calibration_batches(material, count, Seed(0))[0]["numeric"] for count in (16, 16)]
        assert np.array_equal(*rows)


@pytest.mark.training
@pytest.mark.slow
@pytest.mark.parametrize("what", ["image", "text", "corpus"])
def test_networks_of_images_and_texts_are_compressed(what: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    run = Path(shutil.copytree(request.getfixturevalue(f"{what}_run"), tmp_path / "run"))
    before = open_bundle(run)
    for steps in (
        "prune=0.5",
        "low-rank={parameters: 0.7}",
        "quantize" if what != "corpus" else "quantize=int4-weights",
    ):
        found = danlu.compress(run, steps=steps, output=tmp_path / "out")
        model = danlu.load(tmp_path / "out")
        assert model.engine.name == ("torch" if what == "corpus" else "onnxruntime")
        assert before.golden() is not None
        if "quantize" not in steps:
            assert found.points[1].parameters < found.points[0].parameters
        else:
            assert found.points[1].size_bytes < found.points[0].size_bytes


@pytest.mark.training
@pytest.mark.slow
def test_the_page_of_compression_is_true(table_run: Path, tmp_path: Path) -> None:
    from tests.end_to_end.test_docs import ROOT, blocks, run_shown

    shutil.copytree(table_run, tmp_path / "runs" / "wine")
    shown = [block for block in blocks(ROOT / "docs" / "compress.md") if block.language == "console"]
    assert shown
    for block in shown:
        run_shown(block, tmp_path)


@pytest.mark.training
@pytest.mark.slow
def test_a_recipe_compresses_after_its_evaluation(tmp_path: Path) -> None:
    recipe = {
        "name": "small",
        "data": {"source": "builtin:wine"},
        "training": {"epochs": 3, "sparsity": {"amount": 0.5, "scope": "layer"}, "rounding": {"bits": 8}},
        "evaluation": {"baselines": False},
        "compression": {"steps": [{"prune": {"amount": 0.75, "what": "weights", "by": "taylor", "scope": "global"}}]},
    }
    run = danlu.run(recipe, output=tmp_path)
    told = json.loads((run.path / "compression.json").read_text())
    assert [point["sparsity"] for point in told["points"]] == pytest.approx([0.5, 0.75], abs=0.002)
    assert danlu.load(run.path / "compressed" / "p1").manifest.steps

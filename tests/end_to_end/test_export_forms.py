"""`danlu export --to onnx | openvino | torch-export`: what is written, what its engine answers, and what is refused."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import danlu as package
from danlu.artifacts.bundle import open_bundle
from danlu.core import imports
from danlu.errors import ArgumentError, ArtifactError, MissingExtra
from danlu.exporters import proof
from danlu.exporters.write_failures import translate_write_failures
from danlu.models.predictor import Predictor
from tests.conftest import Command
from tests.support.disk import files_of_at_most

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def onnx_folder(table_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package.export(table_run, tmp_path_factory.mktemp("onnx") / "out", to="onnx")


@pytest.fixture(scope="module")
def kept(table_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package.export(table_run, tmp_path_factory.mktemp("kept") / "bundle", to="onnx", into=True)


def said_of(folder: Path) -> dict[str, Any]:
    said: dict[str, Any] = json.loads((folder / "danlu.json").read_text(encoding="utf-8"))
    return said


def test_raw_columns_go_in_and_the_bundles_answers_come_out(
    table_run: Path, table_file: Path, onnx_folder: Path
) -> None:
    """By ONNX Runtime alone, from the rows of the file; gaps and a shelf that never occurred among them."""
    import onnxruntime

    rows = pl.read_csv(table_file, try_parse_dates=True).head(40)
    rows = rows.with_columns(pl.when(pl.int_range(40) == 3).then(pl.lit("blue")).otherwise("shelf").alias("shelf"))
    session = onnxruntime.InferenceSession(str(onnx_folder / "model.onnx"), providers=["CPUExecutionProvider"])
    predictor = Predictor.load(table_run)
    parts = {step["value"]["column"]: step["value"]["parts"] for step in said_of(onnx_folder)["outside"]
             if step["what"] == "date-parts"}  # fmt: skip
    given: dict[str, Any] = {}
    for value in session.get_inputs():
        if value.type == "tensor(string)":
            given[value.name] = rows[value.name].fill_null("").to_numpy()[:, None].astype(object)
        elif value.name in parts:
            states = [state for state in predictor.preprocessor.numbers if state.column == value.name]
            given[value.name] = np.stack([state.read(rows, "rows") for state in states], axis=1)
        else:
            given[value.name] = rows[value.name].cast(pl.Float64).fill_null(np.nan).to_numpy()[:, None]
    probabilities, labels = session.run(None, given)
    expected = package.predict(table_run, rows)
    named = said_of(onnx_folder)["outputs"][0]["names"]
    wanted = expected.select(f"probability_{name}" for name in named).to_numpy()
    np.testing.assert_allclose(probabilities, wanted, atol=1e-5)
    assert [str(label) for label in labels] == [str(label) for label in expected["prediction"]]


def test_the_document_says_what_is_inside_and_how_it_was_proved(onnx_folder: Path) -> None:
    said = said_of(onnx_folder)
    assert [file["name"] for file in said["files"]] == ["model.onnx"]
    content = (onnx_folder / "model.onnx").read_bytes()
    assert said["files"][0]["sha256"] == hashlib.sha256(content).hexdigest()
    inputs = {port["name"]: port for port in said["inputs"]}
    assert inputs["shelf"] == {"name": "shelf", "dtype": "string", "shape": ["batch", 1]}
    assert inputs["ash"] == {"name": "ash", "dtype": "float64", "shape": ["batch", 1]}
    assert {"scale", "impute", "categories", "softmax", "labels"} <= set(said["inside"])
    assert {step["what"] for step in said["outside"]} >= {"date-parts", "spelling"}
    check = said["check"]
    assert check["engine"].startswith("onnxruntime 1.")
    assert check["rows"] > 100 and check["agreement"] == 1.0
    assert check["mean_deviation"] <= check["max_deviation"] <= check["tolerance"] == 1e-4


def test_the_command_prints_the_document(table_run: Path, tmp_path: Path, danlu: Command) -> None:
    done = danlu("export", str(table_run), str(tmp_path / "out"), "--to", "torch-export", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said == {"format": 1, "folder": str(tmp_path / "out"), **said_of(tmp_path / "out")}
    assert said["to"] == "torch-export"
    assert [port["name"] for port in said["inputs"]] == ["numeric", "categories"]
    program = torch.export.load(tmp_path / "out" / "model.pt2").module()
    width = said["inputs"][0]["shape"][1]
    answers = program(torch.zeros(5, width), torch.zeros(5, 1, dtype=torch.int64))
    torch.testing.assert_close(answers.sum(dim=1), torch.ones(5))


def test_what_answers_otherwise_leaves_nothing_behind(table_run: Path, tmp_path: Path, danlu: Command) -> None:
    done = danlu("export", str(table_run), str(tmp_path / "out"), "--to", "onnx", "--tolerance", "1e-12")
    assert done.returncode == 1
    assert "answers otherwise than the bundle" in done.stderr and "[DL315]" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_label_that_is_not_the_likeliest_is_found(table_run: Path) -> None:
    found = proof.Deviations(rows=4, wrong_labels=1)
    with pytest.raises(ArtifactError, match="another label"):
        proof.conclude(found, "some engine", 1e-4)


def test_an_answer_that_is_no_number_is_never_within_a_tolerance() -> None:
    found = proof.Deviations(rows=1)
    found.add(np.array([[0.5, np.nan]]), np.array([[np.nan, np.nan]]))
    with pytest.raises(ArtifactError, match="off by inf"):
        proof.conclude(found, "some engine", 1e9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": "onnx", "opset": 99}, "--opset 99: the operators of ONNX are written in the versions 18 to 23"),
        ({"to": "torch-export", "opset": 20}, "--opset is of ONNX's operators"),
        ({"to": "timm", "into": True}, "--into is for --to onnx, openvino; give one of them"),
        ({"to": "numpy", "into": True}, "--into is for --to onnx, openvino; give one of them"),
        ({"tolerance": 1e-3}, "--tolerance is for --to onnx"),
        ({"to": "onnx", "tolerance": 0.0}, "must be above 0"),
        ({"to": "torch-export", "into": True}, "no engine of danlu reads torch-export"),
        ({"to": "lightgbm"}, "no library has a format of its own for"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: dict[str, Any], message: str, table_run: Path, tmp_path: Path
) -> None:
    with pytest.raises(ArgumentError, match=message):
        package.export(table_run, tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def test_packages_that_are_missing_are_named(table_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = imports.importlib.util.find_spec
    monkeypatch.setattr(imports.importlib.util, "find_spec", lambda name: None if name == "onnxscript" else there(name))
    with pytest.raises(
        MissingExtra, match=r"--to onnx needs onnxscript, not installed here: pip install 'danlu\[export"
    ):
        package.export(table_run, tmp_path / "out", to="onnx")


@pytest.mark.parametrize(
    ("form", "into"),
    [
        ("torch-export", False),
        pytest.param("onnx", False, marks=pytest.mark.slow),
        pytest.param("onnx", True, marks=pytest.mark.slow),
        pytest.param("openvino", False, marks=pytest.mark.slow),
        pytest.param("openvino", True, marks=pytest.mark.slow),
        pytest.param("numpy", False, marks=pytest.mark.slow),
    ],
)
def test_a_full_disk_leaves_nothing_behind(form: str, into: bool, table_run: Path, tmp_path: Path) -> None:
    """torch's own writer would end the whole process."""
    with files_of_at_most(2000), pytest.raises(ArtifactError, match="cannot be written: File too large"):
        package.export(table_run, tmp_path / "out", to=form, into=into)
    assert list(tmp_path.iterdir()) == []


def test_openvinos_words_for_a_full_disk_are_known(table_run: Path, tmp_path: Path) -> None:
    """Its files are smaller than the graph that is converted, which meets the limit before them."""
    with (
        pytest.raises(ArtifactError, match=r"model\.xml: cannot be written"),
        translate_write_failures(Path("model.xml")),
    ):
        raise RuntimeError("Exception from src/core/src/pass/serialize.cpp:121: basic_ios::clear: iostream error")


def test_a_bundle_with_a_graph_is_answered_by_its_engine(table_run: Path, table_file: Path, kept: Path) -> None:
    before, after = open_bundle(table_run).manifest, open_bundle(kept).manifest
    assert set(after.files) == {*before.files, "model.onnx"}
    assert after.engines[0] == "onnxruntime" and after.engines[-1] == "torch"
    assert before.engines == () and "model.onnx" not in {path.name for path in (table_run / "model").iterdir()}
    rows = pl.read_csv(table_file).head(20)
    predictor = Predictor.load(kept)
    assert predictor.engine.name == "onnxruntime"
    expected = package.predict(table_run, rows)
    found = predictor.predict(rows)
    assert found["prediction"].to_list() == expected["prediction"].to_list()
    np.testing.assert_allclose(found["probability"], expected["probability"], atol=1e-5)


def test_the_graph_of_another_model_under_the_same_name_is_refused(
    kept: Path, onnx_folder: Path, tmp_path: Path
) -> None:
    copied = Path(shutil.copytree(kept, tmp_path / "bundle"))
    shutil.copyfile(onnx_folder / "model.onnx", copied / "model.onnx")
    with pytest.raises(ArtifactError, match=r"model\.onnx: differs from what was written"):
        Predictor.load(copied)


@pytest.mark.slow
def test_a_kept_bundle_can_be_exported_again(kept: Path, tmp_path: Path) -> None:
    again = package.export(kept, tmp_path / "again", to="torch-export")
    assert said_of(again)["check"]["max_deviation"] <= 1e-6


def test_weights_alone_are_refused_with_the_reason(table_run: Path, tmp_path: Path) -> None:
    weights = table_run / "model" / "weights.safetensors"
    with pytest.raises(ArgumentError, match="weights alone do not say which network"):
        package.export(weights, tmp_path / "out", to="onnx")
    (tmp_path / "loose").mkdir()
    shutil.copyfile(weights, tmp_path / "loose" / "model.safetensors")
    with pytest.raises(ArgumentError, match=r"has weights and no config\.json"):
        package.export(tmp_path / "loose", tmp_path / "out", to="onnx")
    (tmp_path / "loose" / "config.json").write_text('{"architectures": ["BertModel"]}')
    with pytest.raises(ArgumentError, match="names no network with logits"):
        package.export(tmp_path / "loose", tmp_path / "out", to="onnx")
    assert not (tmp_path / "out").exists()


def test_an_onnx_file_becomes_nothing_but_openvino(onnx_folder: Path, tmp_path: Path) -> None:
    for form, message in (("onnx", "is one already"), ("torch-export", "torch does not read")):
        with pytest.raises(ArgumentError, match=message):
            package.export(onnx_folder / "model.onnx", tmp_path / "out", to=form)
    with pytest.raises(ArgumentError, match="holds words, which OpenVINO does not take"):
        package.export(onnx_folder / "model.onnx", tmp_path / "out", to="openvino")
    with pytest.raises(ArgumentError, match="say the form with --to"):
        package.export(onnx_folder / "model.onnx", tmp_path / "out")


def test_a_graph_whose_weights_lie_beside_it_becomes_openvinos_files(tmp_path: Path) -> None:
    """As torch.onnx.export writes them by default."""
    import onnx

    numbers = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    shapes = [("x", ["n", 8]), ("y", ["n", 3])]
    given, found = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in shapes)
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph([node], "g", [given], [found], [onnx.numpy_helper.from_array(numbers, "w")])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, tmp_path / "own.onnx", save_as_external_data=True, location="own.data", size_threshold=0)
    said = said_of(package.export(tmp_path / "own.onnx", tmp_path / "out", to="openvino"))
    assert said["check"]["max_deviation"] <= 1e-5
    assert [port["name"] for port in said["inputs"]] == ["x"]


def test_damaged_files_of_ones_own_are_refused_in_words(tmp_path: Path) -> None:
    def refused(name: str, to: str, message: str) -> None:
        with pytest.raises(ArtifactError, match=message):
            package.export(tmp_path / name, tmp_path / "out", to=to)
        assert not (tmp_path / "out").exists()

    (tmp_path / "own.onnx").write_bytes(b"not a graph")
    refused("own.onnx", "openvino", "cannot be read or run as ONNX")
    refused("other.onnx", "openvino", r"other\.onnx: does not exist")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "model.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}")
    (tmp_path / "folder" / "config.json").write_text("[]")
    refused("folder", "onnx", r"config\.json: describes no network")
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8, "intermediate_size": 8}
    (tmp_path / "folder" / "config.json").write_text(json.dumps({**config, "num_attention_heads": 2}))
    refused("folder", "onnx", "transformers cannot open it")


def test_options_that_a_file_of_ones_own_has_not_are_refused(onnx_folder: Path, tmp_path: Path) -> None:
    file = onnx_folder / "model.onnx"
    with pytest.raises(ArgumentError, match="--into writes a new bundle"):
        package.export(file, tmp_path / "out", to="openvino", into=True)
    with pytest.raises(ArgumentError, match="has its own version of ONNX's operators"):
        package.export(file, tmp_path / "out", to="openvino", opset=20)
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose" / "model.safetensors").touch()
    with pytest.raises(ArgumentError, match="does not become timm; choose --to onnx, openvino, torch-export, or gguf"):
        package.export(tmp_path / "loose", tmp_path / "out", to="timm")


@pytest.mark.slow
def test_a_graph_of_ones_own_becomes_openvinos_files_with_all_digits(kept: Path, tmp_path: Path) -> None:
    folder = package.export(kept / "model.onnx", tmp_path / "out", to="openvino")
    said = said_of(folder)
    assert [file["name"] for file in said["files"]] == ["model.bin", "model.xml"]
    assert said["check"]["inputs"] == "drawn" and said["check"]["max_deviation"] <= 1e-5
    assert 'element_type="f16"' not in (folder / "model.xml").read_text()


def test_openvino_answers_a_table_by_codes(table_run: Path, tmp_path: Path) -> None:
    folder = package.export(table_run, tmp_path / "out", to="openvino")
    said = said_of(folder)
    assert [file["name"] for file in said["files"]] == ["model.bin", "model.xml"]
    inputs = {port["name"]: port["dtype"] for port in said["inputs"]}
    assert (inputs["shelf"], inputs["ash"]) == ("int64", "float32")
    codes = next(step["value"] for step in said["outside"] if step["what"] == "codes")
    assert codes == {"column": "shelf", "values": ["missing", "other", "red", "rosé", "white"]}


@pytest.mark.slow
@pytest.mark.parametrize("opset", [18, 23])
def test_the_first_and_the_last_opset_answer_alike(opset: int, table_run: Path, tmp_path: Path) -> None:
    import onnx

    folder = package.export(table_run, tmp_path / "out", to="onnx", opset=opset)
    written = onnx.load(folder / "model.onnx")
    assert {each.domain: each.version for each in written.opset_import}[""] == opset


@pytest.mark.slow
def test_a_folder_of_transformers_becomes_a_graph(tmp_path: Path) -> None:
    imports.patch_torchvision()
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    for form in ("onnx", "openvino", "torch-export"):
        said = said_of(package.export(tmp_path / "model", tmp_path / form, to=form))
        assert said["inputs"] == [{"name": "input_ids", "dtype": "int64", "shape": ["batch", "length"]}]
        assert said["check"]["max_deviation"] <= 1e-5


@pytest.mark.slow
def test_a_folder_of_timm_becomes_a_graph(tmp_path: Path) -> None:
    imports.patch_torchvision()
    import timm
    from timm.models import save_for_hf

    network = timm.create_model("test_resnet", num_classes=3)
    save_for_hf(network, str(tmp_path / "model"), safe_serialization=True)
    said = said_of(package.export(tmp_path / "model", tmp_path / "out", to="onnx"))
    assert said["inputs"][0]["shape"][:2] == ["batch", 3]
    assert said["check"]["max_deviation"] <= 1e-4

"""Files of weights: what they tell without a network, in the formats of three libraries."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import danlu
from danlu.errors import ArgumentError, ArtifactError, DataError
from danlu.inspection.onnx_graph import onnx_graph
from danlu.inspection.weight_files import file_graph, file_tensors
from danlu.models.engines.onnxruntime_engine import open_session


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Sequential(nn.Linear(8, 3)))


def test_a_safetensors_file_shows_the_layers_that_its_names_spell(tmp_path: Path) -> None:
    save_file(network().state_dict(), tmp_path / "small.safetensors")
    found = danlu.visualize(tmp_path / "small.safetensors", output=tmp_path / "look")
    graph = found.json["graph"]
    assert {node["id"]: node["parameters"] for node in graph["nodes"]} == {"0": 40, "2.0": 27}
    assert [module["id"] for module in graph["modules"]] == ["", "2"]
    assert graph["replay_deviation"] is None and graph["nodes"][0]["ms"] is None
    assert {line["name"] for line in found.json["weights"]["tensors"]} == {
        "0.weight",
        "0.bias",
        "2.0.weight",
        "2.0.bias",
    }
    with pytest.raises(ArgumentError, match="holds no network"):
        danlu.visualize(tmp_path / "small.safetensors", only="activations", output=tmp_path / "other")
    with pytest.raises(ArgumentError, match="holds no network"):
        danlu.visualize(tmp_path / "small.safetensors", against=tmp_path, output=tmp_path / "other")


def test_a_gguf_file_gives_the_numbers_that_its_bits_stand_for(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    values = np.random.default_rng(0).normal(size=(3, 64)).astype(np.float32)
    writer = gguf.GGUFWriter(tmp_path / "small.gguf", "llama")
    writer.add_tensor(
        "blk.0.attn_q.weight",
        gguf.quantize(values, gguf.GGMLQuantizationType.Q8_0),
        raw_dtype=gguf.GGMLQuantizationType.Q8_0,
    )
    writer.add_tensor("output_norm.weight", values[0])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = dict(file_tensors(tmp_path / "small.gguf"))
    assert torch.allclose(found["blk.0.attn_q.weight"], torch.from_numpy(values), atol=0.02)
    graph = file_graph(tmp_path / "small.gguf")
    assert {node.id: node.outputs for node in graph.nodes} == {"blk.0.attn_q": ((3, 64),), "output_norm": ((64,),)}


@pytest.mark.parametrize("suffix", [".safetensors", ".gguf"])
def test_a_damaged_file_is_named(suffix: str, tmp_path: Path) -> None:
    pytest.importorskip({".gguf": "gguf"}.get(suffix, "safetensors"))
    file = tmp_path / f"broken{suffix}"
    file.write_bytes(b"\x07no such thing" * 9)
    for read in (file_graph, lambda path: list(file_tensors(path))):
        with pytest.raises(DataError, match="is damaged or no") as caught:
            read(file)
        assert caught.value.code == "DL272"


def test_a_damaged_onnx_file_is_the_same_error_whoever_reads_it(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    file = tmp_path / "broken.onnx"
    file.write_bytes(b"\x07no such thing" * 9)
    for read in (
        onnx_graph,
        lambda path: list(file_tensors(path)),
        open_session,
        lambda path: danlu.visualize(path, only="weights", output=tmp_path / "look"),
        lambda path: danlu.export(path, tmp_path / "out", to="openvino"),
        lambda path: danlu.explain(path, {"x": [1.0]}),
    ):
        with pytest.raises(ArtifactError, match=r"broken\.onnx: cannot be read or run as ONNX: ") as caught:
            read(file)
        assert caught.value.code == "DL303"

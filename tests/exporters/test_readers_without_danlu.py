"""What danlu writes, read where danlu cannot be imported: by each library, on real rows, with the bundle's answers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import danlu
from danlu.data.descriptors import Origin
from danlu.models.predictor import Predictor
from tests.support.outside import TORCH, answers_without_danlu

pytestmark = pytest.mark.training
ROWS = 40
PLAIN = {"baselines": False}


def told(folder: Path, name: str = "danlu.json") -> Any:
    return json.loads((folder / name).read_text(encoding="utf-8"))


def probabilities(run: Path, rows: Any, names: list[str]) -> np.ndarray:
    return danlu.predict(run, rows).select(f"probability_{name}" for name in names).to_numpy()


def wines(table_file: Path) -> pl.DataFrame:
    """Numbers with gaps and a category."""
    return pl.read_csv(table_file).drop("id", "bottled")


def run_of_wines(name: str, table_file: Path, folder: Path) -> Path:
    model: dict[str, Any] = {"mlp": {"hidden": [16]}, "boosting": {"rounds": 10, "leaf_rows": 5}}[name]
    said = {"data": {"target": "cultivar"}, "model": {"name": name, **model}, "evaluation": PLAIN}
    training = {} if name == "boosting" else {"training": {"max_steps": 30}}
    return danlu.run({**said, **training}, data=wines(table_file), output=folder, name=name).path


@pytest.fixture(scope="module")
def boosted(table_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of_wines("boosting", table_file, tmp_path_factory.mktemp("boosted"))


@pytest.fixture(scope="module")
def perceptron(table_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of_wines("mlp", table_file, tmp_path_factory.mktemp("perceptron"))


def test_danlu_cannot_be_imported_there(tmp_path: Path) -> None:
    program = """
try:
    import danlu
    answers = 0
except ModuleNotFoundError:
    answers = 1
"""
    assert answers_without_danlu(program, None, tmp_path) == 1.0


# A person's program does what danlu.json says: columns in their types, codes where there are no words, scaling where
# 32 bits would decide otherwise.
TABLE = """
told = json.load(open("out/danlu.json", encoding="utf-8"))
codes = {step["value"]["column"]: step["value"]["values"] for step in told["outside"] if step["what"] == "codes"}
scales = {step["value"]["column"]: step["value"]["scaling"] for step in told["outside"] if step["what"] == "scale"}
inputs = {}
for port in told["inputs"]:
    values, name = given[port["name"]], port["name"]
    if name in codes:
        places = {word: place for place, word in enumerate(codes[name])}
        values = [places["missing"] if word is None else places.get(word, places["other"]) for word in values]
    elif port["dtype"] == "string":
        values = ["" if word is None else word for word in values]
    else:
        values = np.array([np.nan if number is None else number for number in values])
        if name in scales:
            assert scales[name]["bend"] == "none"
            values = (values - scales[name]["offset"]) / scales[name]["scale"]
    inputs[name] = np.array(values, object if port["dtype"] == "string" else port["dtype"])[:, None]
"""
ENGINES = {
    "onnx": """
sys.modules["torch"] = None
import onnxruntime
answers = onnxruntime.InferenceSession("out/model.onnx").run(None, inputs)[0]
""",
    "openvino": """
sys.modules["torch"] = None
import openvino
found = openvino.Core().compile_model("out/model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
answers = found(inputs)[0]
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("form", ENGINES)
@pytest.mark.parametrize("run", ["boosted", "perceptron"])
def test_an_engine_alone_reads_a_table(
    run: str, form: str, table_file: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Without torch, too."""
    bundle = request.getfixturevalue(run)
    folder = danlu.export(bundle, tmp_path / "out", to=form)
    rows = wines(table_file).head(ROWS).with_columns(pl.Series("shelf", [None, "blue", *["red", "white"] * 19]))
    assert rows["ash"].null_count() > 0
    found = answers_without_danlu(TABLE + ENGINES[form], rows.to_dict(as_series=False), tmp_path)
    names = told(folder)["outputs"][0]["names"]
    np.testing.assert_allclose(found, probabilities(bundle, rows, names), atol=1e-4)


@pytest.mark.slow
def test_lightgbm_reads_trees(boosted: Path, table_file: Path, tmp_path: Path) -> None:
    danlu.export(boosted, tmp_path / "out", to="lightgbm")
    predictor, rows = Predictor.load(boosted), wines(table_file).head(ROWS)
    (inputs, _), *_ = predictor.preprocessor.iter_arrays(rows, Origin("rows", Path.cwd()), ROWS)
    columns = np.concatenate([values.astype(float) for values in inputs.values()], axis=1)
    program = """
import lightgbm
answers = lightgbm.Booster(model_file="out/lightgbm.txt").predict(np.array(given, dtype=float))
"""
    given = [[None if np.isnan(value) else value for value in row] for row in columns.tolist()]
    found = answers_without_danlu(program, given, tmp_path)
    np.testing.assert_allclose(found, probabilities(boosted, rows, list(predictor.target.labels)), atol=1e-6)


@pytest.mark.slow
def test_transformers_reads_texts(text_run: Path, text_file: Path, tmp_path: Path) -> None:
    folder = danlu.export(text_run, tmp_path / "out", to="transformers")
    texts = pl.read_ndjson(text_file).head(ROWS)["text"].to_list()
    program = """
from transformers import pipeline
names, texts = given
found = pipeline("text-classification", model="out", top_k=None)(texts, truncation=True)
answers = [[{one["label"]: one["score"] for one in row}[name] for name in names] for row in found]
"""
    names = list(told(folder, "config.json")["id2label"].values())
    found = answers_without_danlu(TORCH + program, [names, texts], tmp_path)
    np.testing.assert_allclose(found, probabilities(text_run, pl.DataFrame({"text": texts}), names), atol=1e-4)


@pytest.mark.slow
def test_sentence_transformers_reads_pooled_texts(text_file: Path, tmp_path: Path) -> None:
    config = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    rows = pl.read_ndjson(text_file).head(120)
    run = danlu.run(
        {
            "data": {"target": "era", "sequence_length": 32, "vocabulary": 512},
            "model": {"name": "hf:bert", "config": config, "pooling": "mean"},
            "training": {"max_steps": 12, "batch_size": 16, "optimizer": {"lr": 3e-3}},
            "evaluation": PLAIN,
        },
        data=rows,
        output=tmp_path,
        name="run",
    ).path
    danlu.export(run, tmp_path / "out", to="sentence-transformers")
    program = """
from sentence_transformers import SentenceTransformer
answers = SentenceTransformer("out", device="cpu").encode(given)
"""
    texts = rows["text"].head(ROWS)
    found = answers_without_danlu(TORCH + program, texts.to_list(), tmp_path)
    names = list(Predictor.load(run).target.labels)
    np.testing.assert_allclose(found, probabilities(run, texts.to_frame(), names), atol=1e-4)


@pytest.mark.slow
def test_timm_reads_pictures(image_run: Path, image_folder: Path, tmp_path: Path) -> None:
    folder = danlu.export(image_run, tmp_path / "out", to="timm")
    paths = [str(path) for path in sorted(image_folder.rglob("*.png"))[::8]]
    program = """
import timm
from PIL import Image
network = timm.create_model("local-dir:out", pretrained=True).eval()
prepare = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
with torch.inference_mode():
    answers = network(torch.stack([prepare(Image.open(path)) for path in given])).double().softmax(dim=1)
"""
    found = answers_without_danlu(TORCH + program, paths, tmp_path)
    names = told(folder, "config.json")["label_names"]
    np.testing.assert_allclose(found, probabilities(image_run, pl.DataFrame({"image": paths}), names), atol=1e-4)


@pytest.mark.slow
def test_torch_reads_a_program_of_pictures(image_run: Path, image_folder: Path, tmp_path: Path) -> None:
    folder = danlu.export(image_run, tmp_path / "out", to="torch-export")
    rows = pl.DataFrame({"image": [str(path) for path in sorted(image_folder.rglob("*.png"))[::8]]})
    predictor = Predictor.load(image_run)
    (inputs, _), *_ = predictor.preprocessor.iter_arrays(rows, Origin("rows", Path.cwd()), rows.height)
    program = """
answers = torch.export.load("out/model.pt2").module()(torch.tensor(given, dtype=torch.uint8)).detach()
"""
    found = answers_without_danlu(TORCH + program, inputs["image"].tolist(), tmp_path)
    names = told(folder)["outputs"][0]["names"]
    np.testing.assert_allclose(found, probabilities(image_run, rows, names), atol=1e-4)


@pytest.mark.slow
def test_ggufs_own_reader_reads_a_language_model(corpus_run: Path, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    danlu.export(corpus_run, tmp_path / "out", to="gguf", outtype="q8_0")
    program = """
sys.modules["torch"] = None
import gguf
reader = gguf.GGUFReader("out/model.gguf")
assert reader.fields["general.architecture"].contents() == "llama"
assert len(reader.fields["tokenizer.ggml.tokens"].contents()) == given
(words,) = (tensor for tensor in reader.tensors if tensor.name == "token_embd.weight")
answers = gguf.dequantize(words.data, words.tensor_type)
"""
    predictor = Predictor.load(corpus_run)
    preprocessor, model = predictor.preprocessor, predictor.model
    network: Any = model.network
    words = network.get_input_embeddings().weight.detach().numpy()
    tokens: Any = preprocessor
    found = np.array(answers_without_danlu(program, tokens.tokenizer.vocabulary, tmp_path))
    assert np.abs(found - words).max() <= np.abs(words).max() / 254 * 1.01

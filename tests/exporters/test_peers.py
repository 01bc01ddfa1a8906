"""What the other libraries answer from an exported folder: the bundle's answers, each task, each family."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

import danlu
from danlu.core.imports import patch_torchvision
from danlu.data.descriptors import Origin
from danlu.models.predictor import Predictor

WORDS = ("red", "blue", "green", "stone", "river", "cloud", "tree", "house")
ENCODER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
PLAIN = {"baselines": False}
CLOSE = 1e-4
HERE = Origin("rows", Path.cwd())

pytestmark = [pytest.mark.training, pytest.mark.slow]


def texts(count: int = 120) -> list[str]:
    generator = np.random.default_rng(3)
    return [" ".join(generator.choice(WORDS, generator.integers(2, 9))) for _ in range(count)]


def run_texts(
    folder: Path,
    target: dict[str, list[Any]],
    task: Any = None,
    model: dict[str, Any] | None = None,
    evaluation: dict[str, Any] | None = None,
) -> Path:
    """A model of texts, trained for a moment, with one target column or several."""
    names = list(target)
    said = {"data": {"text": "text", "target": names[0] if len(names) == 1 else names, "sequence_length": 16}}
    said["data"] |= {"vocabulary": 300, **({"task": task} if task else {})}
    return danlu.run(
        {
            **said,
            "model": {"name": "hf:bert", "config": ENCODER, **(model or {})},
            "training": {"max_steps": 12, "batch_size": 16, "optimizer": {"lr": 3e-3}},
            "evaluation": {**PLAIN, **(evaluation or {})},
        },
        data=pl.DataFrame({"text": texts(), **target}),
        output=folder,
        name="run",
    ).path


def documented(folder: Path) -> tuple[set[str], dict[str, Any]]:
    """The names of what is inside, and what is not with its values."""
    document = json.loads((folder / "danlu.json").read_text(encoding="utf-8"))
    return set(document["inside"]), {step["what"]: step["value"] for step in document["outside"]}


def scores_of_pipeline(folder: Path, rows: list[str]) -> np.ndarray:
    """Each row's scores in the order of the outputs, as `pipeline` says them."""
    patch_torchvision()
    from transformers import AutoConfig, pipeline

    order = AutoConfig.from_pretrained(folder).id2label
    answer = pipeline("text-classification", model=str(folder), top_k=None)
    found = [{one["label"]: one["score"] for one in row} for row in answer(rows, truncation=True)]
    return np.array([[row[order[place]] for place in range(len(order))] for row in found])


def scores_of_sentences(folder: Path, rows: list[str]) -> np.ndarray:
    from sentence_transformers import SentenceTransformer

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Implicit dimension choice for softmax")
        return np.asarray(SentenceTransformer(str(folder), device="cpu").encode(rows))


Peer = Callable[[Path, list[str]], np.ndarray]
LONG = " ".join(WORDS * 5)  # beyond the model's 16 tokens
PEERS = pytest.mark.parametrize(
    ("peer", "model"),
    [(scores_of_pipeline, {}), (scores_of_sentences, {"pooling": "mean"}), (scores_of_sentences, {"pooling": "cls"})],
    ids=["transformers", "sentence-transformers mean", "sentence-transformers cls"],
)


def asked() -> list[str]:
    return [*texts()[:9], LONG]


def answers(run: Path) -> pl.DataFrame:
    return danlu.predict(run, pl.DataFrame({"text": asked()}))


def colours() -> list[str]:
    return ["c" if "red" in text else "b" if "stone" in text else "a" for text in texts()]


def weights() -> list[float]:
    return [1322.5 + 31.25 * text.count("red") - 7.5 * len(text.split()) for text in texts()]


@PEERS
def test_classes_have_the_bundles_probabilities_with_their_temperature(
    peer: Peer, model: dict[str, Any], tmp_path: Path
) -> None:
    run = run_texts(tmp_path, {"y": colours()}, model=model, evaluation={"calibration": "temperature"})
    assert Predictor.load(run).target.model_dump()["calibration"]["temperature"] != 1.0
    folder = danlu.export(run, tmp_path / "out")
    expected = answers(run).select("probability_a", "probability_b", "probability_c").to_numpy()
    np.testing.assert_allclose(peer(folder, asked()), expected, atol=CLOSE)
    inside, outside = documented(folder)
    assert {"tokenizer", "temperature", "softmax"} <= inside
    assert "temperature" not in outside


@PEERS
def test_a_number_is_answered_in_its_own_units(peer: Peer, model: dict[str, Any], tmp_path: Path) -> None:
    run = run_texts(tmp_path, {"y": weights()}, "regression", model)
    folder = danlu.export(run, tmp_path / "out")
    found = peer(folder, asked())[:, 0]
    np.testing.assert_allclose(found, answers(run)["prediction"].to_numpy(), rtol=1e-6)
    assert 1200 < found.min() < found.max() < 1500
    inside, outside = documented(folder)
    assert {"mean", "deviation"} <= inside
    assert not {"mean", "deviation"} & outside.keys()


@PEERS
def test_several_labels_have_a_probability_each(peer: Peer, model: dict[str, Any], tmp_path: Path) -> None:
    labels = [[word for word in ("blue", "red", "tree") if word in text] for text in texts()]
    run = run_texts(tmp_path, {"y": labels}, "multi-label", model)
    folder = danlu.export(run, tmp_path / "out")
    expected = answers(run).select("probability_blue", "probability_red", "probability_tree").to_numpy()
    np.testing.assert_allclose(peer(folder, asked()), expected, atol=CLOSE)
    inside, outside = documented(folder)
    assert "sigmoid" in inside
    assert outside["threshold"] == 0.5


@PEERS
def test_several_numbers_have_each_its_own_mean(peer: Peer, model: dict[str, Any], tmp_path: Path) -> None:
    run = run_texts(tmp_path, {"y": weights(), "z": [0.001 * value for value in weights()]}, None, model)
    folder = danlu.export(run, tmp_path / "out")
    expected = answers(run).select("prediction_y", "prediction_z").to_numpy()
    np.testing.assert_allclose(peer(folder, asked()), expected, rtol=1e-5)


@PEERS
def test_a_count_is_the_exponential_of_what_the_peer_says(peer: Peer, model: dict[str, Any], tmp_path: Path) -> None:
    counts = [3 * text.count("red") + 7 for text in texts()]
    run = run_texts(tmp_path, {"y": counts}, "poisson-regression", model)
    folder = danlu.export(run, tmp_path / "out")
    np.testing.assert_allclose(np.exp(peer(folder, asked())[:, 0]), answers(run)["prediction"].to_numpy(), rtol=CLOSE)
    inside, outside = documented(folder)
    assert "log-mean" in inside
    assert outside["activation"] == "exp"


@PEERS
def test_quantiles_are_in_units_and_left_to_be_sorted(peer: Peer, model: dict[str, Any], tmp_path: Path) -> None:
    run = run_texts(tmp_path, {"y": weights()}, {"name": "quantile-regression"}, model)
    folder = danlu.export(run, tmp_path / "out")
    expected = answers(run).select("low", "prediction", "high").to_numpy()
    np.testing.assert_allclose(np.sort(peer(folder, asked()), axis=1), expected, rtol=1e-6)
    assert documented(folder)[1]["activation"] == "sort"


@PEERS
def test_ordered_classes_are_left_outside_by_name(peer: Peer, model: dict[str, Any], tmp_path: Path) -> None:
    from danlu.tasks.ordinal import ordinal_log_probabilities

    run = run_texts(tmp_path, {"y": [min(len(text.split()), 6) // 2 for text in texts()]}, "ordinal", model)
    folder = danlu.export(run, tmp_path / "out")
    borders = torch.from_numpy(np.asarray(peer(folder, asked()), dtype=np.float32))
    expected = answers(run).select("probability_1", "probability_2", "probability_3").to_numpy()
    np.testing.assert_allclose(ordinal_log_probabilities(borders).exp().numpy(), expected, atol=CLOSE)
    outside = documented(folder)[1]
    assert outside["activation"] == "ordinal"
    assert outside["labels"] in (["1", "2", "3"], ["1 | 2", "2 | 3"])


def test_a_threshold_and_curves_are_named_in_the_card(tmp_path: Path) -> None:
    two = ["yes" if "red" in text else "no" for text in texts()]
    options = {"calibration": "isotonic", "threshold": {"metric": "f1"}, "intervals": "conformal"}
    run = run_texts(tmp_path, {"y": two}, evaluation=options)
    folder = danlu.export(run, tmp_path / "out")
    target = Predictor.load(run).target.model_dump(mode="json")
    outside = documented(folder)[1]
    assert outside["threshold"] == target["threshold"]
    assert outside["isotonic"]["given"] == target["calibration"]["given"]
    assert outside["conformal"]["quantiles"] == target["conformal"]["quantiles"]
    assert f"- threshold: {target['threshold']}" in (folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["hf:distilbert", "hf:gpt2", "hf:llama", "hf:roberta"])
def test_other_architectures_answer_a_number_or_say_what_is_missing(name: str, tmp_path: Path) -> None:
    """GPT-2's and Llama's last layer has no bias, which would hold the mean; DistilBERT takes no token types."""
    config = {"distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}}.get(name[3:], ENCODER)
    if name == "hf:gpt2":
        config = {"n_embd": 32, "n_layer": 2, "n_head": 2}
    run = run_texts(tmp_path, {"y": weights()}, "regression", {"name": name, "config": config})
    folder = danlu.export(run, tmp_path / "out")
    inside, outside = documented(folder)
    assert "deviation" in inside
    assert ("mean" in outside) == (name in ("hf:gpt2", "hf:llama"))
    found = scores_of_pipeline(folder, asked())[:, 0] + outside.get("mean", 0.0)
    np.testing.assert_allclose(found, answers(run)["prediction"].to_numpy(), rtol=1e-6)


def test_tags_of_words_are_those_of_their_first_tokens(tmp_path: Path) -> None:
    patch_torchvision()
    from transformers import AutoTokenizer, pipeline

    rows = [text.split() for text in texts()]
    tags = [["COLOUR" if word in WORDS[:3] else "O" for word in row] for row in rows]
    data = pl.DataFrame({"tokens": rows, "tags": tags})
    said = {"data": {"vocabulary": 300, "sequence_length": 64}, "model": {"name": "hf:bert", "config": ENCODER}}
    training = {"max_steps": 40, "batch_size": 16, "optimizer": {"lr": 3e-3}}
    run = danlu.run({**said, "training": training, "evaluation": PLAIN}, data=data, output=tmp_path, name="run").path
    folder = danlu.export(run, tmp_path / "out")
    answer = pipeline("token-classification", model=str(folder), ignore_labels=[])
    expected = danlu.predict(run, data.head(8))["prediction"].to_list()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for row, known in zip(rows[:8], expected, strict=True):
        found = {one["index"]: one["entity"] for one in answer([row], is_split_into_words=True)[0]}
        owners = tokenizer(row, is_split_into_words=True).word_ids()
        firsts = [owners.index(word) for word in range(len(row))]
        assert [found[place] for place in firsts] == known
    assert documented(folder)[1]["activation"] == "first-token"


def test_the_tokenizer_cuts_and_pads_as_the_bundle(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    run = run_texts(tmp_path, {"y": colours()})
    tokenizer = AutoTokenizer.from_pretrained(danlu.export(run, tmp_path / "out"))
    assert (tokenizer.model_max_length, tokenizer.padding_side) == (16, "right")
    expected = Predictor.load(run).preprocessor.transform(pl.DataFrame({"text": asked()}), HERE)
    inputs, _ = expected.take(np.arange(len(asked())), torch.device("cpu"))
    found = tokenizer(asked(), truncation=True, padding=True, return_tensors="pt")
    assert sorted(found) == ["attention_mask", "input_ids"]
    assert torch.equal(found["input_ids"], inputs["input_ids"])


@pytest.mark.parametrize("kind", ["corpus", "chat", "preference"])
def test_language_models_give_the_bundles_scores(kind: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    turns = [([{"role": "user", "content": text}], [{"role": "assistant", "content": text[::-1]}]) for text in texts()]
    data = {
        "corpus": {"text": texts()},
        "chat": {"messages": [[*asked, *said] for asked, said in turns]},
        "preference": {
            "prompt": [asked for asked, _ in turns],
            "chosen": [said for _, said in turns],
            "rejected": [[{"role": "assistant", "content": "no"}] for _ in turns],
        },
    }[kind]
    run = danlu.run(
        {
            "data": {
                "vocabulary": 300,
                "sequence_length": 64,
                **({"task": "language-modelling"} if kind == "corpus" else {}),
            },
            "model": {"name": "hf:llama", "config": ENCODER},
            "training": {"max_steps": 6, "batch_size": 8},
            "evaluation": PLAIN,
        },
        data=pl.DataFrame(data),
        output=tmp_path,
        name="run",
    ).path
    folder = danlu.export(run, tmp_path / "out")
    predictor = Predictor.load(run)
    network: Any = predictor.model
    ids = torch.arange(5, 40)[None]
    with torch.inference_mode():
        found = AutoModelForCausalLM.from_pretrained(folder)(ids).logits
        torch.testing.assert_close(found, network.network(ids).logits, rtol=0, atol=CLOSE)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.padding_side == "left"
    assert tokenizer.decode(tokenizer("red stone", add_special_tokens=False).input_ids) == "red stone"


def image_run(folder: Path, regression: bool) -> tuple[Path, list[Image.Image]]:
    generator = np.random.default_rng(1)
    pixels = [generator.integers(0, 256, (40, 56, 3), dtype=np.uint8) for _ in range(60)]
    for place in range(60):
        pixels[place][:, :, place % 3] //= 3
    images = [Image.fromarray(each) for each in pixels]
    target = [1322.5 + 40 * (place % 3) for place in range(60)] if regression else [f"k{p % 3}" for p in range(60)]
    paths = []
    for place, image in enumerate(images):
        image.save(folder / f"{place}.png")
        paths.append(f"{folder}/{place}.png")
    run = danlu.run(
        {
            "data": {
                "image": "image",
                "target": "y",
                "image_size": 32,
                **({"task": "regression"} if regression else {}),
            },
            "model": {"name": "timm:test_resnet"},
            "training": {"max_steps": 12, "batch_size": 16},
            "evaluation": {**PLAIN, **({} if regression else {"calibration": "temperature"})},
        },
        data=pl.DataFrame({"image": paths, "y": target}),
        output=folder,
        name="run",
    ).path
    return run, images[:8]


@pytest.mark.parametrize("regression", [False, True], ids=["classes", "number"])
def test_timm_prepares_and_answers_as_the_bundle(regression: bool, tmp_path: Path) -> None:
    run, images = image_run(tmp_path, regression)
    folder = danlu.export(run, tmp_path / "out")
    patch_torchvision()
    import timm

    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    prepare = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    squares = [image.crop((8, 0, 48, 40)) for image in images]
    with torch.inference_mode():
        found = model(torch.stack([prepare(image) for image in squares])).double()
    expected = danlu.predict(run, squares)
    said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if regression:
        np.testing.assert_allclose(found[:, 0].numpy(), expected["prediction"].to_numpy(), rtol=CLOSE)
    else:
        probabilities = expected.select("probability_k0", "probability_k1", "probability_k2").to_numpy()
        np.testing.assert_allclose(found.softmax(dim=1).numpy(), probabilities, atol=CLOSE)
        assert said["label_names"] == ["k0", "k1", "k2"]
        assert documented(folder)[1]["activation"] == "softmax"
    settings = said["pretrained_cfg"]
    assert (settings["crop_pct"], settings["crop_mode"], settings["interpolation"]) == (1.0, "center", "bicubic")
    assert not {"tag", "license", "label_names", "origin_url"} & settings.keys()


@pytest.mark.parametrize("source", ["breast-cancer", "wine", "diabetes"])  # two classes, three, a number
def test_lightgbm_answers_in_probabilities_and_units(source: str, tmp_path: Path) -> None:
    import lightgbm

    evaluation = PLAIN if source == "diabetes" else {**PLAIN, "calibration": "temperature"}
    said = {"data": {"source": f"builtin:{source}"}, "model": {"name": "boosting", "rounds": 20}}
    run = danlu.run({**said, "evaluation": evaluation}, output=tmp_path, name="run").path
    folder = danlu.export(run, tmp_path / "out")
    golden = pl.read_parquet(run / "model" / "golden.parquet")
    predictor = Predictor.load(run)
    rows = golden.select(predictor.preprocessor.columns)
    prepared = predictor.preprocessor.transform(rows, HERE)
    inputs, _ = prepared.take(np.arange(golden.height), torch.device("cpu"))
    features = torch.cat([values.double() for values in inputs.values()], dim=1).numpy()
    found = np.asarray(lightgbm.Booster(model_file=folder / "lightgbm.txt").predict(features))
    expected = danlu.predict(run, rows)
    if source == "diabetes":
        np.testing.assert_allclose(found, expected["prediction"].to_numpy(), rtol=1e-5)
        assert found.min() > 20
    else:
        names = [name for name in expected.columns if name.startswith("probability_")]
        probabilities = expected.select(names).to_numpy()
        np.testing.assert_allclose(
            found, probabilities[:, 1] if source == "breast-cancer" else probabilities, atol=CLOSE
        )
    inside, outside = documented(folder)
    assert {"mean", "deviation"} <= inside if source == "diabetes" else "temperature" in inside
    assert outside["preparation"]["kind"] == "tabular"

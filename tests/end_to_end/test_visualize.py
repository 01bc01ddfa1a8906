"""`danlu visualize`: of runs of every kind, bundles, folders of other libraries and recipes."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

import danlu
from danlu.errors import ArgumentError, RecipeError
from danlu.experiment.visualization import PICTURES
from danlu.recipe.sections.visualization import Picture
from tests.conftest import Command

RUNS = ("table_run", "image_run", "text_run", "corpus_run")


@pytest.mark.parametrize("kind", RUNS)
def test_the_graph_of_a_run_is_its_network(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    run: Path = request.getfixturevalue(kind)
    found = danlu.visualize(run, only="graph", output=tmp_path / "look")
    graph = found.json["graph"]
    assert graph["failed_at"] is None and graph["replay_deviation"] <= 1e-6
    network = danlu.load(run).model
    counted = sum(node["parameters"] for node in graph["nodes"])
    assert counted == sum(values.numel() for values in network.parameters())
    assert [file.name for file in found.files] == [
        f"graph.{end}" for end in ("html", "svg", "png", "model-explorer.json", "json")
    ]
    assert all(file.is_file() for file in found.files)
    assert json.loads((tmp_path / "look" / "visualize.json").read_text()) == found.json


@pytest.mark.parametrize("model", ["linear", "mlp", "resnet", "ft-transformer", "tabm", "additive", "tree", "boosting"])
def test_every_family_of_tables_is_drawn_before_training(
    model: str, table_recipe: dict[str, Any], tmp_path: Path
) -> None:
    recipe = {"data": table_recipe["data"], "model": model}
    found = danlu.visualize(recipe, only="graph", output=tmp_path / "look")
    graph = found.json["graph"]
    assert graph["failed_at"] is None and graph["replay_deviation"] <= 1e-6


def test_the_pictures_of_a_run_lie_in_it_and_are_drawn_again(table_run: Path, danlu: Command, tmp_path: Path) -> None:
    for _ in range(2):
        done = danlu("visualize", table_run, "--only", "graph", "--json", "--lang", "zh", cwd=tmp_path)
        assert done.returncode == 0
        files = json.loads(done.stdout)["files"]
        assert [each["bytes"] for each in files] == [Path(each["path"]).stat().st_size for each in files]
    page = (table_run / "visualize" / "graph.html").read_text(encoding="utf-8")
    assert '<html lang="zh-CN">' in page and "网络的结构" in page


def test_a_bundles_pictures_do_not_go_into_it(table_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted((table_run / "model").iterdir())
    found = danlu.visualize(table_run / "model", only="graph")
    assert sorted((table_run / "model").iterdir()) == before
    assert found.path == Path("model-visualize/graph.html")
    with pytest.raises(ArgumentError, match="exists already"):
        danlu.visualize(table_run / "model", only="graph")
    danlu.visualize(table_run / "model", only="graph", overwrite=True)


def test_folders_of_transformers_and_timm_are_drawn(image_run: Path, corpus_run: Path, tmp_path: Path) -> None:
    for run, kind in ((image_run, "timm"), (corpus_run, "transformers")):
        danlu.export(run, tmp_path / kind)
        found = danlu.visualize(tmp_path / kind, only="graph", output=tmp_path / f"{kind}-look")
        assert found.json["graph"]["replay_deviation"] <= 1e-6


def test_what_does_not_go_together_is_refused(table_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="ask for it alone"):
        danlu.visualize(table_run, only=["augment", "graph"])
    with pytest.raises(ArgumentError, match="rows: cannot take -1; give a whole number of at least 0"):
        danlu.visualize(table_run, rows=-1)
    with pytest.raises(ArgumentError, match="goes with a recipe"):
        danlu.visualize(table_run, data={"a": [1]}, output=tmp_path / "look")


def test_a_bundle_and_its_export_do_not_part(image_run: Path, corpus_run: Path, tmp_path: Path) -> None:
    for run, kind in ((image_run, "timm"), (corpus_run, "transformers")):
        danlu.export(run, tmp_path / kind)
        found = danlu.visualize(run, against=tmp_path / kind, output=tmp_path / f"{kind}-look")
        difference = found.json["difference"]
        assert difference["layers"] and difference["first_below"] is None and difference["threshold_db"] == 20
        assert [file.name for file in found.files] == [f"difference.{end}" for end in ("html", "svg", "png", "json")]


def _onnx_does_not_part(run: Path, folder: Path) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    danlu.export(run, folder / "onnx", to="onnx")
    quantization.quantize_dynamic(folder / "onnx" / "model.onnx", folder / "small.onnx")
    exact = danlu.visualize(run, against=folder / "onnx", output=folder / "exact").json["difference"]
    assert exact["layers"] and exact["first_below"] is None and exact["answers"]["largest"] < 1e-4
    assert all(layer["equal"] or layer["snr_db"] > 90 for layer in exact["layers"])
    rough = danlu.visualize(run, against=folder / "small.onnx", output=folder / "rough").json["difference"]
    named = [layer for layer in rough["layers"] if layer["matched"] == "name"]
    assert [layer["name"] for layer in named] == [layer["name"] for layer in exact["layers"]]
    assert 20 < min(layer["snr_db"] or 200 for layer in named) < 60 and rough["samples"]
    assert rough["answers"]["largest"] > exact["answers"]["largest"]


def test_a_run_and_its_onnx_file_do_not_part_and_a_quantized_one_shows_its_noise(
    table_run: Path, tmp_path: Path
) -> None:
    _onnx_does_not_part(table_run, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["image_run", "text_run", "corpus_run"])
def test_images_texts_and_language_models_do_not_part_from_their_onnx_files(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    _onnx_does_not_part(request.getfixturevalue(kind), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["linear", "resnet", "ft-transformer", "tabm", "additive", "tree", "boosting"])
@pytest.mark.parametrize("problem", ["classification", "regression"])
def test_answers_of_every_family_of_tables_are_those_of_its_onnx_file(
    model: str, problem: str, table_recipe: dict[str, Any], tmp_path: Path
) -> None:
    target = {"target": "cultivar" if problem == "classification" else "proline"}
    training = {} if model in ("tree", "boosting") else {"epochs": 1}
    recipe = {"data": {**table_recipe["data"], **target}, "model": model, "training": training}
    run = danlu.run(recipe, output=tmp_path).path
    danlu.export(run, tmp_path / "onnx", to="onnx")
    found = danlu.visualize(run, against=tmp_path / "onnx", output=tmp_path / "look").json["difference"]
    assert found["first_below"] is None
    scale = 1 if problem == "classification" else 1500
    assert found["answers"]["largest"] < 1e-4 * scale


def test_two_runs_part_and_the_rows_that_part_most_are_shown(
    table_recipe: dict[str, Any], table_run: Path, danlu: Command, tmp_path: Path
) -> None:
    import danlu as package

    other = package.train({**table_recipe, "seed": 5}, output=tmp_path, name="other")
    done = danlu("visualize", table_run, "--against", other.path, "-o", tmp_path / "look", "--json", "--lang", "zh")
    found = json.loads(done.stdout)["difference"]
    first = found["layers"][0]
    assert found["first_below"] is not None and first["matched"] == "name" and first["cosine"] < 1
    apart = [each["apart"] for each in found["samples"]]
    assert apart == sorted(apart, reverse=True) and apart[0] == found["answers"]["largest"]
    assert "shelf" in found["samples"][0]["fields"]
    page = (tmp_path / "look" / "difference.html").read_text(encoding="utf-8")
    assert "差别最大的行" in page and "信噪比" in page


def test_what_cannot_be_compared_is_refused(table_run: Path, image_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="is no folder of a bundle"):
        danlu.visualize(table_run, against=tmp_path / "none", output=tmp_path / "look")
    with pytest.raises(ArgumentError, match="reads the column"):
        danlu.visualize(table_run, against=image_run, output=tmp_path / "look")
    with pytest.raises(ArgumentError, match="compares a model"):
        danlu.visualize("wine", against=table_run)


@pytest.mark.slow
def test_every_picture_of_an_image_run_is_drawn_and_stands_in_its_report(image_run: Path) -> None:
    from PIL import Image

    found = danlu.visualize(image_run, rows=40, language="zh")
    drawn = {each["picture"] for each in found.json["files"]}
    assert drawn == set(PICTURES) - {"attention"}
    endings = {file.suffix for file in found.files}
    assert endings == {".html", ".svg", ".png", ".json", ".npz"}
    for file in found.files:
        if file.suffix == ".png":
            with Image.open(file) as picture:
                assert picture.width > 200 and picture.height > 100
        if file.suffix == ".svg":
            assert "http://" not in file.read_text().replace("http://www.w3.org", "")
    states = found.json["activations"]["states"]
    assert "model" in states and len(states) > 1, "the kept checkpoints are measured too"
    report = (image_run / "report.html").read_text(encoding="utf-8")
    for word in ("损失地形", "特征图", "奇异值", "visualize/graph.html"):
        assert word in report
    from danlu.artifacts.run import RunDirectory
    from danlu.reporting.page import write_report

    report = write_report(RunDirectory.open(image_run), "en").read_text(encoding="utf-8")
    for word in ("Loss landscape", "Feature maps", "singular value", "Confusion by example"):
        assert word in report


def test_pictures_of_a_run_stand_in_its_report_in_the_language_of_the_page(table_run: Path) -> None:
    found = danlu.visualize(table_run, only="activations,curves,landscape,confusion", rows=30, language="zh")
    assert {file.suffix for file in found.files} == {".html", ".svg", ".png", ".json", ".npz"}
    report = (table_run / "report.html").read_text(encoding="utf-8")
    assert "损失地形" in report and "死去的单元" in report
    from danlu.artifacts.run import RunDirectory
    from danlu.reporting.page import write_report

    report = write_report(RunDirectory.open(table_run), "en").read_text(encoding="utf-8")
    assert "Loss landscape" in report and "value of an activation" in report and "Confusion by example" in report


def test_attention_of_a_text_run_names_its_tokens(text_run: Path, tmp_path: Path) -> None:
    found = danlu.visualize(text_run, only=["attention", "embeddings"], rows=20, output=tmp_path / "look")
    attention = found.json["attention"]
    assert attention["layers"] and any(token.strip("Ġ▁").isalpha() for token in attention["tokens"])
    assert len(found.json["embeddings"]["classes"]) == 20
    with np.load(tmp_path / "look" / "embeddings.npz", allow_pickle=False) as arrays:
        assert arrays["pca"].shape == (20, 2) and arrays["features"].shape[0] == 20


def test_a_picture_that_a_model_cannot_have_is_refused_where_it_is_asked_for(table_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="has no attention") as caught:
        danlu.visualize(table_run, only="attention", output=tmp_path / "look")
    assert caught.value.code == "DL409"
    with pytest.raises(ArgumentError, match="is no run of a classification"):
        danlu.visualize(table_run / "model", only="confusion", output=tmp_path / "look")


def test_a_dead_unit_is_named_in_the_report(table_run: Path, tmp_path: Path) -> None:
    from danlu.reporting.i18n import get_translator
    from danlu.reporting.sections.network import activation_sentences

    data = danlu.visualize(table_run, only="activations", output=tmp_path / "look").json["activations"]
    layer = data["states"]["model"][0]
    layer |= {"dead": 2, "dead_units": [3, 5], "is_saturated": True}
    (dead, saturated) = activation_sentences(get_translator("en"), data)
    assert dead == f"Dead units: {layer['name']} (2: 3, 5)." and saturated == f"Saturated layers: {layer['name']}."
    assert activation_sentences(get_translator("zh"), data)[0].startswith("死去的单元：")


def test_a_recipe_asks_for_pictures_and_they_stand_in_the_runs_report(tmp_path: Path) -> None:
    recipe = {
        "name": "w",
        "data": {"source": "builtin:wine"},
        "model": "linear",
        "training": {"epochs": 2},
        "evaluation": {"language": "zh"},
        "visualization": {"pictures": ["graph", "curves", "attention"], "rows": 12},
    }
    run = danlu.run(recipe, output=tmp_path).path
    listed = json.loads((run / "visualize" / "visualize.json").read_text(encoding="utf-8"))
    assert listed["rows"] == 12 and set(listed) >= {"graph", "curves"} and "attention" not in listed
    names = {path.name for path in (run / "visualize").iterdir()}
    assert {"graph.html", "graph.png", "graph.svg", "curves.png", "curves.svg", "curves.json"} <= names
    report = (run / "report.html").read_text(encoding="utf-8")
    assert "visualize/graph.html" in report and "网络的结构" in report
    again = danlu.visualize(run, only=["graph", "curves"], rows=12)
    for node, other in zip(again.json["graph"]["nodes"], listed["graph"]["nodes"], strict=True):
        assert {**node, "ms": 0} == {**other, "ms": 0}


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"visualization": {"pictures": ["graf"]}}, "visualization.pictures"),
        ({"visualization": {"pictures": []}}, "visualization.pictures"),
        ({"visualization": {"rows": -1}}, "visualization.rows"),
        ({"visualization": ["graph"]}, "visualization: must be a section with keys of pictures, rows"),
        ({"visualization": {"pictures": ["features"]}}, "features are maps of images"),
        (
            {"visualization": {"pictures": ["confusion"]}, "data": {"source": "builtin:diabetes"}},
            "confusion needs one class a row",
        ),
    ],
)
def test_pictures_that_no_model_of_the_data_can_have_are_refused_before_training(
    section: dict[str, Any], said: str
) -> None:
    with pytest.raises(RecipeError, match=re.escape(said)):
        danlu.check({"data": {"source": "builtin:wine"}, **section})


def test_a_dry_run_draws_the_pictures_of_a_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    from danlu.api.run import dry_run
    from danlu.experiment import picture_files

    seen: list[tuple[int, list[str]]] = []

    def note(t: Any, title: str, rows: int, pictures: Any, folder: Path) -> None:
        seen.append((rows, list(pictures)))

    monkeypatch.setattr(picture_files, "write_pictures", note)
    section = {"pictures": ["graph", "weights"], "rows": 100}
    dry_run({"data": {"source": "builtin:wine"}, "model": "linear", "visualization": section})  # type: ignore[arg-type]
    assert seen == [(4, ["graph", "weights"])]


def test_the_recipe_names_the_pictures_that_there_are() -> None:
    assert get_args(Picture) == tuple(PICTURES)

"""`danlu visualize`: of runs of every kind, bundles, folders of other libraries and recipes."""

import json
from pathlib import Path
from typing import Any

import pytest

import danlu
from danlu.errors import ArgumentError
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
    assert [file.name for file in found.files] == ["graph.html", "graph.svg", "graph.json"]
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
    with pytest.raises(ArgumentError, match="rows must be at least 0"):
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

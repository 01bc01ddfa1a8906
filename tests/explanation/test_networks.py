"""Runs of images, texts and corpora are explained from the command line, in files and in the report."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import danlu as package
from danlu.artifacts.run import RunDirectory
from danlu.errors import ArgumentError, MissingExtra
from danlu.reporting.page import write_report
from danlu.reporting.sections import explanation
from tests.conftest import Command


def test_an_image_is_explained_in_files_and_pictures_with_the_same_bytes_each_time(
    image_run: Path, tmp_path: Path, danlu: Command
) -> None:
    methods = "shap,integrated-gradients,gradient-shap,grad-cam"
    for name in ("one", "two"):
        ran = danlu("explain", image_run, "--rows", "1", "--method", methods, "-o", tmp_path / name)
        assert ran.returncode == 0, ran.stderr
        assert "largest at line" in ran.stdout and "row-1.png" in ran.stdout
    for file in ("values.npz", "row-1.svg"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    document = json.loads((tmp_path / "one" / "explanation.json").read_text())
    assert (tmp_path / "one" / "row-1.png").read_bytes().startswith(b"\x89PNG")
    with np.load(tmp_path / "one" / "values.npz", allow_pickle=False) as arrays:
        for one in document["local"]:
            values = arrays[one["array"]]
            assert list(values.shape) == one["shape"] == list(arrays["local/1/input"].shape[:2])
            if one["method"] in ("shap", "integrated-gradients"):
                assert values.sum() == pytest.approx(one["answer"] - one["base"], rel=1e-3, abs=1e-3)
    alone, among = (package.explain(image_run, rows=rows, methods=["shap"]).local for rows in ([1], [0, 1]))
    assert np.array_equal(alone[0].pixels.values, among[1].pixels.values)  # type: ignore[union-attr]


def test_a_text_is_explained_by_its_words(text_run: Path, danlu: Command) -> None:
    ran = danlu("explain", text_run, "--rows", "0", "--json")
    assert ran.returncode == 0, ran.stderr
    document = json.loads(ran.stdout)
    (one,) = document["local"]
    assert one["method"] == "shap" and one["completeness_error"] < 1e-6
    assert one["base"] + sum(each["value"] for each in one["values"]) == pytest.approx(one["answer"], abs=1e-6)
    assert all(
        each["end"] > each["start"] >= 0 and each["low"] <= each["value"] <= each["high"] for each in one["values"]
    )
    methods = ["integrated-gradients", "attention-rollout"]
    gradients, rollout = package.explain(text_run, rows=[0], methods=methods).local
    total = sum(each.share.value for each in gradients.values)
    assert total == pytest.approx(gradients.answer - gradients.base, rel=1e-3, abs=1e-3)
    assert 0 < sum(each.share.value for each in rollout.values) <= 1 + 1e-6


def test_the_next_token_of_a_language_model_is_explained(corpus_run: Path) -> None:
    usual = package.explain(corpus_run, rows=[0]).local[0]
    assert usual.scale == "probability" and 0 < usual.answer <= 1 and usual.label
    chosen = package.explain(corpus_run, rows=[0], label=usual.label, methods=["integrated-gradients"]).local[0]
    assert chosen.scale == "score" and np.exp(chosen.answer) == pytest.approx(usual.answer, rel=1e-3)
    with pytest.raises(ArgumentError, match="tokens, and the next token is one"):
        package.explain(corpus_run, rows=[0], label="of the people and the nation")


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("grad-cam", "grad-cam needs a network of images; here can be had: shap, lime, .*attention-rollout"),
        ("counterfactual", "counterfactual explains models of tables; here can be had: shap"),
        ("shapp", "no method 'shapp'.*shap"),
    ],
)
def test_a_method_that_a_text_model_cannot_have_is_refused_by_name(text_run: Path, method: str, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        package.explain(text_run, rows=[0], methods=[method])


def test_attention_rollout_is_refused_without_attention(image_run: Path) -> None:
    with pytest.raises(ArgumentError, match=r"attention-rollout needs a transformer .*here can be had: .*grad-cam"):
        package.explain(image_run, rows=[0], methods=["attention-rollout"])


def test_a_missing_captum_names_the_extra(image_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("danlu.core.imports.missing_packages", lambda extra: ("captum",) if extra == "explain" else ())
    with pytest.raises(MissingExtra, match=r"grad-cam needs captum, .*pip install 'danlu\[explain\]'"):
        package.explain(image_run, rows=[0], methods=["grad-cam"])
    recipe = {"name": "d", "data": {"source": "builtin:digits"}, "model": "small-resnet"}
    with pytest.raises(MissingExtra, match=r"danlu\[explain\]"):
        package.check({**recipe, "explanation": {"methods": ["grad-cam"]}})
    assert package.explain(image_run, rows=[0], methods=["shap"]).local[0].method == "shap"


def test_an_untrained_network_is_said_to_be_so(text_recipe: dict[str, object], tmp_path: Path) -> None:
    recipe = {**text_recipe, "training": {"max_steps": 1, "optimizer": {"lr": 1e-9}}}
    run = package.train(recipe, output=tmp_path, name="untrained").path
    found = package.explain(run, rows=[0, 1], methods=["occlusion"])
    assert [code for code, _ in found.warnings] == ["constant-model"]
    assert "untrained, or nothing was learned" in found.warnings[0][1]


@pytest.mark.parametrize(
    ("language", "pixels", "words"),
    [
        ("en", "Where an image speaks for the answer", "Words that speak for the answer"),
        ("zh", "图像中哪里支持", "支持预测的词"),
    ],
)
def test_the_report_shows_maps_over_images_and_marked_words(
    image_run: Path,
    text_run: Path,
    tmp_path: Path,
    language: str,
    pixels: str,
    words: str,
) -> None:
    for name, run, told in (("images", image_run, pixels), ("texts", text_run, words)):
        directory = RunDirectory.open(shutil.copytree(run, tmp_path / name))  # others read the page of the run itself
        folder = directory.path / explanation.FOLDER
        package.explain(directory, rows=[0], methods=["shap", "occlusion"], output=folder)
        page = write_report(directory, language).read_text()
        section = page[page.index('id="explanation"') :]
        section = section[: section.index("</section>")]
        assert told in section and "occlusion" in section
        assert ("<svg" in section) == (name == "images") and ("<mark" in section) == (name == "texts")

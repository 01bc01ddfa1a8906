"""Exported ONNX files are explained by the methods that ask for answers alone, as their bundles are."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import danlu
from danlu.errors import ArgumentError, ArtifactError, DataError
from tests.conftest import Command

pytest.importorskip("onnxruntime")


def _customers() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "age": rng.integers(18, 80, 300),
            "plan": rng.choice(["free", "pro", "team"], 300),
            "spend": rng.gamma(2, 10, 300).round(2),
        }
    )
    leaves = (pl.col("plan") == "free") & (pl.col("spend") < 25)
    gap = pl.int_range(pl.len()) % 11 == 0
    return frame.with_columns(
        churned=pl.when(leaves).then(pl.lit("yes")).otherwise(pl.lit("no")),
        spend=pl.when(gap).then(None).otherwise(pl.col("spend")),
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = {"name": "c", "data": {"target": "churned"}, "model": {"name": "mlp", "hidden": [8]}}
    recipe |= {"training": {"epochs": 8}}
    folder = tmp_path_factory.mktemp("exported")
    return danlu.train(recipe, data=_customers(), name="c", output=folder).path / "model"


@pytest.fixture(scope="module")
def exported(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx") / "c"
    danlu.export(bundle, folder, to="onnx")
    return folder


def test_values_of_a_file_are_those_of_its_bundle_beside_the_same_background(
    bundle: Path, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = _customers()
    found = danlu.explain(exported, frame, rows=[3, 11], methods=["shap"])
    assert found.engine == "onnxruntime" and [code for code, _ in found.warnings] == ["background-from-data"]
    from danlu.core.seeds import Seed
    from danlu.explanation import beside_predictions
    from danlu.explanation.curves import choose_rows

    kept = choose_rows(frame, tuple(each.name for each in found.local[0].values), Seed(0), 100)
    monkeypatch.setattr(beside_predictions, "background_of", lambda _: kept)
    expected = danlu.explain(bundle, frame, rows=[3, 11], methods=["shap"])
    assert found.bundle == expected.bundle
    for one, other in zip(found.local, expected.local, strict=True):
        assert (one.label, one.estimator, one.answer) == (other.label, "enumerated", pytest.approx(other.answer))
        shares = {each.name: each.share.value for each in other.values}
        assert {each.name: each.share.value for each in one.values} == pytest.approx(shares, abs=1e-5)


def test_methods_of_the_whole_model_are_those_of_its_bundle(bundle: Path, exported: Path, tmp_path: Path) -> None:
    frame = _customers()
    methods = ["permutation", "partial-dependence", "accumulated-effects", "interactions", "surrogate", "lime"]
    found = danlu.explain(exported, frame, rows=[0], methods=methods, target="churned", label="yes", output=tmp_path)
    expected = danlu.explain(bundle, frame, rows=[0], methods=methods, label="yes")
    for one, other in zip(found.overall, expected.overall, strict=True):
        assert one.method == other.method
        if one.method in ("partial-dependence", "accumulated-effects"):
            heights = [{each.name: each.height for each in each_of.columns} for each_of in (one, other)]  # type: ignore[union-attr]
            assert heights[0] == pytest.approx(heights[1], abs=1e-4)
    importance = {each.name: each.plain.value for each in found.overall[0].columns}  # type: ignore[union-attr]
    assert max(importance, key=lambda name: importance[name]) in ("plan", "spend")
    assert json.loads((tmp_path / "explanation.json").read_text())["engine"] == "onnxruntime"


def test_counterfactuals_of_a_file_flip_it_within_the_training_rows_ranges(exported: Path, bundle: Path) -> None:
    frame = _customers()
    rows = [int(row) for row in np.flatnonzero((frame["churned"] == "yes").to_numpy())[:3]]
    found = danlu.explain(exported, frame, rows=rows, methods=["counterfactual"], actionable=["spend", "plan"])
    flipped = [one for one in found.counterfactuals if one.prediction == "no"]
    assert flipped and [code for code, _ in found.warnings] == ["background-from-data"]
    ranges = json.loads((exported / "danlu.json").read_text())["ranges"]
    assert set(ranges) == {"age", "spend"} and len(ranges["spend"]) == 21
    for one in flipped:
        changed = frame[one.row].with_columns(**{name: pl.lit(to) for name, (_, to) in one.changes.items()})
        assert danlu.predict(bundle, changed)["prediction"].to_list() == ["no"]
        now = one.changes.get("spend", (None, ranges["spend"][0]))[1]
        assert ranges["spend"][0] <= now <= ranges["spend"][-1] and "age" not in one.changes


def test_the_order_of_rows_changes_no_value_of_a_file(exported: Path) -> None:
    frame = _customers()
    forward = danlu.explain(exported, frame, rows=[0], methods=["shap"]).local[0]
    back = danlu.explain(exported, frame.reverse(), rows=[frame.height - 1], methods=["shap"]).local[0]
    assert forward.values == back.values


def test_a_file_of_one_matrix_reads_columns_in_their_order(tmp_path: Path, danlu: Command) -> None:
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    weights = np.array([[2.0], [-1.0], [0.5]], dtype=np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])],
        [helper.make_tensor("w", TensorProto.FLOAT, (3, 1), weights.ravel())],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "own.onnx")
    table = np.random.default_rng(1).standard_normal((60, 3)).round(3)
    frame = pl.DataFrame(table, schema=["a", "b", "c"]).with_columns(y=pl.Series(table @ weights[:, 0]))
    frame.write_csv(tmp_path / "rows.csv")
    ran = danlu("explain", tmp_path / "own.onnx", tmp_path / "rows.csv", "--rows", "5", "--target", "y", "--json")
    assert ran.returncode == 0, ran.stderr
    document = json.loads(ran.stdout)
    values = [each["value"] for each in document["local"][0]["values"]]
    assert values == pytest.approx((weights[:, 0] * (table[5] - table.mean(axis=0))).tolist(), abs=1e-4)
    columns = document["global"][0]["columns"]
    assert [each["name"] for each in columns] == ["a", "b", "c"]
    assert columns[0]["value"] == pytest.approx(2 * 4 * table[:, 0].var(), rel=0.25)  # twice the variance of its part


def test_what_a_file_cannot_have_is_refused_by_name(exported: Path, bundle: Path, tmp_path: Path) -> None:
    frame = _customers()
    with pytest.raises(ArgumentError, match="an exported file has no rows of its own; give DATA"):
        danlu.explain(exported)
    with pytest.raises(DataError, match="no column 'spend', which the file reads"):
        danlu.explain(exported / "model.onnx", frame.drop("spend"))
    words = frame[:3].with_columns(pl.Series("age", ["1", "2", "old"]))
    with pytest.raises(DataError, match="row 2: the file reads numbers in 'age', and this is 'old'"):
        danlu.explain(exported, words)
    with pytest.raises(ArgumentError, match="permutation needs rows with the target; here can be had: shap, lime"):
        danlu.explain(exported, frame, methods=["permutation"])
    alone = shutil.copy(exported / "model.onnx", tmp_path / "alone.onnx")
    with pytest.raises(ArgumentError, match="counterfactual needs the ranges of the training rows, which danlu"):
        danlu.explain(alone, frame, methods=["counterfactual"])
    document = json.loads((exported / "danlu.json").read_text())
    (tmp_path / "danlu.json").write_text(json.dumps({**document, "ranges": {"age": ["old"]}}))
    with pytest.raises(ArtifactError, match="its ranges are no lists of numbers by column"):
        danlu.explain(alone, frame, methods=["counterfactual"])
    with pytest.raises(DataError, match="no column 'churn', which is to hold the answers"):
        danlu.explain(exported, frame, target="churn")
    with pytest.raises(ArgumentError, match="target: is for exported files"):
        danlu.explain(bundle, frame, target="churned")

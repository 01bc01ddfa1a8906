"""One row at a time, in memory that is bound once: each answer its own, whoever asks in between."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from danlu.models.engines.onnxruntime_engine import OnnxRuntimeEngine, open_session

ROWS = 200


@pytest.fixture
def engine(tmp_path: Path) -> OnnxRuntimeEngine:
    """Answer 2 * number + category, for two columns each."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, kinds = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("Cast", ["categories"], ["codes"], to=kinds.FLOAT),
        helper.make_node("Add", ["numeric", "numeric"], ["twice"]),
        helper.make_node("Add", ["twice", "codes"], ["logits"]),
    ]
    ports = (("numeric", kinds.FLOAT), ("categories", kinds.INT64), ("logits", kinds.FLOAT))
    *inputs, output = (helper.make_tensor_value_info(name, kind, ["batch", 2]) for name, kind in ports)
    graph = helper.make_graph(nodes, "twice", inputs, [output])
    onnx.save(
        helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)]), tmp_path / "model.onnx"
    )
    return OnnxRuntimeEngine(open_session(tmp_path / "model.onnx", threads=1), is_small=True)


def rows() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    return draw.integers(-9, 9, (ROWS, 2)).astype(np.float32), draw.integers(0, 9, (ROWS, 2))


def test_rows_asked_one_by_one_by_several_threads_get_their_own_answers(engine: OnnxRuntimeEngine) -> None:
    numbers, codes = rows()

    def ask(at: int) -> np.ndarray:
        # Columns of a larger array, as a preparation may hand them over.
        return engine.run({"numeric": numbers[at : at + 1], "categories": codes[at : at + 1, ::-1]})

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(ROWS)))
    np.testing.assert_array_equal(np.concatenate(answers), 2 * numbers + codes[:, ::-1])


def test_batches_between_single_rows_are_answered(engine: OnnxRuntimeEngine) -> None:
    numbers, codes = rows()
    for part in (slice(0, 1), slice(1, 5), slice(5, 6), slice(6, 6)):
        found = engine.run({"numeric": numbers[part], "categories": codes[part]})
        np.testing.assert_array_equal(found, 2 * numbers[part] + codes[part])


@pytest.mark.parametrize(
    "inputs",
    [
        {"numeric": np.ones((1, 1), np.float32), "categories": np.ones((1, 2), np.int64)},
        {"numeric": np.ones((1, 2), np.float32), "categories": np.full((1, 2), np.nan)},
        {"numeric": np.ones((1, 2)), "categories": np.ones((1, 2), np.int64)},
        {"numeric": np.ones((1, 2), np.float32)},
        {
            "numeric": np.ones((1, 2), np.float32),
            "categories": np.ones((1, 2), np.int64),
            "more": np.ones((1, 2), np.float32),
        },
    ],
    ids=["shape", "type", "width", "missing", "unknown"],
)
def test_what_a_first_row_may_not_be_no_later_row_may_be(engine: OnnxRuntimeEngine, inputs: dict[str, Any]) -> None:
    with pytest.raises(Exception) as first:  # noqa: PT011  # whatever class the library has
        engine.run(inputs)
    numbers, codes = rows()
    engine.run({"numeric": numbers[:1], "categories": codes[:1]})
    with pytest.raises(first.type):
        engine.run(inputs)
    np.testing.assert_array_equal(
        engine.run({"numeric": numbers[1:2], "categories": codes[1:2]}), 2 * numbers[1:2] + codes[1:2]
    )

"""The Open Inference Protocol: what clients send is read, what they are answered has the protocol's form."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.serving.answering import Served
from danlu.serving.refusals import Refused
from danlu.serving.v2.metadata import model_metadata, server_metadata
from danlu.serving.v2.requests import decode
from danlu.serving.v2.responses import encode, require_outputs
from danlu.serving.v2.tensors import DTYPES, Tensor, split_bytes, to_bytes, values_of_bytes, values_of_json
from tests.serving.test_answering import rows_of

TOLERANCE = 1e-5


def of_bytes(words: list[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(word)) + word for word in words)


def columns_of(served: Served, rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """The rows as arrays, missing numbers as NaN and missing words empty."""
    found: dict[str, np.ndarray] = {}
    for column in served.columns:
        cells = [row[column.name] for row in rows]
        if column.type == "number":
            found[column.name] = np.array([np.nan if cell is None else cell for cell in cells])
        else:
            found[column.name] = np.array(
                [("" if cell is None else str(cell)).encode() for cell in cells], dtype=object
            )
    return found


def request_of(
    columns: dict[str, np.ndarray], *, binary: bool, wants: Any = None, **more: Any
) -> tuple[bytes, int | None]:
    """A body with an input for each column, as JSON or as bytes behind it."""
    inputs, behind = [], []
    for name, cells in columns.items():
        told: dict[str, Any] = {"name": name, "shape": [len(cells)]}
        told["datatype"] = "BYTES" if cells.dtype == object else "FP64"
        if binary:
            behind.append(of_bytes(list(cells)) if cells.dtype == object else cells.astype("<f8").tobytes())
            told["parameters"] = {"binary_data_size": len(behind[-1])}
        else:
            told["data"] = [cell.decode() if isinstance(cell, bytes) else cell for cell in cells.tolist()]
        inputs.append(told)
    text = json.dumps({"inputs": inputs, **({"outputs": wants} if wants else {}), **more}).encode()
    return text + b"".join(behind), len(text) if binary else None


def infer(served: Served, body: bytes, length: int | None = None) -> tuple[dict[str, Any], bytes]:
    request = decode(served, body, length)
    require_outputs(served, request)
    (answers,) = served.answer([request.rows])
    found, json_length = encode(served, request, answers, "m", "1")
    return json.loads(found[:json_length]), found[json_length:] if json_length is not None else b""


def values(answer: dict[str, Any], behind: bytes) -> dict[str, list[Any]]:
    """The outputs of an answer, whichever way they came."""
    found, at = {}, 0
    for output in answer["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            found[output["name"]] = output["data"]
            continue
        count = int(np.prod(output["shape"]))
        part = memoryview(behind[at : at + size])
        at += size
        raw = values_of_bytes(part, output["datatype"], count, "")
        found[output["name"]] = [value.decode() if isinstance(value, bytes) else value for value in raw]
    assert at == len(behind)
    return found


@pytest.mark.parametrize("asked_in_binary", [False, True])
@pytest.mark.parametrize("answered_in_binary", [False, True])
def test_all_four_ways_to_write_a_request_and_its_answer_say_the_same(
    wine: Served, table_file: Path, asked_in_binary: bool, answered_in_binary: bool
) -> None:
    rows = rows_of(wine, str(table_file))[:9]
    (wanted,) = wine.answer([wine.read(rows)])
    body, length = request_of(
        columns_of(wine, rows), binary=asked_in_binary, id="a1", parameters={"binary_data_output": answered_in_binary}
    )
    answer, behind = infer(wine, body, length)
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("a1", "m", "1")
    assert bool(behind) == answered_in_binary
    assert [(output["name"], output["shape"]) for output in answer["outputs"]] == [
        ("prediction", [9]), ("probability", [9]), ("probabilities", [9, 3]),
    ]  # fmt: skip
    found = values(answer, behind)
    shares = np.array(found["probabilities"]).reshape(9, 3)
    for row, (label, share) in enumerate(zip(found["prediction"], shares, strict=True)):
        told = dict(zip(wanted[row]["probabilities"], share.tolist(), strict=True))
        assert label == wanted[row]["prediction"]
        assert told == pytest.approx(wanted[row]["probabilities"], abs=TOLERANCE)


def test_a_client_chooses_outputs_and_which_of_them_are_binary(wine: Served, table_file: Path) -> None:
    rows = rows_of(wine, str(table_file))[:2]
    wants = [{"name": "probability", "parameters": {"binary_data": True}}, {"name": "prediction"}]
    answer, behind = infer(wine, *request_of(columns_of(wine, rows), binary=False, wants=wants))
    assert [output["name"] for output in answer["outputs"]] == ["probability", "prediction"]
    assert len(behind) == 8
    assert "data" in answer["outputs"][1]


def test_bare_words_for_no_number_are_missing_values(wine: Served, table_file: Path) -> None:
    rows = rows_of(wine, str(table_file))[:1]
    columns = columns_of(wine, [{**rows[0], "ash": None, "hue": None}])
    body, _ = request_of(columns, binary=False)
    assert b"NaN" in body
    answer, _ = infer(wine, body)
    (wanted,) = wine.answer([wine.read([{**rows[0], "ash": None, "hue": None}])])
    assert values(answer, b"")["probability"][0] == pytest.approx(wanted[0]["probability"], abs=TOLERANCE)


def test_a_model_of_numbers_takes_one_tensor_of_all_columns(cancer: Served) -> None:
    golden = cancer.predictor.bundle.golden()
    assert golden is not None
    rows = golden.select(column.name for column in cancer.columns).to_dicts()
    matrix = np.array([list(row.values()) for row in rows], dtype="<f4")
    told = {"name": "input-0", "shape": list(matrix.shape), "datatype": "FP32", "data": matrix.tolist()}
    answer, _ = infer(cancer, json.dumps({"inputs": [told]}).encode())
    (wanted,) = cancer.answer([cancer.read(rows)])
    assert values(answer, b"")["prediction"] == [row["prediction"] for row in wanted]


def test_a_matrix_with_gaps_is_answered_alike_however_it_is_written(cancer: Served) -> None:
    golden = cancer.predictor.bundle.golden()
    assert golden is not None
    names = [column.name for column in cancer.columns]
    rows = golden.select(names).head(4).to_dicts()
    rows[1][names[0]] = rows[3][names[-1]] = None
    (wanted,) = cancer.answer([cancer.read(rows)])
    matrix = np.array([list(row.values()) for row in rows], dtype="<f8")
    gaps = [[None if cell != cell else cell for cell in row] for row in matrix.tolist()]
    told = {"name": "x", "shape": list(matrix.shape), "datatype": "FP64"}
    flat = {**told, "data": [cell for row in gaps for cell in row]}
    behind = {**told, "parameters": {"binary_data_size": matrix.nbytes}}
    texts = [json.dumps({"inputs": [each]}).encode() for each in (flat, {**told, "data": gaps}, behind)]
    sent = [(texts[0], None), (texts[1], None), (texts[2] + matrix.tobytes(), len(texts[2]))]
    for body, length in sent:
        answer, _ = infer(cancer, body, length)
        assert values(answer, b"")["probability"] == pytest.approx([row["probability"] for row in wanted], abs=1e-6)


@pytest.mark.parametrize("nested", [True, False])
def test_a_whole_number_beyond_64_bits_is_refused(cancer: Served, nested: bool) -> None:
    row = [10**400, *[1] * (len(cancer.columns) - 1)]
    told = {"name": "x", "shape": [1, len(row)], "datatype": "FP64", "data": [row] if nested else row}
    with pytest.raises(Refused, match="64 bits"):
        infer(cancer, json.dumps({"inputs": [told]}).encode())


def test_images_come_as_files_or_as_pixels(digits: Served, image_folder: Path) -> None:
    from PIL import Image

    paths = sorted(image_folder.rglob("*.png"))[::100]
    (wanted,) = digits.answer([digits.read([path.read_bytes() for path in paths])])
    behind = of_bytes([path.read_bytes() for path in paths])
    told = {"name": "image", "shape": [len(paths), 1], "datatype": "BYTES"}
    text = json.dumps({"inputs": [{**told, "parameters": {"binary_data_size": len(behind)}}]}).encode()
    answer, _ = infer(digits, text + behind, len(text))
    assert values(answer, b"")["probability"] == pytest.approx([row["probability"] for row in wanted], abs=TOLERANCE)
    pixels = np.stack([np.asarray(Image.open(path)) for path in paths])
    told = {"name": "x", "shape": list(pixels.shape), "datatype": "UINT8", "data": pixels.tolist()}
    answer, _ = infer(digits, json.dumps({"inputs": [told]}).encode())
    assert values(answer, b"")["probability"] == pytest.approx([row["probability"] for row in wanted], abs=TOLERANCE)


def test_a_broken_row_has_null_answers_and_a_reason_and_alone_it_is_refused(wine: Served, table_file: Path) -> None:
    rows = rows_of(wine, str(table_file))[:2]
    columns = columns_of(wine, [rows[0], {**rows[1], "alcohol": 1e39}])
    answer, _ = infer(wine, *request_of(columns, binary=False))
    found = values(answer, b"")
    assert found["prediction"][1] is None
    assert found["probabilities"][3:] == [None] * 3
    assert found["error"] == [None, "DL211: column 'alcohol': 1e+39 is beyond any number of 32 bits"]
    answer, behind = infer(wine, *request_of(columns, binary=True, parameters={"binary_data_output": True}))
    found = values(answer, behind)
    assert found["error"][0] == found["prediction"][1] == ""
    assert np.isnan(found["probability"][1])
    with pytest.raises(Refused, match="alcohol"):
        infer(wine, *request_of(columns_of(wine, [{**rows[1], "alcohol": 1e39}]), binary=False))


def test_an_explanation_is_an_output_on_request(cancer: Served) -> None:
    golden = cancer.predictor.bundle.golden()
    assert golden is not None
    rows = golden.select(column.name for column in cancer.columns).to_dicts()[:1]
    wants = [{"name": "explanation"}, {"name": "prediction"}]
    answer, _ = infer(cancer, *request_of(columns_of(cancer, rows), binary=False, wants=wants))
    (text,) = values(answer, b"")["explanation"]
    told = json.loads(text)
    assert {each["name"] for each in told} == {column.name for column in cancer.columns}
    assert set(told[0]) == {"name", "value", "low", "high"}


def test_pictures_have_no_explanation_and_say_so(digits: Served, image_folder: Path) -> None:
    data = next(image_folder.rglob("*.png")).read_bytes()
    columns = {"image": np.array([data], dtype=object)}
    with pytest.raises(Refused, match="cannot be explained"):
        infer(digits, *request_of(columns, binary=True, wants=[{"name": "explanation"}]))


GOOD = {"name": "alcohol", "shape": [1], "datatype": "FP64", "data": [13.0]}
WRONG: list[tuple[Any, str]] = [
    ([], "inputs"),
    ({"inputs": []}, "inputs"),
    ({"inputs": [7]}, "inputs[0]"),
    ({"inputs": [{**GOOD, "datatype": "FP99"}]}, "inputs[0].datatype"),
    ({"inputs": [{**GOOD, "shape": [2**40, 2**40]}]}, "inputs[0].shape"),
    ({"inputs": [{**GOOD, "shape": [-1]}]}, "inputs[0].shape"),
    ({"inputs": [{**GOOD, "shape": [2]}]}, "inputs[0].data"),
    ({"inputs": [{**GOOD, "data": ["13"]}]}, "inputs[0].data[0]"),
    ({"inputs": [{**GOOD, "data": [True]}]}, "inputs[0].data[0]"),
    ({"inputs": [{**GOOD, "data": [[13.0], 1]}]}, "inputs[0].data"),
    ({"inputs": [{**GOOD, "datatype": "INT8", "data": [300]}]}, "inputs[0].data[0]"),
    ({"inputs": [{**GOOD, "parameters": {"binary_data_size": 8}}]}, "binary_data_size"),
    ({"inputs": [GOOD]}, "alcohol"),
    ({"inputs": [GOOD, {**GOOD, "name": "ash", "shape": [0], "data": []}]}, "inputs"),
]


@pytest.mark.parametrize(("sent", "named"), WRONG)
def test_what_is_not_of_the_protocol_is_refused_with_its_field_named(wine: Served, sent: Any, named: str) -> None:
    with pytest.raises(Refused) as refused:
        infer(wine, json.dumps(sent).encode())
    assert refused.value.status == 400
    assert named in f"{refused.value.field} {refused.value.message}"


@pytest.mark.parametrize(
    "sent", [b"", b"{", b'{"inputs": 1e400}', b'{"inputs": [' + b"[" * 100_000, b"\xff", b'"a"', b"1" * 5000]
)
def test_garbage_is_refused(wine: Served, sent: bytes) -> None:
    with pytest.raises(Refused):
        decode(wine, sent)
    with pytest.raises(Refused):
        decode(wine, sent, 10**9)


@pytest.mark.parametrize("name", ["wine", "digits", "eras", "tags"])
def test_metadata_names_what_goes_in_and_what_comes_out(name: str, request: pytest.FixtureRequest) -> None:
    served: Served = request.getfixturevalue(name)
    told = model_metadata(served, "m", ["1"])
    assert [each["name"] for each in told["inputs"]] == [column.name for column in served.columns]
    assert told["outputs"][0]["name"] == "prediction"
    assert server_metadata()["name"] == "danlu"


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([name for name in DTYPES if name != "BF16"]), st.data())
def test_a_tensor_comes_back_from_its_bytes_and_from_json(datatype: str, data: st.DataObject) -> None:
    dtype = np.dtype(DTYPES[datatype])
    if dtype.kind == "f":
        one: Any = st.floats(width=dtype.itemsize * 8, allow_nan=False, allow_infinity=False)
    elif dtype.kind == "b":
        one = st.booleans()
    else:
        one = st.integers(int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    cells = data.draw(st.lists(one, min_size=1, max_size=5))
    tensor = Tensor("x", datatype, (len(cells),), cells)
    assert values_of_bytes(memoryview(to_bytes(tensor)), datatype, len(cells), "x") == cells
    assert values_of_json(json.loads(json.dumps(cells)), datatype, len(cells), "x") == cells


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 4))
def test_any_bytes_are_elements_or_refused(data: bytes, count: int) -> None:
    try:
        found = split_bytes(memoryview(data), count, "x")
    except Refused:
        return
    assert of_bytes(found) == data
    assert len(found) == count

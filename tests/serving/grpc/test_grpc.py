"""gRPC over real sockets: the protocol's methods, answered from the same batches as over HTTP."""

import http.client
import json
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("grpc", reason="the extra [grpc] is not installed")

import grpc

from danlu.core.imports import missing_packages
from danlu.serving.answering import Served
from danlu.serving.grpc.proto import inference_service, service_of
from danlu.serving.grpc.tensors import decode, encode
from danlu.serving.refusals import Refused
from danlu.serving.v2.tensors import split_bytes
from tests.serving.test_v2 import of_bytes
from tests.support.serving import PATIENCE_S, Server, serving

pytestmark = pytest.mark.training
SERVICE = inference_service()
MESSAGES = SERVICE.messages
Request, Response = MESSAGES["ModelInferRequest"], MESSAGES["ModelInferResponse"]
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def both(tumour_run: Path) -> Iterator[Server]:
    with serving(f"tumour={tumour_run}", "--engine", "numpy", "--grpc-port", "0") as running:
        yield running


def call(server: Server, method: str, request: Any = None, **more: Any) -> Any:
    """Ask, and return the answer and its trailing metadata."""
    asked, answered = SERVICE.methods[method]
    with grpc.insecure_channel(server.events[0]["grpc"]) as channel:
        ask = channel.unary_unary(
            f"/{SERVICE.name}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=MESSAGES[answered].FromString,
        )
        found, told = ask.with_call(request or MESSAGES[asked](), timeout=more.pop("timeout", PATIENCE_S), **more)
        return found, dict(told.trailing_metadata())


def refused(server: Server, method: str, request: Any = None, **more: Any) -> Any:
    with pytest.raises(grpc.RpcError) as error:
        call(server, method, request, **more)
    return error.value


def matrix(rows: Rows) -> np.ndarray:
    return np.array([list(row.values()) for row in rows], dtype="<f8")


def typed(rows: Rows, **more: Any) -> Any:
    request = Request(model_name="tumour", **more)
    cells = matrix(rows)
    told = request.inputs.add(name="x", datatype="FP64", shape=cells.shape)
    told.contents.fp64_contents.extend(cells.ravel())
    return request


def raw(rows: Rows, datatype: str = "FP64", dtype: str = "<f8") -> Any:
    request = Request(model_name="tumour")
    cells = matrix(rows).astype(dtype)
    request.inputs.add(name="x", datatype=datatype, shape=cells.shape)
    request.raw_input_contents.append(cells.tobytes())
    return request


def over_http(server: Server, rows: Rows) -> Rows:
    return list(server.post("/predict/tumour", {"rows": rows}).json["answers"])


def test_typed_rows_are_answered_as_over_http_with_typed_values(both: Server, tumours: Rows) -> None:
    wanted = over_http(both, tumours[:5])
    found, told = call(both, "ModelInfer", typed(tumours[:5], id="a1"))
    assert (found.model_name, found.model_version, found.id) == ("tumour", "1", "a1")
    assert not found.raw_output_contents
    outputs = {output.name: output for output in found.outputs}
    words = [word.decode() for word in outputs["prediction"].contents.bytes_contents]
    assert words == [answer["prediction"] for answer in wanted]
    assert list(outputs["probabilities"].shape) == [5, 2]
    shares = [share for answer in wanted for share in answer["probabilities"].values()]
    assert list(outputs["probabilities"].contents.fp32_contents) == pytest.approx(shares, abs=1e-6)
    digest = both.events[0]["models"][0]["digest"]
    assert told["x-danlu-digest"] == found.parameters["digest"].string_param == digest


@pytest.mark.parametrize(("datatype", "dtype"), [("FP64", "<f8"), ("FP32", "<f4")])
def test_raw_rows_are_answered_with_raw_values(both: Server, tumours: Rows, datatype: str, dtype: str) -> None:
    wanted = over_http(both, tumours[:4])
    found, _ = call(both, "ModelInfer", raw(tumours[:4], datatype, dtype))
    contents = dict(zip([output.name for output in found.outputs], found.raw_output_contents, strict=True))
    assert not any(output.HasField("contents") for output in found.outputs)
    words = split_bytes(memoryview(contents["prediction"]), 4, "")
    assert [word.decode() for word in words] == [answer["prediction"] for answer in wanted]
    shares = np.frombuffer(contents["probability"], "<f4").tolist()
    assert shares == pytest.approx([answer["probability"] for answer in wanted], abs=1e-5)


def test_words_and_gaps_come_as_bytes_and_no_numbers(wine: Served) -> None:
    golden = wine.predictor.bundle.golden()
    assert golden is not None
    rows = golden.select(column.name for column in wine.columns).head(3).to_dicts()
    (wanted,) = wine.answer([wine.read(rows)])
    for is_raw in (False, True):
        request = Request()
        for column in wine.columns:
            cells = [row[column.name] for row in rows]
            is_number = column.type == "number"
            numbers = [float("nan") if cell is None else float(cell) for cell in cells] if is_number else []
            words = [] if is_number else [("" if cell is None else str(cell)).encode() for cell in cells]
            told = request.inputs.add(name=column.name, datatype="FP64" if is_number else "BYTES", shape=[3])
            if is_raw:
                request.raw_input_contents.append(np.array(numbers, "<f8").tobytes() if is_number else of_bytes(words))
            else:
                told.contents.fp64_contents.extend(numbers)
                told.contents.bytes_contents.extend(words)
        decoded = decode(wine, request)
        (answers,) = wine.answer([decoded.rows])
        assert [answer["prediction"] for answer in answers] == [answer["prediction"] for answer in wanted]
        assert encode(Response(), wine, decoded, answers, ("m", "1"))


def test_outputs_are_chosen_and_explained_on_request(both: Server, tumours: Rows) -> None:
    request = typed(tumours[:1])
    request.outputs.add(name="explanation")
    found, _ = call(both, "ModelInfer", request)
    (output,) = found.outputs
    told = json.loads(output.contents.bytes_contents[0])
    assert {each["name"] for each in told} == set(tumours[0])


def test_probes_and_metadata_say_what_http_says(both: Server) -> None:
    assert call(both, "ServerLive")[0].live
    assert call(both, "ServerReady")[0].ready
    assert call(both, "ModelReady", MESSAGES["ModelReadyRequest"](name="tumour"))[0].ready
    server = both.get("/v2").json
    told, _ = call(both, "ServerMetadata")
    assert (told.name, told.version, list(told.extensions)) == (server["name"], server["version"], server["extensions"])
    model = both.get("/v2/models/tumour").json
    told, _ = call(both, "ModelMetadata", MESSAGES["ModelMetadataRequest"](name="tumour", version="1"))
    assert (told.name, list(told.versions), told.platform) == (model["name"], model["versions"], model["platform"])
    for here, there in ((told.inputs, model["inputs"]), (told.outputs, model["outputs"])):
        assert [(each.name, each.datatype, list(each.shape)) for each in here] == [
            (each["name"], each["datatype"], each["shape"]) for each in there
        ]


def test_what_is_not_served_is_not_found(both: Server, tumours: Rows) -> None:
    for request in (typed(tumours[:1], model_version="9"), Request(model_name="other")):
        assert refused(both, "ModelInfer", request).code() == grpc.StatusCode.NOT_FOUND
    request = MESSAGES["ModelReadyRequest"](name="other")
    assert refused(both, "ModelReady", request).code() == grpc.StatusCode.NOT_FOUND


def test_what_cannot_be_read_is_refused_with_its_place(both: Server, tumours: Rows) -> None:
    mixed = raw(tumours[:1])
    mixed.inputs[0].contents.fp64_contents.append(1.0)
    few = typed(tumours[:1])
    del few.inputs[0].contents.fp64_contents[-1]
    half = typed(tumours[:1])
    half.inputs[0].datatype = "FP16"
    huge = Request(model_name="tumour")
    huge.inputs.add(name="x", datatype="FP64", shape=[2**40, 2**40])
    many = raw(tumours[:1])
    many.raw_input_contents.append(b"")
    wants = typed(tumours[:1])
    wants.outputs.add(name="predictions")
    none = Request(model_name="tumour")
    for request, place in (
        *((mixed, "inputs[0]"), (few, "inputs[0].contents"), (half, "raw_input_contents"), (huge, "inputs[0].shape")),
        *((many, "raw_input_contents"), (wants, "prediction"), (none, "inputs")),
    ):
        error = refused(both, "ModelInfer", request)
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert place in error.details()
        assert dict(error.trailing_metadata())["x-danlu-code"] in ("DL420", "DL421")


def test_bytes_that_are_no_message_are_refused(both: Server) -> None:
    with grpc.insecure_channel(both.events[0]["grpc"]) as channel:
        ask = channel.unary_unary(f"/{SERVICE.name}/ModelInfer")
        for data in (b"\xff" * 40, b"\x0a\x05tumo", b"\x0a\x02\xff\xfe"):
            with pytest.raises(grpc.RpcError) as error:
                ask(data, timeout=PATIENCE_S)
            assert error.value.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
    assert call(both, "ServerLive")[0].live


def test_a_typed_integer_beyond_its_datatype_is_refused(cancer: Served) -> None:
    request = Request()
    told = request.inputs.add(name="x", datatype="INT8", shape=[1, 30])
    told.contents.int_contents.extend([300] * 30)
    with pytest.raises(Refused, match="beyond INT8"):
        decode(cancer, request)


def test_calls_are_counted_beside_those_over_http(both: Server, tumours: Rows) -> None:
    def counted() -> float:
        lines = both.get("/metrics").body.decode().splitlines()
        wanted = [line for line in lines if line.startswith("danlu_requests_total{") and 'route="grpc"' in line]
        return sum(float(line.split()[-1]) for line in wanted if 'status="200"' in line)

    before = counted()
    call(both, "ModelInfer", typed(tumours[:2]))
    assert counted() == before + 1


def test_a_key_is_asked_for_as_over_http(tumour_run: Path, tumours: Rows, tmp_path: Path) -> None:
    import hashlib

    (tmp_path / "keys").write_text(f"ann {hashlib.sha256(b'secret').hexdigest()}\n", encoding="ascii")
    with serving(f"tumour={tumour_run}", "--engine", "numpy", "--grpc-port", "0", "--keys", tmp_path / "keys") as keyed:
        assert call(keyed, "ServerReady")[0].ready
        for method, request in (("ModelInfer", typed(tumours[:1])), ("ServerMetadata", None)):
            assert refused(keyed, method, request).code() == grpc.StatusCode.UNAUTHENTICATED
            assert call(keyed, method, request, metadata=(("authorization", "Bearer secret"),))


def test_two_workers_answer_at_one_port_and_what_has_begun_is_answered_at_the_end(
    tumour_run: Path, tumours: Rows
) -> None:
    with serving(f"tumour={tumour_run}", "--engine", "numpy", "--grpc-port", "0", "--workers", "2") as pair:
        request, answered, failures = typed(tumours[:5]), [0], list[str]()
        request.outputs.add(name="explanation")  # it takes long enough to be under way
        wanted = 3

        def ask() -> None:
            try:
                found, _ = call(pair, "ModelInfer", request)
                answered[0] += len(found.outputs[0].contents.bytes_contents) == 5
            except grpc.RpcError as error:
                failures.append(str(error))

        threads = [threading.Thread(target=ask) for _ in range(wanted)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        assert pair.stop() == 0
        for thread in threads:
            thread.join(PATIENCE_S)
        assert (answered[0], failures) == (wanted, [])


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here to make a certificate")
def test_a_reload_over_tls_answers_on_a_channel_that_is_kept(
    tumour_run: Path, other_run: Path, tumours: Rows, tmp_path: Path
) -> None:
    for version, run in (("1", tumour_run), ("2", other_run)):
        shutil.copytree(run / "model", tmp_path / "store" / "tumour" / version)
    (tmp_path / "store" / "tumour" / "serving.json").write_text('{"default": "1"}', encoding="utf-8")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 "
            f"-keyout {key} -out {certificate}")  # fmt: skip
    subprocess.run(made.split(), check=True, capture_output=True)
    tls = ("--certificate", certificate, "--private-key", key)
    with serving(tmp_path / "store", "--engine", "numpy", "--grpc-port", "0", "--workers", "2", *tls) as server:
        trusted, versions, failures = certificate.read_bytes(), list[str](), list[Any]()
        done = threading.Event()

        def ask() -> None:
            secrets = grpc.ssl_channel_credentials(trusted)
            with grpc.secure_channel(server.events[0]["grpc"], secrets) as channel:
                infer = channel.unary_unary(f"/{SERVICE.name}/ModelInfer", None, Response.FromString)
                while not done.is_set():
                    try:
                        found = infer(typed(tumours[:1]).SerializeToString(), timeout=PATIENCE_S)
                        versions.append(found.model_version)
                    except grpc.RpcError as error:
                        failures.append(error.code())
                        time.sleep(0.1)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        link = http.client.HTTPSConnection(
            *server.address, timeout=PATIENCE_S, context=ssl.create_default_context(cadata=trusted.decode())
        )
        for version in ("2", "1"):
            before = len(versions)
            link.request("POST", "/v2/repository/models/tumour/load", json.dumps({"parameters": {"default": version}}))
            answer = link.getresponse()
            assert (answer.status, answer.read() != b"") == (200, True)
            link.close()
            until = time.monotonic() + PATIENCE_S
            while (len(versions) == before or versions[-1] != version) and time.monotonic() < until:
                time.sleep(0.02)
        done.set()
        for thread in threads:
            thread.join(PATIENCE_S)
        with pytest.raises(grpc.RpcError), grpc.insecure_channel(server.events[0]["grpc"]) as channel:
            channel.unary_unary(f"/{SERVICE.name}/ServerLive")(b"", timeout=5)
    # What reaches a worker as it stops is ended by gRPC's own server, honestly; clients try that again.
    assert (
        {*failures} <= {grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE}
        and set(versions) == {"1", "2"}
        and versions[-1] == "1"
    )


def test_the_file_of_messages_is_read_as_it_stands() -> None:
    assert SERVICE.name == "inference.GRPCInferenceService"
    assert set(SERVICE.methods) == {
        *("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer"),
    }
    fields = {field.name: field.number for field in MESSAGES["InferTensorContents"].DESCRIPTOR.fields}
    assert fields["bytes_contents"] == 8
    parameter = MESSAGES["InferParameter"](int64_param=3)
    assert parameter.WhichOneof("parameter_choice") == "int64_param"
    assert Request.FromString(Request(parameters={"a": parameter}).SerializeToString()).parameters["a"] == parameter
    assert service_of(
        'syntax = "proto3"; package p; message A { int32 x = 1; } service S { rpc F(A) returns (A) {} }'
    ).methods == {"F": ("A", "A")}
    assert missing_packages("grpc") == ()

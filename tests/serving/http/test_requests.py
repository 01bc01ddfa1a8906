"""HTTP as clients speak it, well or badly: every request has an honest answer, and the server stays up."""

import gzip
import json
import re
import signal
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import danlu
from tests.support.serving import Server, read_all, serving

Rows = list[dict[str, Any]]
GZIP = {"Content-Encoding": "gzip"}
pytestmark = pytest.mark.training


def request(body: bytes, *lines: str, path: str = "/predict/tumour") -> bytes:
    head = [f"POST {path} HTTP/1.1", "host: x", f"content-length: {len(body)}", *lines, "", ""]
    return "\r\n".join(head).encode() + body


def statuses(data: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", data)]


@pytest.fixture(scope="module")
def one(tumours: Rows) -> bytes:
    return json.dumps({"rows": tumours[:1]}).encode()


def test_rows_are_answered_in_order_as_the_bundle_answers_them(server: Server, tumours: Rows, tumour_run: Path) -> None:
    answered = server.post("/predict/tumour", {"rows": tumours[:50]}, {"X-Request-Id": "mine"})
    own = danlu.load(tumour_run).predict(tumours[:50])
    found = answered.json
    assert [answer["prediction"] for answer in found["answers"]] == own["prediction"].to_list()
    np.testing.assert_allclose(
        [answer["probability"] for answer in found["answers"]], own["probability"].to_numpy(), atol=1e-5
    )
    assert found["model"] == "tumour" and found["version"] == "1" and found["request_id"] == "mine"
    assert answered.headers["x-danlu-digest"] == found["digest"] == server.events[0]["models"][0]["digest"]
    assert answered.headers["x-request-id"] == "mine"


def test_a_row_that_is_wrong_is_an_error_in_its_place(server: Server, tumours: Rows) -> None:
    wrong = {**tumours[1], "mean radius": "wide"}
    found = server.post("/predict/tumour", {"rows": [tumours[0], wrong, {}, tumours[2]]})
    assert found.status == 200
    kinds = [next(iter(answer)) for answer in found.json["answers"]]
    assert kinds == ["prediction", "error", "error", "prediction"]
    assert found.json["answers"][1]["error"]["column"] == "mean radius"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b"[]",
        b"null",
        b'{"rows": []}',
        b'{"rows": {"mean radius": NaN}}',
        b'{"rows": [Infinity]}',
        b"[" * 100_000,
    ],
)
def test_a_body_that_is_no_rows_is_refused_with_a_reason(body: bytes, server: Server) -> None:
    found = server.post("/predict/tumour", body)
    assert found.status == 400, found.body
    assert found.json["error"] and "Traceback" not in found.json["error"]


@pytest.mark.parametrize("cell", ["true", '"x"', "[1]", "{}", '"\\u0000"', "null"])
def test_any_cell_is_an_answer_or_an_error_of_its_row(cell: str, server: Server, tumours: Rows) -> None:
    row = json.dumps({**tumours[0], "mean radius": 0}).replace('"mean radius": 0', f'"mean radius": {cell}')
    found = server.post("/predict/tumour", f'{{"rows": [{row}, {json.dumps(tumours[1])}]}}'.encode())
    assert found.status == 200, found.body
    first, second = found.json["answers"]
    assert ("prediction" in first) != ("error" in first)
    assert second["prediction"] in ("benign", "malignant")


@pytest.mark.parametrize("cell", ["1e400", "-1e400", "1" + "0" * 400])
def test_a_number_that_no_machine_holds_is_the_client_s_fault(cell: str, server: Server, tumours: Rows) -> None:
    row = json.dumps({**tumours[0], "mean radius": 0}).replace('"mean radius": 0', f'"mean radius": {cell}')
    found = server.post("/predict/tumour", f'{{"rows": [{row}]}}'.encode())
    assert found.status == 400 or "error" in found.json["answers"][0]


def test_ten_thousand_rows_are_answered_at_once(server: Server, tumours: Rows) -> None:
    rows = (tumours * 20)[:10_000]
    answers = server.post("/predict/tumour", {"rows": rows}).json["answers"]
    assert len(answers) == 10_000
    first, second = answers[: len(tumours)], answers[len(tumours) : 2 * len(tumours)]
    assert [each["prediction"] for each in first] == [each["prediction"] for each in second]
    shares = [[each["probability"] for each in part] for part in (first, second)]
    assert shares[0] == pytest.approx(shares[1], abs=1e-6)  # sums of a row may round otherwise at another place


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/predict/tumour", 405),
        ("POST", "/predict/none", 404),
        ("POST", "/predict/tumour/versions/9", 404),
        ("GET", "/v2/models/none", 404),
        ("GET", "/nowhere", 404),
        ("DELETE", "/v2/health/live", 405),
        ("GET", "/v2/health/live", 200),
        ("GET", "/v2/health/ready", 200),
        ("GET", "/v2/models/tumour/ready", 200),
        ("GET", "/v2/models/tumour/versions/1", 200),
        ("POST", "/predict/%74umour?x=1", 400),
    ],
)
def test_every_path_has_its_status_and_json(method: str, path: str, status: int, server: Server) -> None:
    found = server.ask(method, path, b"")
    assert found.status == status
    assert isinstance(found.json, dict)


def test_metrics_count_what_was_answered(server: Server, one: bytes) -> None:
    def answered() -> float:
        name = 'danlu_requests_total{model="tumour",route="predict",status="200",version="1"} '
        text = server.get("/metrics").body.decode()
        return next(float(line.removeprefix(name)) for line in text.splitlines() if line.startswith(name))

    before = answered()
    for _ in range(3):
        assert server.post("/predict/tumour", one).status == 200
    assert answered() == before + 3


def test_pipelined_requests_are_answered_in_order(server: Server, tumours: Rows) -> None:
    bodies = [json.dumps({"rows": [row]}).encode() for row in tumours[:20]]
    asked = [request(body, f"x-request-id: r{at}") for at, body in enumerate(bodies)]
    asked[5] = b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n"  # by ASGI, among the others
    asked[-1] = request(bodies[-1], "x-request-id: r19", "connection: close")
    found = server.send(b"".join(asked))
    assert statuses(found) == [200] * 20
    ids = [line.split()[1].decode() for line in found.split(b"\r\n") if line.startswith(b"x-request-id")]
    assert ids == [f"r{at}" for at in range(20) if at != 5]


def test_a_request_may_come_byte_by_byte_or_in_chunks(server: Server, one: bytes) -> None:
    with server.connect() as link:
        for byte in request(one, "connection: close"):
            link.sendall(bytes([byte]))
        assert statuses(read_all(link)) == [200]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (one[:10], one[10:])) + b"0\r\n\r\n"
    head = b"POST /predict/tumour HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    assert statuses(server.send(head + chunks)) == [200]


def test_who_waits_for_100_continue_gets_it_before_the_answer(server: Server, one: bytes) -> None:
    with server.connect() as link:
        head = request(one, "expect: 100-continue", "connection: close").removesuffix(one)
        link.sendall(head)
        assert link.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        link.sendall(one)
        assert statuses(read_all(link)) == [200]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00garbage\r\n\r\n", 400),
        (b"POST /predict/tumour HTTP/1.1\r\ncontent-length: -1\r\n\r\n", 400),
        (b"POST /predict/tumour HTTP/1.1\r\ncontent-length: 9999999999999999999999\r\n\r\n", 400),
        (b"POST /predict/tumour HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
        (b"POST /predict/tumour HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (b"POST /predict/tumour HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST /predict/tumour HTTP/1.1\r\nhost: x\r\ncontent-length: 100000000000\r\n\r\n", 413),
        (b"GET /v2 HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 70_000, 431),
        (b"GET /" + b"a" * 70_000, 431),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_closed(data: bytes, status: int, server: Server) -> None:
    found = server.send(data)
    assert statuses(found) == [status]
    assert b"connection: close" in found.lower()


def test_a_body_beyond_the_limit_is_refused_while_it_comes(server: Server) -> None:
    head = b"POST /predict/tumour HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    with server.connect() as link:
        link.sendall(head)
        try:
            for _ in range(80):
                link.sendall(chunk)
        except (ConnectionResetError, BrokenPipeError):
            pass  # it listened for a second, and closed
        assert statuses(read_all(link)) in ([413], [])
    assert server.get("/v2/health/ready").status == 200


def test_a_client_that_leaves_harms_nobody(server: Server, one: bytes) -> None:
    for _ in range(20):
        link = server.connect()
        link.sendall(request(one))
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # closes by a reset
        link.close()
        half = server.connect()
        half.sendall(request(one)[:80])
        half.shutdown(socket.SHUT_WR)
        assert statuses(read_all(half)) in ([], [400])
        half.close()
    assert server.post("/predict/tumour", one).status == 200


def test_a_deadline_is_a_number_and_what_cannot_be_in_time_is_refused(server: Server, one: bytes) -> None:
    for wrong in ("soon", "-1", "0", "nan"):
        assert server.post("/predict/tumour", one, {"X-Deadline-Ms": wrong}).status == 400
    assert server.post("/predict/tumour", one, {"X-Deadline-Ms": "30000"}).status == 200
    late = server.post("/predict/tumour", one, {"X-Deadline-Ms": "0.001"})
    assert late.status == 503
    assert 1 <= int(late.headers["retry-after"]) <= 60


def test_a_stopped_server_answers_what_has_begun_and_exits_with_0(tumour_run: Path, one: bytes) -> None:
    with serving(f"tumour={tumour_run}", "--engine", "numpy") as server:
        idle, begun = server.connect(), server.connect()
        begun.sendall(request(one)[:-10])
        time.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        assert server.next_event()["event"] == "draining"
        begun.sendall(request(one)[-10:])
        idle.sendall(request(one))
        assert [statuses(read_all(link)) for link in (begun, idle)] == [[200], [200]]
        assert server.next_event()["event"] == "stopped"
        assert server.process.wait(30) == 0


def test_the_open_inference_protocol_is_answered_with_tensors_in_json_and_in_bytes(
    server: Server, tumours: Rows
) -> None:
    names = [*tumours[0]]
    plain = server.post("/predict/tumour", {"rows": tumours[:3]}).json["answers"]
    inputs = [
        {"name": name, "shape": [3], "datatype": "FP64", "data": [float(row[name]) for row in tumours[:3]]}
        for name in names
    ]
    asked = {"id": "q", "inputs": inputs, "outputs": [{"name": "prediction"}, {"name": "probability"}]}
    for path in ("/v2/models/tumour/infer", "/v2/models/tumour/versions/1/infer"):
        found = server.post(path, asked)
        assert found.status == 200, found.body
        told = found.json
        assert (told["id"], told["model_name"], told["model_version"]) == ("q", "tumour", "1")
        outputs = {output["name"]: output["data"] for output in told["outputs"]}
        assert outputs["prediction"] == [answer["prediction"] for answer in plain]
        np.testing.assert_allclose(outputs["probability"], [answer["probability"] for answer in plain], atol=1e-6)
    binary = {**asked, "outputs": [{"name": "probability", "parameters": {"binary_data": True}}]}
    found = server.post("/v2/models/tumour/infer", gzip.compress(json.dumps(binary).encode()), GZIP)
    size = int(found.headers["inference-header-content-length"])
    (output,) = json.loads(found.body[:size])["outputs"]
    width = {"FP32": np.float32, "FP64": np.float64}[output["datatype"]]
    np.testing.assert_allclose(
        np.frombuffer(found.body[size:], width), [answer["probability"] for answer in plain], atol=1e-6
    )


def test_a_body_that_grows_beyond_the_limit_when_it_is_unpacked_is_refused(server: Server) -> None:
    bomb = gzip.compress(b" " * (65 * 2**20), 1)
    assert server.post("/predict/tumour", bomb, GZIP).status == 413
    assert server.post("/predict/tumour", b"no gzip", GZIP).status == 400
    assert server.post("/predict/tumour", b"x", {"Content-Encoding": "br"}).status == 415


def test_an_explanation_comes_where_it_is_asked_for(server: Server, tumours: Rows) -> None:
    found = server.post("/predict/tumour", {"rows": tumours[:1], "explain": True})
    assert found.status == 200, found.body
    named = [part["name"] for part in found.json["answers"][0]["explanation"]]
    assert sorted(named) == sorted(tumours[0])


def test_the_page_the_openapi_document_and_drift_are_shown(server: Server) -> None:
    page = server.get("/")
    assert page.status == 200 and b"mean radius" in page.body
    assert "frame-ancestors" in page.headers["content-security-policy"]
    assert server.get("/models/tumour?lang=zh").status == 200 and server.get("/models/none").status == 404
    assert "/predict/tumour" in server.get("/openapi.json").json["paths"]
    drift = server.get("/drift").json
    assert drift["digest"] == server.events[0]["models"][0]["digest"] and drift["seen"] > 0
    assert server.get("/drift?model=none").status == 404


def test_a_page_of_another_site_cannot_change_what_is_served(server: Server) -> None:
    unload = "/v2/repository/models/none/unload"
    own = "http://" + ":".join(map(str, server.address))
    assert server.post(unload, headers={"Origin": "http://evil.example"}).status == 403
    assert server.post(unload, headers={"Origin": own}).status == 404

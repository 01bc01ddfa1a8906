"""Spans of OpenTelemetry: which there are, what trace they belong to, and that a collector gets them."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra [otel] is not installed")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from danlu.errors import ArgumentError
from danlu.serving.tracing import Traces, check_endpoint
from tests.support.serving import serving

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"  # of the examples of W3C Trace Context
STAGES = ["receive", "decode", "queue", "compute", "write"]


def test_a_request_is_a_span_with_its_stages_within_the_trace_of_its_client() -> None:
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    traces = Traces(provider)
    stages = [("request", 1.0, 2.0), ("decode", 1.25, 1.5), ("compute", 1.5, 1.75)]
    header = {b"traceparent": f"00-{TRACE}-{PARENT}-01".encode()}
    traces.record("predict wine", header, stages, 503, {"danlu.model": "wine"})
    *parts, whole = kept.get_finished_spans()
    assert (whole.name, [span.name for span in parts]) == ("predict wine", ["decode", "compute"])
    assert {f"{span.context.trace_id:032x}" for span in (*parts, whole)} == {TRACE}
    assert f"{whole.parent.span_id:016x}" == PARENT and all(span.parent == whole.context for span in parts)
    assert [span.end_time - span.start_time for span in (*parts, whole)] == [250_000_000, 250_000_000, 1_000_000_000]
    assert dict(whole.attributes) == {"http.response.status_code": 503, "danlu.model": "wine"}
    assert not whole.status.is_ok
    kept.clear()
    traces.record("predict wine", {b"traceparent": f"00-{TRACE}-{PARENT}-00".encode()}, stages, 200, {})
    assert not kept.get_finished_spans()  # its client does not sample it
    traces.record("predict wine", {b"traceparent": b"nonsense"}, stages, 200, {})
    assert kept.get_finished_spans()[-1].parent is None


@pytest.mark.parametrize("url", ["collector:4318", "ftp://collector", "http://", "http://a:b", ""])
def test_what_is_no_collector_is_refused(url: str) -> None:
    with pytest.raises(ArgumentError, match="no URL of a collector"):
        check_endpoint("--traces", url)


@contextmanager
def collector() -> Iterator[tuple[str, list[Any]]]:
    """Take spans as a collector does; its URL, and the spans that have come."""
    found: list[Any] = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            told = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
            found.extend(
                (resource.resource, span)
                for resource in told.resource_spans
                for scope in resource.scope_spans
                for span in scope.spans
            )
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.training
def test_a_collector_gets_the_spans_of_each_request(tumour_run: Path, tumours: list[dict[str, Any]]) -> None:
    with collector() as (url, found), serving(f"tumour={tumour_run}", "--engine", "numpy", "--traces", url) as server:
        header = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-request-id": "mine"}
        assert server.post("/predict/tumour", {"rows": tumours[:3]}, header).status == 200
        assert server.post("/predict/tumour", b"{", {"x-request-id": "broken"}).status == 400
        assert server.stop() == 0  # what was not sent is sent before the end
    spans = {span.name: span for _, span in found if span.trace_id.hex() == TRACE}
    assert set(spans) == {"predict tumour", *STAGES}
    whole = spans["predict tumour"]
    told = {one.key: one.value for one in whole.attributes}
    assert whole.parent_span_id.hex() == PARENT
    assert (told["danlu.request_id"].string_value, told["danlu.rows"].int_value) == ("mine", 3)
    assert told["danlu.digest"].string_value == server.events[0]["models"][0]["digest"]
    edges = [whole.start_time_unix_nano]
    for stage in STAGES:  # one after the other, within the whole
        assert spans[stage].parent_span_id == whole.span_id
        edges += [spans[stage].start_time_unix_nano, spans[stage].end_time_unix_nano]
    assert edges == sorted(edges) and edges[-1] <= whole.end_time_unix_nano
    (resource, refused), *_ = [(resource, span) for resource, span in found if span.trace_id.hex() != TRACE]
    assert {one.key: one.value for one in refused.attributes}["http.response.status_code"].int_value == 400
    assert {one.key: one.value for one in resource.attributes}["service.name"].string_value == "danlu"

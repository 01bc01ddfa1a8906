"""Spans of requests for OpenTelemetry: one a request and one a stage, made once the answer is written.

A span belongs to the trace that the request's header `traceparent` names (W3C Trace Context), and is sent by OTLP over
HTTP. What the SDK reads from the environment holds: OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS
and so on. Needs the extra `otel`.
"""

from collections.abc import Mapping, Sequence
from time import monotonic_ns, time_ns
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from danlu.errors import ArgumentError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

TRACES = "/v1/traces"  # of a collector, where only its host is named
EXPORT_S = 5.0  # for a collector to take spans
NS = 1e9
UNNAMED = "unknown_service"
SERVER_ERROR = 500

Stage = tuple[str, float, float]


def check_endpoint(option: str, url: str) -> None:
    """Raise ArgumentError unless a URL can be a collector's."""
    try:
        told = urlsplit(url)
        is_url = told.scheme in ("http", "https") and bool(told.hostname) and told.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        raise ArgumentError(f"{option}: {url!r} is no URL of a collector, as http://127.0.0.1:4318", code="DL402")


class Traces:
    """Make spans.

    Args:
        provider: of the SDK, which samples them and sends them on.
    """

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider, self._tracer = provider, provider.get_tracer("danlu.serving")
        self._propagator = TraceContextTextMapPropagator()
        self._since_1970 = time_ns() - monotonic_ns()

    @classmethod
    def to(cls, url: str) -> Self:
        """Send spans to a collector, from a thread of their own.

        Where it does not answer they are lost.

        Args:
            url: as http://127.0.0.1:4318, or with the whole path.
        """
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        endpoint = url if urlsplit(url).path.strip("/") else url.rstrip("/") + TRACES
        resource = Resource.create()  # of the environment
        if str(resource.attributes.get(SERVICE_NAME, UNNAMED)).startswith(UNNAMED):
            resource = resource.merge(Resource({SERVICE_NAME: "danlu"}))
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_S)
        provider.add_span_processor(BatchSpanProcessor(exporter, export_timeout_millis=1000 * EXPORT_S))
        return cls(provider)

    def record(
        self,
        name: str,
        headers: Mapping[bytes, bytes],
        stages: Sequence[Stage],
        status: int,
        attributes: Mapping[str, Any],
    ) -> None:
        """Make the spans of a request.

        Args:
            name: of its span.
            headers: of the request, by their names.
            stages: name, begin and end of each, in monotonic seconds, the whole request first.
            status: of HTTP.
            attributes: of its span.
        """
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        told = {
            key: headers[key.encode()].decode("latin-1") for key in self._propagator.fields if key.encode() in headers
        }
        (_, began, ended), *parts = stages
        span = self._tracer.start_span(
            name,
            self._propagator.extract(told),
            SpanKind.SERVER,
            {"http.response.status_code": status, **attributes},
            start_time=self._ns(began),
        )
        if span.is_recording():
            within = set_span_in_context(span)
            for stage, start, end in parts:
                self._tracer.start_span(stage, within, start_time=self._ns(start)).end(self._ns(end))
            if status >= SERVER_ERROR:
                span.set_status(Status(StatusCode.ERROR))
        span.end(self._ns(ended))

    def _ns(self, moment: float) -> int:
        return self._since_1970 + int(moment * NS)

    def close(self) -> None:
        """Send what has not been sent."""
        self._provider.shutdown()

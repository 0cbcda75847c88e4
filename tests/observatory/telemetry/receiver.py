"""A receiver of OTLP on this machine, which decodes what it gets, and may behave badly."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan

Behaviour = Callable[[BaseHTTPRequestHandler], None]


@dataclass(frozen=True, kw_only=True)
class Post:
    path: str
    headers: dict[str, str]
    body: bytes  # as sent, before it was packed


@dataclass(frozen=True, kw_only=True)
class Span:
    """A span as it came over the wire."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    started_ns: int
    ended_ns: int
    is_error: bool
    message: str
    attributes: dict[str, Any]
    resource: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.attributes[name]


@dataclass(frozen=True, kw_only=True)
class Point:
    """A point of a metric: a counter's value, or a histogram's sum, with its attributes."""

    value: float
    count: int
    attributes: dict[str, Any]


class LoopbackReceiver:
    """What has arrived."""

    def __init__(self, base_url: str, behaviour: Behaviour) -> None:
        self.base_url = base_url
        self.behaviour = behaviour
        self.posts: list[Post] = []
        self.asked = threading.Event()  # something came, answered or not

    @property
    def spans(self) -> list[Span]:
        """Return all spans, in the order of their beginning."""
        found = []
        for post in self._posts("/v1/traces"):
            request = ExportTraceServiceRequest.FromString(post.body)
            for group in request.resource_spans:
                resource = _values(group.resource.attributes)
                for scope in group.scope_spans:
                    found += [_span(span, resource) for span in scope.spans]
        return sorted(found, key=lambda span: (span.started_ns, -span.ended_ns))

    def metric(self, name: str) -> list[Point]:
        """Return the points of a metric in its last report."""
        points: list[Point] = []
        for post in self._posts("/v1/metrics"):
            request = ExportMetricsServiceRequest.FromString(post.body)
            for group in request.resource_metrics:
                for scope in group.scope_metrics:
                    for metric in scope.metrics:
                        if metric.name == name:
                            points = _points(metric)
        return points

    def _posts(self, path: str) -> list[Post]:
        return [post for post in self.posts if post.path.endswith(path)]


@contextmanager
def receiving(
    behaviour: Behaviour | None = None, *, beneath: str = ""
) -> Iterator[LoopbackReceiver]:
    """Yield a receiver that runs until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            if headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            receiver.posts.append(Post(path=self.path, headers=headers, body=body))
            receiver.asked.set()
            receiver.behaviour(self)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    url = f"http://127.0.0.1:{server.server_address[1]}{beneath}"
    receiver = LoopbackReceiver(url, behaviour or answering(200))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answering(status: int, **headers: str) -> Behaviour:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


def waiting_for(event: threading.Event, then: Behaviour | None = None) -> Behaviour:
    """Return a behaviour that says nothing until the event is set."""

    def wait(request: BaseHTTPRequestHandler) -> None:
        event.wait(60)
        (then or answering(200))(request)

    return wait


# --- from protobuf --------------------------------------------------------------------------------


def _span(span: WireSpan, resource: dict[str, Any]) -> Span:
    return Span(
        name=span.name,
        kind=WireSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        started_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
        is_error=span.status.code == 2,
        message=span.status.message,
        attributes=_values(span.attributes),
        resource=resource,
    )


def _points(metric: Metric) -> list[Point]:
    if metric.HasField("histogram"):
        return [
            Point(value=point.sum, count=point.count, attributes=_values(point.attributes))
            for point in metric.histogram.data_points
        ]
    return [
        Point(value=point.as_double or point.as_int, count=1, attributes=_values(point.attributes))
        for point in metric.sum.data_points
    ]


def _values(attributes: Any) -> dict[str, Any]:
    pairs: list[KeyValue] = list(attributes)
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    if value.HasField("array_value"):
        return tuple(_value(part) for part in value.array_value.values)
    return getattr(value, str(value.WhichOneof("value")))

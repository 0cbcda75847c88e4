"""Sends to the receiver through a bounded queue and its own thread; no caller waits for it.

A receiver that is away, slow or hostile costs spans, never an answer: a full queue drops the oldest
not yet sent. Both threads are daemons, so that a process may end while a receiver hangs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import requests
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from observatory.telemetry import names
from observatory.telemetry.spans import Told

logger = logging.getLogger(__name__)

REQUEST_S = 10.0  # for one batch, its tries together
SPANS_EVERY_S = 5.0
METRICS_EVERY_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """Where telemetry goes, and as whose."""

    base_url: str
    headers: dict[str, str] = field(repr=False)
    service_name: str
    environment: str
    most_spans: int = 2048  # that wait; then the oldest are dropped
    spans_a_batch: int = 256

    @property
    def host(self) -> str:
        """Return all of the address that may be shown: some have a token in their path."""
        return urlsplit(self.base_url).hostname or ""


class Sending:
    """The queue, the threads and the connections of one process."""

    def __init__(self, receiver: Receiver) -> None:
        resource = Resource.create(
            {
                names.SERVICE_NAME: receiver.service_name,
                # Without it the counters of two processes would overwrite each other.
                names.SERVICE_INSTANCE: str(uuid4()),
                names.ENVIRONMENT: receiver.environment,
            }
        )
        self._ids = _Ids()
        self._lock = threading.Lock()
        self._traces = TracerProvider(
            sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False, id_generator=self._ids
        )
        self._traces.add_span_processor(
            BatchSpanProcessor(
                OTLPSpanExporter(
                    endpoint=f"{receiver.base_url}/v1/traces",
                    headers=receiver.headers,
                    timeout=REQUEST_S,
                    compression=Compression.Gzip,
                    session=_Session("traces"),
                ),
                max_queue_size=receiver.most_spans,
                schedule_delay_millis=SPANS_EVERY_S * 1000,
                max_export_batch_size=receiver.spans_a_batch,
            )
        )
        self._tracer = self._traces.get_tracer(names.SCOPE)
        exporter = OTLPMetricExporter(
            endpoint=f"{receiver.base_url}/v1/metrics",
            headers=receiver.headers,
            timeout=REQUEST_S,
            compression=Compression.Gzip,
            session=_Session("metrics"),
        )
        reader = PeriodicExportingMetricReader(
            exporter, export_interval_millis=METRICS_EVERY_S * 1000
        )
        self.metrics = MeterProvider([reader], resource=resource, shutdown_on_exit=False)

    def put(self, told: Told) -> None:
        """Queue a span."""
        with self._lock:
            self._ids.trace_id, self._ids.span_id = told.trace_id, told.span_id
            span = self._tracer.start_span(
                told.name,
                context=_beneath(told),
                kind=told.kind,
                attributes=told.attributes,
                start_time=told.started_ns,
            )
        if told.is_error:
            span.set_status(Status(StatusCode.ERROR))
        span.end(told.ended_ns)

    def close(self, within_s: float) -> None:
        """Send what waits, in so many seconds at most; what is left is dropped."""
        ends_at = time.monotonic() + within_s
        # Each in a thread of its own: neither library call can be told to wait no longer.
        closing = [_started(self._traces.shutdown), _started(self.metrics.shutdown)]
        for thread in closing:
            thread.join(max(0.0, ends_at - time.monotonic()))
        if any(thread.is_alive() for thread in closing):
            logger.warning("telemetry: not all was sent within %.1f s of the stop", within_s)


def _started(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, name="telemetry-close", daemon=True)
    thread.start()
    return thread


def _beneath(told: Told) -> Context:
    """Return the context of a span's parent; only the root's trace has data from elsewhere."""
    if told.parent_id is None:
        return Context()
    parent = SpanContext(
        told.trace_id, told.parent_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED)
    )
    return set_span_in_context(NonRecordingSpan(parent), Context())


class _Ids(IdGenerator):
    """Hands out the ids of the row that is told of, in place of random ones."""

    trace_id = 0
    span_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self.span_id


class _Session(requests.Session):
    """Talks to the receiver only, reads only its response's head, and reports its state.

    The environment's proxies and .netrc stay out: the latter would replace our Authorization.
    """

    def __init__(self, what: str) -> None:
        super().__init__()
        self.trust_env = False
        self._what = what
        self._trouble = ""

    def request(self, *arguments: Any, **options: Any) -> requests.Response:
        try:
            response = super().request(*arguments, **{**options, "stream": True})
        except requests.RequestException as error:
            self._note(type(error).__name__)
            raise
        response.close()  # its body is of no use here, and may never end
        self._note("" if 200 <= response.status_code < 300 else f"HTTP {response.status_code}")
        return response

    def _note(self, trouble: str) -> None:
        """Log that the receiver takes nothing, or takes it again: once an outage."""
        if trouble and not self._trouble:
            logger.warning("telemetry: the receiver takes no %s (%s)", self._what, trouble)
        elif self._trouble and not trouble:
            logger.info("telemetry: the receiver takes %s again", self._what)
        self._trouble = trouble

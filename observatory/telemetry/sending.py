"""Sends spans and metrics to the receiver from background threads; callers never wait.

A receiver that is down, slow or hostile costs spans, never an answer: a full queue drops the oldest
unsent spans. Both threads are daemons, so that a process can end while a receiver hangs.
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

REQUEST_S = 10.0  # for one batch, retries included
SPANS_EVERY_S = 5.0
METRICS_EVERY_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """Where telemetry goes, and the service name and environment that it is sent under."""

    base_url: str
    headers: dict[str, str] = field(repr=False)
    service_name: str
    environment: str
    most_spans: int = 2048  # queued; when there are more, the oldest are dropped
    spans_a_batch: int = 256

    @property
    def host(self) -> str:
        """The host name, the only part of the URL to show: some have a token in their path."""
        return urlsplit(self.base_url).hostname or ""


class Sending:
    """The queue, the threads and the connections of one process."""

    def __init__(self, receiver: Receiver) -> None:
        resource = Resource.create(
            {
                names.SERVICE_NAME: receiver.service_name,
                # Without it, the counters of two processes would overwrite each other.
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
        """Send what is queued, in `within_s` seconds at most; the rest is dropped."""
        ends_at = time.monotonic() + within_s
        # Each in a thread of its own, because neither library call can be cut short.
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
    """Return a context with the span's parent; an empty one for the root of a trace."""
    if told.parent_id is None:
        return Context()
    parent = SpanContext(
        told.trace_id, told.parent_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED)
    )
    return set_span_in_context(NonRecordingSpan(parent), Context())


class _Ids(IdGenerator):
    """Returns the ids of the row being reported instead of random ones."""

    trace_id = 0
    span_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self.span_id


class _Session(requests.Session):
    """An HTTP session that reads no response bodies and logs when outages begin and end.

    It ignores the environment's proxies and .netrc, so that it talks to the receiver only and keeps
    its Authorization header, which .netrc would replace.
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
        response.close()  # its body is not needed, and may never end
        self._note("" if 200 <= response.status_code < 300 else f"HTTP {response.status_code}")
        return response

    def _note(self, trouble: str) -> None:
        """Log the beginning and the end of an outage, once each; `trouble` is "" on success."""
        if trouble and not self._trouble:
            logger.warning("telemetry: the receiver takes no %s (%s)", self._what, trouble)
        elif self._trouble and not trouble:
            logger.info("telemetry: the receiver takes %s again", self._what)
        self._trouble = trouble

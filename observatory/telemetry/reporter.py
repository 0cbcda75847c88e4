"""The tracer: sends a span of each ended run, step and call, and counts steps and calls."""

from __future__ import annotations

import logging
import threading

from django.conf import settings

from observatory.telemetry import spans
from observatory.telemetry.meters import Meters
from observatory.telemetry.sending import Receiver, Sending
from pipeline.journal import traces
from pipeline.models.runs import LLMCall, PipelineRun, StepRun

logger = logging.getLogger(__name__)

# With texts a span is a thousand times as large, and receivers limit the size of a request.
MAX_SPANS_WITH_CONTENT, SPANS_A_BATCH_WITH_CONTENT = 512, 16


class Reporter:
    """Reports to one receiver; its threads start with the first report, so after any fork."""

    def __init__(self, receiver: Receiver, *, with_content: bool = False) -> None:
        self._receiver = receiver
        self._with_content = with_content
        self._lock = threading.Lock()
        self._open: tuple[Sending, Meters] | None = None

    def run_ended(self, run: PipelineRun) -> None:
        sending, _ = self._opened()
        sending.put(spans.of_run(run, with_content=self._with_content))

    def step_ended(self, step: StepRun) -> None:
        sending, meters = self._opened()
        meters.count_step(step)
        sending.put(spans.of_step(step, with_content=self._with_content))

    def call_ended(self, call: LLMCall) -> None:
        sending, meters = self._opened()
        meters.count_call(call)
        sending.put(spans.of_call(call, with_content=self._with_content))

    def close(self, within_s: float) -> None:
        """Send what is queued, in `within_s` seconds at most; a later report starts anew."""
        with self._lock:
            opened, self._open = self._open, None
        if opened is not None:
            opened[0].close(within_s)

    def _opened(self) -> tuple[Sending, Meters]:
        with self._lock:
            if self._open is None:
                sending = Sending(self._receiver)
                self._open = sending, Meters(sending.metrics)
                logger.info("telemetry: traces and metrics go to %s", self._receiver.host)
            return self._open


def install() -> None:
    """Report to the receiver in the settings from now on."""
    with_content = settings.OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT
    receiver = Receiver(
        base_url=settings.OTEL_EXPORTER_OTLP_ENDPOINT,
        headers=settings.OTEL_EXPORTER_OTLP_HEADERS.reveal(),
        service_name=settings.OTEL_SERVICE_NAME,
        environment=_environment(),
        **_sizes(with_content),
    )
    traces.use(Reporter(receiver, with_content=with_content))


def _sizes(with_content: bool) -> dict[str, int]:
    if not with_content:
        return {}
    return {
        "most_spans": MAX_SPANS_WITH_CONTENT,
        "spans_a_batch": SPANS_A_BATCH_WITH_CONTENT,
    }


def _environment() -> str:
    if settings.SANDBOX:
        return "sandbox"
    return "development" if settings.DEBUG else "production"

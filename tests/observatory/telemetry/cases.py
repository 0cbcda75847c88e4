"""The ground for tests of telemetry: runs against the sandbox, told to a receiver on loopback."""

from __future__ import annotations

import asyncio
from typing import Any

from observatory.telemetry.reporter import Reporter
from observatory.telemetry.sending import Receiver
from pipeline.journal import traces
from tests.canaries import canary
from tests.observatory.telemetry.receiver import LoopbackReceiver, Span, receiving
from tests.pipeline.cases import PipelineCase

PATIENCE_S = 30.0
AUTHORIZATION = canary("Basic CANARY-of-the-receiver-0123456789")


class TelemetryCase(PipelineCase):
    """A test whose runs are told to a receiver."""

    receiver: LoopbackReceiver

    def setUp(self) -> None:
        super().setUp()
        self.receiver = self.enterContext(receiving(beneath="/api/public/otel"))
        self.report_to(self.receiver.base_url)

    def report_to(self, base_url: str, *, with_content: bool = False, **changes: Any) -> Reporter:
        """Have runs told from now on as if another process had begun."""
        receiver = Receiver(
            base_url=base_url,
            headers={"Authorization": AUTHORIZATION, "x-langfuse-ingestion-version": "4"},
            service_name="observatory-in-tests",
            environment="tests",
            **changes,
        )
        reporter = Reporter(receiver, with_content=with_content)
        traces.use(reporter)
        self.addCleanup(traces.use, None)
        self.addCleanup(reporter.close, 0.0)
        return reporter

    async def told(self) -> list[Span]:
        """Return all spans, once they are sent."""
        await asyncio.to_thread(traces.close, PATIENCE_S)
        return self.receiver.spans


def named(spans: list[Span], name: str) -> Span:
    """Return the one span of that name."""
    (found,) = [span for span in spans if span.name == name]
    return found


def all_named(spans: list[Span], name: str) -> list[Span]:
    return [span for span in spans if span.name == name]

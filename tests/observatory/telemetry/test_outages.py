"""A receiver that is away, slow or hostile costs spans, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from asgiref.sync import sync_to_async
from django.db import DatabaseError, transaction

from observatory.telemetry import sending
from pipeline.journal import traces
from pipeline.models import LLMCall, PipelineRun, StepRun
from pipeline.models.runs import CallStatus, RunStatus, StepStatus
from pipeline.running.run_service import RunService
from tests.llm.loopback import unused_base_url
from tests.observatory.telemetry.cases import AUTHORIZATION, TelemetryCase
from tests.observatory.telemetry.receiver import answering, waiting_for
from tests.pipeline.cases import call_rows, run_row, step_rows
from tests.pipeline.players import asking, pipeline, step

BOUND_S = 5.0  # for what is allowed half a second, on a busy machine


class OutageTests(TelemetryCase):
    async def test_runs_end_and_are_recorded_while_the_receiver_hangs(self):
        may_answer = threading.Event()
        self.addCleanup(may_answer.set)
        self.receiver.behaviour = waiting_for(may_answer)
        self.report_to(self.receiver.base_url, spans_a_batch=1)
        await self.play(pipeline(step("one")), [asking("one")])
        await asyncio.to_thread(self.receiver.asked.wait, BOUND_S)

        report = await self.play(pipeline(step("one")), [asking("one")])

        # The first batch is with the receiver still: nobody has waited for it.
        assert not may_answer.is_set()
        assert len(self.receiver.posts) == 1
        assert report.status is RunStatus.OK
        await self.assert_recorded(runs=2)

    async def test_what_waited_for_a_receiver_that_hung_arrives_when_it_answers(self):
        may_answer = threading.Event()
        self.receiver.behaviour = waiting_for(may_answer)
        self.report_to(self.receiver.base_url, spans_a_batch=1)
        await self.play(pipeline(step("one")), [asking("one")])
        await asyncio.to_thread(self.receiver.asked.wait, BOUND_S)

        may_answer.set()

        assert len(await self.told()) == 3

    async def test_runs_are_recorded_while_nobody_listens(self):
        self.report_to(unused_base_url(), spans_a_batch=1)

        report = await self.play(pipeline(step("one")), [asking("one")])

        assert report.status is RunStatus.OK
        await self.assert_recorded(runs=1)

    async def test_runs_are_recorded_while_the_receiver_fails_slowly(self):
        may_answer = threading.Event()
        self.addCleanup(may_answer.set)
        self.receiver.behaviour = waiting_for(may_answer, then=answering(500))
        self.report_to(self.receiver.base_url, spans_a_batch=1)

        for _ in range(3):
            report = await self.play(pipeline(step("one")), [asking("one")])
            assert report.status is RunStatus.OK

        assert not may_answer.is_set()
        await self.assert_recorded(runs=3)

    async def test_a_full_queue_drops_the_oldest_and_blocks_nobody(self):
        may_answer = threading.Event()
        self.receiver.behaviour = waiting_for(may_answer)
        self.report_to(self.receiver.base_url, most_spans=3, spans_a_batch=1)
        await self.play(pipeline(step("one")), [asking("one")])
        await asyncio.to_thread(self.receiver.asked.wait, BOUND_S)
        for _ in range(4):
            report = await self.play(pipeline(step("one")), [asking("one")])

        may_answer.set()
        spans = await self.told()

        # One was with the receiver, three waited: those of the last run.
        assert len(spans) == 4
        assert [s.trace_id for s in spans].count(report.run_id.hex) == 3
        await self.assert_recorded(runs=5)

    async def assert_recorded(self, *, runs: int) -> None:
        assert await PipelineRun.objects.filter(status=RunStatus.OK).acount() == runs
        assert await StepRun.objects.filter(status=StepStatus.OK).acount() == runs
        assert await LLMCall.objects.filter(status=CallStatus.OK).acount() == runs


class StopTests(TelemetryCase):
    async def test_a_stop_does_not_wait_for_a_receiver_that_hangs(self):
        may_answer = threading.Event()
        self.addCleanup(may_answer.set)
        self.receiver.behaviour = waiting_for(may_answer)
        await self.play(pipeline(step("one")), [asking("one")])

        with self.assertLogs("observatory.telemetry.sending", logging.WARNING) as logs:
            took_s = await self.stopped_within(0.3)

        assert took_s < BOUND_S
        assert "not all was sent within 0.3 s of the stop" in logs.output[0]

    async def test_a_stop_does_not_wait_for_a_receiver_that_drips(self):
        may_end = threading.Event()
        self.addCleanup(may_end.set)

        def drip(request: BaseHTTPRequestHandler) -> None:
            while not may_end.wait(0.01):
                try:
                    request.wfile.write(b"H")
                except OSError:
                    return

        self.receiver.behaviour = drip
        await self.play(pipeline(step("one")), [asking("one")])

        assert await self.stopped_within(0.3) < BOUND_S

    async def test_a_stop_does_not_wait_long_for_a_receiver_that_is_away(self):
        self.report_to(unused_base_url())
        await self.play(pipeline(step("one")), [asking("one")])

        assert await self.stopped_within(0.3) < BOUND_S

    async def stopped_within(self, within_s: float) -> float:
        """Return how long the stop took that was given so much."""
        started = time.monotonic()
        await asyncio.to_thread(traces.close, within_s)
        return time.monotonic() - started


class ReceiverTests(TelemetryCase):
    """What the receiver answers is read no further than needed, and said once."""

    async def test_an_answer_without_an_end_is_not_read(self):
        hung_up = threading.Event()

        def pour(request: BaseHTTPRequestHandler) -> None:
            request.send_response(200)
            request.end_headers()
            try:
                while True:
                    request.wfile.write(b"x" * 65536)
            except OSError:
                hung_up.set()

        self.receiver.behaviour = pour
        await self.play(pipeline(step("one")), [asking("one")])

        assert len(await self.told()) == 3
        assert await asyncio.to_thread(hung_up.wait, BOUND_S)

    async def test_a_redirect_is_not_followed_with_our_credentials(self):
        asked = threading.Event()
        with socket.create_server(("127.0.0.1", 0)) as elsewhere:
            elsewhere.settimeout(0.3)
            port = elsewhere.getsockname()[1]
            self.receiver.behaviour = answering(307, Location=f"http://127.0.0.1:{port}/v1/traces")
            await self.play(pipeline(step("one")), [asking("one")])
            with self.assertLogs("observatory.telemetry.sending", logging.WARNING) as logs:
                await self.told()
            try:
                elsewhere.accept()
                asked.set()
            except TimeoutError:
                pass

        assert not asked.is_set()
        assert any("takes no traces (HTTP 307)" in line for line in logs.output)

    async def test_an_outage_is_said_once_and_so_is_its_end(self):
        session = sending._Session("traces")
        self.receiver.behaviour = answering(401)
        url = f"{self.receiver.base_url}/v1/traces"

        with self.assertLogs("observatory.telemetry.sending", logging.INFO) as logs:
            for status in (401, 401, 200, 200):
                self.receiver.behaviour = answering(status)
                await asyncio.to_thread(session.post, url, data=b"")

        assert [line.partition("telemetry: ")[2] for line in logs.output] == [
            "the receiver takes no traces (HTTP 401)",
            "the receiver takes traces again",
        ]

    async def test_the_machines_own_proxies_and_credentials_stay_out(self):
        netrc = Path(self.enterContext(TemporaryDirectory())) / "netrc"
        netrc.write_text("machine 127.0.0.1 login somebody password else", encoding="utf-8")
        machine = {"NETRC": str(netrc), "http_proxy": unused_base_url(), "no_proxy": ""}
        await self.play(pipeline(step("one")), [asking("one")])

        with patch.dict(os.environ, machine):
            assert len(await self.told()) == 3

        assert {post.headers["authorization"] for post in self.receiver.posts} == {AUTHORIZATION}


class Broken:
    """A tracer that fails at everything."""

    def run_ended(self, run: Any) -> None:
        raise RuntimeError("told of a run")

    step_ended = call_ended = run_ended

    def close(self, within_s: float) -> None:
        raise RuntimeError("closed")


class BrokenTracerTests(TelemetryCase):
    async def test_no_run_fails_of_a_tracer_that_does(self):
        traces.use(Broken())

        with self.assertLogs("pipeline.journal.traces", logging.ERROR) as logs:
            report = await self.play(pipeline(step("one")), [asking("one")])
            traces.close(1.0)

        assert report.status is RunStatus.OK
        assert (await run_row()).status == RunStatus.OK
        assert (await step_rows())["one"].status == StepStatus.OK
        assert [row.status for row in await call_rows()] == [CallStatus.OK]
        assert len(logs.output) == 1, "it is said once"


class CommitTests(TelemetryCase):
    async def test_what_is_taken_back_is_told_to_nobody(self):
        report = await self.play(pipeline(step("one")), [asking("one")])
        await self.told()
        self.receiver.posts.clear()

        def tell(*, and_take_back: bool) -> None:
            with contextlib.suppress(DatabaseError), transaction.atomic():
                traces.run_ended(report.run_id)
                if and_take_back:
                    raise DatabaseError

        await sync_to_async(tell)(and_take_back=True)
        assert await self.told() == []
        await sync_to_async(tell)(and_take_back=False)
        assert len(await self.told()) == 1

    async def test_an_engine_that_closes_sends_what_waits(self):
        await self.play(pipeline(step("one")), [asking("one")])

        async with RunService("shell"):
            assert self.receiver.spans == []

        assert len(self.receiver.spans) == 3

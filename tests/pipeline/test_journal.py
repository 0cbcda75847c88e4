"""The facts of a run: in order, together, durable before anything leaves, and without a gap."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

import pytest
from django.db import OperationalError, connection, connections
from django.test import TransactionTestCase

from agents.base import AgentOutput
from agents.llm.base import Outcome
from agents.llm.http import close_clients
from agents.registry import AgentRegistry
from pipeline.journal.facts import RunOpening, StepEnd, StepRow
from pipeline.journal.fencing import RunLease, Superseded
from pipeline.journal.records import RunJournal
from pipeline.journal.writer import Writer
from pipeline.models import LLMCall, PipelineRun, StepRun
from pipeline.models.runs import CallStatus, RunStatus, Source, StepMode, StepStatus
from pipeline.running.config import StepConfig
from pipeline.running.runner import PipelineRunner
from tests.pipeline.cases import PipelineCase, override, until
from tests.pipeline.players import asking, pipeline, step
from tests.pipeline.test_records import an_attempt

DONE = StepEnd(status=StepStatus.OK, output=AgentOutput(agent="one", success=True))


def place(position: int) -> Any:
    config = StepConfig(agent="one", mode=StepMode.SEQUENTIAL, input_mapping={"message": "Hello."})
    return config.at(position)


class FactTests(TransactionTestCase):
    def setUp(self) -> None:
        self.lease = RunLease(uuid4(), uuid4())
        self.journal = RunJournal()

    def started(self, lease: RunLease | None = None, position: int = 0) -> tuple[StepRow, UUID]:
        """Submit a step and its request; return the step's row and the call's id."""
        lease, attempt = lease or self.lease, an_attempt()
        row = self.journal.step_started(lease, self.lease.run_id, place(position), {}, None)
        self.journal.call_started(row.id, lease.token, attempt)
        return row, attempt.call_id

    def ended(self, row: StepRow, call_id: UUID) -> None:
        run_id = self.lease.run_id
        self.journal.call_ended(run_id, call_id, Outcome(cancelled=True), is_mismatch=False)
        self.journal.step_ended(row, self.lease.token, DONE)

    def begin(self) -> None:
        opening = RunOpening(pipeline="play", definition="{}", source=Source.SHELL)
        self.journal.run_started(self.lease, opening)

    async def test_the_end_of_a_step_and_the_next_ones_request_are_one_commit(self):
        wrapper: Any = type(connections["default"])
        commit, commits = wrapper._commit, []

        def counted(database: Any) -> None:
            commits.append(database)
            commit(database)

        with patch.object(wrapper, "_commit", counted):
            self.begin()
            row, call_id = self.started()
            await self.journal.barrier()
            self.ended(row, call_id)
            row, call_id = self.started(position=1)
            await self.journal.barrier()
            self.ended(row, call_id)
            await self.journal.run_ended(self.lease, RunStatus.OK)

        assert len(commits) == 3  # two steps and the end of the run
        assert await StepRun.objects.filter(status=StepStatus.OK).acount() == 2

    async def test_behind_a_barrier_everybody_sees_what_was_submitted(self):
        self.begin()
        row, call_id = self.started()

        await self.journal.barrier()

        assert _of_others(LLMCall, id=call_id, step=row.id, step__run=self.lease.run_id) == 1

    async def test_what_nobody_waits_for_is_written_all_the_same(self):
        self.begin()

        await until(PipelineRun.objects.aexists)

    async def test_after_a_fact_that_cannot_be_written_no_barrier_lets_anything_out(self):
        self.begin()
        row, _ = self.started()
        self.started(RunLease(self.lease.run_id, uuid4()), position=1)  # another worker's

        with pytest.raises(Superseded):
            await self.journal.barrier()
        self.started(position=2)
        with pytest.raises(Superseded):
            await self.journal.barrier()

        assert self.journal.has_failed
        # The rest of the group is kept: only the fact that was refused is missing.
        assert [step.pk async for step in StepRun.objects.filter(position=0)] == [row.id]

    async def test_a_barrier_that_is_cancelled_ends_only_when_its_facts_are_written(self):
        self.begin()
        waiting = asyncio.create_task(self.journal.barrier())
        await asyncio.sleep(0)

        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

        assert await PipelineRun.objects.aexists()

    async def test_the_end_of_a_call_that_is_recorded_twice_counts_once(self):
        self.begin()
        row, call_id = self.started()
        self.ended(row, call_id)
        self.ended(row, call_id)
        await self.journal.barrier()

        assert await LLMCall.objects.filter(status=CallStatus.UNKNOWN).acount() == 1
        assert await StepRun.objects.filter(status=StepStatus.OK).acount() == 1


class LastingTests(TransactionTestCase):
    async def test_what_has_happened_is_repeated_on_a_new_connection_before_what_came_later(self):
        writer, tries, order = Writer(), 0, []

        def happen() -> None:
            nonlocal tries
            tries += 1
            if tries < 4:  # in the group, alone, and once on a new connection
                raise OperationalError("the connection is lost")
            order.append("happened")

        await asyncio.gather(
            writer.add(partial(order.append, "before")),
            writer.add(happen, must_last=True),
            writer.add(partial(order.append, "later")),
        )

        assert order[-2:] == ["happened", "later"]

    async def test_a_request_is_not_repeated_on_a_new_connection(self):
        tries: list[str] = []

        def fail() -> None:
            tries.append("tried")
            raise OperationalError("the connection is lost")

        with pytest.raises(OperationalError):
            await Writer().add(fail)

        assert tries == ["tried"]


class AlertTests(PipelineCase):
    async def test_operators_are_told_of_another_model_when_it_is_on_record(self):
        on_record: list[int] = []
        runner = PipelineRunner(
            AgentRegistry([asking("one")]),
            step_deadline_s=10.0,
            alert=lambda _: on_record.append(_of_others(LLMCall, is_mismatch=True)),
        )
        await override("one", "sandbox/other-model")

        try:
            await runner.run(pipeline(step("one")), self.context(), source=Source.SHELL)
        finally:
            await close_clients()

        assert on_record == [1]


def _of_others(model: Any, **of: Any) -> int:
    """Return how many rows another connection sees."""

    def count() -> int:
        try:
            return int(model.objects.filter(**of).count())
        finally:
            connection.close()

    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(count).result()

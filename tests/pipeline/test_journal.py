"""The facts of a run: in order, together, durable before anything leaves, and without a gap."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

import pytest
from asgiref.sync import sync_to_async
from django.db import DataError, InterfaceError, OperationalError, connection, connections
from django.test import TransactionTestCase

from agents.base import AgentContext, AgentInput, AgentOutput
from agents.llm.base import Attempt, Outcome
from agents.llm.completion import Completion, CostSource, Usage
from agents.llm.http import close_clients
from agents.registry import AgentRegistry
from pipeline.journal import call_rows, rows
from pipeline.journal.facts import RunOpening, StepEnd, StepRow
from pipeline.journal.fencing import RunLease, Superseded
from pipeline.journal.records import CANCELLED, RunJournal
from pipeline.journal.writer import Chain, RecordFailed, Writer
from pipeline.models import LLMCall, PipelineRun, StepRun, Task
from pipeline.models.runs import CallStatus, RunStatus, Source, StepMode, StepStatus
from pipeline.running.config import StepConfig
from pipeline.running.runner import PipelineRunner
from tests.pipeline.cases import PipelineCase, member_llm, override, until
from tests.pipeline.players import asking, pipeline, player, step
from tests.pipeline.test_records import an_attempt

COST = Decimal("0.5")
STOPPED = Outcome(cancelled=True)
ANSWERED = Outcome(
    completion=Completion(
        text="hello",
        served_model="openai/gpt-5-mini",
        usage=Usage(input_tokens=7, output_tokens=1),
        cost_usd=COST,
        cost_source=CostSource.REPORTED,
        finish_reason="stop",
        latency_ms=5,
    ),
    latency_ms=5,
    http_status=200,
)
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

    def ended(self, row: StepRow, call_id: UUID, outcome: Outcome = STOPPED) -> None:
        self.journal.call_ended(self.lease.run_id, call_id, outcome, is_mismatch=False)
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
            self.journal.run_ended(self.lease, RunStatus.OK)
            await self.journal.barrier()

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

        # The rest of the group is kept: only the fact that was refused is missing.
        assert [step.pk async for step in StepRun.objects.all()] == [row.id]

    async def test_behind_a_gap_no_success_is_recorded_but_what_calls_cost_is(self):
        self.begin()
        row, call_id = self.started()
        await self.journal.barrier()
        self.started(RunLease(self.lease.run_id, uuid4()), position=1)  # another worker's
        self.ended(row, call_id, ANSWERED)
        self.journal.run_ended(self.lease, RunStatus.OK, "The answer")

        with pytest.raises(Superseded):
            await self.journal.barrier()

        run = await PipelineRun.objects.aget()
        assert (run.status, run.answer_id, run.cost_usd) == (RunStatus.RUNNING, None, COST)
        assert (await StepRun.objects.aget()).status == StepStatus.RUNNING

    async def test_behind_a_gap_a_failure_and_a_cancelled_run_are_recorded(self):
        self.begin()
        row, call_id = self.started()
        await self.journal.barrier()
        self.started(RunLease(self.lease.run_id, uuid4()), position=1)
        self.journal.call_withdrawn(call_id, CANCELLED)
        failed = StepEnd(status=StepStatus.FAILED, output=DONE.output)
        self.journal.step_ended(row, self.lease.token, failed)
        self.journal.run_ended(self.lease, RunStatus.CANCELLED)

        with pytest.raises(Superseded):
            await self.journal.barrier()

        assert (await LLMCall.objects.aget()).status == CallStatus.ERROR
        assert (await StepRun.objects.aget()).status == StepStatus.FAILED
        assert (await PipelineRun.objects.aget()).status == RunStatus.CANCELLED

    async def test_a_connection_that_is_lost_at_the_last_commit_loses_no_background_step(self):
        self.begin()
        row, call_id = self.started()
        await self.journal.barrier()
        queued: list[Task] = []
        wrapper: Any = type(connections["default"])
        commit = wrapper._commit

        def lose_it(database: Any) -> None:
            wrapper._commit = commit  # once
            database.close()
            raise OperationalError("the connection is lost")

        with patch.object(wrapper, "_commit", lose_it):
            self.ended(row, call_id, ANSWERED)
            self.journal.step_queued(self.lease, place(1), queued.extend)
            self.journal.run_ended(self.lease, RunStatus.OK, "The answer")
            await self.journal.barrier()

        run = await PipelineRun.objects.aget()
        assert (run.status, run.cost_usd) == (RunStatus.OK, COST)
        waiting = await StepRun.objects.aget(status=StepStatus.WAITING)
        assert queued[-1].step_id == waiting.pk

    async def test_a_barrier_raises_what_the_queue_takes_for_an_outage_or_a_failed_record(self):
        for error, expected in (
            (InterfaceError("connection already closed"), OperationalError),
            (OverflowError("too large for SQLite"), RecordFailed),
        ):
            journal = RunJournal()
            with patch.object(rows, "write_run", side_effect=error):
                journal.run_started(
                    self.lease, RunOpening(pipeline="play", definition="{}", source=Source.SHELL)
                )
            with pytest.raises(expected):
                await journal.barrier()

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
        self.ended(row, call_id, ANSWERED)
        self.ended(row, call_id, ANSWERED)
        await self.journal.barrier()

        assert (await PipelineRun.objects.aget()).cost_usd == COST


class LastingTests(TransactionTestCase):
    async def test_what_has_happened_is_repeated_before_what_came_later_in_its_run(self):
        writer, chain, tries, order = Writer(), Chain(), 0, []

        def happen() -> None:
            nonlocal tries
            tries += 1
            if tries < 4:  # in the group, alone, and once more
                raise OperationalError("the row is locked")
            order.append("happened")

        await asyncio.gather(
            writer.add(happen, chain=chain, must_last=True),
            writer.add(partial(order.append, "later"), chain=chain),
            writer.add(partial(order.append, "of another run")),
        )

        assert order[-2:] == ["happened", "later"]
        assert order[-3] == "of another run"  # which does not wait for a lock that it does not need

    async def test_an_outage_that_lasts_loses_nothing_and_refuses_nothing(self):
        writer, chain, order = Writer(), Chain(), []
        wrapper: Any = type(connections["default"])
        connect, away = wrapper.get_new_connection, 3

        def fail_a_few_times(database: Any, parameters: Any) -> Any:
            nonlocal away
            away -= 1
            if away >= 0:
                raise OperationalError("nobody answers")
            return connect(database, parameters)

        def look(word: str) -> None:
            PipelineRun.objects.count()
            order.append(word)

        def lose() -> None:
            connection.close()
            connection.errors_occurred = True  # as after any error on it

        await sync_to_async(lose)()
        with patch.object(wrapper, "get_new_connection", fail_a_few_times):
            await asyncio.gather(
                writer.add(partial(look, "paid"), chain=chain, must_last=True),
                writer.add(partial(look, "ended"), chain=chain, must_last=True),
            )

        assert (order, chain.failed_at) == (["paid", "ended"], None)

    async def test_two_runs_that_are_stuck_keep_no_processor_busy_and_no_loop_from_its_end(self):
        writer, tries = Writer(), 0

        def fail() -> None:
            nonlocal tries
            tries += 1
            raise OperationalError("the disk is full")

        stuck = [writer.add(fail, chain=Chain(), must_last=True) for _ in range(2)]
        await asyncio.wait(stuck, timeout=0.5)

        assert 4 <= tries < 40
        # As the loop's end does, after which nothing is repeated.
        for task in asyncio.all_tasks():
            if task.get_name() == "journal writer":
                task.cancel()
        await asyncio.wait_for(asyncio.wait(stuck), 10)

    async def test_a_request_is_not_repeated(self):
        tries: list[str] = []

        def fail() -> None:
            tries.append("tried")
            raise OperationalError("the connection is lost")

        with pytest.raises(OperationalError):
            await Writer().add(fail)

        assert tries == ["tried"]


class LeftoverTests(PipelineCase):
    async def test_a_call_that_was_never_sent_and_all_steps_are_closed_after_a_failed_fact(self):
        write_call = call_rows.write_call

        def failing(step_id: UUID, token: UUID, attempt: Attempt) -> None:
            if "question of one" in attempt.user_message:
                raise DataError("it does not fit")
            write_call(step_id, token, attempt)

        together = [step(name, mode=StepMode.PARALLEL) for name in ("one", "two")]
        with patch.object(call_rows, "write_call", failing), pytest.raises(DataError):
            await self.play(pipeline(*together), [asking("one"), asking("two")])

        steps = [row async for row in StepRun.objects.all()]
        assert len(steps) == 2
        assert all(row.ended_at for row in steps)
        assert not await LLMCall.objects.filter(status=CallStatus.RUNNING).aexists()

    def test_the_end_of_a_call_that_outlives_step_and_runner_is_recorded(self):
        left: list[asyncio.Task[Any]] = []

        async def leave(agent_input: AgentInput, ctx: AgentContext) -> AgentOutput:
            left.append(asyncio.create_task(ctx.llm.complete("You are one.", "A question.")))
            await self.wire.seen(bool)  # before the clients are closed
            return AgentOutput(agent="one", success=True, data={}, reply="done")

        async def main() -> None:
            ctx = self.context(default_llm=member_llm("sandbox/hang"))
            await self.play(pipeline(step("one")), [player("one", leave)], ctx)

        async def close() -> None:
            await sync_to_async(connections.close_all)()

        self.addCleanup(lambda: asyncio.run(close()))  # in the thread of the loops' own

        asyncio.run(main())  # its end cancels what is left

        assert LLMCall.objects.get().status == CallStatus.UNKNOWN


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

    async def test_they_are_told_nothing_of_what_could_not_be_recorded(self):
        await override("one", "sandbox/other-model")
        too_long = DataError("it does not fit")

        with (
            patch.object(call_rows, "complete_call", side_effect=too_long),
            pytest.raises(DataError),
        ):
            await self.play(pipeline(step("one")), [asking("one")])

        assert self.alerts == []


def _of_others(model: Any, **of: Any) -> int:
    """Return how many rows another connection sees."""

    def count() -> int:
        try:
            return int(model.objects.filter(**of).count())
        finally:
            connection.close()

    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(count).result()

"""The runner: order, failure, cancellation, and who pays when an override fails."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import timedelta

import pytest
import stamina
from asgiref.sync import sync_to_async
from django.db import DatabaseError, connection
from django.test import override_settings
from django.utils import timezone
from pydantic import BaseModel

from agents.base import AgentContext, AgentInput, AgentOutput
from agents.catalog import sync
from agents.llm.answers import ask_json
from agents.llm.base import Payer
from agents.llm.http import close_clients
from agents.model_config import ModelConfigService, OverridesUnknown
from agents.models import CatalogModel, OnFailure
from observatory.redaction import RedactingFormatter
from pipeline.journal import hooks
from pipeline.journal.reports import RunReport, StepReport
from pipeline.models import LLMCall, PeriodicJob, PipelineRun, StepRun
from pipeline.models.runs import CallStatus, RunStatus, Source, StepMode, StepStatus
from tests.canaries import MEMBER_KEY, SHARED_KEY
from tests.pipeline.cases import (
    FALLBACK_MODEL,
    MEMBER_MODEL,
    PipelineCase,
    call_rows,
    member_llm,
    override,
    run_row,
    step_rows,
    until,
)
from tests.pipeline.players import ask, asking, pipeline, player, raising, said, step
from tests.pipeline.wire import WAIT_S

PARALLEL, BACKGROUND = StepMode.PARALLEL, StepMode.BACKGROUND


def age_overrides(by: timedelta) -> None:
    """Have all overrides been set so long ago."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE agent_model_config SET updated_at = %s", [timezone.now() - by])


class Meeting:
    """An agent's work that goes on only when as many agents have come as are expected."""

    def __init__(self, expected: int) -> None:
        self._barrier = asyncio.Barrier(expected)

    async def attend(self, agent_input: AgentInput, ctx: AgentContext) -> AgentOutput:
        async with asyncio.timeout(WAIT_S):
            await self._barrier.wait()
        return said("somebody", "We met.")


class Gate:
    """An agent's work that waits until it is let through."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def pass_through(self, agent_input: AgentInput, ctx: AgentContext) -> AgentOutput:
        self.reached.set()
        await self.opened.wait()
        return said("gate", "Through.")


def of(report: RunReport, agent: str) -> StepReport:
    return next(step for step in report.steps if step.agent == agent)


class ModeTests(PipelineCase):
    async def test_a_sequential_step_reads_the_results_of_the_steps_before_it(self):
        heard: list[object] = []

        async def listen(agent_input: AgentInput, ctx: AgentContext) -> AgentOutput:
            heard.append(agent_input.passages["found"])
            return said("second", "Heard.")

        report = await self.play(
            pipeline(step("first"), step("second", found="result.first")),
            [asking("first"), player("second", listen)],
        )

        assert report.status is RunStatus.OK
        assert report.answer == "Heard."
        assert "answered by openai/gpt-4.1" in str(heard[0])

    async def test_neighbouring_parallel_steps_run_together(self):
        meeting = Meeting(3)
        names = ("one", "two", "three")

        report = await self.play(
            pipeline(*(step(name, PARALLEL) for name in names)),
            [player(name, meeting.attend) for name in names],
        )

        assert [step.status for step in report.steps] == [StepStatus.OK] * 3

    async def test_parallel_steps_apart_from_each_other_do_not_run_together(self):
        order: list[str] = []

        def noting(name: str):
            async def play(agent_input: AgentInput, ctx: AgentContext) -> AgentOutput:
                order.append(f"{name} starts")
                await asyncio.sleep(0)
                order.append(f"{name} ends")
                return said(name, name)

            return player(name, play)

        await self.play(
            pipeline(step("one", PARALLEL), step("two"), step("three", PARALLEL)),
            [noting("one"), noting("two"), noting("three")],
        )

        assert order == [
            f"{n} {what}" for n in ("one", "two", "three") for what in ("starts", "ends")
        ]

    async def test_a_background_step_delays_neither_the_next_step_nor_the_answer(self):
        gate = Gate()
        runner = self.runner([player("notes", gate.pass_through), asking("answerer")])

        report = await runner.run(
            pipeline(step("notes", BACKGROUND), step("answerer")),
            self.context(),
            source=Source.SHELL,
        )

        assert (report.status, of(report, "notes").status) == (RunStatus.OK, StepStatus.RUNNING)
        gate.opened.set()
        await runner.close(within_s=5)
        await close_clients()
        assert of(report, "notes").status is StepStatus.OK
        assert (await step_rows())["notes"].status == StepStatus.OK

    async def test_background_steps_that_are_late_at_the_close_are_cancelled_and_recorded(self):
        gate = Gate()
        runner = self.runner([player("notes", gate.pass_through), asking("answerer")])
        report = await runner.run(
            pipeline(step("notes", BACKGROUND), step("answerer")),
            self.context(),
            source=Source.SHELL,
        )
        await gate.reached.wait()

        await runner.close(within_s=0.01)

        await close_clients()
        assert of(report, "notes").status is StepStatus.CANCELLED
        assert (await step_rows())["notes"].status == StepStatus.CANCELLED
        assert (await run_row()).status == RunStatus.OK

    async def test_on_stage_is_told_titles_of_foreground_steps_in_order(self):
        told: list[str] = []
        names = ("one", "two", "three", "notes")

        await self.play(
            pipeline(
                step("one"),
                step("notes", BACKGROUND),
                step("two", PARALLEL),
                step("three", PARALLEL),
            ),
            [asking(name) for name in names],
            on_stage=told.append,
        )

        assert told == ["one is at work", "two is at work", "three is at work"]

    async def test_a_listener_that_fails_leaves_no_run_open(self):
        def break_down(title: str) -> None:
            raise ConnectionError("the chat is gone")

        with pytest.raises(ExceptionGroup):
            await self.play(pipeline(step("one")), [asking("one")], on_stage=break_down)

        assert (await run_row()).status == RunStatus.FAILED


class FailureTests(PipelineCase):
    async def test_a_failing_agent_stops_nothing_that_does_not_need_it(self):
        report = await self.play(
            pipeline(step("broken"), step("needy", found="result.broken"), step("free")),
            [raising("broken", ValueError("no")), asking("needy"), asking("free")],
        )

        assert report.status is RunStatus.OK
        assert [step.status for step in report.steps] == [
            StepStatus.FAILED,
            StepStatus.SKIPPED,
            StepStatus.OK,
        ]
        assert of(report, "needy").error == "needs the result of broken, which failed"
        assert (await step_rows())["needy"].error == "needs the result of broken, which failed"
        assert {call.agent for call in self.wire.calls()} == {"free"}

    async def test_a_failing_parallel_step_leaves_its_neighbours_alone(self):
        meeting = Meeting(2)

        async def fail(agent_input: AgentInput, ctx: AgentContext) -> AgentOutput:
            await meeting.attend(agent_input, ctx)
            raise ValueError("no")

        report = await self.play(
            pipeline(step("broken", PARALLEL), step("free", PARALLEL)),
            [player("broken", fail), player("free", meeting.attend)],
        )

        assert [step.status for step in report.steps] == [StepStatus.FAILED, StepStatus.OK]

    async def test_a_run_without_its_answer_has_failed(self):
        report = await self.play(pipeline(step("broken")), [raising("broken", ValueError("no"))])

        assert (report.status, report.answer) == (RunStatus.FAILED, "")
        assert (await run_row()).status == RunStatus.FAILED

    async def test_a_failure_is_an_output_that_says_why(self):
        ctx = self.context()

        await self.play(pipeline(step("broken")), [raising("broken", ValueError("no"))], ctx)

        assert ctx.results["broken"] == AgentOutput(
            agent="broken", success=False, error="ValueError: no"
        )

    async def test_a_foreign_exception_is_contained_and_logged_without_the_key_in_it(self):
        agents = [raising("broken", RuntimeError(f"cannot use {SHARED_KEY}")), asking("free")]
        ctx = self.context()

        with self.assertLogs("pipeline.running.runner", logging.ERROR) as logged:
            report = await self.play(pipeline(step("broken"), step("free")), agents, ctx)

        written = RedactingFormatter().format(logged.records[0])
        assert "step broken failed: RuntimeError: cannot use [key hidden]" in written
        assert "Traceback" in written
        row = (await step_rows())["broken"]
        assert {of(report, "broken").error, ctx.results["broken"].error, row.error} == {
            "RuntimeError: cannot use [key hidden]"
        }
        assert SHARED_KEY not in written + logged.records[0].getMessage()

    async def test_whatever_an_agent_returns_is_contained(self):
        async def nothing(agent_input: AgentInput, ctx: AgentContext) -> AgentOutput:
            return None  # type: ignore[return-value]

        report = await self.play(pipeline(step("empty")), [player("empty", nothing)])

        assert of(report, "empty").error == (
            "AttributeError: 'NoneType' object has no attribute 'success'"
        )

    async def test_an_agents_own_cancelled_child_ends_its_step_and_not_the_run(self):
        async def cancel_a_child(agent_input: AgentInput, ctx: AgentContext) -> AgentOutput:
            child = asyncio.create_task(asyncio.sleep(1))
            child.cancel()
            await child
            raise AssertionError

        report = await self.play(
            pipeline(step("clumsy"), step("free")),
            [player("clumsy", cancel_a_child), asking("free")],
        )

        assert (report.status, of(report, "clumsy").status) == (
            RunStatus.OK,
            StepStatus.CANCELLED,
        )

    async def test_a_step_that_takes_too_long_fails_by_its_deadline(self):
        async def dawdle(agent_input: AgentInput, ctx: AgentContext) -> AgentOutput:
            await asyncio.sleep(60)
            raise AssertionError

        report = await self.play(
            pipeline(step("slow")), [player("slow", dawdle)], step_deadline_s=0.1
        )

        slow = of(report, "slow")
        assert (slow.status, slow.error) == (
            StepStatus.FAILED,
            "DeadlineExceeded: not done after 0.1 s",
        )
        assert slow.member_line == "The model took too long to answer. Please try again."

    async def test_a_step_has_only_what_is_left_of_the_runs_time(self):
        async def dawdle(agent_input: AgentInput, ctx: AgentContext) -> AgentOutput:
            await asyncio.sleep(60)
            raise AssertionError

        report = await self.play(
            pipeline(step("slow"), step("late"), step("notes", StepMode.BACKGROUND)),
            [player("slow", dawdle), asking("late"), asking("notes")],
            run_deadline_s=0.3,
        )

        assert report.status is RunStatus.FAILED
        for agent in ("slow", "late"):
            assert str(of(report, agent).error).startswith("DeadlineExceeded: ")
        assert of(report, "notes").status is StepStatus.OK
        assert [call.agent for call in self.wire.calls()] == ["notes"]

    async def test_a_step_without_a_call_does_not_claim_to_have_run_a_model(self):
        report = await self.play(
            pipeline(step("broken"), step("fine")),
            [raising("broken", ValueError()), asking("fine")],
        )

        assert of(report, "broken").decision.startswith(f"was to run {MEMBER_MODEL} because")
        assert of(report, "fine").decision.startswith(f"ran {MEMBER_MODEL} because")
        rows = {row.agent: row.decision async for row in StepRun.objects.all()}
        assert rows == {s.agent: s.decision for s in report.steps}

    async def test_a_retry_that_does_not_fit_into_the_steps_deadline_is_not_waited_for(self):
        report = await self.play(
            pipeline(step("busy")),
            [asking("busy")],
            self.context(default_llm=member_llm("sandbox/error-429")),
            step_deadline_s=0.9,
        )

        assert str(of(report, "busy").error).startswith("RateLimited: ")
        assert len(self.wire.calls()) == 1

    async def test_an_agents_own_timeout_is_not_taken_for_the_steps_deadline(self):
        report = await self.play(
            pipeline(step("hasty")), [raising("hasty", TimeoutError("a file took too long"))]
        )

        assert of(report, "hasty").error == "TimeoutError: a file took too long"


class CancellationTests(PipelineCase):
    async def test_a_cancelled_run_drops_its_request_at_once_and_closes_its_records(self):
        ctx = self.context(default_llm=member_llm("sandbox/hang"))
        agents = [asking("one"), asking("two"), asking("after")]
        runner = self.runner(agents)
        running = asyncio.create_task(
            runner.run(
                pipeline(step("one", PARALLEL), step("two", PARALLEL), step("after")),
                ctx,
                source=Source.SHELL,
            )
        )
        await self.wire.seen(lambda calls: len(calls) == 2)

        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

        await self.wire.seen(lambda calls: [call.status for call in calls] == [499, 499])
        await close_clients()
        steps = await step_rows()
        assert (await run_row()).status == RunStatus.CANCELLED
        assert {name: row.status for name, row in steps.items()} == {
            "one": StepStatus.CANCELLED,
            "two": StepStatus.CANCELLED,
        }
        assert {row.status for row in await call_rows()} == {CallStatus.UNKNOWN}

    async def test_a_cancellation_at_any_moment_leaves_no_record_open(self):
        agents = [asking("one", times=2), asking("two"), asking("three")]
        play = pipeline(step("one", PARALLEL), step("two", PARALLEL), step("three"))
        runner = self.runner(agents)

        for moment in range(100):
            running = asyncio.create_task(runner.run(play, self.context(), source=Source.SHELL))
            await asyncio.sleep(moment / 3000)
            for _ in range(2):  # somebody in a hurry
                running.cancel()
                await asyncio.sleep(0)
            await asyncio.wait([running])

        await close_clients()
        assert not await PipelineRun.objects.filter(status=RunStatus.RUNNING).aexists()
        assert not await StepRun.objects.filter(status=StepStatus.RUNNING).aexists()
        assert not await LLMCall.objects.filter(status=CallStatus.RUNNING).aexists()

    async def test_a_background_step_outlives_the_cancellation_of_its_run(self):
        gate, forever = Gate(), Gate()
        runner = self.runner(
            [player("notes", gate.pass_through), player("one", forever.pass_through)]
        )
        running = asyncio.create_task(
            runner.run(
                pipeline(step("notes", BACKGROUND), step("one")),
                self.context(),
                source=Source.SHELL,
            )
        )
        await forever.reached.wait()
        await gate.reached.wait()

        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        gate.opened.set()
        await runner.drain()

        statuses = {name: row.status for name, row in (await step_rows()).items()}
        assert statuses == {"notes": StepStatus.OK, "one": StepStatus.CANCELLED}

    async def test_a_call_cancelled_by_its_own_agent_has_an_unknown_outcome(self):
        async def change_my_mind(agent_input: AgentInput, ctx: AgentContext) -> AgentOutput:
            child = asyncio.create_task(ask(ctx, "fickle"))
            await until(LLMCall.objects.filter(status=CallStatus.RUNNING).aexists)
            await self.wire.seen(len)
            child.cancel()
            await asyncio.wait([child])
            return said("fickle", "Never mind.")

        report = await self.play(
            pipeline(step("fickle")),
            [player("fickle", change_my_mind)],
            self.context(default_llm=member_llm("sandbox/hang")),
        )

        assert report.status is RunStatus.OK
        assert [row.status for row in await call_rows()] == [CallStatus.UNKNOWN]


class UnreadableService(ModelConfigService):
    """A resolver whose process has never seen the overrides."""

    async def get_all(self):
        raise OverridesUnknown("the overrides could not be read")


class LearningTests(PipelineCase):
    async def test_what_a_step_found_out_is_learnt_once_when_it_has_ended_well(self):
        learnt = []
        for agent in ("one", "two"):
            hooks.learn_from(agent, lambda step, data: learnt.append((step.agent, data["text"])))
            self.addCleanup(hooks._learners.pop, agent)

        steps = pipeline(step("one"), step("two"))
        with self.assertLogs("pipeline.running.runner"):
            await self.play(steps, [asking("one"), raising("two", ValueError("no"))])

        assert [agent for agent, _ in learnt] == ["one"]


class PayerTests(PipelineCase):
    async def test_unknown_overrides_run_no_step_and_leave_no_record(self):
        ctx = self.context(model_config=UnreadableService(SHARED_KEY))

        with pytest.raises(OverridesUnknown):
            await self.play(pipeline(step("one")), [asking("one")], ctx)

        assert not await PipelineRun.objects.aexists()
        assert self.wire.calls() == []

    async def test_where_nobody_may_pay_the_step_fails_and_an_overridden_one_runs(self):
        await override("paid", "anthropic/claude-sonnet-4.5")

        report = await self.play(
            pipeline(step("poor"), step("paid")),
            [asking("poor"), asking("paid")],
            self.context(default_llm=None),
        )

        assert [step.status for step in report.steps] == [StepStatus.FAILED, StepStatus.OK]
        assert of(report, "poor").error == (
            "NoPayer: no override is set, the member has no key,"
            " and the shared key is not for members"
        )
        assert of(report, "poor").member_line == (
            "There's no API key to pay for this. Send /start to add yours."
        )
        assert [call.key for call in self.wire.calls()] == [SHARED_KEY]

    async def test_an_overridden_step_is_paid_by_the_shared_key_and_the_next_by_the_member(self):
        await override("one", "anthropic/claude-sonnet-4.5")

        report = await self.play(pipeline(step("one"), step("two")), [asking("one"), asking("two")])

        assert [(call.agent, call.model, call.key) for call in self.wire.calls()] == [
            ("one", "anthropic/claude-sonnet-4.5", SHARED_KEY),
            ("two", MEMBER_MODEL, MEMBER_KEY),
        ]
        assert [step.payer for step in report.steps] == [Payer.SHARED, Payer.MEMBER]

    async def test_an_override_that_fails_fails_its_step_and_alerts_once(self):
        await override("one", "sandbox/no-credit")

        report = await self.play(pipeline(step("one")), [asking("one")])

        one = of(report, "one")
        assert (one.status, one.fell_back_to) == (StepStatus.FAILED, "")
        assert one.error == "NoCredit: Insufficient credits. Add more and try again."
        assert one.member_line == "The API key is out of credit."
        assert self.alerts == [
            "one: the override's model sandbox/no-credit failed:"
            " NoCredit: Insufficient credits. Add more and try again. It was set just now"
            " (v1 by olga). To undo it, open Overrides in the admin and press Undo."
        ]

    async def test_of_an_older_override_the_alert_does_not_speak_of_undoing(self):
        await override("one", "sandbox/no-credit")
        await sync_to_async(age_overrides)(timedelta(minutes=11))

        await self.play(pipeline(step("one")), [asking("one")])

        (alert,) = self.alerts
        assert alert.endswith("Add more and try again.")

    async def test_alerts_are_due_at_once_if_the_override_was_set_a_few_minutes_ago(self):
        later = timezone.now() + timedelta(hours=1)
        alerts = await PeriodicJob.objects.acreate(name=PeriodicJob.ALERTS, due_at=later)
        await override("one", "sandbox/no-credit")
        await sync_to_async(age_overrides)(timedelta(minutes=11))
        await self.play(pipeline(step("one")), [asking("one")])
        await self.play(pipeline(step("two")), [asking("two")])
        await alerts.arefresh_from_db()
        assert alerts.due_at == later

        await override("one", "sandbox/no-credit")
        self.service = self.resolver(SHARED_KEY)
        await self.play(pipeline(step("one")), [asking("one")])

        await alerts.arefresh_from_db()
        assert alerts.due_at <= timezone.now()

    async def test_a_member_reads_that_the_admins_were_told_where_a_chat_tells_them(self):
        await override("one", "sandbox/no-credit")
        failing = pipeline(step("one"))

        with override_settings(OPERATOR_CHAT_ID="1"):
            told = await self.play(failing, [asking("one")])
            by_default = await self.play(pipeline(step("two")), [asking("two")])
        with override_settings(OPERATOR_CHAT_ID=None):
            logged = await self.play(failing, [asking("one")])

        line = "The API key is out of credit."
        assert of(told, "one").member_line == f"{line} Your admins have been told."
        assert of(logged, "one").member_line == line
        assert of(by_default, "two").member_line == ""

    async def test_a_message_that_is_too_long_alerts_nobody(self):
        await override("one", "sandbox/error-413")

        report = await self.play(pipeline(step("one")), [asking("one")])

        assert "shorter" in of(report, "one").member_line
        assert self.alerts == []

    async def test_a_failing_default_alerts_nobody(self):
        ctx = self.context(default_llm=member_llm("sandbox/no-credit"))

        await self.play(pipeline(step("one")), [asking("one")], ctx)

        assert self.alerts == []

    async def test_a_failing_override_never_moves_a_call_to_the_members_key(self):
        wrongs = (
            "no-credit",
            "forbidden",
            "retired",
            "error-500",
            "error-429",
            "error-in-200",
            "error-body-200",
            "null-choices",
            "no-finish",
            "echo-key",
            "refusal",
        )
        for wrong in wrongs:
            for on_failure in OnFailure.values:
                with self.subTest(wrong, on_failure=on_failure):
                    self.wire.clear()
                    await override("one", f"sandbox/{wrong}", on_failure=on_failure)

                    with stamina.set_testing(True, attempts=2, cap=True):
                        await self.play(
                            pipeline(step("one")),
                            [asking("one")],
                            self.context(model_config=self.resolver(SHARED_KEY)),
                        )

                    calls = self.wire.calls()
                    assert {call.key for call in calls} == {SHARED_KEY}
                    assert {call.payer for call in await call_rows()} == {Payer.SHARED}
                    allowed = {f"sandbox/{wrong}"}
                    if on_failure == OnFailure.DEFAULT_MODEL and wrong != "echo-key":
                        allowed.add(FALLBACK_MODEL)
                    assert {call.model for call in calls} == allowed

    async def test_a_refused_shared_key_is_not_replaced_by_the_members(self):
        for model_id in ("anthropic/claude-sonnet-4.5", "openai/gpt-5-mini"):
            await override("one", model_id, on_failure=OnFailure.DEFAULT_MODEL)
            refused = self.resolver("not-a-key-at-all")

            report = await self.play(
                pipeline(step("one")), [asking("one")], self.context(model_config=refused)
            )

            assert str(of(report, "one").error).startswith("KeyRejected: ")
        assert {call.key for call in self.wire.calls()} == {"not-a-key-at-all"}

    async def test_leave_to_fall_back_is_used_on_the_same_key_and_announced(self):
        await override("one", "sandbox/retired", on_failure=OnFailure.DEFAULT_MODEL)

        report = await self.play(pipeline(step("one")), [asking("one")])

        one, row = of(report, "one"), (await step_rows())["one"]
        assert [(call.model, call.key) for call in self.wire.calls()] == [
            ("sandbox/retired", SHARED_KEY),
            (FALLBACK_MODEL, SHARED_KEY),
        ]
        assert (one.status, one.requested_model) == (StepStatus.OK, "sandbox/retired")
        assert (one.served_model, one.fell_back_to) == (FALLBACK_MODEL, FALLBACK_MODEL)
        assert row.decision == one.decision
        assert row.decision.endswith(
            f"; that model failed, so {FALLBACK_MODEL} answered on the same key"
        )
        assert [(call.is_fallback, call.status) for call in await call_rows()] == [
            (False, CallStatus.ERROR),
            (True, CallStatus.OK),
        ]

    async def test_a_model_that_gives_no_json_twice_is_replaced_by_the_fallback_and_announced(self):
        class Verdict(BaseModel):
            is_lead: bool

        async def judge(agent_input: AgentInput, ctx: AgentContext) -> AgentOutput:
            return said("one", str((await ask_json(ctx.llm, "Judge.", "Hi", Verdict)).value))

        await override("one", "sandbox/bad-json", on_failure=OnFailure.DEFAULT_MODEL)

        report = await self.play(pipeline(step("one")), [player("one", judge)])

        one, row = of(report, "one"), (await step_rows())["one"]
        assert [(call.model, call.key) for call in self.wire.calls()] == [
            *[("sandbox/bad-json", SHARED_KEY)] * 2,
            (FALLBACK_MODEL, SHARED_KEY),
        ]
        assert (one.status, one.fell_back_to) == (StepStatus.OK, FALLBACK_MODEL)
        assert f"so {FALLBACK_MODEL} answered on the same key" in row.decision

    async def test_an_override_without_a_shared_key_uses_the_default_and_says_so(self):
        await override("one", "anthropic/claude-sonnet-4.5")

        report = await self.play(
            pipeline(step("one")),
            [asking("one")],
            self.context(model_config=self.resolver(None)),
        )

        assert [(call.model, call.key) for call in self.wire.calls()] == [
            (MEMBER_MODEL, MEMBER_KEY)
        ]
        assert "is without effect: no shared key is set" in of(report, "one").decision


class TripwireTests(PipelineCase):
    async def test_an_answer_of_another_model_marks_the_call_and_alerts_once(self):
        await override("one", "sandbox/other-model")

        report = await self.play(pipeline(step("one")), [asking("one")])

        (call,) = await call_rows()
        assert (call.is_mismatch, call.served_model) == (True, "openai/gpt-4o-mini")
        assert of(report, "one").served_model == "openai/gpt-4o-mini"
        assert self.alerts == [
            f"one: asked for sandbox/other-model, answered by openai/gpt-4o-mini (call {call.id})"
        ]

    async def test_a_dated_name_of_the_same_model_is_no_mismatch(self):
        await override("one", "sandbox/dated")

        await self.play(pipeline(step("one")), [asking("one")])

        (call,) = await call_rows()
        assert (call.is_mismatch, call.served_model) == (False, "sandbox/dated-20260901")
        assert self.alerts == []

    async def test_an_alias_is_no_mismatch_once_the_catalogue_says_what_it_means(self):
        await override("one", "anthropic/claude-sonnet-latest")
        await self.play(pipeline(step("one")), [asking("one")])
        assert len(self.alerts) == 1

        await sync(now=timezone.now())
        await self.play(pipeline(step("one")), [asking("one")])

        calls = await call_rows()
        assert [call.is_mismatch for call in calls] == [True, False]
        assert {call.served_model for call in calls} == {"anthropic/claude-sonnet-4.5"}
        assert len(self.alerts) == 1

    async def test_an_alias_of_what_answered_does_not_excuse_it(self):
        await sync_to_async(CatalogModel.objects.create)(
            model_id="openai/gpt-4o-mini",
            alias_target="sandbox/other-model",
            **dict.fromkeys(("first_seen_at", "last_seen_at"), timezone.now()),
        )
        await override("one", "sandbox/other-model")

        await self.play(pipeline(step("one")), [asking("one")])

        (call,) = await call_rows()
        assert (call.is_mismatch, call.served_model) == (True, "openai/gpt-4o-mini")

    async def test_the_newest_of_a_family_is_told_from_others_by_the_catalogue(self):
        await sync(now=timezone.now())
        await override("one", "~openai/gpt-mini-latest")
        await self.play(pipeline(step("one")), [asking("one")])
        await CatalogModel.objects.filter(pk="~openai/gpt-mini-latest").aupdate(
            alias_target="openai/gpt-4o-mini"
        )

        await self.play(pipeline(step("one")), [asking("one")])

        calls = await call_rows()
        assert [call.served_model for call in calls] == ["openai/gpt-5-mini"] * 2
        assert [call.is_mismatch for call in calls] == [False, True]

    async def test_a_catalogue_that_cannot_be_read_leaves_the_verdict_to_the_names(self):
        await override("one", "sandbox/other-model")
        await sync_to_async(_rename_table)("agents_catalogmodel", "out_of_reach")
        try:
            report = await self.play(pipeline(step("one")), [asking("one")])
        finally:
            await sync_to_async(_rename_table)("out_of_reach", "agents_catalogmodel")

        (call,) = await call_rows()
        assert (call.is_mismatch, report.status) == (True, RunStatus.OK)
        assert len(self.alerts) == 1


class DatabaseTrouble(PipelineCase):
    async def test_a_step_that_cannot_be_recorded_asks_no_model(self):
        await sync_to_async(_rename_table)("pipeline_steprun", "out_of_reach")

        try:
            with pytest.raises(DatabaseError):
                await self.play(pipeline(step("one")), [asking("one")])
        finally:
            await sync_to_async(_rename_table)("out_of_reach", "pipeline_steprun")

        assert self.wire.calls() == []
        assert (await run_row()).status == RunStatus.FAILED


def _rename_table(name: str, new_name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {name} RENAME TO {new_name}")


def test_a_provider_bound_to_a_step_is_another_object() -> None:
    llm = member_llm()

    assert llm.for_step(replace(llm.scope, agent="one")) is not llm
    assert llm.scope.agent == ""

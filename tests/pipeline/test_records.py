"""The records: written before what they tell of, exact, each text once, and never a key."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from asgiref.sync import sync_to_async
from django.core import serializers
from django.db.models import Sum
from django.test import SimpleTestCase
from django.utils import timezone

from agents.base import AgentContext, AgentInput, AgentOutput
from agents.llm.base import Attempt, Payer
from agents.model_config import Freshness, ModelConfigService, Resolution
from agents.models import OnFailure
from agents.snapshot import Override
from pipeline.journal.facts import OpenStep
from pipeline.journal.fencing import RunLease
from pipeline.journal.records import RunJournal, StepRecorder, log_alert
from pipeline.journal.reports import RunReport
from pipeline.journal.rows import close_orphans
from pipeline.models import LLMCall, PipelineRun, StepRun, TextBlob
from pipeline.models.runs import CallStatus, RunStatus, Source, StepMode, StepStatus
from pipeline.running.config import StepConfig
from pipeline.running.context import PipelineContext
from pipeline.running.decisions import NoPayer
from tests.canaries import BOT_TOKEN, CLAUDE_KEY, MEMBER_KEY, SHARED_KEY
from tests.pipeline.cases import (
    PipelineCase,
    call_rows,
    member_llm,
    override,
    run_row,
    step_rows,
)
from tests.pipeline.players import asking, pipeline, player, said, step

TOKEN = uuid4()
A_STEP = StepConfig(agent="one", mode=StepMode.SEQUENTIAL, input_mapping={"message": "Hello."})
PLAYBOOK = "Never discount before the second call. " * 50


def text_of(reference: TextBlob | None) -> str:
    assert reference is not None
    return reference.text


async def texts() -> list[str]:
    return [row.text async for row in TextBlob.objects.all()]


async def total_cost() -> Any:
    return (await LLMCall.objects.aaggregate(total=Sum("cost_usd")))["total"]


class OrderTests(PipelineCase):
    async def test_a_calls_row_is_there_while_its_request_is_under_way(self):
        ctx = self.context(default_llm=member_llm("sandbox/latency-300"))
        playing = asyncio.create_task(self.play(pipeline(step("one")), [asking("one")], ctx))

        (request,) = await self.wire.seen(len)
        (during,) = await call_rows()
        step_during, run_during = (await step_rows())["one"], await run_row()
        await playing
        (after,) = await call_rows()

        assert request.status is None
        assert (str(during.id), str(step_during.id)) == (request.call_id, request.step_id)
        assert (during.status, during.latency_ms) == (CallStatus.RUNNING, None)
        assert (during.requested_model, during.payer) == ("sandbox/latency-300", Payer.MEMBER)
        assert text_of(during.user_message) == request.user_text
        assert (step_during.status, run_during.status) == (StepStatus.RUNNING, RunStatus.RUNNING)
        assert step_during.decision.startswith("ran sandbox/latency-300 because no override is set")
        assert (after.id, after.status, after.http_status) == (during.id, CallStatus.OK, 200)
        assert (after.latency_ms or 0) >= 300
        assert after.generation_id
        assert text_of(after.output)

    async def test_every_attempt_is_a_row(self):
        ctx = self.context(default_llm=member_llm("sandbox/flaky-429"))

        await self.play(pipeline(step("one")), [asking("one")], ctx)

        assert [(row.number, row.status, row.http_status) for row in await call_rows()] == [
            (1, CallStatus.ERROR, 429),
            (2, CallStatus.OK, 200),
        ]

    async def test_a_run_keeps_all_that_its_agents_saw_and_said(self):
        ctx = self.context(
            user_message="A CFO went silent.",
            knowledge_base=PLAYBOOK,
            user_memory="Sells to banks.",
        )

        await self.play(pipeline(step("one", message="ctx.user_message")), [asking("one")], ctx)

        run, one = await run_row(), (await step_rows())["one"]
        assert text_of(run.user_message) == "A CFO went silent."
        assert json.loads(text_of(run.background)) == {
            "knowledge_base": PLAYBOOK,
            "user_memory": "Sells to banks.",
        }
        assert json.loads(text_of(one.inputs)) == {"message": "A CFO went silent."}
        assert json.loads(text_of(one.output)) == {"text": text_of(run.answer)}

    async def test_a_call_cancelled_before_it_was_sent_is_closed_as_that(self):
        step_id = await a_step()
        journal, run_id = RunJournal(), (await run_row()).id
        opened = OpenStep(
            id=step_id, run_id=run_id, token=TOKEN, place=A_STEP.at(0), deadline_s=10.0
        )
        recorder = StepRecorder(journal, opened, log_alert)
        starting = asyncio.create_task(recorder.attempt_started(an_attempt()))
        await asyncio.sleep(0)

        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        await journal.barrier()

        (row,) = await call_rows()
        assert (row.status, row.error) == (CallStatus.ERROR, "cancelled before it was sent")


class TextTests(PipelineCase):
    async def test_a_text_is_kept_once_however_often_it_was_sent(self):
        async def quote(agent_input: AgentInput, ctx: AgentContext) -> AgentOutput:
            for number in range(3):
                await ctx.llm.complete(PLAYBOOK, f"Question {number}")
            return said("one", "Quoted.")

        await self.play(pipeline(step("one")), [player("one", quote)])

        rows = await call_rows()
        assert {row.system_prompt_id for row in rows} == {rows[0].system_prompt_id}
        assert (await texts()).count(PLAYBOOK) == 1

    async def test_what_a_database_cannot_hold_does_not_stop_a_run(self):
        strange = "before\x00between\ud800after"

        async def be_strange(agent_input: AgentInput, ctx: AgentContext) -> AgentOutput:
            await ctx.llm.complete("You are\x00strange.", "before\x00after")
            return AgentOutput(agent="one", success=True, data={"text": strange}, reply=strange)

        async def fail(agent_input: AgentInput, ctx: AgentContext) -> AgentOutput:
            return AgentOutput(agent="two", success=False, error=strange)

        report = await self.play(
            pipeline(step("one", message="ctx.user_message"), step("two"), answer="one"),
            [player("one", be_strange), player("two", fail)],
            self.context(user_message=strange),
        )

        assert report.status is RunStatus.OK
        run, (call,) = await run_row(), await call_rows()
        assert (text_of(run.user_message), text_of(run.answer)) == (
            "before\ufffdbetween?after",
        ) * 2
        assert text_of(call.user_message) == "before\ufffdafter"
        assert (await step_rows())["two"].error == "before\ufffdbetween?after"

    async def test_keys_in_any_text_of_a_run_are_hidden(self):
        keys = (MEMBER_KEY, SHARED_KEY, CLAUDE_KEY, BOT_TOKEN)
        secret = " and then ".join(keys)  # those that stand side by side are hidden as one

        async def blab(agent_input: AgentInput, ctx: AgentContext) -> AgentOutput:
            await ctx.llm.complete(secret, secret)
            return AgentOutput(agent="one", success=True, data={"found": secret}, reply=secret)

        async def refuse(agent_input: AgentInput, ctx: AgentContext) -> AgentOutput:
            return AgentOutput(agent="two", success=False, error=secret)

        await override("three", "sandbox/echo-key")
        report = await self.play(
            pipeline(step("one", message=secret), step("two"), step("three"), answer="one"),
            [player("one", blab), player("two", refuse), asking("three")],
            self.context(user_message=secret, knowledge_base=secret),
        )

        written = await sync_to_async(_everything_written)()
        told = " ".join(f"{step.error} {step.decision}" for step in report.steps) + written
        for key in keys:
            assert key not in told
        assert written.count("[key hidden]") > 10

    async def test_pruned_texts_leave_the_figures(self):
        await self.play(
            pipeline(step("one", message="Hello.")),
            [asking("one")],
            self.context(user_message="Hi"),
        )
        before = {name: getattr((await call_rows())[0], name) for name in FIGURES}

        await TextBlob.objects.all().adelete()

        (call,), one, run = await call_rows(), (await step_rows())["one"], await run_row()
        assert {name: getattr(call, name) for name in FIGURES} == before
        assert before["cost_usd"] > 0
        assert call.system_prompt is call.user_message is call.output is None
        assert one.inputs is one.output is run.user_message is run.answer is None
        assert (run.status, one.status) == (RunStatus.OK, StepStatus.OK)

    async def test_a_repaired_answer_is_marked(self):
        async def mend(agent_input: AgentInput, ctx: AgentContext) -> AgentOutput:
            return replace(said("one", "Mended."), was_repaired=True)

        await self.play(pipeline(step("one")), [player("one", mend)])

        assert (await step_rows())["one"].was_repaired


FIGURES = (
    "status",
    "requested_model",
    "served_model",
    "payer",
    "key_fingerprint",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "cost_source",
    "latency_ms",
)


def _everything_written() -> str:
    models = (PipelineRun, StepRun, LLMCall, TextBlob)
    return "".join(serializers.serialize("json", model.objects.all()) for model in models)


class CostTests(PipelineCase):
    async def test_costs_add_up_to_the_last_decimal(self):
        names = ["one", "two", "three"]
        await override("two", "anthropic/claude-sonnet-4.5")

        report = await self.play(
            pipeline(*map(step, names)), [asking(name, times=7) for name in names]
        )

        billed = sum((call.cost_usd for call in self.wire.calls()), Decimal(0))
        assert billed > 0
        assert sum(row.cost_usd or 0 for row in await call_rows()) == billed
        assert await total_cost() == billed
        assert _total(report) == billed

    async def test_sums_in_the_database_are_exact_for_prices_of_twelve_decimals(self):
        step_id = await a_step()
        costs = [Decimal(n * n + 1) * Decimal("0.000000000001") for n in range(500)]
        costs += [Decimal("0.003338250001"), Decimal("1.100000000003")] * 50
        await LLMCall.objects.abulk_create(
            LLMCall(step_id=step_id, number=1, started_at=timezone.now(), cost_usd=cost)
            for cost in costs
        )

        assert await total_cost() == sum(costs)

    async def test_an_answer_that_cannot_be_used_keeps_what_it_cost(self):
        for model_id in ("sandbox/no-finish", "sandbox/null-choices", "sandbox/refusal"):
            with self.subTest(model_id):
                await sync_to_async(PipelineRun.objects.all().delete)()
                self.wire.clear()

                report = await self.play(
                    pipeline(step("one")),
                    [asking("one")],
                    self.context(default_llm=member_llm(model_id)),
                )

                (call,), (request,) = await call_rows(), self.wire.calls()
                assert report.status is RunStatus.FAILED
                assert call.status == CallStatus.UNKNOWN
                assert call.cost_usd == request.cost_usd > 0
                assert _total(report) == request.cost_usd
                assert call.served_model == model_id

    async def test_why_a_call_failed_is_on_record(self):
        table = {"truncated": ("cut", True), "no-credit": ("account", False)}
        table |= {"error-413": ("length", False), "obedient": ("", False)}
        for name, expected in table.items():
            await sync_to_async(PipelineRun.objects.all().delete)()
            llm = member_llm(f"sandbox/{name}")
            await self.play(pipeline(step("one")), [asking("one")], self.context(default_llm=llm))

            (call,) = await call_rows()
            assert (call.cause, call.is_cut) == expected

    async def test_a_cost_that_nobody_told_is_unknown_and_not_nothing(self):
        report = await self.play(
            pipeline(step("one")),
            [asking("one")],
            self.context(default_llm=member_llm("sandbox/no-credit")),
        )

        assert report.steps[0].cost_usd is None
        assert (await call_rows())[0].cost_usd is None


def _total(report: RunReport) -> Decimal:
    return sum((step.cost_usd for step in report.steps if step.cost_usd is not None), Decimal(0))


class InterruptionTests(PipelineCase):
    async def test_what_no_task_will_go_on_with_is_closed_for_telegram_only(self):
        for source in Source:
            for status in (RunStatus.RUNNING, RunStatus.OK):
                step_id = await a_step(source, status)
                await LLMCall.objects.acreate(
                    step_id=step_id, number=1, status=status, started_at=timezone.now()
                )

        closed = await sync_to_async(close_orphans)()

        assert closed == 1
        for model in (PipelineRun, StepRun, LLMCall):
            statuses = [status async for status in model.objects.values_list("status", flat=True)]
            others = len(Source) - 1
            assert sorted(statuses) == [
                "interrupted",
                *["ok"] * len(Source),
                *["running"] * others,
            ], model
        run = await PipelineRun.objects.aget(status=RunStatus.INTERRUPTED)
        assert run.source == Source.TELEGRAM
        assert run.ended_at is not None
        assert await sync_to_async(close_orphans)() == 0

    async def test_a_trial_or_a_run_from_the_shell_is_closed_when_it_is_hours_old(self):
        for source in (Source.SHELL, Source.TRIAL):
            await a_step(source)
        await PipelineRun.objects.aupdate(started_at=timezone.now() - timedelta(hours=3))
        await a_step(Source.TRIAL)

        assert await sync_to_async(close_orphans)() == 2
        assert await PipelineRun.objects.filter(status=RunStatus.RUNNING).acount() == 1


async def a_step(source: Source = Source.SHELL, status: str = RunStatus.RUNNING) -> UUID:
    run = await PipelineRun.objects.acreate(
        pipeline="play",
        source=source,
        status=status,
        started_at=timezone.now(),
        attempt_token=TOKEN,
    )
    journal = RunJournal()
    row = journal.step_started(RunLease(run.id, TOKEN), run.id, A_STEP.at(0), {}, None)
    await journal.barrier()
    await StepRun.objects.filter(id=row.id).aupdate(status=status)
    return row.id


def an_attempt() -> Attempt:
    return Attempt(
        call_id=uuid4(),
        number=1,
        provider="openrouter",
        requested_model="openai/gpt-4.1",
        payer=Payer.MEMBER,
        key_fingerprint="0123abcd",
        system_prompt="You are one.",
        user_message="Hello.",
        has_image=False,
        is_fallback=False,
    )


# --- why ------------------------------------------------------------------------------------------

OVERRIDE = Override(
    agent_name="one",
    model_id="anthropic/claude-sonnet-4.5",
    on_failure=OnFailure.FAIL,
    set_by="olga",
    set_at=datetime(2026, 11, 24, 12, 3, tzinfo=UTC),
    version=41,
)
FRESHNESS = Freshness(version="v43·3fa9", age_s=0.24, is_stale=False)
ON_SHARED_KEY = replace(member_llm("anthropic/claude-sonnet-4.5", SHARED_KEY), payer=Payer.SHARED)


class FixedService(ModelConfigService):
    """A resolver that says what it was told to."""

    def __init__(self, **choice: Any) -> None:
        super().__init__(None)
        self._choice = Resolution(
            **{"override": None, "provider": None, "freshness": FRESHNESS, **choice}
        )

    async def resolve(self, agent_name: str) -> Resolution:
        return self._choice


class DecisionTests(SimpleTestCase):
    async def test_the_sentence_names_model_reason_payer_and_evidence(self):
        chosen: dict[str, Any] = {"override": OVERRIDE, "provider": ON_SHARED_KEY}
        team = replace(member_llm("openai/gpt-5-mini", SHARED_KEY), payer=Payer.SHARED)
        stale = replace(FRESHNESS, age_s=71.0, is_stale=True)
        table = [
            (
                "override",
                FixedService(**chosen),
                member_llm(),
                "ran anthropic/claude-sonnet-4.5 because override v41 by olga on 2026-11-24 12:03"
                " UTC; shared key; snapshot v43·3fa9 0.2 s old",
            ),
            (
                "override by direct SQL",
                FixedService(**{**chosen, "override": replace(OVERRIDE, set_by="")}),
                None,
                "ran anthropic/claude-sonnet-4.5 because override v41 by somebody on 2026-11-24"
                " 12:03 UTC; shared key; snapshot v43·3fa9 0.2 s old",
            ),
            (
                "no override, own key",
                FixedService(),
                member_llm(),
                "ran openai/gpt-4.1 because no override is set; the member's own openrouter key;"
                " snapshot v43·3fa9 0.2 s old",
            ),
            (
                "no override, shared key",
                FixedService(),
                team,
                "ran openai/gpt-5-mini because no override is set; shared key;"
                " snapshot v43·3fa9 0.2 s old",
            ),
            (
                "no shared key",
                FixedService(override=OVERRIDE),
                member_llm(),
                "ran openai/gpt-4.1 because override v41 by olga on 2026-11-24 12:03 UTC is without"
                " effect: no shared key is set; the member's own openrouter key;"
                " snapshot v43·3fa9 0.2 s old",
            ),
            (
                "stale",
                FixedService(**chosen, freshness=stale),
                member_llm(),
                "ran anthropic/claude-sonnet-4.5 because override v41 by olga on 2026-11-24 12:03"
                " UTC; shared key; snapshot v43·3fa9 71.0 s old,"
                " stale: neither cache nor database answered",
            ),
            (
                "no resolver",
                None,
                member_llm(),
                "ran openai/gpt-4.1 because no overrides are in use here;"
                " the member's own openrouter key",
            ),
        ]
        for name, service, default, sentence in table:
            with self.subTest(name):
                ctx = PipelineContext(default_llm=default, model_config=service)
                decision = await ctx.decide("one")
                assert decision.sentence == sentence
                assert decision.llm is await ctx.get_llm_for_agent("one")

    async def test_only_an_override_in_effect_counts_as_one(self):
        in_effect = FixedService(override=OVERRIDE, provider=ON_SHARED_KEY)
        without_effect = FixedService(override=OVERRIDE)

        versions = [
            (
                await PipelineContext(default_llm=member_llm(), model_config=service).decide("one")
            ).choice.override_version
            for service in (in_effect, without_effect, FixedService())
        ]

        assert versions == [41, None, None]

    async def test_without_a_payer_there_is_no_decision_but_the_reason(self):
        for service, why in (
            (FixedService(), "no override is set"),
            (
                FixedService(override=OVERRIDE),
                (
                    "override v41 by olga on 2026-11-24 12:03 UTC is without effect:"
                    " no shared key is set"
                ),
            ),
            (None, "no overrides are in use here"),
        ):
            with self.subTest(why), pytest.raises(NoPayer) as refused:
                await PipelineContext(default_llm=None, model_config=service).decide("one")
            assert str(refused.value) == (
                f"{why}, the member has no key, and the shared key is not for members"
            )


class DecisionRecordTests(PipelineCase):
    async def test_the_row_of_a_step_holds_the_decision_and_its_evidence(self):
        row = await override("one", "anthropic/claude-sonnet-4.5")

        report = await self.play(pipeline(step("one")), [asking("one")])

        one = (await step_rows())["one"]
        assert one.decision == report.steps[0].decision
        assert one.decision.startswith(
            f"ran anthropic/claude-sonnet-4.5 because override v{row.version} by olga on "
            f"{row.updated_at:%Y-%m-%d %H:%M} UTC; shared key; snapshot {one.snapshot_version} "
        )
        assert (one.override_version, one.is_stale) == (row.version, False)
        assert one.snapshot_version.startswith(f"v{row.version}·")
        assert one.snapshot_age_ms in range(5000)
        assert (one.provider, one.payer) == ("openrouter", Payer.SHARED)

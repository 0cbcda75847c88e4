"""What runs may spend: with real calls over HTTP, and budgets that hold them back."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db.models import F, Sum
from django.test import override_settings

from agents.catalog import sync
from agents.llm.http import close_clients
from agents.llm.router import create_shared_provider
from agents.models import CatalogModel, OnFailure
from agents.registry import default_registry
from pipeline.budgets.money import dollars
from pipeline.journal.reports import RunReport
from pipeline.models import (
    BudgetPeriod,
    LLMCall,
    Member,
    PipelineRun,
    Reservation,
    StepRun,
    TextBlob,
)
from pipeline.models.budgets import ReservationState, Scope
from pipeline.models.runs import RunStatus, Source, StepStatus
from pipeline.running.config import load_pipeline
from pipeline.running.context import PipelineContext
from pipeline.running.runner import PipelineRunner
from pipeline.school.example_content import EXAMPLE_DIR
from tests.canaries import SHARED_KEY
from tests.pipeline.budgets.accounts import a_budget, beyond_cap, wrong_periods
from tests.pipeline.cases import PipelineCase, call_rows, override, step_rows, until
from tests.pipeline.players import asking, pipeline, step

TEAMS_MODEL = "openai/gpt-4o-mini"
ONE = pipeline(step("one"))

new_budget = sync_to_async(a_budget)


class SpendingCase(PipelineCase):
    def shared(self, model_id: str = TEAMS_MODEL, **changes: Any) -> PipelineContext:
        """Return the context of a member whose runs the team's key pays for."""
        return self.context(default_llm=create_shared_provider(SHARED_KEY, model_id), **changes)

    async def run_once(
        self, ctx: PipelineContext, member: Member | None = None, **options: Any
    ) -> RunReport:
        runner = self.runner([asking("one")], **options)
        member_id = member.pk if member else None
        try:
            return await runner.run(ONE, ctx, source=Source.SHELL, member_id=member_id)
        finally:
            await close_clients()

    async def has_sent(self) -> bool:
        return bool(await sync_to_async(self.wire.calls)())

    async def assert_sums_are_right(self) -> None:
        assert await sync_to_async(wrong_periods)() == []
        assert await sync_to_async(beyond_cap)() == []


class CapTests(SpendingCase):
    async def test_25_messages_at_once_spend_no_more_than_the_cap_and_wait_for_each_other(self):
        await sync()
        budget = await new_budget("0.02")
        runner = self.runner([asking("one")], step_deadline_s=180)
        runs = [runner.run(ONE, self.shared(), source=Source.SHELL) for _ in range(25)]
        reports = await asyncio.gather(*runs)
        await close_clients()

        assert {report.status for report in reports} == {RunStatus.OK}
        period = await BudgetPeriod.objects.aget(budget=budget)
        cost = (await LLMCall.objects.aaggregate(sum=Sum("cost_usd")))["sum"]
        assert dollars(period.spent_picousd) == cost > 0
        assert period.reserved_picousd == 0
        await self.assert_sums_are_right()

    async def test_a_call_that_may_cost_too_much_is_not_sent_and_the_member_reads_why(self):
        await sync()
        maya = await Member.objects.acreate(telegram_id=1)
        await new_budget("0.001", Scope.EACH_MEMBER)
        report = await self.run_once(self.shared(), maya)

        (told,) = report.steps
        assert told.member_line.startswith("This request may cost up to $0.00")
        assert told.member_line.endswith("your limit is $0.001 a day. An admin can raise it.")
        assert await TextBlob.objects.filter(text__contains="A question of one.").acount() == 0
        assert self.wire.calls() == []
        row = (await step_rows())["one"]
        assert (row.status, row.error_type, row.has_called) == (
            StepStatus.FAILED,
            "OverBudget",
            False,
        )
        assert "may cost up to $0.00" in row.error
        assert not await LLMCall.objects.aexists()
        assert self.alerts == []

    async def test_a_member_with_a_key_of_their_own_is_refused_where_an_override_spends_ours(self):
        await sync()
        maya = await Member.objects.acreate(telegram_id=1)
        await new_budget("0.001", Scope.EACH_MEMBER)
        assert (await self.run_once(self.context(), maya)).status == RunStatus.OK

        await override("one", "openai/gpt-4.1")
        self.service = self.resolver(SHARED_KEY)
        assert (await self.run_once(self.context(), maya)).status == RunStatus.FAILED
        assert [call.key == SHARED_KEY for call in self.wire.calls()] == [False]
        await close_clients()

    async def test_what_is_refused_to_one_model_its_fallback_may_still_answer(self):
        await sync()
        await new_budget("0.001", Scope.MODEL, name="openai/gpt-4.1")
        await override("one", "openai/gpt-4.1", on_failure=OnFailure.DEFAULT_MODEL)
        self.service = self.resolver(SHARED_KEY)
        report = await self.run_once(self.context())

        assert report.status == RunStatus.OK
        assert report.steps[0].fell_back_to == settings.DEFAULT_MODEL
        assert [call.model for call in self.wire.calls()] == [settings.DEFAULT_MODEL]
        await close_clients()

    async def test_others_reservations_are_waited_for_and_then_named(self):
        await sync()
        budget = await new_budget("10.00")
        endless = self.run_once(self.shared("sandbox/hang"), step_deadline_s=30)
        hanging = asyncio.create_task(endless)
        await until(LLMCall.objects.aexists)
        await BudgetPeriod.objects.filter(budget=budget).aupdate(cap_picousd=F("reserved_picousd"))
        report = await self.run_once(self.shared(), step_deadline_s=1.5)

        assert report.status == RunStatus.FAILED
        assert "Other requests have set aside" in report.steps[0].member_line
        assert (await BudgetPeriod.objects.aget()).refusals == 1
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)

    async def test_train_on_the_dearest_listed_model_is_answered_at_the_default_cap(self):
        """The prices are those of openai/o1-pro in tests/data/openrouter."""
        await sync()
        await CatalogModel.objects.filter(model_id="openai/gpt-4.1").aupdate(
            prompt_usd=Decimal("0.00015"), completion_usd=Decimal("0.0006")
        )
        tom = await Member.objects.acreate(telegram_id=2)
        await new_budget(settings.SHARED_DOLLARS_PER_DAY, Scope.EACH_MEMBER)
        pages = sorted((EXAMPLE_DIR / "playbook").glob("*.md"))
        ctx = PipelineContext(
            default_llm=create_shared_provider(SHARED_KEY, "openai/gpt-4.1"),
            user_message="I would ask her what nine days cost, and propose a call on Thursday.",
            scenario="He liked the demo and went silent after the price. " * 10,
            knowledge_base="\n\n".join(page.read_text() for page in pages),
        )
        runner = PipelineRunner(default_registry(), step_deadline_s=60)
        report = await runner.run(
            load_pipeline("train"), ctx, source=Source.SHELL, member_id=tom.pk
        )
        await runner.drain()
        await close_clients()

        assert report.status == RunStatus.OK
        assert [row.status async for row in StepRun.objects.all()] == [StepStatus.OK] * 3
        await self.assert_sums_are_right()


class SettlementTests(SpendingCase):
    async def states(self) -> list[str]:
        rows = Reservation.objects.order_by("pk").values_list("state", flat=True)
        return [state async for state in rows]

    async def test_each_try_of_a_request_reserves_for_itself_and_a_refusal_costs_nothing(self):
        await sync()
        await new_budget("10.00")
        await self.run_once(self.shared("sandbox/retired"))

        assert set(await self.states()) == {ReservationState.RELEASED}
        assert await Reservation.objects.acount() == len(self.wire.calls())
        assert (await BudgetPeriod.objects.aget()).reserved_picousd == 0
        await close_clients()

    async def test_a_cancelled_call_may_have_been_charged_so_its_amount_stays_set_aside(self):
        await sync()
        await new_budget("10.00")
        running = asyncio.create_task(self.run_once(self.shared("sandbox/hang")))
        await until(self.has_sent)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

        assert await self.states() == [ReservationState.UNKNOWN]
        period = await BudgetPeriod.objects.aget()
        assert period.reserved_picousd == 0
        assert period.unknown_picousd > 0

    async def test_a_call_on_a_members_own_key_reserves_nothing(self):
        await new_budget("0.01")
        assert (await self.run_once(self.context())).status == RunStatus.OK
        assert not await Reservation.objects.aexists()
        await close_clients()


class UnknownPriceTests(SpendingCase):
    async def test_a_model_without_a_known_price_is_capped_at_the_price_that_is_reserved(self):
        await new_budget("5.00")
        with override_settings(UNKNOWN_PRICE=(Decimal(1), Decimal(2))):
            assert (await self.run_once(self.shared())).status == RunStatus.OK

        (call,) = await call_rows()
        reservation = await Reservation.objects.aget()
        assert reservation.state == ReservationState.BOOKED
        assert call.cost_usd == dollars(reservation.picousd)
        await close_clients()

    async def test_where_no_price_is_assumed_nothing_is_reserved_and_costs_still_count(self):
        await new_budget("0.01")
        with override_settings(UNKNOWN_PRICE=None):
            assert (await self.run_once(self.shared())).status == RunStatus.OK
        (call,) = await call_rows()
        period = await BudgetPeriod.objects.aget()
        assert dollars(period.spent_picousd) == call.cost_usd
        await close_clients()


class TrialTests(SpendingCase):
    async def test_a_trial_counts_for_the_operator_who_started_it(self):
        await sync()
        budget = await new_budget("1.00", Scope.TRIALS)
        runner = self.runner([asking("one")])
        await runner.run(ONE, self.shared(started_by="ana"), source=Source.TRIAL)

        period = await BudgetPeriod.objects.aget(budget=budget)
        assert period.key == "ana"
        assert period.spent_picousd > 0
        assert (await PipelineRun.objects.aget()).started_by == "ana"
        await close_clients()

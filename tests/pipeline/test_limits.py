"""The limits of a member: messages an hour, and what an erasure keeps of their costs."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from functools import partial
from uuid import uuid4

from django.test import TestCase, override_settings
from django.utils import timezone

from agents.llm.http import close_clients
from pipeline.journal.reports import RunReport
from pipeline.models import Member, PipelineRun, StepRun, TelegramUpdate
from pipeline.models.runs import Source
from pipeline.people import erasure, limits
from pipeline.running.runner import Origin
from tests.pipeline.cases import PipelineCase
from tests.pipeline.players import asking, pipeline, step
from tests.pipeline.recorded import a_run, a_step


class HourlyTests(PipelineCase):
    async def test_messages_that_arrive_at_once_do_not_exceed_the_limit_of_an_hour(self):
        maya = await Member.objects.acreate(telegram_id=1, name="Maya")
        runner = self.runner([asking("one")])

        async def run(number: int) -> RunReport:
            update = await TelegramUpdate.objects.acreate(bot_id=7, update_id=number, raw="{}")
            origin = Origin(
                update_id=update.pk, token=uuid4(), admit=partial(limits.admit, maya.pk)
            )
            return await runner.run(
                pipeline(step("one")),
                self.context(),
                source=Source.TELEGRAM,
                member_id=maya.pk,
                origin=origin,
            )

        with override_settings(RUNS_PER_HOUR=2):
            ends = await asyncio.gather(*map(run, range(5)), return_exceptions=True)
        await close_clients()

        assert Counter(type(end) for end in ends) == {RunReport: 2, limits.LimitReached: 3}
        assert await PipelineRun.objects.acount() == await StepRun.objects.acount() == 2
        assert len(self.wire.calls()) == 2


class SpentTests(TestCase):
    def setUp(self) -> None:
        self.now = timezone.now()
        self.maya = Member.objects.create(telegram_id=1, name="Maya")

    def spent(self) -> Decimal:
        """Return what an erasure now leaves for releases before budgets."""
        erasure.erase(self.maya, now=self.now)
        return Member.objects.get(pk=self.maya.pk).forgotten_usd

    def test_it_is_what_the_shared_key_paid_for_her_within_a_day(self):
        tom = Member.objects.create(telegram_id=2, name="Tom")
        a_run({}, {"payer": "member"}, member=self.maya, hours_ago=23)
        a_run(member=self.maya, hours_ago=25)
        a_run(member=self.maya, source="again")
        a_run(member=tom)

        assert self.spent() == Decimal("0.0005")

    def test_a_run_that_waited_for_an_outages_end_is_paid_when_it_goes_on(self):
        run = a_run(member=self.maya, hours_ago=60)
        a_step(run, 1, started_at=self.now - timedelta(hours=1))

        assert self.spent() == Decimal("0.0005")

"""What an erasure keeps of a member's costs: those of the last day, whenever the run began."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from django.test import TestCase
from django.utils import timezone

from pipeline.models import Member
from pipeline.people import erasure
from tests.pipeline.recorded import a_run, a_step


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

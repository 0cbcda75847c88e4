"""What is said of budgets outside the page: `manage.py budgets`, a check, a line to the member."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

from django.core.management import call_command
from django.test import TestCase, override_settings
from django.utils import timezone

from pipeline.models import Budget, BudgetPeriod, Member
from pipeline.models.budgets import Scope
from pipeline.operations.budget_check import check_first_budget
from pipeline.people.limits import note_on_spending
from tests.pipeline.budgets.accounts import CENT, a_budget, a_need, reserve, settle


class ReportTests(TestCase):
    def setUp(self) -> None:
        Budget.objects.all().delete()
        self.team = a_budget("0.03")
        self.unused = a_budget(5, Scope.MODEL, name="openai/gpt-4.1")
        maya = Member.objects.create(telegram_id=1, name="Maya")
        a_budget(1, Scope.EACH_MEMBER)
        for cost in (CENT, None):
            need = a_need(CENT, model_id="some/other", member_id=maya.pk)
            assert reserve(need) is None
            if cost is not None:
                settle(need, cost)
        self.refused = reserve(a_need(2 * CENT, model_id="some/other"))

    def printed(self, *options: str) -> str:
        out = StringIO()
        call_command("budgets", *options, stdout=out)
        return out.getvalue()

    def test_each_budget_is_a_line_with_what_is_spent_set_aside_and_refused(self):
        assert self.refused is not None
        lines = self.printed().splitlines()

        assert len(lines) == 3
        assert lines[0].startswith(f"{self.team}: $0.01 of $0.03 spent, $0.01 set aside")
        assert " for Maya: $0.01 of $1.00 spent" in lines[1]
        assert lines[2] == f"{self.unused}: nothing spent yet"

    def test_as_json_amounts_are_exact(self):
        found: list[dict[str, Any]] = json.loads(self.printed("--json"))

        sums = {one["budget"]: one for one in found}
        team = sums[str(self.team)]
        assert [Decimal(team[name]) for name in ("cap_usd", "spent_usd", "set_aside_usd")] == [
            3 * CENT,
            CENT,
            CENT,
        ]
        assert Decimal(sums[str(self.unused)]["cap_usd"]) == 5


@override_settings(SHARED_DOLLARS_PER_DAY=Decimal("5.00"), SHARED_DOLLARS_PER_DAY_IS_SET=True)
class CheckTests(TestCase):
    def setUp(self) -> None:
        Budget.objects.all().delete()

    def said(self) -> list[str]:
        return [str(message.msg) for message in check_first_budget(databases=["default"])]

    def test_a_variable_that_differs_from_the_budget_is_named(self):
        a_budget(2, Scope.EACH_MEMBER)

        assert self.said() == [
            "SHARED_DOLLARS_PER_DAY is $5.00, but the page Budgets has $2.00 for each member a day."
        ]

    def test_so_is_one_whose_budget_was_deleted(self):
        assert self.said() == [
            "SHARED_DOLLARS_PER_DAY is $5.00, but the page Budgets has no such budget."
        ]

    def test_one_that_says_the_same_is_not_named(self):
        a_budget(5, Scope.EACH_MEMBER)

        assert self.said() == []

    def test_without_the_variable_and_without_a_database_nothing_is_said(self):
        assert check_first_budget(databases=None) == []
        with override_settings(SHARED_DOLLARS_PER_DAY_IS_SET=False):
            assert self.said() == []


class NoteTests(TestCase):
    """A member is told once a day that little is left."""

    def setUp(self) -> None:
        Budget.objects.all().delete()
        a_budget(10 * CENT, Scope.EACH_MEMBER)
        self.maya = Member.objects.create(telegram_id=1, name="Maya")
        self.now = timezone.now()

    def spend(self, cents: int, member: Member | None = None) -> None:
        need = a_need(cents * CENT, member_id=(member or self.maya).pk)
        assert reserve(need) is None
        settle(need, cents * CENT)

    def note(self, after: timedelta = timedelta()) -> str:
        return note_on_spending(self.maya.pk, now=self.now + after)

    def test_below_80_percent_nothing_is_said(self):
        self.spend(7)

        assert self.note() == ""

    def test_from_80_percent_on_it_is_said_once_with_when_it_starts_again(self):
        self.spend(8)

        assert self.note().startswith("You've used $0.08 of the $0.10 a day")
        self.spend(1)
        assert self.note(timedelta(minutes=1)) == ""

    def test_of_a_longer_interval_it_is_said_once_a_day(self):
        Budget.objects.update(interval="month")
        self.spend(8)
        period = BudgetPeriod.objects.filter(key=str(self.maya.pk))

        assert self.note()
        period.update(member_told_at=self.now - timedelta(hours=23))
        assert self.note() == ""
        period.update(member_told_at=self.now - timedelta(hours=24))
        assert self.note()

    def test_what_others_spend_is_not_said(self):
        self.spend(9, Member.objects.create(telegram_id=2))

        assert self.note() == ""

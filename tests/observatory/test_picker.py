"""Choosing a model: what is offered, what it lacks, what it costs, and one real call before it."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

import time_machine
from django.contrib.auth.models import Permission, User
from django.test import TestCase, override_settings
from django.urls import reverse
from django.utils import timezone

from agents.models import AgentModelConfig, CatalogModel
from pipeline.models import Member, PipelineRun
from pipeline.models.members import Access
from pipeline.models.runs import Source
from tests.pipeline.test_usage import UsageCase
from tests.sandbox.serving import running_sandbox

SHARED_KEY = "sk-or-v1-sandbox-team-key-0001"


def listed(model_id: str, **fields) -> CatalogModel:
    now = timezone.now()
    given = {
        "name": model_id.upper(),
        "prompt_usd": Decimal("0.000003"),
        "completion_usd": Decimal("0.000015"),
        "context_tokens": 200_000,
        "input_modalities": ["text", "image"],
        "output_modalities": ["text"],
        "supported_parameters": ["response_format", "structured_outputs"],
        "first_seen_at": now,
        "last_seen_at": now,
    }
    return CatalogModel.objects.create(model_id=model_id, **(given | fields))


class PickerCase(UsageCase):
    def setUp(self) -> None:
        self.client.force_login(User.objects.create_superuser("ada", password="pw"))

    def get(self, name: str, **query: str) -> str:
        response = self.client.get(reverse(name), query)
        assert response.status_code == 200
        return response.content.decode()


class OfferTest(PickerCase):
    def test_a_model_that_cannot_serve_the_agent_is_shown_with_the_reason_and_not_to_be_chosen(
        self,
    ):
        listed("some/blind", input_modalities=["text"])
        listed("some/seeing")

        page = self.get("models", agent_name="extraction", search="some")

        assert page.index("some/seeing") < page.index("some/blind")
        assert 'data-model="some/blind" disabled' in page
        assert "Can&#x27;t read pictures" in page
        assert 'data-model="some/seeing">' in page

    def test_a_model_that_retires_can_be_chosen_but_says_when(self):
        listed("some/old", expires_on=timezone.now().date() + timedelta(days=9))

        page = self.get("models", agent_name="trainer", search="old")

        assert 'data-model="some/old">' in page
        assert "Retires on" in page

    def test_an_empty_catalogue_says_how_it_is_filled(self):
        assert "Refresh catalog" in self.get("models", agent_name="trainer")

    def test_who_may_not_change_overrides_gets_nothing(self):
        user = User.objects.create_user("bob", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename="view_agentmodelconfig"))
        self.client.force_login(user)

        for name in ("models", "cost"):
            assert self.client.get(reverse(name)).status_code == 403
        for name in ("try", "sync"):
            assert self.client.post(reverse(name)).status_code == 403


@override_settings(DEFAULT_MODEL="some/cheap")
class CostTest(PickerCase):
    def setUp(self) -> None:
        super().setUp()
        listed("some/cheap", prompt_usd=Decimal("0.000001"), completion_usd=Decimal("0.000002"))
        listed("some/dear")

    def calls(self, count: int, *, days_ago: int = 1, payer: str = "shared", tokens: int = 1000):
        member, _ = Member.objects.get_or_create(telegram_id=1, access=Access.APPROVED)
        for _ in range(count):
            step = self.step(timezone.now() - timedelta(days=days_ago), payer=payer)
            PipelineRun.objects.filter(pk=step.run_id).update(member=member)
            self.call(step, input_tokens=tokens, output_tokens=100, cost_usd="7", payer=payer)

    def cost(self, model_id: str = "some/dear") -> str:
        page = self.get("cost", agent_name="strategist", model_id=model_id)
        return " ".join(re.sub(r"<[^>]*>", "", page).split())

    def test_both_models_are_priced_at_last_weeks_calls(self):
        self.calls(21)

        # 21 calls in a week: $0.0045 each instead of $0.0012, whatever they did cost.
        said = "+$0.0099 a day on the team key, at last week's 3 calls a day"
        assert f"{said} ($0.0135 instead of $0.0036)." in self.cost()
        assert "1 member who used strategist" in self.cost()

    def test_the_difference_is_a_range_over_the_days(self):
        self.calls(20, days_ago=2)
        self.calls(10, days_ago=4)

        assert "; on single days from +$0.033 to +$0.066." in self.cost()

    def test_the_same_calls_each_day_are_no_range(self):
        now = timezone.now().replace(minute=30)
        for hours in range(0, 7 * 24 + 1, 4):
            step = self.step(now - timedelta(hours=hours))
            self.call(step, input_tokens=1000, output_tokens=100)

        with time_machine.travel(now, tick=False):
            assert "on single days" not in self.cost()

    def test_keeping_the_model_changes_nothing(self):
        self.calls(21)

        assert "±$0 a day on the team key" in self.cost("some/cheap")

    def test_with_an_override_the_team_pays_for_members_with_a_key_too(self):
        self.calls(21, payer="member")
        AgentModelConfig.objects.upsert("strategist", "some/cheap", "olga")

        assert "$0.0135 instead of $0.0036" in self.cost()
        assert "±$0 a day" in self.cost("some/cheap")

    def test_without_one_members_with_a_key_would_pay_no_longer(self):
        self.calls(21, payer="member")

        assert "$0.0135 instead of $0)" in self.cost()
        assert "Members would save $21.00 a day." in self.cost()

    def test_below_twenty_calls_nothing_is_estimated(self):
        self.calls(19)

        assert "Not enough traffic yet to estimate (19 calls in seven days)." in self.cost()

    def test_a_trial_is_not_traffic_and_is_shown_as_the_last_one_of_its_model(self):
        assert "No recent model test for strategist." in self.cost()
        self.calls(19)
        for _ in range(10):
            trial = self.step(timezone.now(), requested_model="some/dear")
            PipelineRun.objects.filter(pk=trial.run_id).update(source=Source.TRIAL)
            self.call(trial, input_tokens=1000, output_tokens=100, cost_usd="0.0045")

        assert "(19 calls in seven days)" in self.cost()
        assert "Last tried" in self.cost()

    def test_it_says_what_is_in_use_now_and_by_whom(self):
        assert "Now: some/cheap, the default model. After this change: some/dear." in self.cost()
        AgentModelConfig.objects.upsert("strategist", "some/cheap", "olga")

        assert "Now: some/cheap (v1 by olga). After this change: some/dear." in self.cost()

    def test_a_model_that_the_catalogue_does_not_know_is_pointed_out(self):
        assert "isn't in the catalog" in self.get("cost", agent_name="trainer", model_id="a/b")

    def test_without_traffic_it_costs_nothing_and_touches_nobody(self):
        assert "Not enough traffic yet to estimate" in self.cost()
        assert "0 members" in self.cost()


@override_settings(OPENROUTER_API_KEY=SHARED_KEY)
class RefreshTest(TestCase):
    def setUp(self):
        root = self.enterContext(running_sandbox())
        base_url = f"{root}/openrouter/api/v1"
        self.enterContext(override_settings(OPENROUTER_BASE_URL=base_url))
        self.client.force_login(User.objects.create_superuser("ada", password="pw"))

    def test_the_catalogue_is_fetched_on_demand(self):
        page = self.client.post(reverse("sync"), follow=True).content.decode()

        assert "Catalog refreshed" in page
        assert CatalogModel.objects.filter(model_id="openai/gpt-4.1").exists()

"""Choosing a model: what is offered, what it lacks, what it costs, and one real call before it."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import TestCase, override_settings
from django.urls import reverse
from django.utils import timezone

from agents.models import AgentModelConfig, CatalogModel
from pipeline.models import LLMCall, Member, PipelineRun
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
    def setUp(self):
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


class CostTest(PickerCase):
    def test_a_change_is_priced_at_last_weeks_traffic(self):
        listed("some/dear")
        member = Member.objects.create(telegram_id=1, access=Access.APPROVED)
        for _ in range(14):
            step = self.step(timezone.now() - timedelta(days=1))
            PipelineRun.objects.filter(pk=step.run_id).update(member=member)
            self.call(step, input_tokens=1000, output_tokens=100, cost_usd="0.0005")

        page = self.get("cost", agent_name="strategist", model_id="some/dear")

        # 14 calls of $0.0045 in a week are $0.009 a day, and were $0.001.
        assert "+$0.008 a day" in page
        assert re.search(r">\$0\.009</span> instead of <[^>]*>\$0\.001<", page)
        assert "1 member who used strategist" in page

    def test_a_model_that_the_catalogue_does_not_know_is_pointed_out(self):
        assert "isn't in the catalog" in self.get("cost", agent_name="trainer", model_id="a/b")

    def test_without_traffic_it_costs_nothing_and_touches_nobody(self):
        listed("some/dear")

        page = self.get("cost", agent_name="strategist", model_id="some/dear")

        assert "Not enough traffic yet to estimate." in page
        assert "0 members" in page


@override_settings(OPENROUTER_API_KEY=SHARED_KEY)
class TrialTest(TestCase):
    def setUp(self):
        root = self.enterContext(running_sandbox())
        base_url = f"{root}/openrouter/api/v1"
        self.enterContext(override_settings(OPENROUTER_BASE_URL=base_url))
        self.client.force_login(User.objects.create_superuser("ada", password="pw"))

    def try_out(self, **form: str):
        return self.client.post(reverse("try"), {"agent_name": "trainer", **form})

    def test_one_real_call_on_the_shared_key_is_made_and_recorded_and_nothing_is_saved(self):
        response = self.try_out(model_id="openai/gpt-4.1", sample="How do I answer a silent CFO?")

        run = PipelineRun.objects.get()
        call = LLMCall.objects.select_related("user_message", "step").get()
        assert call.user_message is not None
        assert response.url == reverse("admin:pipeline_pipelinerun_change", args=[run.pk])
        assert (run.source, call.requested_model, call.payer) == (
            Source.TRIAL,
            "openai/gpt-4.1",
            "shared",
        )
        assert "How do I answer a silent CFO?" in call.user_message.text
        assert call.step.decision == ("ran openai/gpt-4.1 because ada tried it out; shared key")
        assert not AgentModelConfig.objects.exists()
        entry = LogEntry.objects.get()
        assert entry.object_id == str(run.pk)
        assert entry.change_message == "Tried openai/gpt-4.1 for trainer."

    def test_the_operator_who_may_read_no_members_texts_reads_the_trials_answer(self):
        user = User.objects.create_user("bob", is_staff=True)
        user.user_permissions.set(
            Permission.objects.filter(codename__in=["change_agentmodelconfig", "view_pipelinerun"])
        )
        self.client.force_login(user)

        page = self.client.get(self.try_out(model_id="openai/gpt-4.1").url).content.decode()

        assert "Answer</h2>" in page

    def test_who_sees_figures_only_reads_no_trial_either(self):
        address = self.try_out(model_id="openai/gpt-4.1", sample="What the member wrote").url
        user = User.objects.create_user("eve", is_staff=True)
        user.user_permissions.set(
            Permission.objects.filter(codename__in=["view_agentmodelconfig", "view_pipelinerun"])
        )
        self.client.force_login(user)

        page = self.client.get(address).content.decode()

        assert "What the member wrote" not in page
        assert "Answer</h2>" not in page

    def test_what_cannot_be_tried_says_why_and_costs_nothing(self):
        for form, why in (
            ({"agent_name": "trainer", "model_id": "no-slash"}, "Enter an OpenRouter model ID"),
            ({"agent_name": "", "model_id": "a/b"}, "choose an agent first"),
        ):
            with self.subTest(why):
                page = self.client.post(reverse("try"), form, follow=True).content.decode()
                assert why in page
        assert not PipelineRun.objects.exists()

    def test_the_catalogue_is_fetched_on_demand(self):
        page = self.client.post(reverse("sync"), follow=True).content.decode()

        assert "Catalog refreshed" in page
        assert CatalogModel.objects.filter(model_id="openai/gpt-4.1").exists()

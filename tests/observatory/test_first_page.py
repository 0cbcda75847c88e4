"""The admin's first page: what runs, who chose it, how far a change has got, what it cost."""

from __future__ import annotations

import re
from datetime import timedelta
from uuid import uuid4

from django.contrib.auth.models import Permission, User
from django.test import TestCase, override_settings
from django.urls import reverse
from django.utils import timezone

from agents.models import AgentModelConfig, OverrideVersion, ResolverProcess
from agents.snapshot import read_snapshot
from observatory.dashboard import views
from observatory.dashboard.recent import Recent
from pipeline.models import PeriodicJob
from pipeline.operations import attention
from tests.forms import send
from tests.pipeline.test_usage import UsageCase


@override_settings(OPENROUTER_API_KEY="sk-or-v1-not-a-key-0001")
class FirstPageCase(TestCase):
    def setUp(self):
        views._recent = Recent(0.0)
        self.operator = User.objects.create_superuser("ada", password="pw")
        self.client.force_login(self.operator)

    def process(self, version: str, **fields) -> ResolverProcess:
        given = {"role": "worker", "host": "here", "pid": 7, "seen_at": timezone.now()}
        return ResolverProcess.objects.create(
            process_id=uuid4(), version=version, **(given | fields)
        )

    def page(self, query: str = "") -> str:
        return self.client.get(reverse("admin:index") + query).content.decode()


class EffectTest(FirstPageCase):
    def test_it_says_on_how_many_processes_the_overrides_are_in_effect(self):
        AgentModelConfig.objects.upsert("trainer", "openai/gpt-4.1", "ada")
        version = read_snapshot().version
        changed_at = OverrideVersion.objects.get().changed_at
        assert changed_at is not None
        self.process(version, version_at=changed_at + timedelta(seconds=0.4))
        late = self.process("v0·0000")

        assert "Rolling out… 1 of 2" in self.page()

        ResolverProcess.objects.filter(pk=late.pk).update(version=version)
        assert "Live on all processes (2 of 2) · took 0.4 s</p>" in self.page()

    def test_a_process_that_started_after_the_change_counts_without_a_time(self):
        self.process(read_snapshot().version)

        assert "Live on all processes (1 of 1)</p>" in self.page()

    def test_the_live_part_is_sent_only_when_it_has_changed(self):
        seen = re.search(r'hx-get="([^"]+)"', self.page())
        assert seen is not None
        assert self.client.get(seen[1]).status_code == 204

        AgentModelConfig.objects.upsert("trainer", "openai/gpt-4.1", "ada")

        response = self.client.get(seen[1])
        assert response.status_code == 200
        assert "openai/gpt-4.1" in response.content.decode()

    def test_who_has_signed_out_is_asked_to_sign_in_and_shown_nothing(self):
        self.client.logout()

        response = self.client.get(reverse("now"))

        assert (response.status_code, response.content) == (286, b"")
        assert response["HX-Refresh"] == "true"


class CreditTest(FirstPageCase):
    def test_what_the_shared_key_has_left_is_shown(self):
        PeriodicJob.objects.create(
            name=attention.CREDIT, due_at=timezone.now(), last_result={"remaining_usd": "74.5"}
        )

        assert "$74.50 left" in self.page()


class AnswersTest(FirstPageCase, UsageCase):
    def test_cut_and_mended_answers_are_shown_where_there_are_any(self):
        assert "cut off" not in self.page()
        now = timezone.now()
        for number in (1, 2):
            step = self.step(now, was_repaired=number == 1)
            self.call(step, is_cut=True)

        page = self.page()
        assert "2 answers cut off" in page
        assert "1 answer repaired<" in page


class RightsTest(FirstPageCase):
    def sign_in_with(self, *names: str) -> None:
        user = User.objects.create_user("bob", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=names))
        self.client.force_login(user)

    def test_without_a_role_nothing_is_shown(self):
        self.sign_in_with()

        assert "you don't have a role yet" in self.page()

    def test_who_may_only_look_gets_no_button(self):
        self.sign_in_with("view_agentmodelconfig", "view_pipelinerun")

        page = self.page()

        assert "strategist" in page
        assert reverse("admin:agents_agentmodelconfig_of") not in page
        AgentModelConfig.objects.upsert("strategist", "openai/gpt-4.1", "ada")
        for name in ("stop_all", "remove"):
            url = reverse(f"admin:agents_agentmodelconfig_{name}")
            assert self.client.post(f"{url}?agent_name=strategist").status_code == 403


class SwitchTest(FirstPageCase):
    def test_set_leads_to_the_form_with_the_agent_chosen(self):
        url = reverse("admin:agents_agentmodelconfig_of") + "?agent_name=trainer"

        page = self.client.get(url, follow=True).content.decode()

        assert re.search(r'<option value="trainer"\s+selected', page)

    def test_change_leads_to_the_form_of_the_row_which_saving_puts_in_force(self):
        row = AgentModelConfig.objects.upsert("trainer", "openai/gpt-4.1", "ada")
        AgentModelConfig.objects.deactivate("trainer")
        url = reverse("admin:agents_agentmodelconfig_of") + "?agent_name=trainer"

        response = self.client.get(url, follow=True)

        assert response.context["adminform"].form.instance == row
        assert response.context["adminform"].form["is_active"].value() is True
        assert "Off now. Saving turns it on." in response.content.decode()

    def test_remove_asks_first_and_then_takes_the_override_out_of_force(self):
        AgentModelConfig.objects.upsert("trainer", "openai/gpt-4.1", "eve")
        url = reverse("admin:agents_agentmodelconfig_remove") + "?agent_name=trainer"

        asked = self.client.get(url).content.decode()
        assert "openai/gpt-4.1" in asked
        assert read_snapshot().overrides

        send(self.client, url)

        assert not read_snapshot().overrides
        assert AgentModelConfig.objects.get().history.first().set_by == "ada"

    def test_all_overrides_are_switched_off_at_once_as_one_change(self):
        for agent in ("trainer", "memory"):
            AgentModelConfig.objects.upsert(agent, "openai/gpt-4.1", "eve")
        url = reverse("admin:agents_agentmodelconfig_stop_all")
        assert "trainer" in self.client.get(url).content.decode()

        send(self.client, url)

        assert not read_snapshot().overrides
        assert {row.version for row in AgentModelConfig.objects.all()} == {3}


@override_settings(OPENROUTER_API_KEY="sk-or-v1-not-a-key-0001")
class FiguresOnPageTest(UsageCase):
    def setUp(self):
        views._recent = Recent(0.0)
        self.client.force_login(User.objects.create_superuser("ada", password="pw"))

    def page(self, query: str = "") -> str:
        return self.client.get(reverse("admin:index") + query).content.decode()

    def test_the_last_day_of_an_agent_is_summed_by_payer(self):
        now = timezone.now()
        self.call(self.step(now), cost_usd="0.25")
        self.call(self.step(now, payer="member"), cost_usd="0.0125")
        self.call(self.step(now - timedelta(days=2)), cost_usd="7")

        page = self.page()

        row = page[page.index('data-agent="strategist"') :]
        assert re.search(r'"Steps">2<', row)
        assert ">$0.25<" in row
        assert ">$0.0125<" in row
        assert "$7" not in page[: page.index('id="charts"')]

    def test_a_wrong_model_in_the_last_day_needs_attention(self):
        now = timezone.now()
        self.call(self.step(now), is_mismatch=True)
        self.call(self.step(now - timedelta(days=2)), is_mismatch=True)

        assert "in the last 24 hours, 1 call was answered by a model other" in self.page()

    def test_charts_are_drawn_by_agent_and_by_model_and_told_in_words(self):
        self.call(self.step(timezone.now()), cost_usd="0.25")

        for query, series in (("", "strategist"), ("?range=30d&by=model", "openai/gpt-5-mini")):
            assert f"{series} $0.25" in self.page(query)

    def test_the_number_of_queries_does_not_grow_with_what_ran(self):
        self.page()  # what a process looks up once
        counts = []
        for _ in range(2):
            for agent in ("strategist", "trainer", "extraction", "memory"):
                self.call(self.step(timezone.now(), agent=agent))
            with self.assertNumQueries(FewerThan(31)) as counted:
                self.page()
            counts.append(len(counted))

        assert counts[0] == counts[1]


class FewerThan(int):
    def __eq__(self, other: object) -> bool:
        return isinstance(other, int) and other < int(self)

    __hash__ = int.__hash__

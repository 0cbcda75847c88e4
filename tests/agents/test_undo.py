"""Undo for ten minutes: the button names its version, and takes back that change or none."""

from __future__ import annotations

from datetime import timedelta

import time_machine
from django.urls import reverse
from django.utils import timezone

from agents.models import AGENTS, AgentModelConfig, CatalogModel, OnFailure
from agents.override_changes import latest_changes
from tests.agents.admin_pages import GLM, LIST, MINI, SONNET, AdminTestCase, page_of
from tests.agents.catalog.listing import entry, take_in
from tests.agents.doubles import choose_model

STATE = reverse("admin:agents_agentmodelconfig_state")


def undo_url(row: AgentModelConfig, version: int) -> str:
    return reverse("admin:agents_agentmodelconfig_undo", args=[row.pk, version])


class RepositoryTests(AdminTestCase):
    def test_the_state_before_is_set_as_a_new_change(self):
        AgentModelConfig.objects.upsert("trainer", MINI, on_failure=OnFailure.DEFAULT_MODEL)
        row = AgentModelConfig.objects.upsert("trainer", GLM)

        undone = AgentModelConfig.objects.undo("trainer", row.version, "pete")

        assert undone is not None
        assert (undone.model_id, undone.on_failure) == (MINI, OnFailure.DEFAULT_MODEL)
        assert (undone.version, undone.set_by) == (row.version + 1, "pete")

    def test_an_override_that_is_the_first_one_is_turned_off(self):
        row = AgentModelConfig.objects.upsert("trainer", MINI)

        undone = AgentModelConfig.objects.undo("trainer", row.version)

        assert undone is not None
        assert not undone.is_active

    def test_a_change_that_turned_an_override_off_is_undone_too(self):
        AgentModelConfig.objects.upsert("trainer", MINI)
        AgentModelConfig.objects.upsert("strategist", GLM)
        AgentModelConfig.objects.deactivate_all("olga")
        version = AgentModelConfig.objects.get(agent_name="trainer").version

        AgentModelConfig.objects.undo("trainer", version)

        active = AgentModelConfig.objects.get_all_active()
        assert [(row.agent_name, row.model_id) for row in active] == [("trainer", MINI)]

    def test_a_second_press_and_one_after_another_change_do_nothing(self):
        AgentModelConfig.objects.upsert("trainer", MINI)
        row = AgentModelConfig.objects.upsert("trainer", GLM)
        assert AgentModelConfig.objects.undo("trainer", row.version) is not None

        assert AgentModelConfig.objects.undo("trainer", row.version) is None
        AgentModelConfig.objects.upsert("trainer", SONNET)
        assert AgentModelConfig.objects.undo("trainer", row.version + 1) is None

        assert AgentModelConfig.objects.get().model_id == SONNET

    def test_it_is_never_refused(self):
        take_in(entry(MINI), entry(GLM), now=timezone.now())
        AgentModelConfig.objects.upsert("trainer", MINI)
        row = AgentModelConfig.objects.upsert("trainer", GLM)
        CatalogModel.objects.update(vanished_at=timezone.now())

        assert AgentModelConfig.objects.undo("trainer", row.version) is not None

    def test_even_if_its_agent_is_gone_an_override_can_be_turned_off(self):
        row = choose_model("former", MINI)
        AGENTS.discard("former")

        undone = AgentModelConfig.objects.undo("former", row.version)

        assert undone is not None
        assert not undone.is_active


class PageTests(AdminTestCase):
    def test_the_list_offers_to_undo_the_changes_of_the_last_ten_minutes(self):
        with time_machine.travel(timezone.now() - timedelta(minutes=11), tick=False):
            AgentModelConfig.objects.upsert("strategist", GLM)
        with time_machine.travel(timezone.now() - timedelta(minutes=4), tick=False):
            AgentModelConfig.objects.upsert("trainer", MINI, "pete")
        row = AgentModelConfig.objects.upsert("memory", SONNET, "pete")
        AgentModelConfig.objects.deactivate("memory", "olga")

        page = " ".join(self.client.get(LIST).content.decode().split())

        assert f"</strong>: {MINI} instead of the default model" in page
        assert "by pete, 4 min ago" in page
        assert f"</strong>: the default model instead of {SONNET}" in page
        assert f"(v{row.version + 1} by olga, just now)" in page
        assert page.count(">Undo<") == 2

    def test_the_button_undoes_its_version_and_says_so(self):
        AgentModelConfig.objects.upsert("trainer", MINI)
        row = AgentModelConfig.objects.upsert("trainer", GLM)

        done = self.post(undo_url(row, row.version))
        again = self.post(undo_url(row, row.version))

        assert f"Undone: trainer is as it was before v{row.version}." in self.said(done)
        assert f"Not undone: v{row.version} is no longer the last change" in self.said(again)
        row.refresh_from_db()
        assert (row.model_id, row.set_by) == (MINI, "olga")
        assert f"Undo of v{row.version - 1}" in row.history.latest().reason

    def test_after_ten_minutes_the_history_is_offered_instead(self):
        with time_machine.travel(timezone.now() - timedelta(minutes=11), tick=False):
            AgentModelConfig.objects.upsert("trainer", MINI)
            row = AgentModelConfig.objects.upsert("trainer", GLM)

        done = self.post(undo_url(row, row.version))

        assert "older than ten minutes" in self.said(done)
        assert done.url == page_of(row, "history")
        row.refresh_from_db()
        assert row.model_id == GLM

    def test_whoever_may_not_change_overrides_sees_the_change_and_no_button(self):
        row = AgentModelConfig.objects.upsert("trainer", MINI)
        self.client.force_login(self.viewer)

        assert "instead of the default model" in self.client.get(LIST).content.decode()
        assert ">Undo<" not in self.client.get(LIST).content.decode()
        assert self.client.post(undo_url(row, row.version)).status_code == 403
        assert self.client.get(undo_url(row, row.version)).status_code == 403

    def test_the_banner_renews_itself_only_if_it_would_look_different(self):
        AgentModelConfig.objects.upsert("trainer", MINI)
        page = self.client.get(STATE)
        seen = page.context["digest"]
        assert f"?seen={seen}" in page.content.decode()

        assert self.client.get(STATE, {"seen": seen}).status_code == 204
        AgentModelConfig.objects.upsert("trainer", GLM)
        assert GLM in self.client.get(STATE, {"seen": seen}).content.decode()

    def test_the_page_is_loaded_anew_when_the_operator_may_no_longer_see_it(self):
        self.client.force_login(self.viewer)
        self.viewer.user_permissions.clear()
        for _ in range(2):  # without the permission, and signed out
            answer = self.client.get(STATE)

            assert (answer.status_code, answer["HX-Refresh"]) == (403, "true")
            self.client.logout()

    def test_inside_the_form_of_an_override_nothing_can_be_undone(self):
        """Enter in a field would press the form's first button."""
        row = AgentModelConfig.objects.upsert("trainer", MINI)

        for url in (page_of(row), f"{STATE}?in_form=1"):
            page = self.client.get(url).content.decode()
            assert 'id="override-state"' in page
            assert ">Undo<" not in page
            assert "/undo/" not in page


class AllChangesTests(AdminTestCase):
    def test_the_changes_of_all_agents_are_in_one_list_newest_first(self):
        for agent, model, why in (
            ("trainer", MINI, "Cheaper"),
            ("strategist", SONNET, ""),
            ("trainer", GLM, ""),
        ):
            AgentModelConfig.objects.upsert(agent, model, "olga", reason=why)
        AgentModelConfig.objects.deactivate("strategist", "pete")

        assert [str(change) for change in latest_changes(10)] == [
            f"strategist: {SONNET} → the default model (v4 by pete)",
            f"trainer: {MINI} → {GLM} (v3 by olga)",
            f"strategist: the default model → {SONNET} (v2 by olga)",
            f"trainer: the default model → {MINI} (v1 by olga: Cheaper)",
        ]
        assert [change.version for change in latest_changes(1)] == [4]
        url = reverse("admin:agents_agentmodelconfig_changes")
        self.assertContains(self.client.get(url), f"{MINI} → {GLM}")
        self.assertContains(self.client.get(LIST), url)

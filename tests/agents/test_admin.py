"""The page of the overrides: adding, changing, listing."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, TransactionTestCase, override_settings
from django.utils import timezone
from django.utils.html import strip_tags

from agents.models import AGENTS, AgentModelConfig, OnFailure, ResolverProcess
from agents.registry import default_registry
from agents.snapshot import read_snapshot
from tests import canaries
from tests.agents.admin_pages import (
    ADD,
    GLM,
    LIST,
    MINI,
    SONNET,
    AdminTestCase,
    Options,
    operator,
    page_of,
    restore_url,
)
from tests.agents.doubles import choose_model, script
from tests.forms import opened


class AddingTest(AdminTestCase):
    def test_the_choice_offers_the_registered_agents_that_have_no_override(self):
        choose_model("trainer", MINI)

        offered = Options(self.client.get(ADD).content.decode()).values

        names = [agent.name for agent in default_registry() if agent.name != "trainer"]
        assert offered == ["", *names]

    def test_an_override_is_saved_in_the_name_of_who_is_signed_in(self):
        response = self.post(ADD, self.form(agent_name="extraction", set_by="mallory"))

        row = AgentModelConfig.objects.get()
        assert response.status_code == 302
        assert (row.agent_name, row.model_id, row.set_by) == ("extraction", MINI, "olga")
        assert row.history.get().set_by == "olga"
        assert "Applies from the next step." in self.said(response)

    def test_blanks_around_the_model_are_forgiven(self):
        self.post(ADD, self.form(agent_name="extraction", model_id=f"  {MINI}\n"))

        assert AgentModelConfig.objects.get().model_id == MINI

    def test_a_bad_model_is_refused_with_an_example(self):
        for model_id in ("gpt-5", "a/b/c", "", "x" * 300, "<script>alert(1)</script>/b"):
            with self.subTest(model_id):
                response = self.post(ADD, self.form(agent_name="extraction", model_id=model_id))

                assert response.status_code == 200
                errors = response.context["adminform"].form.errors["model_id"]
                assert model_id in ("", "x" * 300) or "anthropic/claude-sonnet-4.5" in errors[0]
                assert b"<script>alert(1)" not in response.content
        assert not AgentModelConfig.objects.exists()

    def test_an_agent_that_does_not_exist_or_is_taken_is_refused(self):
        choose_model("trainer", MINI)
        for agent in ("nobody", "trainer", ""):
            with self.subTest(agent):
                response = self.post(ADD, self.form(agent_name=agent, model_id=GLM))

                assert response.status_code == 200
                assert "agent_name" in response.context["adminform"].form.errors
        assert [row.model_id for row in AgentModelConfig.objects.all()] == [MINI]


class ChangingTest(AdminTestCase):
    def test_a_change_is_saved_in_the_name_of_who_is_signed_in(self):
        row = choose_model("extraction", MINI)
        self.client.force_login(operator("pete", "view", "change"))

        self.post(page_of(row), self.form(model_id=SONNET, on_failure=OnFailure.DEFAULT_MODEL))

        row.refresh_from_db()
        assert (row.model_id, row.on_failure, row.set_by) == (
            SONNET,
            OnFailure.DEFAULT_MODEL,
            "pete",
        )
        assert row.version == 2

    def test_the_agent_of_an_override_cannot_be_changed(self):
        row = choose_model("extraction", MINI)

        self.post(page_of(row), self.form(agent_name="trainer", model_id=GLM))

        row.refresh_from_db()
        assert (row.agent_name, row.model_id) == ("extraction", GLM)

    def test_the_actions_deactivate_and_activate_what_is_selected(self):
        rows = [choose_model("extraction", MINI), choose_model("trainer", GLM)]
        choose_model("memory", SONNET)
        selected = {"_selected_action": [row.pk for row in rows]}

        deactivated = self.post(LIST, {"action": "deactivate", **selected})
        in_force = [row.agent_name for row in AgentModelConfig.objects.get_all_active()]
        activated = self.post(LIST, {"action": "activate", **selected})

        assert in_force == ["memory"]
        assert len(AgentModelConfig.objects.get_all_active()) == 3
        assert "Turned off: extraction, trainer." in self.said(deactivated)
        assert "Turned on: extraction, trainer." in self.said(activated)
        assert [row.history.count() for row in rows] == [3, 3]
        assert rows[0].history.latest().set_by == "olga"

    def test_the_override_of_an_agent_that_is_gone_stays_off_and_the_others_are_turned_on(self):
        rows = [choose_model(name, MINI) for name in ("extraction", "former")]
        AgentModelConfig.objects.deactivate_all("olga")
        AGENTS.discard("former")

        done = self.post(LIST, {"action": "activate", "_selected_action": [row.pk for row in rows]})

        assert [row.agent_name for row in AgentModelConfig.objects.get_all_active()] == [
            "extraction"
        ]
        assert "Turned on: extraction." in self.said(done)
        assert "Not turned on: former. No agent is called 'former'." in self.said(done)

    def test_activating_an_override_keeps_its_model_and_what_happens_on_failure(self):
        row = choose_model("extraction", GLM, on_failure=OnFailure.DEFAULT_MODEL)
        AgentModelConfig.objects.deactivate("extraction")

        self.post(LIST, {"action": "activate", "_selected_action": [row.pk]})

        row.refresh_from_db()
        assert (row.is_active, row.model_id, row.on_failure) == (
            True,
            GLM,
            OnFailure.DEFAULT_MODEL,
        )

    def test_a_change_while_the_cache_is_down_says_when_it_is_in_effect(self):
        row = choose_model("extraction", MINI)
        script.is_down = True

        with self.assertLogs("agents.revision", "WARNING"), self.assertLogs("django", "ERROR"):
            response = self.post(page_of(row), self.form(model_id=SONNET))
            while_down = self.post(LIST, {"action": "deactivate", "_selected_action": [row.pk]})

        row.refresh_from_db()
        assert row.model_id == SONNET
        assert "applies within 60 s" in self.said(response)
        assert "applies within 60 s" in self.said(while_down)

    def test_nothing_can_be_deleted(self):
        row = choose_model("extraction", MINI)
        self.client.force_login(User.objects.create_superuser("root"))
        delete_url = page_of(row, "delete")

        assert delete_url not in self.client.get(page_of(row)).content.decode()
        assert "delete_selected" not in self.client.get(LIST).content.decode()
        assert self.client.get(delete_url).status_code == 403
        assert self.post(delete_url, {"post": "yes"}).status_code == 403
        self.post(LIST, {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"})

        assert AgentModelConfig.objects.filter(pk=row.pk).exists()


class ListTest(AdminTestCase):
    def test_filters_and_search_narrow_the_list(self):
        choose_model("extraction", MINI)
        AgentModelConfig.objects.upsert("trainer", GLM, "pete", on_failure=OnFailure.DEFAULT_MODEL)
        AgentModelConfig.objects.deactivate("extraction", "olga")
        table = [
            ("is_active__exact=1", ["trainer"]),
            ("is_active__exact=0", ["extraction"]),
            ("set_by=pete", ["trainer"]),
            ("on_failure__exact=fail", ["extraction"]),
            ("q=glm", ["trainer"]),
            ("q=extr", ["extraction"]),
            ("q=olga", ["extraction"]),
            ("q=nothing", []),
            ("", ["extraction", "trainer"]),
        ]
        for query, expected in table:
            with self.subTest(query):
                response = self.client.get(f"{LIST}?{query}")

                shown = [row.agent_name for row in response.context["cl"].queryset]
                assert sorted(shown) == expected

    def test_an_override_of_an_agent_that_is_gone_is_marked(self):
        choose_model("oracle", MINI)

        assert "oracle (no longer available)" in self.client.get(LIST).content.decode()

    def test_without_a_shared_key_the_page_says_that_overrides_have_no_effect(self):
        row = choose_model("extraction", MINI)
        for url in (LIST, ADD, page_of(row)):
            with self.subTest(url):
                assert b"no team key" not in self.client.get(url).content
                with override_settings(OPENROUTER_API_KEY=""):
                    assert b"no team key" in self.client.get(url).content

        with override_settings(OPENROUTER_API_KEY=""):
            response = self.post(page_of(row), self.form(model_id=GLM))
            assert "Inactive: no team key." in self.said(response)
            assert b"Inactive: no team key" in self.client.get(LIST).content

    def test_the_page_says_on_how_many_processes_the_last_change_is_in_effect(self):
        choose_model("extraction", MINI)
        assert "No process is running." in self._banner()
        version = read_snapshot().version
        self._reports("bot", version)
        self._reports("worker", version, is_stale=True)
        assert "Live on all processes (2 of 2)" in self._banner()
        self._reports("worker", "v0·0000")

        banner = self._banner()

        assert "Rolling out… 2 of 3" in banner
        assert "worker 2 (can't read changes)" in banner
        assert "worker 3 (still on v0·0000)" in banner

    def test_the_page_never_shows_the_shared_key(self):
        row = choose_model("extraction", MINI)
        for url in (LIST, ADD, page_of(row), page_of(row, "history")):
            with self.subTest(url):
                assert canaries.SHARED_KEY.encode() not in self.client.get(url).content

    def _banner(self) -> str:
        html = self.client.get(LIST).content.decode()
        banner = html[html.index('data-state="overrides"') :]
        return " ".join(strip_tags(banner[banner.index(">") + 1 : banner.index("</p>")]).split())

    def _reports(self, role: str, version: str, *, is_stale: bool = False) -> None:
        number = ResolverProcess.objects.count()
        ResolverProcess.objects.create(
            process_id=f"00000000-0000-4000-8000-00000000000{number}",
            role=role,
            host="here",
            pid=number + 1,
            version=version,
            is_stale=is_stale,
            seen_at=timezone.now(),
        )


@override_settings(OPENROUTER_API_KEY=canaries.SHARED_KEY, SECURE_SSL_REDIRECT=False)
class TwoOperatorsTest(TransactionTestCase):
    def test_of_two_forms_sent_at_once_one_is_refused(self):
        row = choose_model("extraction", MINI)
        people = {"olga": GLM, "pete": SONNET}
        clients = {}
        for name in people:
            clients[name] = Client()
            clients[name].force_login(operator(name, "view", "change"))
        seen = {name: opened(client, page_of(row)) for name, client in clients.items()}
        barrier = threading.Barrier(2)

        def save(name: str) -> int:
            barrier.wait(20)
            try:
                form = {"model_id": people[name], "on_failure": "fail", "is_active": "on"}
                return clients[name].post(page_of(row), seen[name] | form).status_code
            finally:
                connection.close()

        with ThreadPoolExecutor(2) as executor:
            statuses = list(executor.map(save, people))

        entries = list(row.history.order_by("version").values_list("version", "set_by", "model_id"))
        row.refresh_from_db()
        assert sorted(statuses) == [302, 409]
        assert [version for version, _, _ in entries] == [1, 2]
        assert entries[1][1:] in people.items()
        assert (row.set_by, row.model_id) == entries[-1][1:]

    def test_a_form_that_somebody_overtook_is_refused_and_says_by_whom(self):
        row = choose_model("extraction", MINI)
        client = Client()
        client.force_login(operator("olga", "view", "change"))
        form = opened(client, page_of(row)) | {"model_id": SONNET, "on_failure": "fail"}
        AgentModelConfig.objects.upsert("extraction", GLM, "pete")

        page = client.post(page_of(row), form)

        said = strip_tags(page.content.decode())
        assert page.status_code == 409
        assert "changed while you had this form open" in said
        assert f"{GLM}" in said[said.index("pete, ") :]
        assert page.context["adminform"].form["model_id"].value() == SONNET
        row.refresh_from_db()
        assert row.model_id == GLM

    def test_activating_what_is_active_counts_no_change(self):
        row = choose_model("extraction", MINI)
        client = Client()
        client.force_login(operator("olga", "view", "change"))

        client.post(LIST, {"action": "activate", "_selected_action": [row.pk]})

        assert row.history.count() == 1

    def test_a_state_out_of_force_comes_back_whole(self):
        row = choose_model("extraction", MINI, on_failure=OnFailure.DEFAULT_MODEL)
        AgentModelConfig.objects.deactivate("extraction", "olga")
        choose_model("extraction", GLM)
        client = Client()
        client.force_login(operator("olga", "view", "change"))

        client.post(restore_url(row, 2))

        row.refresh_from_db()
        assert (row.model_id, row.is_active, row.on_failure) == (MINI, False, "default_model")

    def test_a_state_that_could_not_be_set_by_hand_is_not_restored(self):
        row = choose_model("extraction", MINI)
        row.history.update(model_id="no model id")
        choose_model("extraction", GLM)
        client = Client()
        client.force_login(operator("olga", "view", "change"))

        answer = client.post(restore_url(row, 1), follow=True)

        assert "Enter an OpenRouter model ID" in answer.content.decode()
        row.refresh_from_db()
        assert row.model_id == GLM

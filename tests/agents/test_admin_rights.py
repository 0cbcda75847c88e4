"""History with undo, and who may do what on the page of the overrides."""

from __future__ import annotations

from django.test import Client
from django.urls import reverse

from agents.models import AgentModelConfig, OnFailure
from tests.agents.admin_pages import (
    ADD,
    GLM,
    LIST,
    MINI,
    SONNET,
    AdminTestCase,
    operator,
    page_of,
    restore_url,
    state,
)
from tests.agents.doubles import change_by_sql, choose_model


class HistoryTest(AdminTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.row = choose_model("extraction", MINI)
        AgentModelConfig.objects.upsert(
            "extraction", GLM, "pete", on_failure=OnFailure.DEFAULT_MODEL
        )
        AgentModelConfig.objects.deactivate("extraction", "olga")

    def test_it_shows_who_set_what_newest_first(self):
        page = self.client.get(page_of(self.row, "history")).content.decode()

        places = [page.index(f"<strong>v{version}</strong>") for version in (3, 2, 1)]
        assert places == sorted(places)
        assert f"off ({GLM})" in page
        assert "pete" in page
        assert MINI in page

    def test_restoring_brings_a_former_state_back_as_a_new_change(self):
        response = self.post(restore_url(self.row, 2))

        self.row.refresh_from_db()
        assert response.status_code == 302
        assert (self.row.model_id, self.row.on_failure, self.row.is_active) == (
            GLM,
            OnFailure.DEFAULT_MODEL,
            True,
        )
        assert (self.row.set_by, self.row.version) == ("olga", 4)
        assert "Restored v2. Applies from the next step." in self.said(response)

    def test_restoring_a_deactivated_state_deactivates(self):
        choose_model("extraction", SONNET)

        self.post(restore_url(self.row, 3))

        self.row.refresh_from_db()
        assert self.row.is_active is False

    def test_restoring_needs_a_post_and_the_right_to_change(self):
        url = restore_url(self.row, 1)
        before = state()

        assert self.client.get(url).status_code in {403, 405}
        self.client.force_login(self.viewer)
        assert self.post(url).status_code == 403
        self.client.logout()
        assert self.post(url).status_code == 302  # to the sign-in page

        assert state() == before

    def test_another_overrides_entry_cannot_be_restored_here(self):
        other = choose_model("trainer", SONNET)
        entry = other.history.get()
        url = reverse("admin:agents_agentmodelconfig_restore", args=[self.row.pk, entry.history_id])

        assert self.post(url).status_code == 404

    def test_what_does_not_exist_is_not_found(self):
        for key in ("999999", "abc", "1_2F", "9" * 40):
            with self.subTest(key):
                history = reverse("admin:agents_agentmodelconfig_history", args=[key])
                restore = reverse("admin:agents_agentmodelconfig_restore", args=[key, 1])

                assert self.client.get(history).status_code == 404
                assert self.post(restore).status_code == 404

    def test_a_change_by_sql_leaves_the_history_readable(self):
        change_by_sql("extraction", "a/b")

        assert self.client.get(page_of(self.row, "history")).status_code == 200

    def test_names_are_shown_as_text(self):
        AgentModelConfig.objects.upsert("extraction", MINI, "<b>olga</b>")

        for url in (LIST, page_of(self.row), page_of(self.row, "history")):
            with self.subTest(url):
                assert b"<b>olga</b>" not in self.client.get(url).content


class RightsTest(AdminTestCase):
    def test_who_may_only_view_sees_everything_and_changes_nothing(self):
        row = choose_model("extraction", MINI)
        choose_model("extraction", GLM)
        before = state()
        self.client.force_login(self.viewer)

        for url in (LIST, page_of(row), page_of(row, "history")):
            with self.subTest(url):
                response = self.client.get(url)
                assert response.status_code == 200
                assert b"Restore v" not in response.content
        assert self.client.get(ADD).status_code == 403
        posts: list[tuple[str, dict[str, object]]] = [
            (ADD, self.form(agent_name="trainer")),
            (page_of(row), self.form(model_id=SONNET)),
            (LIST, {"action": "deactivate", "_selected_action": [row.pk]}),
            (LIST, {"action": "activate", "_selected_action": [row.pk]}),
            (restore_url(row, 1), {}),
            (page_of(row, "delete"), {"post": "yes"}),
        ]
        for url, data in posts:
            with self.subTest(url, data=data):
                self.post(url, data)

        assert state() == before

    def test_a_person_without_rights_or_signed_out_sees_nothing(self):
        row = choose_model("extraction", MINI)
        for user, status in ((operator("nina"), 403), (None, 302)):
            for url in (LIST, ADD, page_of(row), page_of(row, "history")):
                with self.subTest(url, user=user):
                    self.client.logout()
                    if user:
                        self.client.force_login(user)

                    assert self.client.get(url).status_code == status

    def test_a_get_changes_nothing(self):
        row = choose_model("extraction", MINI)
        choose_model("extraction", GLM)
        before = state()
        query = f"?action=deactivate&_selected_action={row.pk}&model_id={SONNET}&is_active="

        for url in (LIST, ADD, page_of(row), page_of(row, "history"), restore_url(row, 1)):
            for method in (self.client.get, self.client.head):
                with self.subTest(url), self.captureOnCommitCallbacks() as announced:
                    method(url + query)
                    assert announced == []

        assert state() == before

    def test_a_form_without_its_csrf_token_is_refused(self):
        row = choose_model("extraction", MINI)
        choose_model("extraction", GLM)
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(self.olga)
        before = state()

        for url in (ADD, page_of(row), LIST, restore_url(row, 1)):
            with self.subTest(url):
                assert self.post(url, self.form(), strict).status_code == 403

        assert state() == before

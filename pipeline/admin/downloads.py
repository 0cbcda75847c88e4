"""CSV and JSON downloads for operators, streamed so that any number of rows fits in memory.

Rows are read as they are sent, so a million need no more memory than a few. The files contain what
members and models wrote, so a file is never shown as a page, and no cell can run as a formula.
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
# Characters with which a formula starts in spreadsheets, also in full width, and line ends and tabs
# that may precede them: https://owasp.org/www-community/attacks/CSV_Injection
FORMULA_STARTS = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")

BYTE_ORDER_MARK = "\ufeff"  # without it, Excel reads the file in the machine's own code page

Cell = str | int | float | bool | Decimal | date | datetime | None


class Download(StreamingHttpResponse):
    """A file that is generated while it is sent, by both WSGI and ASGI servers.

    Without `__aiter__`, Django would read the whole iterator into memory before an ASGI server
    sends the first byte.
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

    A text that a spreadsheet would run as a formula is prefixed with an apostrophe.
    """
    lines = chain([BYTE_ORDER_MARK], _csv_lines(header, rows))
    return Download(file_name, "text/csv; charset=utf-8", _chunks(lines))


def json_response(file_name: str, items: Iterable[Any]) -> StreamingHttpResponse:
    """Return items as a JSON array, or one per line if the file's name ends in `.jsonl`."""
    if file_name.endswith(".jsonl"):
        lines = (f"{_json(item)}\n" for item in items)
        return Download(file_name, "application/jsonl; charset=utf-8", _chunks(lines))
    return Download(file_name, "application/json", _chunks(_json_array(items)))


def safe_cell(value: Cell) -> str:
    """Return a value as cell text, escaped so that spreadsheets do not evaluate it as a formula."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return f"{value:f}"  # no exponent: some programs would read it as text
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, date):
        return value.isoformat()
    text = str(value)  # the value may be any object, such as a member
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def _csv_lines(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Iterator[str]:
    buffer = io.StringIO()
    # Quote all cells: where the separator is a semicolon, one within a text must not end its cell.
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
    """Join the pieces into larger chunks, because one packet per row would be slow."""
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

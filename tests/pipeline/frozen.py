"""A database's rows as they can be compared between two runs of the same story.

Tables and columns are read by their names in the database, so that renaming what they are called in
Python changes nothing here. Ids become labels that say which row of its table is meant; times,
durations and what is made at random become words that say so.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection

Row = dict[str, Any]
Rows = dict[str, list[Row]]

TEXTS = "pipeline_prompttext"
# The tables in such an order that a row's key may hold labels of the tables above it.
KEYS: dict[str, Sequence[str]] = {
    TEXTS: ("text",),
    "agent_model_config": ("agent_name",),
    "agents_historicalagentmodelconfig": ("history_id",),
    "agents_overrideversion": ("id",),
    "pipeline_scenario": ("title",),
    "pipeline_member": ("telegram_id",),
    "pipeline_telegramupdate": ("id",),
    "pipeline_pipelinerun": ("started_at",),
    "pipeline_steprun": ("run_id", "position", "attempt"),
    "pipeline_llmcall": ("step_id", "number"),
    "pipeline_task": ("update_id", "run_id", "step_id", "kind"),
    "pipeline_outgoingmessage": ("update_id", "number"),
    "pipeline_fact": ("member_id", "kind", "text"),
    "pipeline_exercise": ("asked_at",),
}
TIMED = re.compile(r"_at$|_date$|_until$|_ms$|^asked_after$")
RANDOM = {"attempt_token", "token", "worker", "key_ciphertext", "key_fingerprint", "generation_id"}
# Message ids depend on when a placeholder was sent. The wording of messages may change.
NOT_COMPARED = {
    "pipeline_outgoingmessage": {"message_id", "sent_after", "text", "entities", "buttons"},
    "pipeline_telegramupdate": {"raw", "update_id"},
    "agents_historicalagentmodelconfig": {"id"},  # of the row that it is the history of
}
WORDS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}"), "<id>"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?:\+00:00| ?UTC)?"), "<time>"),
    (re.compile(r"\d+(?:\.\d+)? s old"), "<age> old"),
    (re.compile(r"incident=?\s?[0-9a-f]{8}"), "incident <id>"),
    (re.compile(r"127\.0\.0\.1:\d+"), "<host>"),
    (re.compile(r"\bkey …?\w{4,8}\b"), "key <fingerprint>"),
)


def rows() -> Rows:
    """Return the rows of each table, in their order, with what differs from run to run left out."""
    labels: dict[tuple[str, Any], str] = {}
    found: Rows = {}
    with connection.cursor() as cursor:
        known = set(connection.introspection.table_names(cursor))
        assert set(KEYS) <= known
        for table, keys in KEYS.items():
            relations = connection.introspection.get_relations(cursor, table)
            (own,) = connection.introspection.get_primary_key_columns(cursor, table) or [""]
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            columns = [column[0] for column in cursor.description]
            raw = [dict(zip(columns, values, strict=True)) for values in cursor.fetchall()]
            read = [(one, _comparable(table, one, own, relations, labels)) for one in raw]
            read.sort(key=_sorted_by(keys, relations, labels))
            for number, (one, _) in enumerate(read, start=1):
                labels[table, str(one[own])] = f"{table} {number}"
            if table == TEXTS:
                for one, _ in read:
                    labels[table, str(one[own])] = f"text {_digest(_words(one['text']))}"
            found[table] = [row for _, row in read]
            for one, row in read:
                row |= _of_their_own_table(table, one, relations, labels)
    return json.loads(json.dumps(found, sort_keys=True, default=str))  # type: ignore[no-any-return]


def differences(stored: Rows, now: Rows) -> list[str]:
    """Return where a stored value is another one now; what is new is no difference."""
    said = []
    for table, before in stored.items():
        after = now.get(table, [])
        if table == TEXTS:
            missing = {row["text"] for row in before} - {row["text"] for row in after}
            said += [f"{table}: no more {text[:200]!r}" for text in sorted(missing)]
            continue
        if len(before) != len(after):
            said.append(f"{table}: {len(before)} rows were stored, {len(after)} are there")
        said += [
            f"{table} {number}: {column} was {value!r}, is {new.get(column)!r}"
            for number, (old, new) in enumerate(zip(before, after, strict=False), start=1)
            for column, value in old.items()
            if column not in new or new[column] != value
        ]
    return said


def _comparable(
    table: str, one: Row, own: str, relations: Any, labels: dict[tuple[str, Any], str]
) -> Row:
    row = {}
    for column, value in one.items():
        if column == own or column in NOT_COMPARED.get(table, ()):
            continue
        if column in relations and relations[column][1] != table:
            row[column] = _label(relations[column][1], value, labels)
        elif column not in relations:
            row[column] = _value(column, value)
    return row


def _of_their_own_table(
    table: str, one: Row, relations: Any, labels: dict[tuple[str, Any], str]
) -> Row:
    own = [column for column, relation in relations.items() if relation[1] == table]
    return {column: _label(table, one[column], labels) for column in own}


def _label(table: str, value: Any, labels: dict[tuple[str, Any], str]) -> str | None:
    return None if value is None else labels.get((table, str(value)), f"a row of {table}")


def _value(column: str, value: Any) -> Any:
    if value is None or value == "":
        return value
    if TIMED.search(column):
        return "<time>"
    if column in RANDOM:
        return "<random>"
    if isinstance(value, bool | int | float | Decimal):  # SQLite has fewer kinds of numbers
        return f"{round(Decimal(str(value * 1)), 9).normalize():f}"
    if column != "text" and str(value)[0] in "[{":  # JSON, whose keys PostgreSQL sorts
        with suppress(ValueError):
            return json.loads(_words(str(value)))
    return _words(value) if isinstance(value, str) else value


def _words(text: str) -> str:
    for pattern, instead in WORDS:
        text = pattern.sub(instead, text)
    return text


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _sorted_by(
    keys: Sequence[str], relations: Any, labels: dict[tuple[str, Any], str]
) -> Callable[[tuple[Row, Row]], tuple[Any, ...]]:
    def key(both: tuple[Row, Row]) -> tuple[Any, ...]:
        parts: list[Any] = []
        for column in keys:
            value = both[0][column]
            if column in relations:
                label = _label(relations[column][1], value, labels) or "0"
                parts.append(int(label.rpartition(" ")[2]))
            elif isinstance(value, datetime):
                parts.append(value.isoformat())
            else:
                parts.append(value)
        return tuple(parts)

    return key

"""All active overrides at one moment, frozen, with a version; read from the table in one query."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, TypeVar

from django.db import Error as DatabaseError
from django.db import connections
from django.db.utils import load_backend

from agents.models import AgentModelConfig, OverrideVersion

T = TypeVar("T")

# Counter and rows in one statement: two would see two states when a save comes between. The
# counter's row is missing only in a database that never saw a change, or was changed by SQL.
# A row that differs from the newest entry of its history was written by SQL or `loaddata`, which
# leave none; so was one that is gone although the newest entry about its agent has it in force.
_TABLE, _HISTORY = AgentModelConfig._meta.db_table, AgentModelConfig.history.model._meta.db_table
_CONTENT = (
    *("agent_name", "model_id", "is_active", "on_failure", "set_by", "version", "updated_at"),
)
_COLUMNS = ", ".join(("id", *_CONTENT))
_READ_SQL = f"""
    SELECT c.*, v.counter, h.history_id IS NULL AS is_outside
    FROM (SELECT COALESCE(
        (SELECT n FROM {OverrideVersion._meta.db_table} WHERE id = 1), 0) AS counter) v
    LEFT JOIN (
        SELECT {_COLUMNS}, 0 AS is_gone FROM {_TABLE} WHERE is_active
        UNION ALL
        SELECT {_COLUMNS}, 1 AS is_gone FROM {_HISTORY} AS said
        WHERE history_id IN (SELECT MAX(history_id) FROM {_HISTORY} GROUP BY agent_name)
        AND is_active AND history_type <> '-'
        AND NOT EXISTS (
            SELECT 1 FROM {_TABLE} AS kept
            WHERE kept.agent_name = said.agent_name AND kept.is_active)
    ) c ON 1 = 1
    LEFT JOIN {_HISTORY} h
        ON h.history_id = (SELECT MAX(newest.history_id) FROM {_HISTORY} newest WHERE newest.id = c.id)
        AND {" AND ".join(f"h.{name} = c.{name}" for name in _CONTENT)}
    ORDER BY c.agent_name
"""  # noqa: E501, S608 - table names of our own models


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """An operator's choice for one agent, as the resolver hands it out."""

    agent_name: str
    model_id: str
    on_failure: str
    set_by: str
    set_at: datetime
    version: int  # of the change that set it
    is_outside: bool = False  # changed outside the admin, so its own words prove nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Every active override."""

    overrides: Mapping[str, Override]
    version: str  # counter and digest, e.g. "v41·3fa9"
    removed_outside: frozenset[str] = frozenset()  # agents; their override went outside the admin


def read_snapshot() -> Snapshot:
    """Read the table.

    Raises:
        django.db.Error: the database does not answer.
    """
    rows: list[Any] = list(AgentModelConfig.objects.raw(_READ_SQL))
    overrides = [
        Override(
            agent_name=row.agent_name,
            model_id=row.model_id,
            on_failure=row.on_failure,
            set_by=row.set_by,
            set_at=row.updated_at,
            version=row.version,
            is_outside=bool(row.is_outside),
        )
        for row in rows
        # The join yields one empty row when no override is active.
        if row.pk is not None and not row.is_gone
    ]
    return Snapshot(
        overrides=MappingProxyType({override.agent_name: override for override in overrides}),
        version=f"v{rows[0].counter}·{_digest(overrides)}",
        removed_outside=frozenset(row.agent_name for row in rows if row.is_gone),
    )


def over_own_connection(read: Callable[[], T]) -> T:
    """Read in the resolver's thread, on a new connection should the open one be dead.

    The database may have restarted since the last query, in an idle process hours ago: that is
    no outage, and the answer must not be what was known then. Raises as `read` does.
    """
    was_open = connections["default"].connection is not None
    try:
        return read()
    except DatabaseError:
        close_connection()
        if not was_open:
            raise
    return read()


def use_own_connection() -> None:
    """Give this thread a database connection with short timeouts, outside any pool.

    Look-ups wait for this thread: it must find out within two seconds that a database is down.
    """
    config = copy.deepcopy(connections.settings["default"])
    options = config["OPTIONS"]
    if config["ENGINE"] == "django.db.backends.sqlite3":
        options["timeout"] = 1
    else:
        options.pop("pool", None)
        options["connect_timeout"] = 2
        options["tcp_user_timeout"] = 3000  # ms; else a vanished host holds a query for minutes
        # Added, for the last of equal names counts: a search_path of the operator's stays.
        given = options.get("options", "")
        options["options"] = f"{given} -c statement_timeout=2000 -c lock_timeout=1000".strip()
    connections["default"] = load_backend(config["ENGINE"]).DatabaseWrapper(config, "default")


def close_connection() -> None:
    """Close this thread's connection; the next query opens it anew."""
    connections["default"].close()


def _digest(overrides: Iterable[Override]) -> str:
    """Four hex digits of what is in force: the counter alone does not see direct SQL."""
    content = json.dumps([[o.agent_name, o.model_id, o.on_failure] for o in overrides])
    return hashlib.sha256(content.encode()).hexdigest()[:4]

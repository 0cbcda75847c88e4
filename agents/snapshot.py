"""Immutable snapshot of all active overrides, with a version; read in a single query."""

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

# Counter and rows are read in one statement, because a save between two statements would make them
# inconsistent. The counter's row is missing only if the overrides never changed, or were changed by
# SQL. SQL and `loaddata` write no history. So a row was changed outside the admin if it differs
# from its newest history entry, or if it is gone although the newest entry for its agent is active.
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
    """An operator's choice of a model for one agent, as returned by the resolver."""

    agent_name: str
    model_id: str
    on_failure: str
    set_by: str
    set_at: datetime
    version: int  # of the change that set it
    is_outside: bool = False  # changed outside the admin: set_by, set_at, version may be wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All active overrides at one moment."""

    overrides: Mapping[str, Override]  # by agent name
    version: str  # counter and digest, e.g. "v41·3fa9"
    removed_outside: frozenset[str] = frozenset()  # agents; overrides removed outside the admin


def read_snapshot() -> Snapshot:
    """Read all active overrides from the database.

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
    """Call `read` in the resolver's thread; if the open connection fails, retry once on a new one.

    The database may have restarted since the last query, which in an idle process may be hours ago.
    That is no outage, and an outdated answer would be wrong. Raises as `read` does.
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
    """Give this thread its own database connection, with short timeouts and outside any pool.

    Look-ups wait for this thread, so it must notice within two seconds that the database is down.
    """
    config = copy.deepcopy(connections.settings["default"])
    options = config["OPTIONS"]
    if config["ENGINE"] == "django.db.backends.sqlite3":
        options["timeout"] = 1
    else:
        options.pop("pool", None)
        options["connect_timeout"] = 2
        options["tcp_user_timeout"] = 3000  # ms; otherwise a vanished host blocks for minutes
        # Appended, because the last of equal options counts. The operator's other options, such as
        # a search_path, stay.
        given = options.get("options", "")
        options["options"] = f"{given} -c statement_timeout=2000 -c lock_timeout=1000".strip()
    connections["default"] = load_backend(config["ENGINE"]).DatabaseWrapper(config, "default")


def close_connection() -> None:
    """Close this thread's connection; the next query opens a new one."""
    connections["default"].close()


def _digest(overrides: Iterable[Override]) -> str:
    """Return a digest of the overrides, four hex digits.

    It also changes with direct SQL, unlike the counter.
    """
    content = json.dumps([[o.agent_name, o.model_id, o.on_failure] for o in overrides])
    return hashlib.sha256(content.encode()).hexdigest()[:4]

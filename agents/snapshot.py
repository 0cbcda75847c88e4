"""All active overrides at one moment, frozen, with a version; read from the table in one query."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from django.db import Error as DatabaseError
from django.db import connections
from django.db.utils import load_backend

from agents.models import AgentModelConfig, OverrideVersion

# Counter and rows in one statement: two would see two states when a save comes between. The
# counter's row is missing only in a database that never saw a change, or was changed by SQL.
_READ_SQL = f"""
    SELECT c.*, v.counter
    FROM (SELECT COALESCE(
        (SELECT n FROM {OverrideVersion._meta.db_table} WHERE id = 1), 0) AS counter) v
    LEFT JOIN {AgentModelConfig._meta.db_table} c ON c.is_active
    ORDER BY c.agent_name
"""  # noqa: S608 - table names of our own models


class NotASnapshot(Exception):
    """What lies in the cache cannot be read as a snapshot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """An operator's choice for one agent, as the resolver hands it out."""

    agent_name: str
    model_id: str
    on_failure: str
    set_by: str
    set_at: datetime
    version: int  # of the change that set it


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Every active override, and when the database was asked."""

    overrides: Mapping[str, Override]
    version: str  # counter and digest, e.g. "v41·3fa9"
    queried_at: float  # seconds since the epoch

    def to_payload(self) -> str:
        """Return the snapshot as the text that lies in the cache."""
        rows = [
            {**asdict(override), "set_at": override.set_at.isoformat()}
            for override in self.overrides.values()
        ]
        return json.dumps({"version": self.version, "queried_at": self.queried_at, "rows": rows})

    @classmethod
    def from_payload(cls, payload: object) -> Snapshot:
        """Return the snapshot that `to_payload` wrote.

        Raises:
            NotASnapshot: the payload is absent or somebody else's.
        """
        if not isinstance(payload, str):
            raise NotASnapshot
        try:
            content = json.loads(payload)
            overrides = [
                Override(**{**row, "set_at": datetime.fromisoformat(row["set_at"])})
                for row in content["rows"]
            ]
            return cls(
                overrides=_by_agent(overrides),
                version=str(content["version"]),
                queried_at=float(content["queried_at"]),
            )
        # The last two: brackets 100,000 deep, and a number of 400 digits.
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
            raise NotASnapshot from error


def read_snapshot(queried_at: float) -> Snapshot:
    """Read the table; `queried_at` is the time before the query, in seconds since the epoch.

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
        )
        for row in rows
        if row.pk is not None  # the join yields one empty row when no override is active
    ]
    return Snapshot(
        overrides=_by_agent(overrides),
        version=f"v{rows[0].counter}·{_digest(overrides)}",
        queried_at=queried_at,
    )


def read_over_own_connection(queried_at: float) -> Snapshot:
    """Read the table in the resolver's thread, on a new connection should the open one be dead.

    The database may have restarted since the last query, in an idle process hours ago: that is
    no outage, and the answer must not be what was known then. Raises as `read_snapshot`.
    """
    was_open = connections["default"].connection is not None
    try:
        return read_snapshot(queried_at)
    except DatabaseError:
        close_connection()
        if not was_open:
            raise
    return read_snapshot(queried_at)


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


def _by_agent(overrides: Iterable[Override]) -> Mapping[str, Override]:
    return MappingProxyType({override.agent_name: override for override in overrides})


def _digest(overrides: Iterable[Override]) -> str:
    """Four hex digits of what is in force: the counter alone does not see direct SQL."""
    content = json.dumps([[o.agent_name, o.model_id, o.on_failure] for o in overrides])
    return hashlib.sha256(content.encode()).hexdigest()[:4]

"""A clock that the test moves, a cache and a database that break on demand, and what they saw.

The cache is a real Django backend put in by settings; the database is the real one, seen through
an execute wrapper on the resolver's own connection. Nothing of the resolver is replaced.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from django.core.cache.backends.locmem import LocMemCache
from django.db import OperationalError, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.test import TransactionTestCase, override_settings

from agents.database_identity import read_identity
from agents.model_config import ModelConfigService
from agents.models import AgentModelConfig
from tests import canaries
from tests.made_up_agents import ANYWAY, made_up

T = TypeVar("T")

RESOLVER_THREAD = "overrides"
KEY, KEY_BEFORE_1_1 = "revision:", "1:revision"  # the identity of the database follows the first
# With the overrides a resolver reads the database's identity, which is no query of this table.
TABLE = "agent_model_config"


class Clock:
    """Monotonic time, which stands still until the test moves it."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def tick(self, seconds: float) -> None:
        self.now += seconds


class ScriptedCache(LocMemCache):
    """A cache in memory that counts, fails and calls back as `script` says."""

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        script.on_call("get", key)
        return super().get(key, default, version)

    def set(self, key: Any, value: Any, *args: Any, **kwargs: Any) -> None:
        script.on_call("set", key)
        super().set(key, value, *args, **kwargs)


class CacheScript:
    """What the cache is to do, and which calls it has had."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.is_down = False
        self.calls: list[tuple[str, str]] = []
        self.before: dict[tuple[str, str], Callable[[], object]] = {}

    def once_before(self, call: str, key: str, act: Callable[[], object]) -> None:
        """Call `act` before the next such call of a key that begins so."""
        self.before[call, key] = act

    def on_call(self, call: str, key: str) -> None:
        self.calls.append((call, key))
        for awaited in list(self.before):
            if call == awaited[0] and key.startswith(awaited[1]):
                self.before.pop(awaited)()
        if self.is_down:
            raise ConnectionRefusedError("the test has taken the cache down")


script = CacheScript()


class ResolverDatabase:
    """Counts the queries of the table over the resolver's own connection, and breaks it."""

    def __init__(self) -> None:
        self.is_down = False
        self.fail_once = False
        self.before_query: Callable[[], object] = lambda: None
        self.once_after_query: Callable[[], object] | None = None
        self.queries = 0

    def watch(self, connection: BaseDatabaseWrapper, **_: Any) -> None:
        is_resolvers = threading.current_thread().name.startswith(RESOLVER_THREAD)
        if is_resolvers and self._execute not in connection.execute_wrappers:
            connection.execute_wrappers.append(self._execute)

    def _execute(self, execute: Callable[..., T], sql: str, *args: Any) -> T:
        if TABLE in sql:
            self.queries += 1
            self.before_query()
        fails, self.fail_once = self.is_down or self.fail_once, False
        if fails:
            raise OperationalError("the test has taken the database down")
        result = execute(sql, *args)
        if TABLE in sql:
            act, self.once_after_query = self.once_after_query, None
            if act:
                act()
        return result


@override_settings(
    CACHES={
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
        "overrides": {"BACKEND": "tests.agents.doubles.ScriptedCache", "LOCATION": "overrides"},
    }
)
class ResolverTestCase(TransactionTestCase):
    """A test whose resolvers run on a clock, a cache and a database that it can break.

    TransactionTestCase, because a resolver reads over a connection of its own.
    """

    def setUp(self) -> None:
        script.reset()
        self.clock = Clock()
        self.cache = script
        self.database = ResolverDatabase()
        connection_created.connect(self.database.watch)
        self.addCleanup(connection_created.disconnect, self.database.watch)
        self.service = self.new_service()
        self.key = KEY + read_identity()  # of the token

    def new_service(self, **options: Any) -> ModelConfigService:
        """Return a resolver as another process would have it, closed when the test ends."""
        service = ModelConfigService(
            options.pop("shared_key", canaries.SHARED_KEY),
            clock=lambda: self.clock.now,
            **options,
        )
        self.addCleanup(service.close)
        return service

    def trips(self) -> tuple[int, int]:
        """Return how often the database and the cache were asked since the last call."""
        asked = self.database.queries, len(self.cache.calls)
        self.database.queries, self.cache.calls = 0, []
        return asked


def choose_model(agent_name: str, model_id: str, **options: Any) -> AgentModelConfig:
    return AgentModelConfig.objects.upsert(
        made_up(agent_name), model_id, "olga", **ANYWAY | options
    )


def change_by_sql(agent_name: str, model_id: str) -> None:
    """Change a row as an operator at the database's prompt would."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE agent_model_config SET model_id = %s WHERE agent_name = %s",
            [model_id, agent_name],
        )


def in_other_thread(act: Callable[[], T]) -> T:
    """Do it over another database connection, and wait for it."""

    def act_and_close() -> T:
        try:
            return act()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1, thread_name_prefix="test") as executor:
        return executor.submit(act_and_close).result(timeout=60)

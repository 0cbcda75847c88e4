"""How long it takes to look an override up, and until a change is in effect in another process.

The resolver watches, as in the bot: its thread looks at the cache every 50 ms, or is notified by
PostgreSQL. Hot look-ups follow each other at once; those "60 ms apart" come as steps ask, and the
median includes what waking up costs. Cold is the first look-up of a process that has never seen the
overrides. A change counts from when its saving came back until another process that asks every
millisecond has seen it.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from contextlib import ExitStack

from bench.contest import Contender, Result, Started, ours, peer, results_of, running
from bench.machine import ROUNDS, sized
from bench.table import Column, show
from tests.servers import postgres, redis_server

CHANGES = sized(20, 2)  # a round
LOOK_UPS = (
    Column(kind="us", heading="hot, µs", digits=2, ratio_to="a dict"),
    Column(kind="apart_us", heading="60 ms apart, µs", digits=1),
    Column(kind="cold_us", heading="cold, µs"),
)
EFFECTS = (
    Column(kind="p50_ms", heading="in effect after, p50 ms", digits=1),
    Column(kind="worst_ms", heading="worst ms", digits=1),
)


def main() -> None:
    """Measure and print."""
    with (
        redis_server() as redis,
        postgres() as database,
        tempfile.TemporaryDirectory(prefix="observatory-bench-") as folder,
    ):
        looking = _looking(folder, redis.url)
        show("One look-up of an override", results_of(looking), LOOK_UPS)
        pairs = _pairs(folder, redis.url, database.url)
        show("A change, seen by another process", [_effect_of(*pair) for pair in pairs], EFFECTS)


def _looking(folder: str, redis_url: str) -> list[Contender]:
    file_url = f"file://{folder}/looking"
    return [
        ours("a dict", "lookups", "dict"),
        ours("the resolver, file cache", "lookups", "resolver", CACHE_URL=file_url),
        ours("the resolver, Redis", "lookups", "resolver", CACHE_URL=redis_url),
        ours("cache.get, file", "lookups", "cache", CACHE_URL=file_url),
        ours("cache.get, Redis", "lookups", "cache", CACHE_URL=redis_url),
        peer("django-waffle, memory", "with_waffle", "look", ".", "locmem:"),
        peer("django-waffle, Redis", "with_waffle", "look", ".", redis_url),
        peer("django-constance, memory", "with_constance", "look", ".", *_memory(redis_url)),
        peer("django-constance, Redis", "with_constance", "look", ".", *_redis(redis_url)),
        peer("django-constance, database", "with_constance", "look", ".", *_table(redis_url)),
    ]


def _pairs(folder: str, redis_url: str, postgresql: str) -> list[tuple[Contender, Contender]]:
    """Return who saves and who watches. What is in a process's memory nobody else ever sees."""

    def resolvers(name: str, cache_url: str, database: str = "") -> tuple[Contender, Contender]:
        shared = {
            "CACHE_URL": cache_url,
            "DATABASE_URL": database or f"sqlite:///{folder}/{name}.sqlite3",
        }
        name = f"the resolver, {name}"
        return ours(name, "lookups", "save", **shared), ours(name, "lookups", "watch", **shared)

    def peers(name: str, *arguments: str) -> tuple[Contender, Contender]:
        script, *rest = arguments
        return peer(name, script, "save", folder, *rest), peer(name, script, "watch", folder, *rest)

    return [
        resolvers("file cache", f"file://{folder}/effects"),
        resolvers("Redis", redis_url.replace("/0", "/1")),
        resolvers("PostgreSQL and Redis", redis_url.replace("/0", "/2"), postgresql),
        peers("django-waffle, Redis", "with_waffle", redis_url),
        peers("django-constance, Redis", "with_constance", *_redis(redis_url)),
        peers("django-constance, database", "with_constance", *_table(redis_url)),
    ]


def _memory(redis_url: str) -> tuple[str, str]:
    return "memory.MemoryBackend", redis_url


def _redis(redis_url: str) -> tuple[str, str]:
    return "redisd.RedisBackend", redis_url


def _table(redis_url: str) -> tuple[str, str]:
    return "database.DatabaseBackend", redis_url


def _effect_of(saving: Contender, watching: Contender) -> Result:
    result = Result(saving.name)
    if not saving.is_installed:
        result.missing = "not installed: make peers"
        return result
    with ExitStack() as stack:
        saver = stack.enter_context(running(saving))
        result.versions = saver.hear()["versions"]
        saver.ask("before")
        watcher = stack.enter_context(running(watching))
        watcher.hear()
        for number in range(ROUNDS):
            took_ms = [_took_ms(saver, watcher, f"{number}-{n}") for n in range(CHANGES)]
            result.figures.setdefault("p50_ms", []).append(statistics.median(took_ms))
            result.figures.setdefault("worst_ms", []).append(max(took_ms))
    return result


def _took_ms(saver: Started, watcher: Started, word: str) -> float:
    time.sleep(random.uniform(0.1, 0.2))  # at no fixed distance from the resolver's own looks
    saved_at = saver.ask(word)["at"]
    return max(0.0, (watcher.hear()["at"] - saved_at) * 1000)

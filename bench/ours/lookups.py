"""One look-up of an override: in a dict, by the resolver, and in Django's cache."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time

from django.core.cache import cache
from django.core.management import call_command

from agents.model_config import ModelConfigService, service_from_settings
from agents.models import AgentModelConfig
from bench.machine import sized
from bench.peers.laps import Figures, each_us, serve, serve_saving, serve_watching

AGENT, MODEL = "strategist", "anthropic/claude-sonnet-4.5"
LOOKUPS = sized(100_000, 1_000)
SLOW_LOOKUPS = sized(2_000, 100)  # each reads a file or asks a server
COLD_LOOKUPS = sized(20, 2)
APART_S, LOOKUPS_APART = 0.06, sized(50, 5)  # as steps ask: more than a look at the cache apart


def main() -> None:
    """Take part as what the command line says."""
    {
        "dict": _in_a_dict,
        "cache": _in_the_cache,
        "resolver": _by_the_resolver,
        "watch": _watch,
        "save": _save,
    }[sys.argv[2]]()


def _in_a_dict() -> None:
    known = {AGENT: MODEL}
    serve(lambda: {"us": each_us(lambda: known.get(AGENT), LOOKUPS)}, "Django")


def _in_the_cache() -> None:
    cache.set(AGENT, MODEL, timeout=None)
    serve(lambda: {"us": each_us(lambda: cache.get(AGENT), SLOW_LOOKUPS)}, "Django")


def _by_the_resolver() -> None:
    call_command("migrate", verbosity=0)
    AgentModelConfig.objects.upsert(AGENT, MODEL, "bench")
    service = service_from_settings()
    service.watch()
    serve(lambda: asyncio.run(_looked_up(service)), "Django")
    service.close()


async def _looked_up(service: ModelConfigService) -> Figures:
    get_override = service.get_override
    await get_override(AGENT)  # the first one reads the table
    began = time.perf_counter()
    for _ in range(LOOKUPS):
        await get_override(AGENT)
    hot_us = (time.perf_counter() - began) / LOOKUPS * 1e6
    apart_us = []
    for _ in range(LOOKUPS_APART):
        await asyncio.sleep(APART_S)
        began = time.perf_counter()
        await get_override(AGENT)
        apart_us.append((time.perf_counter() - began) * 1e6)
    cold_us = 0.0
    for _ in range(COLD_LOOKUPS):
        fresh = service_from_settings()
        began = time.perf_counter()
        await fresh.get_override(AGENT)
        cold_us += (time.perf_counter() - began) / COLD_LOOKUPS * 1e6
        fresh.close()
    return {"us": hot_us, "apart_us": statistics.median(apart_us), "cold_us": cold_us}


def _watch() -> None:
    service = service_from_settings()
    service.watch()
    with asyncio.Runner() as loop:

        def read() -> str:
            override = loop.run(service.get_override(AGENT))
            return override.model_id if override else ""

        serve_watching(read, "Django")
    service.close()


def _save() -> None:
    call_command("migrate", verbosity=0)
    serve_saving(
        lambda word: AgentModelConfig.objects.upsert(AGENT, f"bench/{word}", "bench"), "Django"
    )

"""What a record says that a call took, beside what the server says that it had the request for.

The server is the bare one of SHARED_SERVER=compatible, in a thread of this process; it thinks 30
ms. The difference is the client's own work, the loopback and, if the product were wrong, look-ups
after the answer. Except at the tiny size, it fails if the median difference is 20 ms or more.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import time

from django.test import override_settings

from agents.llm.base import StepScope
from agents.llm.http import close_clients
from agents.llm.router import create_shared_provider
from agents.llm.secrets import scrub
from bench.machine import IS_TINY, described, sized
from tests.leaks.ordinary_texts import sentences
from tests.llm.bare_server import BareServer, bare_server
from tests.llm.calling import Recorder

THINKS_S = 0.03
CALLS = sized(300, 20)
AT_MOST_MS = 20.0
MODEL = "llama3.2:1b"
KEY = "sk-or-v1-" + "0" * 64


def main() -> int:
    """Measure and print; return the exit code."""
    with (
        bare_server(lambda agent: "Well.", thinks_s=THINKS_S) as server,
        override_settings(SHARED_SERVER="compatible", OPENROUTER_BASE_URL=server.url),
    ):
        more_ms = sorted(asyncio.run(_differences(server)))
    median, p95 = statistics.median(more_ms), more_ms[int(len(more_ms) * 0.95)]
    print(f"\nRecorded latency, beside the server's\n{CALLS} calls; {described()}\n")
    print("| more than the server's, p50 ms | p95 ms |\n|---|---|")
    print(f"| {median:.1f} | {p95:.1f} |")
    print(f"\nThe search of an ordinary text for keys: {_scrub_us():.0f} µs", flush=True)
    return 0 if IS_TINY or median < AT_MOST_MS else 1


async def _differences(server: BareServer) -> list[float]:
    recorder = Recorder()
    scope = StepScope(agent="bench", step_id="bench", observer=recorder, deadline_s=60)
    provider = create_shared_provider(KEY, MODEL).for_step(scope)
    try:
        for _ in range(CALLS):
            await provider.complete("system", "user")
    finally:
        await close_clients()
    recorded = [outcome.latency_ms for outcome in recorder.outcomes if outcome.completion]
    wire = [request.took_s * 1000 for request in server.answered]
    assert len(recorded) == len(wire) == CALLS
    return [ours - theirs for ours, theirs in zip(recorded, wire, strict=True)]


def _scrub_us() -> float:
    """Return the microseconds of CPU that `scrub` takes for 2,000 characters of sentences."""
    text = " ".join(sentences(200, random.Random(1)))[:2_000]
    scrub(text)
    laps_s = []
    for _ in range(CALLS):
        began_s = time.thread_time()
        scrub(text)
        laps_s.append(time.thread_time() - began_s)
    return statistics.median(laps_s) * 1e6


if __name__ == "__main__":
    sys.exit(main())

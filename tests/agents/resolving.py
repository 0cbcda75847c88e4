"""Run as a process: asks for one agent's override in a loop, and prints each change as a line."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from dataclasses import replace

import django

django.setup()

from agents.model_config import ModelConfigService, OverridesUnknown, Resolution  # noqa: E402
from tests import canaries  # noqa: E402

ASK_EVERY_S = 0.005


async def report_changes(service: ModelConfigService, is_over: threading.Event) -> None:
    reported = None
    while not is_over.is_set():
        try:
            line = _described(await service.resolve("extraction"))
        except OverridesUnknown:
            line = {"model": None, "version": "", "is_stale": True, "error": "unknown"}
        if line != reported:
            reported = line
            sys.stdout.write(json.dumps({"at": time.monotonic(), **line}) + "\n")
            sys.stdout.flush()
        await asyncio.sleep(ASK_EVERY_S)


def _described(resolution: Resolution) -> dict[str, object]:
    freshness = replace(resolution.freshness, age_s=0.0)
    return {
        "model": resolution.provider.model_id if resolution.provider else None,
        "version": freshness.version,
        "is_stale": freshness.is_stale,
        "error": "",
    }


def main() -> None:
    is_over = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        is_over.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    service = ModelConfigService(canaries.SHARED_KEY, ttl_s=float(sys.argv[1]))
    service.watch()
    asyncio.run(report_changes(service, is_over))
    service.close()


if __name__ == "__main__":
    main()

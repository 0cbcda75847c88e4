"""A process of any release's code: it prints each override it sees, and saves what it is told.

It uses only what 3315b11 and today have alike. `python -m tests.upgrades.peer` in a checkout's
folder.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time

import django

django.setup()

from agents.model_config import ModelConfigService  # noqa: E402
from agents.models import AgentModelConfig  # noqa: E402
from tests import canaries  # noqa: E402

ASK_EVERY_S = 0.005
TTL_S = 60.0
_printing = threading.Lock()


def say(**line: object) -> None:
    with _printing:
        sys.stdout.write(json.dumps({**line, "at": time.monotonic()}) + "\n")
        sys.stdout.flush()


async def watch(service: ModelConfigService, is_over: threading.Event) -> None:
    seen: object = ""
    while not is_over.is_set():
        override = await service.get_override("extraction")
        model = override.model_id if override else None
        if model != seen:
            seen = model
            say(seen=model)
        await asyncio.sleep(ASK_EVERY_S)


def main() -> None:
    is_over = threading.Event()

    def obey() -> None:
        for line in sys.stdin:
            AgentModelConfig.objects.upsert("extraction", line.strip(), "operator")
            say(saved=line.strip())
        is_over.set()

    threading.Thread(target=obey, daemon=True).start()
    service = ModelConfigService(canaries.SHARED_KEY, ttl_s=TTL_S)
    if hasattr(service, "watch"):
        service.watch()
    asyncio.run(watch(service, is_over))
    service.close()


if __name__ == "__main__":
    main()

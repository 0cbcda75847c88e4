"""Run by test_resolver_threads.py: forks a process whose resolver has a thread and a connection."""

from __future__ import annotations

import asyncio
import os
import sys

import django

django.setup()

from agents.model_config import ModelConfigService  # noqa: E402 - after setup
from tests import canaries  # noqa: E402
from tests.agents.doubles import choose_model  # noqa: E402

SETTLE_S = 0.06  # more than the resolver waits between two looks


async def model_of(service: ModelConfigService) -> str:
    await asyncio.sleep(SETTLE_S)
    override = await service.get_override("extraction")
    return override.model_id if override else "none"


def say(who: str, service: ModelConfigService) -> None:
    sys.stdout.write(f"{who}: {asyncio.run(model_of(service))}\n")
    sys.stdout.flush()


def main() -> None:
    service = ModelConfigService(canaries.SHARED_KEY)
    if "--watching" in sys.argv:
        service.watch()
    say("before", service)
    choose_model("extraction", "z-ai/glm-4.6")
    django.db.connection.close()  # this thread's; the resolver's stays open over the fork
    child = os.fork()
    if child == 0:
        say("child", service)
        service.close()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    say("parent", service)
    choose_model("extraction", "openai/gpt-5-mini")
    say("parent again", service)
    service.close()
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()

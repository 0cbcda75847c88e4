"""How many answers a minute 1, 2 and 4 `runworker` give, with models as slow as real ones.

Run by `make bench` with a fresh PostgreSQL and Redis. All messages wait in the queue before the
workers start; counted is the time until the last one has its answer. Each member's model answers
after a time drawn once from a log-normal distribution (median 1.2 s, 95th percentile 2.7 s).
"""

from __future__ import annotations

import math
import os
import platform
import random
import time
from contextlib import ExitStack

import django

WORKERS = (1, 2, 4)
CHATS = int(os.environ.get("BENCH_CHATS", "60"))
EACH = 3  # messages of each member, one after the other
AT_ONCE = 8  # runs of a worker
MEDIAN_S, SIGMA = 1.2, 0.5
PATIENCE_S = 900.0


def main() -> None:
    """Measure and print."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()
    from tests.agents.processes import environment, migrate  # noqa: PLC0415 - after set-up

    migrate(environment())
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()};")
    print(f"{CHATS} chats with {EACH} messages each, {AT_ONCE} runs at once in a worker")
    alone_s = 0.0
    for count in WORKERS:
        took_s = _measure(count)
        alone_s = alone_s or took_s
        per_minute = CHATS * EACH / took_s * 60
        print(
            f"{count} workers: {took_s:6.1f} s, {per_minute:6.0f} answers a minute,"
            f" {alone_s / took_s:.2f} times one worker"
        )


def _measure(count: int) -> float:
    """Return the seconds that so many workers take for all messages."""
    from django.core.management import call_command  # noqa: PLC0415 - after set-up

    from pipeline.models import Member, Task, TelegramUpdate  # noqa: PLC0415 - after set-up
    from pipeline.models.inbox import OPEN  # noqa: PLC0415
    from pipeline.models.members import Access  # noqa: PLC0415
    from tests.canaries import MEMBER_KEY  # noqa: PLC0415
    from tests.chaos.fleet import BOT, WORKER, People, running_bot, wait_for  # noqa: PLC0415
    from tests.sandbox.serving import running_sandbox  # noqa: PLC0415

    call_command("flush", interactive=False, verbosity=0)  # the next sandbox counts from one again
    chance = random.Random(1)
    settings = {"QUEUE": "procrastinate", "RUNS_AT_ONCE": AT_ONCE}
    with running_sandbox() as base_url, ExitStack() as stack:
        people = People(base_url)
        stack.callback(people.close)
        chats = people.join(CHATS)
        for person in chats:
            latency_ms = 1000 * chance.lognormvariate(math.log(MEDIAN_S), SIGMA)
            member = Member.objects.get_or_create(telegram_id=person)[0]
            member.access, member.model_id = Access.APPROVED, f"sandbox/latency-{latency_ms:04.0f}"
            member.keep_key("openrouter", MEMBER_KEY)
            member.save()
        intake, *workers = [
            stack.enter_context(running_bot(base_url, job, **settings))
            for job in (BOT, *[WORKER] * count)
        ]
        intake.start()
        for number in range(EACH):
            for person in chats:
                people.say(person, f"prospect {person} number {number} end")
        wait_for(lambda: TelegramUpdate.objects.count() >= CHATS * EACH, PATIENCE_S, intake.log)
        for worker in workers:
            worker.start(is_awaited=False)
        messages = Task.objects.filter(kind="message")
        # Start-up is not what is measured: from the first message that is taken up.
        wait_for(lambda: messages.exclude(token=None).exists(), PATIENCE_S, workers[0].log)
        began = time.monotonic()
        wait_for(lambda: not messages.filter(status__in=OPEN).exists(), PATIENCE_S, intake.log)
        took_s = time.monotonic() - began
        for process in (intake, *workers):
            process.stop()
    return took_s


if __name__ == "__main__":
    main()

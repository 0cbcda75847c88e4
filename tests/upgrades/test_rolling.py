"""Processes of 3315b11 and of today at work on one database and one cache, as during an upgrade."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import TransactionTestCase

from pipeline.models import LLMCall, PipelineRun, Task
from pipeline.models.inbox import OPEN
from pipeline.operations import run_sums
from tests.agents.processes import environment, wait_for
from tests.chaos.fleet import BOT, WORKER, Bot, People, all_done, running_bot
from tests.chaos.invariants import World, assert_invariants
from tests.chaos.test_machines import forget_jobs
from tests.proving import amount, closing_line
from tests.sandbox.serving import running_sandbox
from tests.upgrades.databases import ROOT, old_checkout
from tests.upgrades.web import running_web

CHATS, MESSAGES = amount(3, proving=30), amount(3, proving=30)  # at each turn
PATIENCE_S = 240 + CHATS * MESSAGES
MODEL = "sandbox/latency-0050"
SAVES = 6
# A snapshot is read anew after 60 s in any case: what comes sooner came by an announcement.
ANNOUNCED_WITHIN_S = 30.0
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


class Peer:
    """A process that tells which override it sees."""

    def __init__(self, root: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.upgrades.peer"],
            cwd=root,
            env=environment(PYTHONPATH=str(ROOT)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.lines: list[dict[str, Any]] = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def save(self, model: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{model}\n")
        self.process.stdin.flush()

    def at(self, **line: object) -> float | None:
        """Return when it first said so, None if it has not."""
        wanted = line.items()
        return next((each["at"] for each in list(self.lines) if wanted <= each.items()), None)

    def end(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(60)
        self._reading.join()
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(json.loads(line))


class AnnouncementTests(TransactionTestCase):
    def test_a_change_saved_by_either_release_is_announced_to_the_other(self):
        with old_checkout() as old, ExitStack() as stack:
            peers = {"3315b11": Peer(old), "today": Peer(ROOT)}
            for peer in peers.values():
                stack.callback(peer.end)
            wait_for(lambda: all(peer.lines for peer in peers.values()), "a first answer")
            delays: dict[str, list[float]] = {"3315b11": [], "today": []}
            for number in range(SAVES):
                for saving, seeing in (("3315b11", "today"), ("today", "3315b11")):
                    model = f"openai/gpt-{number}-{saving}"
                    delays[saving].append(self._delay(peers[saving], peers[seeing], model))

        for saving, measured in delays.items():
            said = " ".join(f"{delay * 1000:.0f}" for delay in measured)
            closing_line(f"saved by {saving}, seen by the other after {said} ms\n")
            assert max(measured) < ANNOUNCED_WITHIN_S

    def test_a_change_saved_in_either_releases_admin_is_announced_to_the_other(self):
        with old_checkout() as old, ExitStack() as stack:
            roots = {"3315b11": old, "today": ROOT}
            peers = {release: Peer(root) for release, root in roots.items()}
            for peer in peers.values():
                stack.callback(peer.end)
            webs = {
                release: stack.enter_context(running_web(root)) for release, root in roots.items()
            }
            wait_for(lambda: all(peer.lines for peer in peers.values()), "a first answer")
            for number in range(SAVES // 2):
                for saving, seeing in (("3315b11", "today"), ("today", "3315b11")):
                    model = f"openai/gpt-{number}-{saving}"
                    said_at = webs[saving].save_override("extraction", model)
                    wait_for(
                        lambda: peers[seeing].at(seen=model) is not None,  # noqa: B023
                        f"{model} on the other side",
                        ANNOUNCED_WITHIN_S,
                    )
                    seen_at = peers[seeing].at(seen=model)
                    assert seen_at is not None
                    closing_line(
                        f"saved in the admin of {saving}, seen by the other"
                        f" {(seen_at - said_at) * 1000:.0f} ms after its answer"
                    )

    def _delay(self, saving: Peer, seeing: Peer, model: str) -> float:
        saving.save(model)
        wait_for(
            lambda: saving.at(saved=model) is not None and seeing.at(seen=model) is not None,
            f"{model} on the other side",
            ANNOUNCED_WITHIN_S,
        )
        saved_at, seen_at = saving.at(saved=model), seeing.at(seen=model)
        assert saved_at is not None
        assert seen_at is not None
        return max(0.0, seen_at - saved_at)


@pytest.mark.chaos
class RollingTests(TransactionTestCase):
    """An upgrade and its taking back under load: on PostgreSQL both releases work side by side."""

    @contextmanager
    def turns(self, base_url: str, old: Path) -> Iterator[list[list[Bot]]]:
        """Yield what runs at each turn; on SQLite one process in all, of each release by turns."""
        wanted: dict[str, Any] = {"DEFAULT_MODEL": MODEL, "DEFAULT_MODELS": {"openrouter": MODEL}}
        with ExitStack() as stack:

            def process(job: Any, root: Path) -> Bot:
                return stack.enter_context(running_bot(base_url, job, root=root, **wanted))

            if connection.vendor == "sqlite":
                yield [[process(BOT, root)] for root in (old, ROOT, old, ROOT)]
                return
            forget_jobs()
            wanted["QUEUE"] = "procrastinate"
            workers = [process(WORKER, root) for root in (old, ROOT)]
            yield [[process(BOT, root), *workers] for root in (old, ROOT, old)]

    def test_an_upgrade_under_load_and_its_taking_back_lose_nothing_and_every_sum_is_right(self):
        with old_checkout() as old, running_sandbox() as base_url, ExitStack() as stack:
            people = People(base_url)
            stack.callback(people.close)
            members = people.join(CHATS)
            turns = stack.enter_context(self.turns(base_url, old))
            for number, processes in enumerate(turns):
                for process in processes:
                    process.start()
                for message in range(MESSAGES):
                    for member in members:
                        people.say(member, f"prospect {member} turn {number} {message} end")
                self._half_done(people, processes)
                if number + 1 < len(turns):
                    assert [process.stop() for process in processes] == [0] * len(processes)
            all_done(PATIENCE_S, people, turns[-1][-1])
            assert [process.stop() for process in turns[-1]] == [0] * len(turns[-1])

            assert PipelineRun.objects.count() == CHATS * MESSAGES * len(turns)
            assert LLMCall.objects.exclude(cost_usd=None).exists()
            assert run_sums.mend(LONG_AGO) == 0
            assert_invariants(people, World(default_model=MODEL, has_old_code=True))
            self._pages_open(old)

    def _pages_open(self, old: Path) -> None:
        """Each release's admin shows the runs that both have recorded."""
        runs = PipelineRun.objects.order_by("started_at").values_list("pk", flat=True)
        paths = ["/admin/", *(f"/admin/pipeline/{name}/" for name in ("pipelinerun", "member"))]
        paths += [f"/admin/pipeline/pipelinerun/{run}/change/" for run in (runs[0], runs.last())]
        for root in (old, ROOT):
            with running_web(root) as web:
                assert {path: web.status(path) for path in paths} == dict.fromkeys(paths, 200)

    def _half_done(self, people: People, processes: list[Bot]) -> None:
        said = sum(len(texts) for texts in people.said.values())
        wait_for(
            lambda: Task.objects.exclude(status__in=OPEN).count() >= said - CHATS * MESSAGES // 2,
            "half of the answers\n" + processes[-1].log()[-2000:],
            PATIENCE_S,
        )

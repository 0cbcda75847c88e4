"""The bot's processes, each of its own, on the test's database, and people who write to it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from django.db import close_old_connections

from pipeline.models import Budget, Task
from pipeline.models.budgets import Interval, Scope
from pipeline.models.inbox import OPEN
from tests.agents.processes import ROOT, environment
from tests.conftest import suite_dir
from tests.pipeline.bot.chatting import environment as bot_settings

START_S, STOP_S = 60.0, 40.0
LOOK_S = 0.05


@dataclass(frozen=True, slots=True)
class Job:
    """What a process does: its command line, and the words that say that it is at it."""

    arguments: tuple[str, ...]
    ready: str
    ends_with: int = 0  # its exit code after SIGTERM


BOT = Job(("manage.py", "runbot"), "polling as @")
WORKER = Job(("manage.py", "runworker"), "working as @")


def web(port: int) -> Job:
    """Return the job of a web process at that port."""
    asgi = (
        "-m",
        "uvicorn",
        "--port",
        str(port),
        "--lifespan",
        "off",
        "observatory.asgi:application",
    )
    return Job(asgi, "Uvicorn running on", -signal.SIGTERM)  # uvicorn passes the signal on


class Bot:
    """One process at a time, by default `manage.py runbot`; it is started, killed and restarted."""

    def __init__(
        self,
        folder: Path,
        job: Job = BOT,
        cache_url: str | None = None,
        *,
        root: Path = ROOT,
        **settings: Any,
    ) -> None:
        """`root` is the checkout whose code it runs; the suite's settings are ours in any case."""
        self.folder = folder
        self._root = root
        self._job = job
        self._environment = {"CACHE_URL": cache_url} if cache_url else {}
        self._settings = settings
        self._log = suite_dir() / f"chaos-{folder.name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._log_before = 0
        self.starts = 0

    def start(self, *, crash_point: str = "", is_awaited: bool = True) -> None:
        """Start it and return once it polls, or has died before; one that still runs is killed."""
        if self.is_running:
            self.kill()
        self.starts += 1
        chaos = {**self._settings, "CRASH_POINT": crash_point}
        self._log_before = len(self.log())
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self._job.arguments],
                cwd=self._root,
                env=environment(
                    PYTHONPATH=str(ROOT),
                    DJANGO_SETTINGS_MODULE="tests.chaos.settings",
                    OBSERVATORY_CHAOS=json.dumps(chaos),
                    OBSERVATORY_CHAOS_DIR=str(self.folder),
                    **self._environment,
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if is_awaited:
            self._be_ready()

    def _be_ready(self) -> None:
        wait_for(
            lambda: not self.is_running or self._job.ready in self.log()[self._log_before :],
            START_S,
            self.log,
        )

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """End it as the power would."""
        assert self._process is not None
        if self.is_running:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def freeze(self) -> None:
        """Have it stand still, as a machine that swaps or sleeps; its connections stay open."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)

    def stop(self) -> int:
        """End it in order; return its exit code, 0 if that is the one which is in order.

        It is up by then: what is still starting has nothing in hand, and SIGTERM just ends it.
        """
        assert self._process is not None
        self._be_ready()
        self._process.terminate()
        return self._process.wait(STOP_S) - self._job.ends_with

    def has_died(self, within_s: float) -> bool:
        """Tell whether it ends by itself within that time."""
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(within_s)
        return not self.is_running

    def dies(self, within_s: float = START_S) -> None:
        """Return once it has died by a SIGKILL of its own."""
        assert self._process is not None
        assert self._process.wait(within_s) == -signal.SIGKILL, self.log()[-3000:]

    def limit_pages(self, count: int | None) -> None:
        """Let its SQLite use so many pages and no more, from its next statement on."""
        self._tell("pages", str(count or ""))

    def set_clock(self, ahead_s: float) -> None:
        """Have its wall clock jump, to so many seconds before or after the true time."""
        self._tell("clock", str(ahead_s))

    def _tell(self, name: str, words: str) -> None:
        draft = self.folder / f"{name}.new"
        draft.write_text(words)
        draft.rename(self.folder / name)

    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""


class People:
    """Who writes to the bot in the sandbox, and what they see."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self._http = httpx.Client(base_url=base_url, trust_env=False, timeout=60)
        self.said: dict[int, list[str]] = {}
        # Never full: what it books is compared with what the calls cost.
        Budget.objects.get_or_create(
            scope=Scope.SHARED_KEY, interval=Interval.MONTH, defaults={"cap_usd": 999_999}
        )

    def close(self) -> None:
        self._http.close()

    def join(self, count: int) -> list[int]:
        """Return so many new people."""
        people = [
            self._http.post("/chat/people", json={"first_name": f"Person {number}"}).json()["id"]
            for number in range(count)
        ]
        return [int(person) for person in people]

    def say(self, person: int, text: str) -> None:
        answer = self._http.post(f"/chat/{person}/messages", json={"text": text})
        assert answer.is_success, answer.text
        self.said.setdefault(person, []).append(text)

    def replies(self, person: int) -> list[str]:
        """Return the bot's messages in this chat as they stand now."""
        messages = self._http.get(f"/chat/{person}/messages").json()["messages"]
        return [m.get("text", "") for m in messages if m["from"]["is_bot"]]

    def sees(self, person: int, text: str, within_s: float = 30.0) -> None:
        wait_for(
            lambda: any(text in reply for reply in self.replies(person)),
            within_s,
            lambda: f"{person} sees {self.replies(person)}",
        )

    def sent(self) -> list[dict[str, Any]]:
        """Return every message of the bot with its history."""
        return list(self._http.get("/telegram/sent").json()["sent"])

    def calls(self) -> list[dict[str, Any]]:
        return list(self._http.get("/ledger").json()["calls"])

    def acknowledged(self) -> set[int]:
        """Return the ids of the updates that the bot was handed and will not be handed again."""
        seen = self._http.get("/telegram/acknowledged").json()
        return set(seen["acknowledged"]) & set(seen["delivered"])

    def inject(self, **update: Any) -> int:
        return int(self._http.post("/telegram/updates", json=update).json()["update_id"])

    def fault(self, **script: Any) -> None:
        assert self._http.post("/telegram/faults", json=script).is_success

    def get(self, path: str) -> dict[str, Any]:
        return dict(self._http.get(path).json())

    def post(self, path: str, **json_body: Any) -> httpx.Response:
        return self._http.post(path, json=json_body)


def write_until_it_dies(people: People, writers: tuple[int, int], dying: Bot, name: str) -> None:
    """Have two people write until a process has come by its crash point."""
    for number in range(20):  # a few suffice to come by any point three times
        for person in writers:
            people.say(person, f"prospect {name} number {number} end")
        people.say(writers[0], "/help")
        if dying.has_died(within_s=2):
            break
    dying.dies(within_s=10)


def all_done(within_s: float, people: People, bot: Bot) -> None:
    """Return once every message that was said is stored and every task has ended."""

    def is_done() -> bool:
        close_old_connections()
        said = sum(len(texts) for texts in people.said.values())
        tasks = Task.objects
        return (
            tasks.filter(update__isnull=False).values("update").distinct().count() >= said
            and not tasks.filter(status__in=OPEN).exists()
        )

    def state() -> str:
        rows = Task.objects.filter(status__in=OPEN).values_list(
            "kind", "status", "delivery_count", "error"
        )
        return f"open: {list(rows[:10])} of {len(rows)}\n{bot.log()[-3000:]}"

    wait_for(is_done, within_s, state)


def wait_for(is_true: Callable[[], bool], within_s: float, why_not: Callable[[], str]) -> None:
    """Wait for a state.

    Raises:
        AssertionError: it did not come in time.
    """
    deadline = time.monotonic() + within_s
    while not is_true():
        assert time.monotonic() < deadline, why_not()
        time.sleep(LOOK_S)


@contextmanager
def running_bot(
    base_url: str, job: Job = BOT, *, root: Path = ROOT, **settings: Any
) -> Iterator[Bot]:
    """Yield a process that has not been started; whatever runs at the end is killed."""
    with tempfile.TemporaryDirectory(prefix="observatory-bot-") as name:
        bot = Bot(Path(name), job, root=root, **{**bot_settings(base_url), **settings})
        try:
            yield bot
        finally:
            if bot.starts:
                bot.kill()

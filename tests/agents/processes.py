"""Real processes for the tests: some resolve and report each change, others save as admin does.

A child is `python -m tests.agents.resolving` or `…saving`; parent and child talk in lines. What a
child writes to stderr goes, redacted by the product, into the suite's folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One change of what a resolving process answers."""

    at: float  # time.monotonic(), which processes of one machine share
    model: str | None
    version: str
    is_stale: bool
    error: str

    @property
    def counter(self) -> int:
        return int(self.version.partition("·")[0].removeprefix("v"))


def environment(**changes: str) -> dict[str, str]:
    """Return what makes a child use the test's database and cache."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "DATABASE_URL": database_url(),
        "CACHE_URL": str(settings.CACHE_URL),
        **changes,
    }


def database_url() -> str:
    """Return the URL of the test's own database."""
    config = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{config['NAME']}"
    return f"postgres://{config['USER']}@/{config['HOST']}/{config['NAME']}"


def migrate(env: dict[str, str]) -> None:
    """Have a process of that environment make its tables."""
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
        env=env,
        cwd=ROOT,
        check=True,
        timeout=120,
    )


class Child:
    """A running script, what it said, and a way to tell it something."""

    def __init__(self, module: str, env: dict[str, str], *arguments: str) -> None:
        log = Path(env["OBSERVATORY_SUITE_DIR"]) / f"{module}.log"
        with log.open("ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=env,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                bufsize=1,
            )
        self.lines: list[dict[str, Any]] = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def tell(self, **order: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def end(self) -> None:
        """Close its stdin, at which every script ends."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reading.join()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(json.loads(line))


class Resolving(Child):
    """A process that asks for one agent's override every few milliseconds."""

    def __init__(self, env: dict[str, str], ttl_s: float = 60.0) -> None:
        super().__init__("tests.agents.resolving", env, str(ttl_s))

    @property
    def seen(self) -> list[Seen]:
        return [Seen(**line) for line in list(self.lines)]

    @property
    def last(self) -> Seen:
        return self.seen[-1]

    @property
    def models(self) -> list[str | None]:
        """Return the models answered, one after another, without repetitions."""
        models = [seen.model for seen in self.seen if not seen.error]
        return [model for model, _ in groupby(models)]


class Saving(Child):
    """A process that changes overrides."""

    def __init__(self, env: dict[str, str]) -> None:
        super().__init__("tests.agents.saving", env)

    def upsert(self, model: str) -> float:
        """Save, and return when the save came back."""
        return self._done(act="upsert", model=model)

    def deactivate(self) -> float:
        return self._done(act="deactivate")

    def roll_back(self, model: str) -> float:
        return self._done(act="roll_back", model=model)

    def _done(self, **order: Any) -> float:
        expected = len(self.lines) + 1
        self.tell(**order)
        wait_for(lambda: len(self.lines) >= expected, f"the answer to {order}")
        answer = self.lines[expected - 1]
        assert not answer["error"], answer["error"]
        return float(answer["at"])


@contextmanager
def family(
    env: dict[str, str], *, resolving: int, ttl_s: float = 60.0
) -> Iterator[tuple[Saving, list[Resolving]]]:
    """Yield a saving and some resolving processes, each of which has answered once."""
    saving, others = Saving(env), [Resolving(env, ttl_s) for _ in range(resolving)]
    try:
        wait_for(lambda: all(other.lines for other in others), "a first answer")
        yield saving, others
    finally:
        for child in [saving, *others]:
            child.end()


def wait_for(is_so: Callable[[], object], what: str, within_s: float = DEADLINE_S) -> None:
    deadline = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {within_s} s in vain for {what}")
        time.sleep(0.005)

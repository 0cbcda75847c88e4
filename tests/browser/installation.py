"""A copy of the product in a temporary folder, started as `make run` starts it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from tests.servers import free_port

ROOT = Path(__file__).parent.parent.parent
PARTS = ("agents", "pipeline", "observatory", "manage.py", ".env.example")
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0


class Installation:
    """One checkout without any state but its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.said: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        for part in PARTS:
            if (ROOT / part).is_dir():
                shutil.copytree(
                    ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__")
                )
            else:
                shutil.copy(ROOT / part, folder / part)

    def start(self) -> None:
        """Start it, and return once it says where it is."""
        self.said = []
        self._process = self.launch()
        threading.Thread(target=self._listen, args=[self._process], daemon=True).start()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not any("Wire shows the strategist" in line for line in self.said):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("it did not start:\n" + "\n".join(self.said))
            time.sleep(0.05)

    def launch(self) -> subprocess.Popen[str]:
        """Run the command of `make run` without waiting for anything."""
        outer = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return subprocess.Popen(
            [sys.executable, "-m", "observatory.local"],
            cwd=self.folder,
            env={**outer, "PORT": str(self.port)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def interrupt(self) -> int:
        """Press Ctrl-C; return the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(STOP_TIMEOUT_S)

    def kill(self) -> None:
        """End it however it stands; for the end of a test that failed."""
        if self._process is None or self._process.poll() is not None:
            return
        for process in [*self.processes(), psutil.Process(self._process.pid)]:
            process.kill()
        self._process.wait(STOP_TIMEOUT_S)

    def processes(self) -> list[psutil.Process]:
        """Return the processes that it consists of, without the one that started them."""
        assert self._process is not None
        return list(psutil.Process(self._process.pid).children(recursive=True))

    def password(self) -> str:
        """Return the operator's password as it was printed."""
        line = next(line for line in self.said if "operator / " in line)
        return line.partition("operator / ")[2].strip()

    def calls(self, after: int = 0) -> list[dict[str, Any]]:
        """Return the model calls that the sandbox has seen, with the keys that paid."""
        with urllib.request.urlopen(f"{self.address}/sandbox/ledger?after={after}") as answer:
            return list(json.load(answer)["calls"])

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self.said.append(line.rstrip())

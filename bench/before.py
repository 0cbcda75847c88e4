"""The code before the work that a bench is about, checked out of this history."""

from __future__ import annotations

import io
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.contest import ROOT

COMMIT = "0c107d9"


@contextmanager
def code_before() -> Iterator[dict[str, Path]]:
    """Yield its folder by the name of its rows; nothing, with a line, if the history lacks it."""
    archive = subprocess.run(
        ["git", "archive", "--format=tar", COMMIT], cwd=ROOT, capture_output=True, check=False
    )
    if archive.returncode:
        print(f"The code before ({COMMIT}) is not in this history: only today's is measured.")
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="observatory-before-") as folder:
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(folder, filter="data")
        yield {f"before ({COMMIT})": Path(folder)}

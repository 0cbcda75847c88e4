"""A copy of the product, changed as its next programmer would, and run in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("agents", "observatory", "pipeline")


class ProductCopy:
    """The product's packages in a folder, and what is done to them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for package in PACKAGES:
            leave_out = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / package, folder / package, ignore=leave_out)
        shutil.copy(ROOT / "manage.py", folder)

    def add_file(self, path: str, text: str) -> None:
        assert not (self._folder / path).exists(), path
        (self._folder / path).write_text(text, encoding="utf-8")

    def add_line(self, path: str, line: str, *, before: str) -> None:
        """Add a line before the first one that begins like that."""
        file = self._folder / path
        text = file.read_text(encoding="utf-8")
        assert f"\n{before}" in text, f"{path} has no line that begins with {before!r}"
        changed = text.replace(f"\n{before}", f"\n{line}\n{before}", 1)
        file.write_text(changed, encoding="utf-8")

    def run(self, *arguments: str, **settings: str) -> str:
        """Run Python there with these arguments; return what it printed."""
        ran = subprocess.run(
            [sys.executable, *arguments],
            cwd=self._folder,
            env={
                "PATH": os.environ["PATH"],
                "DJANGO_SETTINGS_MODULE": "observatory.settings",
                "DJANGO_DEBUG": "true",
                "DATA_DIR": str(self._folder / "var"),
                **settings,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout[-1000:] + ran.stderr[-3000:]
        return ran.stdout


@contextmanager
def product_copy() -> Iterator[ProductCopy]:
    """Yield a copy of the product; it is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        yield ProductCopy(Path(folder))

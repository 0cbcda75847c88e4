"""`python -m bench NAME`: sets Django up in a folder of its own, and then measures one thing."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import tempfile

import django

if __name__ == "__main__":
    # As an exception, so that servers are stopped and folders removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bench.settings")
    with tempfile.TemporaryDirectory(prefix="observatory-bench-") as folder:
        os.environ.setdefault("OBSERVATORY_SUITE_DIR", folder)
        django.setup()
        sys.exit(importlib.import_module(f"bench.{sys.argv[1]}").main())

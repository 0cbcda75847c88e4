"""`python -m bench NAME`: sets Django up for the tests' settings, and then measures one thing."""

from __future__ import annotations

import importlib
import os
import sys

import django

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    sys.exit(importlib.import_module(f"bench.{sys.argv[1]}").main())

"""The settings of the suite: observatory.settings with an environment that says all it needs.

DATABASE_URL and CACHE_URL may come from outside (`make test` passes PostgreSQL and Redis that
way); nothing else of the outer environment or of a developer's .env reaches a test.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

_KEPT = {"DATABASE_URL", "CACHE_URL"}
_SUITE_DIR = Path(
    os.environ.setdefault("OBSERVATORY_SUITE_DIR", tempfile.mkdtemp(prefix="observatory-"))
)

for _line in (
    (Path(__file__).parent.parent / ".env.example").read_text(encoding="utf-8").splitlines()
):
    _name = _line.lstrip("# ").partition("=")[0]
    if _name.isupper() and _name not in _KEPT:
        os.environ[_name] = ""

os.environ["DJANGO_DEBUG"] = "true"
os.environ["LOG_LEVEL"] = "DEBUG"
os.environ.setdefault("DATABASE_URL", f"sqlite:///{_SUITE_DIR / 'observatory.sqlite3'}")
os.environ.setdefault("CACHE_URL", f"file://{_SUITE_DIR / 'cache'}")

from observatory.settings import *  # noqa: E402, F403
from observatory.settings import DATABASES  # noqa: E402

DEBUG = False
# A file, not memory: the resolver and other processes read over connections of their own.
DATABASES["default"].setdefault("TEST", {})
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["TEST"]["NAME"] = str(_SUITE_DIR / "test.sqlite3")
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

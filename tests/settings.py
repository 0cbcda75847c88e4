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
    os.environ.get("OBSERVATORY_SUITE_DIR") or tempfile.mkdtemp(prefix="observatory-")
)
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
if _WORKER and os.environ.get("OBSERVATORY_WORKER") != _WORKER:  # a worker, not a child of one
    # Workers run side by side: each has a folder and a cache of its own, and pytest-django gives
    # each a database.
    os.environ["OBSERVATORY_WORKER"] = _WORKER
    _SUITE_DIR /= _WORKER
    _SUITE_DIR.mkdir(exist_ok=True)
    if os.environ.get("CACHE_URL", "").startswith("redis:"):
        os.environ["CACHE_URL"] = f"{os.environ['CACHE_URL'].rpartition('/')[0]}/{_WORKER[2:]}"
    else:
        os.environ["CACHE_URL"] = f"file://{_SUITE_DIR / 'cache'}"
os.environ["OBSERVATORY_SUITE_DIR"] = str(_SUITE_DIR)

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
from observatory.settings import DATABASES, INSTALLED_APPS  # noqa: E402

DEBUG = False
# A file, not memory: the resolver and other processes read over connections of their own.
DATABASES["default"].setdefault("TEST", {})
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["TEST"]["NAME"] = str(_SUITE_DIR / "test.sqlite3")
    # No test cuts the power: what SQLite waits for the disk would be half of a commit's time.
    DATABASES["default"]["OPTIONS"]["init_command"] += "PRAGMA synchronous=OFF;"
else:
    INSTALLED_APPS.append("procrastinate.contrib.django")  # for the tests that say QUEUE
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# What a process keeps beside the database is of this run, too.
DATA_DIR = _SUITE_DIR

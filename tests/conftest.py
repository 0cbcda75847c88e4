"""What every test may count on: a fresh cache, only the tests this machine can run, no leak.

All log output of the suite, at DEBUG, goes through the product's redaction into one file. When
the session ends, that file is searched for every secret in `tests.canaries`: a hit fails it.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.core.cache import caches
from pytest_django import DjangoDbBlocker

from agents.llm import terms
from agents.revision import CACHE_ALIAS
from observatory.redaction import RedactingFilter, RedactingFormatter
from tests import canaries, emptying, template_database

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
LOG_NAME = "suite.log"
LLAMA_PYTHON = Path(__file__).parents[1] / "var/llama-venv/bin/python"

_notes: list[str] = []
_leaks: list[str] = []


def suite_dir() -> Path:
    """Return the folder of this run; every `*.log` in it is searched for canaries."""
    return Path(os.environ["OBSERVATORY_SUITE_DIR"])


# --- what runs ------------------------------------------------------------------------------------


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what this run cannot do; a skip would look like something that is to be mended."""
    is_postgresql = "postgresql" in settings.DATABASES["default"]["ENGINE"]
    _deselect(config, items, "sqlite" if is_postgresql else "postgresql")
    if not any(shutil.which(name) for name in CHROMIUM_NAMES):
        count = _deselect(config, items, "browser")
        if count:
            _notes.append(
                f"{count} browser tests do not run: none of {', '.join(CHROMIUM_NAMES)} is on PATH"
            )
    if not LLAMA_PYTHON.with_name("installed").exists():
        count = _deselect(config, items, "llama")
        if count:
            _notes.append(
                f"{count} tests with llama.cpp's server do not run: make llama installs it"
            )


def pytest_report_collectionfinish() -> list[str]:
    return _notes


def _deselect(config: pytest.Config, items: list[pytest.Item], marker: str) -> int:
    unfit = [item for item in items if item.get_closest_marker(marker)]
    if unfit:
        items[:] = [item for item in items if not item.get_closest_marker(marker)]
        config.hook.pytest_deselected(items=unfit)
    return len(unfit)


@pytest.fixture(scope="session")
def django_db_setup(
    django_test_environment: None,
    django_db_blocker: DjangoDbBlocker,
    django_db_modify_db_settings: None,
) -> Iterator[None]:
    """Make the database of this worker from one that all share, in place of pytest-django's own."""
    with django_db_blocker.unblock():
        databases = template_database.set_up()
        emptying.install()
        # The budget that `migrate` makes is there only until a TransactionTestCase empties the
        # tables: without this, what a test finds would depend on those before it.
        apps.get_model("pipeline", "Budget").objects.all().delete()
    yield
    with django_db_blocker.unblock():
        template_database.tear_down(databases)


@pytest.fixture(autouse=True)
def _fresh_overrides_cache() -> None:
    caches[CACHE_ALIAS].clear()


@pytest.fixture(autouse=True)
def _nothing_learnt_of_models() -> None:
    terms.forget_all()  # a port may be used again, by another test's server


# --- what must not get out ------------------------------------------------------------------------


def pytest_sessionstart() -> None:
    # Not earlier: django.setup() puts the settings' handlers in place of all others.
    handler = logging.FileHandler(suite_dir() / LOG_NAME, encoding="utf-8")
    handler.addFilter(RedactingFilter())
    handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.getLogger().addHandler(handler)
    for secret in (settings.SECRET_KEY, *settings.CREDENTIALS_KEYS):
        canaries.canary(secret)


def pytest_sessionfinish(session: pytest.Session) -> None:
    _leaks.extend(canaries.leaks_in(suite_dir()))
    if _leaks:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for leak in _leaks:
        terminalreporter.write_line(f"SECRET LEAKED: {leak}", red=True, bold=True)

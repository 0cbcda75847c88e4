"""`make run`: everything that one person needs to try or run Observatory on one machine.

Prepares the checkout (`.env`, database, example content, an operator), then runs web and bot side
by side until Ctrl-C. Without a Telegram token the sandbox stands in for Telegram and OpenRouter.
"""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
from functools import partial
from pathlib import Path

import django
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from observatory.local.environment import prepare_environment
from observatory.local.errors import CannotStart
from observatory.local.operator import ensure_operator
from observatory.local.programs import STOP_SIGNALS, Console, Program, Supervisor
from observatory.local.single_instance import only_one, refuse_taken_port

HOST = "127.0.0.1"
BASE_DIR = Path(__file__).resolve().parent.parent.parent
DRAIN_SECONDS = 4  # not the usual 25: a person who pressed Ctrl-C is waiting
STEPS = """\
  1. In the chat, as Maya, send: /support VP of Strategy at a mid-size bank, worried about switching cost
  2. In the admin, press Choose model beside strategist and pick one, for example anthropic/claude-sonnet-4.5
  3. Send the message again: the panel Wire shows the strategist on the new model and the team's key"""  # noqa: E501


def main() -> int:
    """Prepare, run until stopped, and return the exit code."""
    # Until the supervisor takes over, each stop signal ends the preparation like Ctrl-C.
    for number in STOP_SIGNALS:
        signal.signal(number, signal.default_int_handler)
    console = Console(sys.stdout)
    try:
        return _prepare_and_run(console)
    except CannotStart as error:
        sys.stdout.flush()
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        console.say("Stopped.")
        return 0


def _prepare_and_run(console: Console) -> int:
    notes = prepare_environment(BASE_DIR, drain_seconds=DRAIN_SECONDS)
    _set_up_django()
    with only_one(settings.VAR_DIR / "run.lock", address=_address()):
        refuse_taken_port(HOST, settings.PORT)
        for note in notes:
            console.say(note)
        _check_configuration()
        _migrate(console)
        _load_content(console)
        sign_in = ensure_operator(
            settings.DATA_DIR / "operator_password", keep=settings.DEBUG or settings.SANDBOX
        )
        console.say("Starting web and bot …")
        supervisor = Supervisor(_programs(), cwd=BASE_DIR, console=console)
        return asyncio.run(supervisor.run(partial(_greet, console, sign_in)))


def _set_up_django() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "observatory.settings")
    try:
        django.setup()
    except ImproperlyConfigured as error:
        raise CannotStart(f"Wrong configuration. {error}") from None


def _check_configuration() -> None:
    """Raise CannotStart for a mistake in the settings or in a pipeline, before anything runs."""
    try:
        call_command("check", stdout=io.StringIO())
    except CommandError as error:
        raise CannotStart(str(error)) from None


def _migrate(console: Console) -> None:
    try:
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            console.say("Bringing the database up to date …")
            call_command("migrate", interactive=False, verbosity=0)
    except DatabaseError as error:
        raise CannotStart(f"DATABASE_URL: the database cannot be used: {error}") from None


def _load_content(console: Console) -> None:
    added = io.StringIO()
    call_command("loadexamples", stdout=added)
    for line in added.getvalue().splitlines():
        console.say(line)


def _programs() -> list[Program]:
    """Return the programs that run side by side.

    They are stopped in reverse order, because the bot talks to the web.
    """
    web = (
        *(sys.executable, "-m", "uvicorn", "observatory.asgi:application"),
        *("--host", HOST, "--port", str(settings.PORT)),
        *("--timeout-graceful-shutdown", "2", "--no-access-log", "--log-level", "warning"),
    )
    return [
        Program(name="web", argv=web, stops_within_s=4, answers_at=(HOST, settings.PORT)),
        Program(
            name="bot",
            argv=(sys.executable, "manage.py", "runbot"),
            stops_within_s=DRAIN_SECONDS + 2,
            ready_words="polling as @",
        ),
    ]


def _greet(console: Console, sign_in: str) -> None:
    lines = ["", "Observatory is running. Ctrl-C stops it.", ""]
    if settings.SANDBOX:
        lines += [f"  Chat   {_address()}sandbox/"]
    lines += [f"  Admin  {_address()}admin/", f"         {sign_in}", ""]
    if settings.SANDBOX:
        lines += [*STEPS.splitlines(), ""]
    for line in lines:
        console.say(line)


def _address() -> str:
    return f"http://{HOST}:{settings.PORT}/"


if __name__ == "__main__":
    sys.exit(main())

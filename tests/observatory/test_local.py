"""What `make run` does before and around its two programs."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import socket
import stat
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from django.contrib.auth.models import User
from django.test import SimpleTestCase, TestCase

from observatory.local.environment import prepare_environment
from observatory.local.errors import CannotStart
from observatory.local.operator import ensure_operator
from observatory.local.programs import Console, Program, Supervisor
from observatory.local.single_instance import only_one, refuse_taken_port


class FolderTestCase(SimpleTestCase):
    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)


class EnvironmentTest(FolderTestCase):
    def prepared(self, **environment: str) -> tuple[str, dict[str, str]]:
        """Return what was said, and the environment that the programs get."""
        (self.folder / ".env.example").write_text("DJANGO_DEBUG=true\n", encoding="utf-8")
        with patch.dict(os.environ, environment, clear=True):
            notes = prepare_environment(self.folder, drain_seconds=4)
            return " ".join(notes), dict(os.environ)

    def test_without_a_token_the_sandbox_stands_in(self):
        said, environment = self.prepared()

        assert environment["SANDBOX"] == "true"
        assert environment["DRAIN_SECONDS"] == "4"
        assert "nothing leaves this machine" in said

    def test_the_env_file_is_made_once_and_is_nobody_elses(self):
        self.prepared()
        env_file = self.folder / ".env"
        assert stat.S_IMODE(env_file.stat().st_mode) == 0o600
        env_file.write_text("DJANGO_DEBUG=true\nACCESS=open\n", encoding="utf-8")

        _, environment = self.prepared()

        assert environment["ACCESS"] == "open"

    def test_with_token_and_shared_key_it_is_the_real_thing(self):
        said, environment = self.prepared(TELEGRAM_BOT_TOKEN="1:t", OPENROUTER_API_KEY="k")

        assert environment["SANDBOX"] == "false"
        assert "The real thing" in said

    def test_a_token_alone_says_that_overrides_are_off(self):
        said, environment = self.prepared(TELEGRAM_BOT_TOKEN="1:t")

        assert environment["SANDBOX"] == "false"
        assert "overrides are off" in said

    def test_a_shared_key_alone_says_that_it_is_not_used(self):
        said, environment = self.prepared(OPENROUTER_API_KEY="k")

        assert environment["SANDBOX"] == "true"
        assert "OPENROUTER_API_KEY is set and not used" in said

    def test_the_sandbox_on_demand_says_which_credentials_it_leaves_unused(self):
        said, _ = self.prepared(SANDBOX="true", TELEGRAM_BOT_TOKEN="1:t", OPENROUTER_API_KEY="k")

        assert "TELEGRAM_BOT_TOKEN, OPENROUTER_API_KEY" in said

    def test_neither_sandbox_nor_token_is_refused(self):
        with self.assertRaisesMessage(CannotStart, "TELEGRAM_BOT_TOKEN"):
            self.prepared(SANDBOX="false")


class PlaceTest(FolderTestCase):
    def test_a_second_one_is_told_where_the_first_is(self):
        lock_file = self.folder / "run.lock"

        with (
            only_one(lock_file, address="http://127.0.0.1:8000/"),
            self.assertRaisesMessage(CannotStart, f"process {os.getpid()}, http://127.0.0.1:8000/"),
            only_one(lock_file, address="http://127.0.0.1:8001/"),
        ):
            pass
        with only_one(lock_file, address="http://127.0.0.1:8002/"):
            assert lock_file.read_text().endswith("http://127.0.0.1:8002/")

    def test_a_taken_port_is_refused_with_a_way_out(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]

            with self.assertRaisesMessage(CannotStart, f"PORT={port + 1} make run"):
                refuse_taken_port("127.0.0.1", port)

        refuse_taken_port("127.0.0.1", port)


class OperatorTest(TestCase):
    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.file = Path(folder.name) / "operator_password"

    def test_the_password_is_made_once_and_said_again(self):
        first = ensure_operator(self.file, keep=True)
        second = ensure_operator(self.file, keep=True)

        operator = User.objects.get(username="operator")
        assert operator.is_superuser
        assert operator.check_password(first.removeprefix("operator / "))
        assert first == second
        assert stat.S_IMODE(self.file.stat().st_mode) == 0o600

    def test_a_password_that_the_operator_chose_is_not_contradicted(self):
        ensure_operator(self.file, keep=True)
        operator = User.objects.get(username="operator")
        operator.set_password("chosen by the operator")
        operator.save()

        said = ensure_operator(self.file, keep=True)

        assert "the password that was chosen" in said
        operator.refresh_from_db()
        assert operator.check_password("chosen by the operator")

    def test_in_production_the_password_is_shown_once_and_kept_nowhere(self):
        first = ensure_operator(self.file, keep=False)
        second = ensure_operator(self.file, keep=False)

        assert "shown this once" in first
        assert "the password that was chosen" in second
        assert not self.file.exists()


class SupervisorTest(SimpleTestCase):
    """Over small programs of our own: they say `ready`, and end as they are told."""

    POLITE = (
        "import signal, sys; signal.signal(15, lambda *_: sys.exit(print('bye')));"
        " print('ready'); signal.pause()"
    )
    STUBBORN = (
        "import signal; signal.signal(15, signal.SIG_IGN); print('ready'); signal.pause()\n"
        "while True: signal.pause()"
    )

    def run_programs(self, *codes: str, then_signal: int | None = None) -> tuple[int, str]:
        """Return the exit code and everything that was printed."""
        printed = io.StringIO()
        programs = [
            Program(
                name=name,
                argv=(sys.executable, "-c", code),
                stops_within_s=0.5,
                ready_words="ready",
            )
            for name, code in zip(("web", "bot"), codes, strict=True)
        ]
        supervisor = Supervisor(programs, cwd=Path.cwd(), console=Console(printed))

        def when_ready() -> None:
            if then_signal is not None:
                os.kill(os.getpid(), then_signal)

        return asyncio.run(supervisor.run(when_ready)), printed.getvalue()

    def test_a_signal_stops_all_and_is_no_failure(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number):
                code, printed = self.run_programs(self.POLITE, self.POLITE, then_signal=number)

                assert code == 0
                # The bot first: it still needs the web for its last answers.
                assert printed.index("bot │ bye") < printed.index("web │ bye")

    def test_a_program_that_does_not_stop_is_killed(self):
        code, printed = self.run_programs(self.POLITE, self.STUBBORN, then_signal=signal.SIGTERM)

        assert code == 0
        assert "web │ bye" in printed

    def test_a_program_that_ends_by_itself_stops_all_and_is_named(self):
        for ending, expected in (
            ("raise SystemExit(3)", 3),
            ("print('done')", 1),
            ("import os; os.kill(os.getpid(), 9)", 137),
        ):
            with self.subTest(ending):
                code, printed = self.run_programs(self.POLITE, ending)

                assert code == expected
                assert "bot ended by itself" in printed

"""What `tests/__init__.py` and `conftest.py` promise: neither bytes nor secrets get out."""

from __future__ import annotations

import asyncio
import logging
import socket
import tempfile
from pathlib import Path

import pytest
from django.test import SimpleTestCase

from observatory.redaction import RedactingFilter, RedactingFormatter
from tests import OutsideWorldCalled, canaries

DOCUMENTATION_ADDRESS = ("192.0.2.1", 443)  # RFC 5737: routed nowhere, should the guard fail


class LoopbackGuardTest(SimpleTestCase):
    def test_an_address_that_is_not_this_machine_is_refused(self):
        addresses = [
            (socket.AF_INET, DOCUMENTATION_ADDRESS),
            (socket.AF_INET6, ("2001:db8::1", 443, 0, 0)),
        ]
        for family, address in addresses:
            with (
                self.subTest(address),
                socket.socket(family) as client,
                pytest.raises(OutsideWorldCalled),
            ):
                client.connect(address)

    def test_connect_ex_and_datagrams_are_refused_too(self):
        with socket.socket() as client, pytest.raises(OutsideWorldCalled):
            client.connect_ex(DOCUMENTATION_ADDRESS)
        with (
            socket.socket(type=socket.SOCK_DGRAM) as client,
            pytest.raises(OutsideWorldCalled),
        ):
            client.sendto(b"hello", DOCUMENTATION_ADDRESS)

    def test_a_name_is_not_even_asked_for(self):
        with pytest.raises(OutsideWorldCalled):
            socket.create_connection(("openrouter.invalid", 443))

    async def test_the_event_loops_connections_are_refused_too(self):
        with pytest.raises(OutsideWorldCalled):
            await asyncio.open_connection(*DOCUMENTATION_ADDRESS)

    def test_loopback_and_unix_sockets_pass(self):
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_connection(server.getsockname()),
            socket.create_connection(("localhost", server.getsockname()[1])),
        ):
            pass
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
            server.bind(f"{folder}/socket")
            server.listen()
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(f"{folder}/socket")


class CanaryTest(SimpleTestCase):
    def test_a_secret_in_a_log_is_found_and_not_repeated(self):
        with tempfile.TemporaryDirectory() as name:
            log = Path(name, "worker.log")
            log.write_text(f"GET /bot{canaries.BOT_TOKEN}/getMe\n", encoding="utf-8")

            [leak] = canaries.leaks_in(Path(name))

        assert str(log) in leak
        assert canaries.BOT_TOKEN not in leak

    def test_every_canary_has_a_shape_that_the_redaction_knows(self):
        keys = [canaries.SHARED_KEY, canaries.MEMBER_KEY, canaries.CLAUDE_KEY]
        for secret in [*keys, canaries.OPENAI_KEY, canaries.BOT_TOKEN]:
            record = logging.makeLogRecord({"msg": "sent %s on", "args": (secret,)})
            RedactingFilter().filter(record)

            line = RedactingFormatter("%(message)s").format(record)

            assert line == "sent [key hidden] on"

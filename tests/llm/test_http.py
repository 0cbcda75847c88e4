from __future__ import annotations

import asyncio
import gc
import gzip
import json
import time
import traceback
import warnings
import zlib
from dataclasses import replace
from decimal import Decimal
from unittest.mock import patch

import pytest
from django.test import SimpleTestCase

from agents.llm import http
from agents.llm.errors import DeadlineExceeded, KeyRejected, LLMError, ProviderUnavailable
from agents.llm.keys import PlainKey
from agents.llm.secrets import HIDDEN
from tests.llm.calling import everything_logged
from tests.llm.loopback import (
    PATIENCE_S,
    SHARED_KEY,
    Canned,
    Loopback,
    drip,
    hang_up_before_answer,
    loopback,
    never,
    nine_megabytes,
    nonsense,
    reset_before_answer,
    reset_mid_answer,
    until,
    unused_base_url,
)

KEY = PlainKey(SHARED_KEY)


async def post(base_url: str, *, deadline_s: float = PATIENCE_S, key: PlainKey = KEY) -> http.Reply:
    request = http.Request(
        base_url=base_url,
        path="/chat/completions",
        body={"model": "a/b"},
        id_header="x-generation-id",
    )
    return await http.send(request, api_key=key, deadline_s=deadline_s)


class Sending(SimpleTestCase):
    async def test_a_json_reply_comes_back_parsed_with_exact_fractions(self):
        async with loopback(Canned(status=201, body=b'{"cost": 0.1, "n": 2}')) as server:
            reply = await post(server.base_url)

        assert (reply.status, reply.body, reply.flaw) == (201, {"cost": Decimal("0.1"), "n": 2}, "")
        assert reply.headers["CONTENT-TYPE"] == "application/json"

    async def test_the_request_carries_key_and_body_and_asks_for_no_compression(self):
        async with loopback(Canned(body={})) as server:
            await post(server.base_url)

        (request,) = server.received
        assert (request.method, request.path) == ("POST", "/api/v1/chat/completions")
        assert request.headers["authorization"] == f"Bearer {SHARED_KEY}"
        assert request.headers["accept-encoding"] == "identity"
        assert request.headers["content-type"] == "application/json"
        assert request.body == {"model": "a/b"}

    async def test_another_vendor_names_another_header_for_the_key(self):
        request = http.Request(
            base_url="", path="/models", method="GET", key_header=("x-api-key", "")
        )
        async with loopback(Canned(body={})) as server:
            request = replace(request, base_url=server.base_url)
            await http.send(request, api_key=KEY, deadline_s=PATIENCE_S)

        assert server.received[0].headers["x-api-key"] == SHARED_KEY
        assert "authorization" not in server.received[0].headers

    async def test_half_a_surrogate_pair_travels_as_an_escape(self):
        request = http.Request(base_url="", path="/x", body={"text": "a\ud83d"})
        async with loopback(Canned(body={})) as server:
            request = replace(request, base_url=server.base_url)
            await http.send(request, api_key=KEY, deadline_s=PATIENCE_S)

        assert server.received[0].body == {"text": "a\ud83d"}

    async def test_an_unreadable_body_is_a_flaw_and_no_crash(self):
        table = {
            "not JSON": b"<html>Bad gateway</html>",
            "empty": b"",
            "no UTF-8": b'{"a": "\xff"}',
            "nested too deep": b"[" * 200_000,
            "a number of 5,000 digits": b"1" * 5000,
        }
        for name, body in table.items():
            with self.subTest(name):
                async with loopback(Canned(body=body)) as server:
                    reply = await post(server.base_url)

                assert (reply.body, reply.flaw) == (None, "it is not JSON")

    async def test_numbers_that_are_none_become_none(self):
        body = b'{"a": NaN, "b": -Infinity, "c": 1e99999999999999999999}'
        async with loopback(Canned(body=body)) as server:
            reply = await post(server.base_url)

        assert reply.body == {"a": None, "b": None, "c": None}

    async def test_a_body_of_nine_megabytes_is_not_read_to_its_end(self):
        async with loopback(nine_megabytes) as server:
            reply = await post(server.base_url)
            await asyncio.wait_for(server.hung_up.wait(), 2)

        assert (reply.status, reply.body, reply.flaw) == (200, None, "it is larger than 8 MB")

    async def test_what_nobody_asked_to_compress_is_decompressed(self):
        raw = b'{"said": "yes"}'
        table = {"gzip": gzip.compress(raw), "x-gzip": gzip.compress(raw)}
        table |= {"deflate": zlib.compress(raw), "identity": raw}
        for encoding, packed in table.items():
            with self.subTest(encoding):
                canned = Canned(body=packed, headers={"Content-Encoding": encoding})
                async with loopback(canned) as server:
                    reply = await post(server.base_url)

                assert (reply.body, reply.flaw) == ({"said": "yes"}, "")

    async def test_what_cannot_be_decompressed_or_only_to_too_much_is_a_flaw(self):
        packed = gzip.compress(b'"' + b" " * 9 * 1024**2 + b'"')
        table = {
            ("gzip", b"no gzip at all"): "it is not what it says it is compressed with",
            ("gzip", packed[:40]): "it broke off",
            ("gzip", packed): "it is larger than 8 MB",
            ("br", b"x"): "it is compressed (br)",
        }
        for (encoding, body), flaw in table.items():
            with self.subTest(flaw):
                canned = Canned(body=body, headers={"Content-Encoding": encoding})
                async with loopback(canned) as server:
                    reply = await post(server.base_url)

                assert (reply.body, reply.flaw) == (None, flaw)

    async def test_a_key_in_pieces_of_a_stream_is_hidden_like_any_other(self):
        pieces = [SHARED_KEY[:9], SHARED_KEY[9:]]
        chunks = [json.dumps({"choices": [{"delta": {"content": piece}}]}) for piece in pieces]
        stream = "".join(f"data: {chunk}\n\n" for chunk in chunks).encode()
        async with loopback(Canned(body=stream)) as server:
            reply = await post(server.base_url)

        assert reply.is_stream
        assert SHARED_KEY not in str(reply.body)
        assert HIDDEN in str(reply.body)

    async def test_a_redirect_is_a_reply_and_nobody_follows_it(self):
        async with loopback(Canned(body={})) as elsewhere:
            redirect = Canned(status=307, headers={"Location": f"{elsewhere.base_url}/steal"})
            async with loopback(redirect) as server:
                reply = await post(server.base_url)

        assert reply.status == 307
        assert elsewhere.received == []

    async def test_an_error_whose_body_breaks_off_is_still_that_error(self):
        async def cut(_, __, writer):
            writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 1000\r\n\r\n{")

        async with loopback(cut) as server:
            reply = await post(server.base_url)

        assert (reply.status, reply.body, reply.flaw) == (503, None, "it broke off")

    async def test_the_vendors_name_of_the_call_is_read_from_its_header(self):
        for value, expected in (("gen-1", "gen-1"), ("", ""), (f"<{SHARED_KEY}>", f"<{HIDDEN}>")):
            named = Canned(body={}, headers={"X-Generation-Id": value})
            async with loopback(named) as server:
                reply = await post(server.base_url)

            assert reply.generation_id == expected

    def test_only_the_deadline_ends_a_silence(self):
        assert http.TIMEOUTS.read is None, "a model may think for minutes before its first byte"

    async def test_cookies_do_not_tie_requests_together(self):
        async with loopback(Canned(body={}, headers={"Set-Cookie": "who=you; Path=/"})) as server:
            await post(server.base_url)
            await post(server.base_url)

        assert "cookie" not in server.received[1].headers

    async def test_an_environment_proxy_is_ignored(self):
        with self.settings(), _environment(HTTP_PROXY=unused_base_url(), NO_PROXY=""):
            async with loopback(Canned(body={})) as server:
                reply = await post(server.base_url)

        assert reply.status == 200


class Failing(SimpleTestCase):
    async def test_a_refused_connection_is_surely_not_charged(self):
        with pytest.raises(ProviderUnavailable) as caught:
            await post(unused_base_url())

        assert caught.value.retryable
        assert not caught.value.maybe_charged

    async def test_a_connection_that_breaks_later_may_be_charged(self):
        for misbehaviour in (
            reset_before_answer,
            hang_up_before_answer,
            reset_mid_answer,
            nonsense,
        ):
            with self.subTest(misbehaviour.__name__):
                async with loopback(misbehaviour) as server:
                    with pytest.raises(ProviderUnavailable) as caught:
                        await post(server.base_url)

                assert caught.value.maybe_charged
                assert not caught.value.retryable
                assert len(server.received) == 1, "a POST is never sent twice behind our back"

    async def test_a_lost_answer_leaves_the_generation_to_ask_about(self):
        async with loopback(reset_mid_answer) as server:
            with pytest.raises(ProviderUnavailable) as caught:
                await post(server.base_url)

        assert caught.value.generation_id == "gen-lost"

    async def test_a_dripping_body_does_not_outlive_the_deadline(self):
        async with loopback(drip) as server:
            started = time.monotonic()
            with pytest.raises(DeadlineExceeded) as caught:
                await post(server.base_url, deadline_s=0.1)
            took_s = time.monotonic() - started
            await asyncio.wait_for(server.hung_up.wait(), 2)

        assert took_s > 0.09
        assert caught.value.maybe_charged
        assert not caught.value.retryable

    async def test_cancelling_hangs_up_at_once(self):
        for misbehaviour in (never, drip):
            with self.subTest(misbehaviour.__name__):
                async with loopback(misbehaviour) as server:
                    call = asyncio.create_task(post(server.base_url))
                    await server.arrived.wait()
                    call.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await call
                    await asyncio.wait_for(server.hung_up.wait(), 2)

    async def test_a_key_that_no_header_can_carry_is_refused_without_being_quoted(self):
        for value in ("", "sk-or-v1-ключ", "sk-or-v1-a\r\nX-Evil: 1", "sk-or-v1-a\0"):
            with self.subTest(value):
                with pytest.raises(KeyRejected) as caught:
                    await post(unused_base_url(), key=PlainKey(value))

                assert not value or value not in repr(caught.value)


class KeepingTheKey(SimpleTestCase):
    async def test_a_key_in_a_reply_is_hidden_before_anybody_sees_it(self):
        odd_key = PlainKey("a-key-of-no-known-shape")
        async with loopback(Canned(body={"error": "bad key a-key-of-no-known-shape"})) as server:
            reply = await post(server.base_url, key=odd_key)

        assert reply.body == {"error": f"bad key {HIDDEN}"}

    async def test_a_key_in_escapes_is_hidden_too(self):
        escaped = "".join(f"\\u{ord(letter):04x}" for letter in SHARED_KEY)
        body = f'{{"\u00e4": ["{escaped}", 1, null], "{escaped}": "x"}}'.encode()
        async with loopback(Canned(body=body)) as server:
            reply = await post(server.base_url)

        assert reply.body == {"ä": [HIDDEN, 1, None], HIDDEN: "x"}

    async def test_no_exception_and_no_log_shows_the_key(self):
        with everything_logged() as logged:
            for misbehaviour in (Canned(body={}), reset_mid_answer, nonsense, drip):
                async with loopback(misbehaviour) as server:
                    try:
                        await post(server.base_url, deadline_s=0.1)
                    except LLMError as error:
                        logged.write("".join(traceback.format_exception(error)))
                        # The original would carry the request along, wherever it is sent to.
                        logged.write(f"{error!r} context: {error.__context__!r}")

        assert "HTTP Request" in logged.getvalue(), "the handler was there"
        assert logged.getvalue().count("context: None") == 3
        assert SHARED_KEY not in logged.getvalue()

    async def test_no_frame_of_a_traceback_holds_the_key(self):
        for misbehaviour in (reset_mid_answer, drip):
            async with loopback(misbehaviour) as server:
                with pytest.raises(LLMError) as caught:
                    await post(server.base_url, deadline_s=0.1)

            frames = traceback.walk_tb(caught.value.__traceback__)
            shown = "".join(repr(frame.f_locals) for frame, _ in frames)
            assert "deadline_s" in shown
            assert SHARED_KEY not in shown


class Pooling(SimpleTestCase):
    async def test_calls_share_connections_and_leak_none(self):
        async with loopback(Canned(body={"ok": True})) as server:
            gate = asyncio.Semaphore(50)

            async def call() -> int:
                async with gate:
                    return (await post(server.base_url)).status

            statuses = await asyncio.gather(*(call() for _ in range(2000)))
            connections = server.connections
            await http.close_clients()
            await until(lambda: server.open_connections == 0)

        assert statuses == [200] * 2000
        assert connections <= 50

    async def test_cancelled_and_broken_calls_leak_none_either(self):
        async with loopback(never, drip, reset_mid_answer, Canned(body={})) as server:
            for _ in range(3):
                with pytest.raises((DeadlineExceeded, ProviderUnavailable)):
                    await post(server.base_url, deadline_s=0.05)
            assert (await post(server.base_url)).status == 200
            await until(lambda: server.open_connections == 1)

    async def test_a_failed_connection_does_not_poison_the_next_call(self):
        base_url = unused_base_url()
        with pytest.raises(ProviderUnavailable):
            await post(base_url)

        seen = Loopback((Canned(body={}),))
        port = int(base_url.split(":")[2].split("/")[0])
        server = await asyncio.start_server(seen.serve, "127.0.0.1", port)
        async with server:
            reply = await post(base_url)
            await http.close_clients()
            await until(lambda: seen.open_connections == 0)

        assert reply.status == 200

    async def test_a_closed_client_is_replaced_by_the_next_call(self):
        async with loopback(Canned(body={})) as server:
            await post(server.base_url)
            await http.close_client(server.base_url)
            await http.close_client(server.base_url)
            reply = await post(server.base_url)

        assert reply.status == 200
        assert server.connections == 2

    def test_many_loops_in_sequence_have_their_own_clients_and_leave_nothing(self):
        async def call() -> int:
            async with loopback(Canned(body={})) as server:
                return (await post(server.base_url)).status

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            statuses = [asyncio.run(call()) for _ in range(20)]
            gc.collect()

        assert statuses == [200] * 20
        assert len(http._pool) <= 1, "the last loop is forgotten with the next client"


def _environment(**values: str):
    return patch.dict("os.environ", values)

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest
from django.test import SimpleTestCase, override_settings

from agents.llm.base import StepScope
from agents.llm.errors import (
    KeyRejected,
    ProviderUnavailable,
    RequestInvalid,
)
from agents.llm.keys import PlainKey
from agents.llm.openrouter import OpenRouterProvider
from tests.llm.calling import (
    MODEL,
    SCHEMA,
    Recorder,
    everything_logged,
    ok,
    provider,
    refused,
)
from tests.llm.loopback import SHARED_KEY, Canned, Reply, loopback, never, unused_base_url

PICTURES = {
    "image/jpeg": b"\xff\xd8\xff\xe0" + b"\0" * 20,
    "image/png": b"\x89PNG\r\n\x1a\n" + b"\0" * 20,
    "image/webp": b"RIFF\x10\0\0\0WEBPVP8 " + b"\0" * 20,
    "image/gif": b"GIF89a" + b"\0" * 20,
}


class Asking(SimpleTestCase):
    async def sent(self, *prompt: str, **options: Any) -> Any:
        async with loopback(ok()) as server:
            await provider(server.base_url).complete(*prompt, **options)
        return server.received[0].body

    async def test_a_plain_prompt(self):
        assert await self.sent("Be kind.", "Hi") == {
            "model": MODEL,
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": "Hi"},
            ],
            "max_tokens": 16_384,
        }

    async def test_an_empty_system_prompt_is_left_out(self):
        body = await self.sent("", "Hi")

        assert body["messages"] == [{"role": "user", "content": "Hi"}]

    async def test_a_schema_is_demanded_of_the_endpoint(self):
        body = await self.sent("s", "u", schema=SCHEMA)

        assert body["response_format"] == {
            "type": "json_schema",
            "json_schema": {"name": "Verdict", "strict": True, "schema": SCHEMA},
        }
        assert body["provider"] == {"require_parameters": True}

    async def test_a_picture_goes_as_what_its_bytes_say(self):
        for media_type, picture in PICTURES.items():
            with self.subTest(media_type):
                encoded = base64.b64encode(picture).decode()
                body = await self.sent("s", "What is it?", image_b64=encoded)

                assert body["messages"][1]["content"] == [
                    {"type": "text", "text": "What is it?"},
                    {
                        "type": "image_url",
                        "image_url": {"url": f"data:{media_type};base64,{encoded}"},
                    },
                ]

    async def test_what_is_no_picture_is_not_sent(self):
        for encoded in ("PHN2Zz4=", "no base64!", "====", "ключ"):
            with self.subTest(encoded):
                recorder = Recorder()
                async with loopback(ok()) as server:
                    with pytest.raises(RequestInvalid):
                        await provider(server.base_url, recorder).complete(
                            "s", "u", image_b64=encoded
                        )

                assert server.received == []
                assert recorder.order == []

    @override_settings(OPENROUTER_BASE_URL="http://127.0.0.1:9/api/v1/")
    async def test_the_address_is_the_operators_setting(self):
        llm = OpenRouterProvider(api_key=PlainKey(SHARED_KEY), model_id=MODEL)

        assert llm.base_url == "http://127.0.0.1:9/api/v1"


class CheckingKeys(SimpleTestCase):
    async def test_a_good_key(self):
        async with loopback(Canned(body={"data": {"label": "sk-or-v1-au7...890"}})) as server:
            await provider(server.base_url).validate_key()

        (request,) = server.received
        assert (request.method, request.path) == ("GET", "/api/v1/key")
        assert request.headers["authorization"] == f"Bearer {SHARED_KEY}"

    async def test_a_bad_key(self):
        for status in (401, 403):
            async with loopback(refused(status)) as server:
                with pytest.raises(KeyRejected):
                    await provider(server.base_url).validate_key()

            assert len(server.received) == 1

    async def test_nobody_can_tell(self):
        replies: list[Reply] = [
            refused(500),
            refused(404),
            Canned(body=b"<html>sign in</html>"),
            never,
        ]
        replies += [Canned(body={"data": None}), refused(402)]
        for reply in replies:
            async with loopback(reply) as server:
                with pytest.raises(ProviderUnavailable) as caught:
                    await provider(server.base_url, deadline_s=0.2).validate_key()

            assert caught.value.provider == "openrouter"

    async def test_a_short_failure_is_passed_over(self):
        async with loopback(refused(503), Canned(body={"data": {"label": "x"}})) as server:
            await provider(server.base_url).validate_key()

        assert len(server.received) == 2

    async def test_a_closed_provider_can_be_used_again(self):
        async with loopback(ok()) as server:
            llm = replace(provider(server.base_url), scope=StepScope())
            await llm.complete("s", "u")
            await llm.close()
            await llm.complete("s", "u")

        assert server.connections == 2

    async def test_a_step_cannot_hang_up_on_the_calls_of_others(self):
        async with loopback(ok()) as server:
            llm = provider(server.base_url)
            await llm.complete("s", "u")
            await llm.for_step(StepScope(agent="a", step_id="s-1")).close()
            await llm.complete("s", "u")

        assert server.connections == 1


class KeepingTheKey(SimpleTestCase):
    async def test_the_key_shows_nowhere(self):
        llm = provider(unused_base_url())
        echoes = f"Invalid key: Bearer {SHARED_KEY}"
        texts = [repr(llm), str(llm), repr(llm.scope)]
        with everything_logged() as logged:
            for reply in (
                refused(401, echoes),
                refused(500, echoes),
                ok(echoes),
                Canned(body=b"x"),
            ):
                recorder = Recorder()
                async with loopback(reply) as server:
                    try:
                        completion = await provider(server.base_url, recorder).complete("s", "u")
                        texts.append(repr(completion))
                    except Exception as error:  # noqa: BLE001 - all that comes out counts
                        texts += [str(error), repr(error), repr(error.args), repr(vars(error))]
                texts.append(repr(recorder.ended))
        texts.append(logged.getvalue())

        assert "Invalid key" in "".join(texts)
        assert SHARED_KEY not in "".join(texts)

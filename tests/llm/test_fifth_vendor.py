"""A vendor that speaks chat completions is one file and its line in the router.

Both are written into a copy of the product, and what runs there finds it everywhere.
"""

from __future__ import annotations

import json

from django.test import SimpleTestCase

from tests.product_copy import product_copy

VENDOR = '''
from dataclasses import dataclass
from typing import ClassVar

from agents.llm.openai_compatible import ChatCompletionsProvider


@dataclass(frozen=True, kw_only=True)
class AcmeProvider(ChatCompletionsProvider):
    """A model at Acme, bound to a member's key."""

    name: ClassVar[str] = "acme"
    title: ClassVar[str] = "Acme"
    key_shape: ClassVar[str] = r"acm_[A-Za-z0-9]{32}"
    keys_page: ClassVar[str] = "acme.example/keys"
    address: ClassVar[str] = "https://api.acme.example"
    public_name: ClassVar[str] = "acme_ai"
    default_model: ClassVar[str] = "acme-large"
'''
# What the copy is asked, in a process of its own.
QUESTIONS = """
import asyncio, json, sys
import django
django.setup()
import httpx
from agents.llm import router
from agents.llm.secrets import scrub
from observatory.sandbox.app import create_app
from observatory.telemetry import spans
from pipeline.bot.handlers import keys
from pipeline.models import Member

key = "acm_" + "Z9y8X7w6V5u4T3s2R1q0P9o8N7m6L5k4"
llm = router.create_provider("acme", key, router.default_model("acme"))


async def of_sandbox(path, body=None):
    transport = httpx.ASGITransport(create_app(vendors=router.sandbox_vendors()))
    async with httpx.AsyncClient(transport=transport, base_url="http://sandbox") as client:
        headers = {"Authorization": f"Bearer {key}"}
        method = "POST" if body else "GET"
        answer = await client.request(method, path, json=body, headers=headers)
        return answer.status_code, answer.json()


said = {"model": llm.model_id, "messages": [{"role": "user", "content": "Hello."}]}
status, answer = asyncio.run(of_sandbox("/acme/v1/chat/completions", said))
json.dump(
    {
        "router": [router.provider_of_key(key), llm.base_url, llm.model_id],
        "onboarding": [
            "acme" in dict(Member._meta.get_field("provider").flatchoices),
            [button[0][0] for button in keys.payers(Member(telegram_id=1))],
        ],
        "redaction": scrub(f"my key is {key}."),
        "telemetry": [spans.provider_name("acme"), spans.server("acme")],
        "sandbox": [status, answer["model"], asyncio.run(of_sandbox("/acme/v1/models"))[0]],
    },
    sys.stdout,
)
"""


class FifthVendorTests(SimpleTestCase):
    def test_it_is_found_in_router_onboarding_redaction_telemetry_and_sandbox(self):
        router = "agents/llm/router.py"
        with product_copy() as product:
            product.add_file("agents/llm/acme.py", VENDOR)
            imported = "from agents.llm.acme import AcmeProvider"
            product.add_line(router, imported, before="from agents.llm.base")
            product.add_line(router, '    "acme": AcmeProvider,', before='    "claude"')
            found = json.loads(product.run("-c", QUESTIONS))

        assert found["router"] == ["acme", "https://api.acme.example", "acme-large"]
        is_a_choice, buttons = found["onboarding"]
        assert is_a_choice
        assert any("Acme" in button for button in buttons)
        assert "acm_" not in found["redaction"]
        assert found["redaction"].startswith("my key is ")
        name, server = found["telemetry"]
        assert name == "acme_ai"
        assert set(server.values()) == {"api.acme.example", 443}
        assert found["sandbox"] == [200, "acme-large", 200]

"""A vendor that speaks chat completions is one file and its line in the router.

Both are written into a copy of the product, and what runs there finds it everywhere.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from django.test import SimpleTestCase

ROOT = Path(__file__).parents[2]
VENDOR = '''
from dataclasses import dataclass
from typing import ClassVar

from agents.llm.chat_completions import ChatCompletionsProvider


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
LINES = {
    "from agents.llm.claude import": "from agents.llm.acme import AcmeProvider\n",
    '    "claude": ClaudeProvider,': '    "acme": AcmeProvider,\n',
}
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
        with tempfile.TemporaryDirectory() as folder:
            found = self._ask(Path(folder))

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

    def _ask(self, folder: Path) -> dict[str, Any]:
        for package in ("agents", "observatory", "pipeline"):
            shutil.copytree(
                ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__")
            )
        (folder / "agents/llm/acme.py").write_text(VENDOR, encoding="utf-8")
        router = folder / "agents/llm/router.py"
        text = router.read_text(encoding="utf-8")
        for before, line in LINES.items():
            assert before in text
            text = text.replace(before, line + before, 1)
        router.write_text(text, encoding="utf-8")
        ran = subprocess.run(
            [sys.executable, "-c", QUESTIONS],
            cwd=folder,
            env={
                "PATH": os.environ["PATH"],
                "DJANGO_SETTINGS_MODULE": "observatory.settings",
                "DJANGO_DEBUG": "true",
                "DATA_DIR": str(folder),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr[-2000:]
        found: dict[str, Any] = json.loads(ran.stdout)
        return found

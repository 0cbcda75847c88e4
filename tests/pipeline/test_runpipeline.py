"""`manage.py runpipeline`: what it prints, who pays, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from decimal import Decimal
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.test import override_settings

from agents.models import AgentModelConfig
from pipeline.models import LLMCall, Member, PipelineRun
from pipeline.people.pictures import MAX_BYTES
from tests.canaries import CLAUDE_KEY, MEMBER_KEY, OPENAI_KEY, SHARED_KEY
from tests.pipeline.cases import FALLBACK_MODEL, MEMBER_MODEL, SandboxCase
from tests.pipeline.test_pictures import encoded

KEYS = ["pipeline", "status", "answer", "steps"]
STEP_KEYS = [
    "agent",
    "mode",
    "status",
    "requested_model",
    "served_model",
    "upstream",
    "purse",
    "decision",
    "cost_usd",
    "latency_ms",
    "error",
]
MESSAGE = "VP of Strategy at a mid-size bank, worried about switching cost."
PNG = encoded("PNG")


def member(
    name: str,
    telegram_id: int,
    *,
    key: str = "",
    model_id: str = "",
    provider: str = "openrouter",
) -> Member:
    row = Member(name=name, username=f"{name.lower()}_bot", telegram_id=telegram_id)
    row.model_id = model_id
    if key:
        row.keep_key(provider, key)
    row.save()
    return row


class RunPipelineCase(SandboxCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        # The command's loop has its ORM thread, and that thread a connection of its own.
        self.addCleanup(lambda: asyncio.run(sync_to_async(connections.close_all)()))

    def printed(self, *arguments: str) -> str:
        out = StringIO()
        call_command("runpipeline", *arguments, stdout=out)
        return out.getvalue()

    def json_of(self, *arguments: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.printed(*arguments, "--json"))
        return content

    def refused(self, *arguments: str) -> str:
        with pytest.raises(CommandError) as refusal:
            self.printed(*arguments)
        assert self.wire.calls() == []
        assert not PipelineRun.objects.exists()
        return str(refusal.value)


class OutputTests(RunPipelineCase):
    def test_json_has_exactly_the_keys_that_were_promised(self):
        content = self.json_of("support", MESSAGE)

        assert list(content) == KEYS
        assert [list(step) for step in content["steps"]] == [STEP_KEYS] * 3
        assert (content["pipeline"], content["status"]) == ("support", "ok")
        assert "switching cost" in content["answer"]
        assert [(step["agent"], step["mode"], step["status"]) for step in content["steps"]] == [
            ("extraction", "sequential", "ok"),
            ("strategist", "sequential", "ok"),
            ("memory", "background", "ok"),
        ]
        for step in content["steps"]:
            assert step["requested_model"] == step["served_model"] == FALLBACK_MODEL
            assert step["decision"].startswith(f"ran {FALLBACK_MODEL} because no override is set")
            assert (step["purse"], step["error"]) == ("shared", None)
            assert isinstance(step["latency_ms"], int)
        billed = sum(call.cost_usd for call in self.wire.calls())
        assert sum(Decimal(step["cost_usd"]) for step in content["steps"]) == billed

    def test_words_say_which_model_ran_each_step_and_why(self):
        AgentModelConfig.objects.upsert("strategist", "sandbox/dated", "olga")

        text = self.printed("support", MESSAGE)

        assert "strategist (sequential): Done, " in text
        assert "  ran sandbox/dated because override v1 by olga on " in text
        assert "  answered by sandbox/dated-20260901" in text
        assert f"run {PipelineRun.objects.get().id}" in text

    def test_a_failed_run_is_printed_and_exits_with_1(self):
        AgentModelConfig.objects.upsert("extraction", "sandbox/no-credit", "olga")
        out = StringIO()

        with pytest.raises(SystemExit) as ended:
            call_command("runpipeline", "support", MESSAGE, "--json", stdout=out)

        content = json.loads(out.getvalue())
        assert ended.value.code == 1
        assert (content["status"], content["answer"]) == ("failed", "")
        assert [(step["status"], step["cost_usd"]) for step in content["steps"][:2]] == [
            ("failed", None),
            ("skipped", None),
        ]
        assert content["steps"][0]["error"].startswith("NoCredit: ")

    def test_every_shipped_pipeline_runs(self):
        for name, agents in {
            "learn": ["trainer", "memory"],
            "support": ["extraction", "strategist", "memory"],
            "support_photo": ["extraction", "strategist"],
            "train": ["trainer", "strategist", "memory"],
        }.items():
            with self.subTest(name):
                content = self.json_of(name, MESSAGE)
                assert [step["agent"] for step in content["steps"]] == agents
                assert content["status"] == "ok"


class PayingTests(RunPipelineCase):
    def test_as_a_member_their_key_pays_except_for_overridden_agents(self):
        member("Dana", 42, key=MEMBER_KEY, model_id=MEMBER_MODEL)
        AgentModelConfig.objects.upsert("strategist", "anthropic/claude-sonnet-4.5", "olga")

        content = self.json_of("support", MESSAGE, "--as", "Dana")

        assert {(call.agent, call.model, call.key) for call in self.wire.calls()} == {
            ("extraction", MEMBER_MODEL, MEMBER_KEY),
            ("strategist", "anthropic/claude-sonnet-4.5", SHARED_KEY),
            ("memory", MEMBER_MODEL, MEMBER_KEY),
        }
        assert [step["purse"] for step in content["steps"]] == ["member", "shared", "member"]

    def test_a_member_is_found_by_id_name_or_telegram_name(self):
        dana = member("Dana", 42, key=MEMBER_KEY)
        for wanted in ("42", "dana", "@dana_bot", "DANA_BOT"):
            with self.subTest(wanted):
                self.wire.clear()
                self.json_of("learn", "How do I open?", "--as", wanted)
                assert {call.key for call in self.wire.calls()} == {MEMBER_KEY}
        assert set(PipelineRun.objects.values_list("member", flat=True)) == {dana.pk}

    def test_a_picture_goes_to_the_agent_that_takes_it(self):
        picture = self.folder / "chat.png"
        picture.write_bytes(PNG)

        content = self.json_of("support_photo", "", "--image", str(picture))

        parts = {call.agent: call.messages[-1]["content"] for call in self.wire.calls()}
        assert content["status"] == "ok"
        assert parts["extraction"][1]["image_url"]["url"].startswith("data:image/jpeg;base64,/9j/")
        assert isinstance(parts["strategist"], str)

    def test_a_member_on_another_vendor_pays_there_and_the_override_stays_on_openrouter(self):
        picture = self.folder / "chat.png"
        picture.write_bytes(PNG)
        AgentModelConfig.objects.upsert("strategist", "anthropic/claude-sonnet-4.5", "olga")
        keys = {"claude": CLAUDE_KEY, "openai": OPENAI_KEY}
        for number, (provider, key) in enumerate(keys.items()):
            with self.subTest(provider):
                self.wire.clear()
                member(f"Dana{number}", 42 + number, key=key, provider=provider)

                content = self.json_of(
                    "support_photo", "", "--image", str(picture), "--as", f"Dana{number}"
                )

                steps = {step["agent"]: step for step in content["steps"]}
                assert {(call.agent, call.key) for call in self.wire.calls()} == {
                    ("extraction", key),
                    ("strategist", SHARED_KEY),
                }
                assert [steps[a]["purse"] for a in ("extraction", "strategist")] == [
                    "member",
                    "shared",
                ]
                assert f"the member's own {provider} key" in steps["extraction"]["decision"]
                call = LLMCall.objects.get(step__agent="extraction", provider=provider)
                assert (call.cost_source, call.is_mismatch) == ("estimated", False)
                assert Decimal(steps["extraction"]["cost_usd"]) == self.wire.calls()[0].cost_usd

    def test_a_model_that_takes_no_pictures_answers_nothing_and_says_so(self):
        picture = self.folder / "chat.png"
        picture.write_bytes(PNG)
        AgentModelConfig.objects.upsert("extraction", "meta-llama/llama-3.3-70b-instruct", "olga")

        out = StringIO()
        with pytest.raises(SystemExit):
            call_command(
                "runpipeline", "support_photo", "", "--image", picture, "--json", stdout=out
            )

        content = json.loads(out.getvalue())
        steps = {step["agent"]: step for step in content["steps"]}
        assert (content["status"], content["answer"]) == ("failed", "")
        assert steps["extraction"]["error"].startswith("PictureUnsupported: ")
        assert steps["strategist"]["status"] == "skipped"
        assert [(call.agent, call.status) for call in self.wire.calls()] == [("extraction", 404)]


class RefusalTests(RunPipelineCase):
    def test_an_unknown_pipeline_is_refused_with_the_known_ones(self):
        assert self.refused("sell", MESSAGE) == (
            "there is no pipeline 'sell'; known are learn, lesson, support, support_forwarded, "
            "support_photo, support_shorter, train"
        )

    def test_a_member_who_is_not_exactly_one_is_refused(self):
        member("Dana", 42, key=MEMBER_KEY)
        member("Dana", 43)
        Member.objects.create(telegram_id=44)
        table = {
            "Dana": "several members are called 'Dana': give the Telegram id",
            "Nobody": "no member is called 'Nobody': give the Telegram id",
            "": "no member is called '': give the Telegram id",
            "@": "no member is called '@': give the Telegram id",
            "²": "no member is called '²': give the Telegram id",
            "9" * 30: f"no member is called '{'9' * 30}': give the Telegram id",
        }
        for wanted, words in table.items():
            with self.subTest(wanted):
                assert self.refused("support", MESSAGE, "--as", wanted) == words

    def test_what_is_no_picture_is_refused(self):
        large, text = self.folder / "large.png", self.folder / "notes.txt"
        with large.open("wb") as file:
            file.write(PNG)
            file.truncate(MAX_BYTES + 1)
        text.write_text("Not a picture.")
        (self.folder / "empty.png").touch()
        table = {
            "missing.png": "No such file or directory",
            "": "Is a directory",
            "large.png": "large.png: This picture is larger than 10 MB",
            "notes.txt": "notes.txt: I can't read this picture",
            "empty.png": "empty.png: I can't read this picture",
        }
        for name, words in table.items():
            with self.subTest(name):
                image = str(self.folder / name)
                found = self.refused("support_photo", "", "--image", image)
                assert found.startswith("--image: ")
                assert words in found

    def test_a_picture_for_a_pipeline_that_takes_none_is_refused(self):
        picture = self.folder / "chat.png"
        picture.write_bytes(PNG)

        words = self.refused("support", MESSAGE, "--image", str(picture))

        assert words == "--image: the pipeline support takes no picture"

    def test_a_member_without_a_payer_is_refused_before_anything_is_paid(self):
        member("Dana", 42)
        AgentModelConfig.objects.upsert("extraction", "openai/gpt-5-mini", "olga")

        with override_settings(SHARED_KEY_FOR_MEMBERS=False):
            words = self.refused("support", MESSAGE, "--as", "42")

        assert words == (
            "no override is set, the member has no key, and the shared key is not for members"
        )


class ProcessTests(RunPipelineCase):
    def test_as_a_process_it_prints_pure_json_and_exits_with_0(self):
        AgentModelConfig.objects.upsert("strategist", "anthropic/claude-sonnet-4.5", "olga")

        done = subprocess.run(
            [sys.executable, "manage.py", "runpipeline", "support", MESSAGE, "--json"],
            cwd=settings.BASE_DIR,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=60,
        )

        assert done.returncode == 0, done.stderr
        content = json.loads(done.stdout)
        assert list(content) == KEYS
        assert [step["requested_model"] for step in content["steps"]] == [
            FALLBACK_MODEL,
            "anthropic/claude-sonnet-4.5",
            FALLBACK_MODEL,
        ]
        assert SHARED_KEY not in done.stdout + done.stderr

    def environment(self) -> dict[str, str]:
        name = connection.settings_dict["NAME"]
        is_sqlite = connection.vendor == "sqlite"
        server = os.environ["DATABASE_URL"].rpartition("/")[0]
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "observatory.settings",
            "DJANGO_DEBUG": "true",
            "LOG_LEVEL": "DEBUG",
            "DATABASE_URL": f"sqlite:///{name}" if is_sqlite else f"{server}/{name}",
            "OPENROUTER_API_KEY": SHARED_KEY,
            "OPENROUTER_BASE_URL": settings.OPENROUTER_BASE_URL,
            "DEFAULT_MODEL": FALLBACK_MODEL,
            "CREDENTIALS_KEYS": ",".join(settings.CREDENTIALS_KEYS),
        }

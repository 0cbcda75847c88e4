"""One story with every kind of key in it, and then a search through all that it left behind.

The logs of the whole suite are searched as well, at the end of the session (`tests.conftest`).
"""

from __future__ import annotations

import io
import logging
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import User
from django.core.cache import caches
from django.db import connection
from django.test import AsyncClient, SimpleTestCase, override_settings
from django.urls import reverse

from agents.llm.errors import LLMError
from agents.llm.keys import PlainKey, fingerprint, seal
from agents.llm.router import create_provider
from agents.llm.secrets import HIDDEN, scrub
from agents.model_config import ModelConfigService
from agents.models import AgentModelConfig
from observatory.redaction import RedactingFilter, RedactingFormatter
from pipeline.models import LLMCall, Member, PastedKey, PipelineRun, Task
from pipeline.models.members import Access
from pipeline.running.context import PipelineContext
from tests.canaries import BOT_TOKEN, CLAUDE_KEY, MEMBER_KEY, OPENAI_KEY, SHARED_KEY
from tests.made_up_agents import ANYWAY
from tests.pipeline.bot.chatting import MAYA, TOM, BotCase, environment
from tests.sandbox.serving import running_sandbox

SECRETS = (SHARED_KEY, MEMBER_KEY, CLAUDE_KEY, OPENAI_KEY, BOT_TOKEN)


def leaked_into(text: str) -> list[str]:
    return [secret[:10] for secret in SECRETS if secret in text]


class StoryTests(BotCase):
    async def test_no_key_is_in_logs_records_cache_chat_or_pages_after_a_day_of_trouble(self):
        log = io.StringIO()
        handler = logging.StreamHandler(log)  # without the redaction: that is only the last net
        logging.getLogger().addHandler(handler)
        self.addCleanup(logging.getLogger().removeHandler, handler)

        chat_texts = await self._a_day_of_trouble()

        assert await LLMCall.objects.filter(error__contains=HIDDEN).aexists()  # it was echoed
        assert not await PastedKey.objects.aexists()
        assert leaked_into(log.getvalue()) == []
        assert leaked_into(chat_texts) == []
        assert leaked_into(await sync_to_async(_database)()) == []
        assert leaked_into(_cache_files()) == []
        assert leaked_into(_files()) == []
        with override_settings(OPENROUTER_API_KEY=SHARED_KEY, TELEGRAM_BOT_TOKEN=BOT_TOKEN):
            pages = [page async for page in self._admin_pages()]
        assert len(pages) > 10
        for url, text in pages:
            with self.subTest(url=url):
                assert leaked_into(text) == []

    async def _a_day_of_trouble(self) -> str:
        """Play it and return what the people saw in their chats."""
        maya = Member(telegram_id=MAYA, name="Maya", access=Access.APPROVED)
        maya.keep_key("openrouter", MEMBER_KEY)
        await maya.asave()
        async with self.bot() as chat:
            for number, model_id in enumerate(
                ["sandbox/echo-key", "sandbox/retired", "sandbox/error-in-200", "openai/gpt-4.1"]
            ):
                await AgentModelConfig.objects.aupsert("extraction", model_id, "ana", **ANYWAY)
                await chat.say(MAYA, f"question {number}")
                await chat.sees(MAYA, _is_done(number + 1))
            await AgentModelConfig.objects.adeactivate("extraction", "ana")
            for pasted in (CLAUDE_KEY, OPENAI_KEY, SHARED_KEY):
                await chat.say(TOM, f"my key is {pasted}")
            await chat.sees(TOM, lambda seen: len(seen) == 3)
            for pasted in (CLAUDE_KEY, OPENAI_KEY):
                await chat.say(TOM, pasted)
            await chat.sees(TOM, lambda seen: len(seen) == 5)
            await chat.say(TOM, "and who pays now?")
            await chat.sees(TOM, _is_done(6))
            await Member.objects.filter(telegram_id=MAYA).aupdate(model_id="sandbox/echo-key")
            await chat.say(MAYA, "and my own key echoed")
            await chat.sees(MAYA, lambda seen: len(seen) == 5 and "⚠️" in seen[4])
            return str([await chat.messages(person) for person in (MAYA, TOM)])

    async def _admin_pages(self) -> Any:
        operator = await User.objects.acreate_superuser("ana", password="ana")
        client = AsyncClient()
        await client.aforce_login(operator)
        for url in await sync_to_async(lambda: list(_admin_urls()))():
            response = await client.get(url)
            assert response.status_code == 200, url
            yield url, response.content.decode()


def _is_done(count: int) -> Callable[[list[str]], bool]:
    def is_done(seen: list[str]) -> bool:
        return len(seen) == count and not seen[-1].endswith("…")

    return is_done


def _admin_urls() -> Iterator[str]:
    yield reverse("admin:index")
    for model in (
        *("agents_agentmodelconfig", "pipeline_invite", "pipeline_member"),
        *("pipeline_pipelinerun", "pipeline_task"),
    ):
        yield reverse(f"admin:{model}_changelist")
    for row in AgentModelConfig.objects.all():
        yield reverse("admin:agents_agentmodelconfig_change", args=[row.pk])
        yield reverse("admin:agents_agentmodelconfig_history", args=[row.pk])
    for member in Member.objects.all():
        yield reverse("admin:pipeline_member_change", args=[member.pk])
        yield reverse("admin:pipeline_member_history", args=[member.pk])
    for task in Task.objects.all():
        yield reverse("admin:pipeline_task_change", args=[task.pk])
    for run in PipelineRun.objects.all():
        yield reverse("admin:pipeline_pipelinerun_change", args=[run.pk])


def _database() -> str:
    """Return every value of every table."""
    return "\n".join(
        str(row) for model in apps.get_models() for row in model._default_manager.values_list()
    )


def _cache_files() -> str:
    location = str(settings.CACHES["overrides"]["LOCATION"])
    if location.startswith("redis:"):
        client: Any = caches["overrides"]._cache.get_client()  # type: ignore[attr-defined]
        read = {b"zset": lambda key: client.zrange(key, 0, -1), b"string": client.get}
        return str([(key, read[client.type(key)](key)) for key in client.keys("*")])
    files = [path for path in Path(location).rglob("*") if path.is_file()]
    return "".join(path.read_bytes().decode("latin-1") for path in files)


def _files() -> str:
    """Return the bytes of the database's files and of all that a process keeps beside them."""
    places = [Path(settings.DATA_DIR)]
    if connection.vendor == "sqlite":
        places.append(Path(str(connection.settings_dict["NAME"])).parent)
    files = {path for place in places for path in place.rglob("*") if path.is_file()}
    return "".join(path.read_bytes().decode("latin-1") for path in files if path.suffix != ".log")


class ShownNowhereTests(SimpleTestCase):
    def test_no_repr_or_str_shows_a_key(self):
        provider = create_provider("openrouter", SHARED_KEY, "openai/gpt-5-mini")
        holders = [
            PlainKey(SHARED_KEY),
            seal(MEMBER_KEY, owner="telegram:1", provider="openrouter"),
            provider,
            ModelConfigService(SHARED_KEY),
            PipelineContext(default_llm=provider, step_llm=provider),
        ]
        for holder in holders:
            with self.subTest(holder=type(holder).__name__):
                assert leaked_into(repr(holder) + str(holder) + f"{holder}") == []

    async def test_a_traceback_of_a_failed_call_shows_no_key(self):
        with running_sandbox() as base_url, override_settings(**environment(base_url)):
            for model_id in ("sandbox/echo-key", "sandbox/error-in-200", "nobody/knows-me"):
                provider = create_provider("openrouter", MEMBER_KEY, model_id)
                with self.subTest(model_id=model_id):
                    with pytest.raises(LLMError) as caught:
                        await provider.complete("system", "user")
                    text = "".join(traceback.format_exception(caught.value))
                    assert leaked_into(text + repr(caught.value.__dict__)) == []
            await provider.close()

    def test_the_log_hides_keys_in_messages_arguments_and_tracebacks(self):
        log = io.StringIO()
        handler = logging.StreamHandler(log)
        handler.addFilter(RedactingFilter())
        handler.setFormatter(RedactingFormatter())
        logger = logging.getLogger("tests.leaks")
        logger.propagate = False
        logger.addHandler(handler)
        url = f"https://api.telegram.org/bot{BOT_TOKEN}/getUpdates"

        logger.info("calling %s with %r", url, {"key": SHARED_KEY})
        try:
            raise RuntimeError(f"failed: {url} {CLAUDE_KEY}")
        except RuntimeError:
            logger.exception("it failed")

        assert leaked_into(log.getvalue()) == []
        assert log.getvalue().count(HIDDEN) == 4

    def test_a_fingerprint_tells_keys_apart_and_shows_none(self):
        prints = {fingerprint(secret) for secret in SECRETS}

        assert len(prints) == len(SECRETS)
        assert leaked_into(" ".join(prints)) == []

    def test_ordinary_words_are_not_taken_for_keys(self):
        for text in ("task-management-software", "at 12:30", "risk-adjusted returns", "v41·3fa9"):
            with self.subTest(text=text):
                assert scrub(text) == text

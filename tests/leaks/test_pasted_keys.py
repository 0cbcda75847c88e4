"""Keys that come in from people, by every way there is: nothing of them is left anywhere.

OBSERVATORY_PROVE=1 has 100 bendings of each vendor come in by each way.
"""

from __future__ import annotations

import io
import json
import logging
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import urlopen

from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory, SimpleTestCase, TestCase, override_settings
from django.urls import reverse
from django.utils import timezone

from agents.llm.router import create_provider
from agents.llm.secrets import HIDDEN
from observatory.redaction import RedactingMiddleware
from observatory.telemetry import spans
from pipeline.bot.intake import store
from pipeline.models import LLMCall, PastedKey, PipelineRun, PlaybookPage, StepRun, TelegramUpdate
from pipeline.models.runs import TextBlob
from tests.canaries import SHARED_KEY
from tests.leaks.pasted_keys import BENDINGS, VENDORS, Pasted, pasted
from tests.leaks.test_no_key_gets_out import _database
from tests.pipeline.bot.chatting import BotCase, Chat, environment
from tests.pipeline.bot.test_conversation import PIXEL
from tests.pipeline.bot.test_intake import BOT_ID, add, command, said
from tests.pipeline.cases import until
from tests.proving import amount, closing_line
from tests.sandbox.serving import running_sandbox
from tests.servers import free_port

SEED = 20_261_129
OF_A_VENDOR = amount(10, proving=100)  # bendings
IN_PAGES = list(VENDORS)[:: amount(5, proving=1)]  # vendors
Json = dict[str, Any]
FILE = {"file_id": "BQACAgIAAxkBAAIB-sk_x", "file_unique_id": "AgADsk-or", "file_size": 9}


def pastes(seed: str, of_each: int, vendors: Iterable[str] = VENDORS) -> Iterator[Pasted]:
    """Yield keys of every vendor, each bent in so many ways, in turn."""
    ways = list(BENDINGS)
    for vendor in vendors:
        chance = random.Random(f"{SEED} {seed} {vendor}")
        for way in (chance.sample(ways, len(ways)) * of_each)[:of_each]:
            yield pasted(chance, vendor, way)


def _message(**content: Any) -> Json:
    return {"message": said(1, "")["message"] | content}


def _file(kind: str, **more: Any) -> Json:
    return _message(**{kind: FILE | more})


CHANNELS: dict[str, Callable[[str], Json]] = {
    "text": lambda text: _message(text=text),
    "caption": lambda text: _message(photo=[FILE | {"width": 9, "height": 9}], caption=text),
    "edited text": lambda text: {"edited_message": said(1, text)["message"]},
    "document name": lambda text: _file("document", file_name=text),
    "title of a song": lambda text: _file("audio", title=text, duration=1),
    "start payload": lambda text: _message(**command("/start " + text)),
    "after a command": lambda text: _message(**command("/support@observatory_bot " + text)),
    "contact": lambda text: _message(contact={"phone_number": "1", "first_name": text}),
    "venue": lambda text: _message(venue={"title": "here", "address": text}),
    "poll": lambda text: _message(poll={"id": "1", "question": "?", "options": [{"text": text}]}),
    "quoted": lambda text: _message(text="is it good?", quote={"text": text, "position": 0}),
    "message replied to": lambda text: _message(
        text="is it good?", reply_to_message=said(2, text)["message"]
    ),
    "forwarded": lambda text: _message(
        text=text, forward_origin={"type": "hidden_user", "sender_user_name": text, "date": 1}
    ),
    "button": lambda text: _message(
        text="press", reply_markup={"inline_keyboard": [[{"text": "b", "url": text}]]}
    ),
    "link": lambda text: _message(
        text="here", entities=[{"type": "text_link", "offset": 0, "length": 4, "url": text}]
    ),
    "press": lambda text: {"callback_query": {"id": "1", "from": {"id": 5}, "data": text}},
    "name of a field": lambda text: {"message": {text: 1, "chat": {"id": 5, "type": "private"}}},
    "kind to come": lambda text: {"kind_to_come": [{"deep": {"er": [text]}}]},
    "body that cannot be read": lambda text: {"": '{"message": "' + text},
}


def texts_in(value: Any) -> str:
    """Return every text in a JSON value, names included."""
    if isinstance(value, dict):
        return "\0".join(f"{name}\0{texts_in(part)}" for name, part in value.items())
    if isinstance(value, list):
        return "\0".join(texts_in(part) for part in value)
    return str(value)


class IntakeTests(TestCase):
    def test_nothing_of_a_key_is_stored_whatever_part_of_an_update_it_comes_in(self):
        names = list(CHANNELS)
        sent: list[tuple[str, Pasted, Json]] = []
        for n, paste in enumerate(pastes("intake", OF_A_VENDOR * 3)):
            name = names[n % len(names)]
            sent.append((name, paste, {"update_id": n + 1, **CHANNELS[name](paste.text)}))

        for first in range(0, len(sent), 100):
            store(BOT_ID, [update for _, _, update in sent[first : first + 100]], add)

        rows = {row.update_id: row for row in TelegramUpdate.objects.all()}
        assert len(rows) == len(sent)
        for name, paste, update in sent:
            row = rows[update["update_id"]]
            kept = texts_in(json.loads(row.raw))
            assert row.holds_key, (name, paste, kept)
            assert not paste.is_in(kept), (name, paste, kept)
            assert not paste.is_in(row.raw + row.kind), (name, paste, row.raw)
        closing_line(f"pasted keys: {len(sent)} updates by {len(names)} ways, left=0")

    def test_of_a_message_with_a_key_no_other_text_is_kept_but_whom_it_speaks_to(self):
        key = VENDORS["groq"](random.Random(SEED))
        text = f"/support@observatory_bot ask @tom_b 🦊 the bank about {key} and more"
        entities = [
            {"type": "bot_command", "offset": 0, "length": 24},
            {"type": "mention", "offset": 29, "length": 6},
            {"type": "bold", "offset": 36, "length": 900},
        ]
        content = {"text": text, "entities": entities, "quote": {"text": "the bank", "position": 0}}
        store(BOT_ID, [{"update_id": 1, **_message(**content)}], add)

        kept = json.loads(TelegramUpdate.objects.get().raw)["message"]

        assert kept["text"] == f"/support@observatory_bot @tom_b {HIDDEN}"
        assert kept["entities"] == [
            {"type": "bot_command", "offset": 0, "length": 24},
            {"type": "mention", "offset": 25, "length": 6},
        ]
        assert "bank" not in texts_in(kept)

    def test_what_telegram_made_up_and_an_ordinary_message_stay_as_they_are(self):
        update = {"update_id": 1, **_file("document", file_name="risk-assessment-2026.pdf")}
        store(BOT_ID, [update], add)

        row = TelegramUpdate.objects.get()
        assert not row.holds_key
        assert json.loads(row.raw) == update


class ChatTests(BotCase):
    async def test_no_table_log_prompt_or_chat_has_a_key_that_people_sent(self):
        log = io.StringIO()
        handler = logging.StreamHandler(log)  # without the redaction: that is only the last net
        logging.getLogger().addHandler(handler)
        self.addCleanup(logging.getLogger().removeHandler, handler)
        everyone = list(pastes("chat", amount(1, proving=100)))

        async with self.bot() as chat:
            people = []
            for n, paste in enumerate(everyone):
                people.append(await self._send(chat, n, paste))
            await until(self._all_answered(len(everyone)), within_s=300)
            calls = await chat.calls()
            said_by_bot = [await chat.replies(person) for person in people]

        assert calls == []  # no model was asked anything
        assert all(replies for replies in said_by_bot), "some got no line"
        tables = await sync_to_async(_database)()
        raw = "\0".join(
            [texts_in(json.loads(row.raw)) async for row in TelegramUpdate.objects.all()]
        )
        for paste in everyone:
            assert not paste.is_in(tables), paste
            assert not paste.is_in(raw), paste
            assert not paste.is_in(log.getvalue()), paste
            assert not paste.is_in(str(said_by_bot)), paste
        for replies in said_by_bot:
            is_kept = "accepted this key" in replies[-1]
            assert is_kept or "kept nothing" in replies[-1] or "haven't kept" in replies[-1], (
                replies
            )
        assert not await PastedKey.objects.aexists()
        closing_line(f"pasted keys: {len(everyone)} people with a running bot, left=0")

    async def _send(self, chat: Chat, n: int, paste: Pasted) -> int:
        person = int((await chat.post("/chat/people", first_name="Eve")).json()["id"])
        if n % 5 == 1:
            await chat.send_photo(person, PIXEL, paste.text[:1000])
            return person
        content: list[Json] = [
            {"text": paste.text},
            {},
            {"document": FILE | {"file_name": paste.text}},
            command("/start " + paste.text),
            {"text": "is this right?", "quote": {"text": paste.text, "position": 0}},
        ]
        await chat.inject(person, **content[n % 5])
        return person

    def _all_answered(self, count: int) -> Any:
        async def are_answered() -> bool:
            answered = TelegramUpdate.objects.filter(tasks__ended_at__isnull=False)
            return await answered.acount() >= count

        return are_answered

    async def test_a_bent_key_is_taken_and_one_among_words_is_sent_back_with_what_to_do(self):
        key = VENDORS["openrouter"](random.Random(SEED))
        async with self.bot() as chat:
            person = int((await chat.post("/chat/people", first_name="Eve")).json()["id"])
            await chat.say(person, f"{key[:30]}\n{key[30:]}\nis that right?")
            line = await chat.sees_text(person, "kept nothing")
            await chat.say(person, f"Sk–{key[3:40]}\n{key[40:]}")  # noqa: RUF001
            await chat.sees_text(person, "OpenRouter accepted this key")

        assert "copy all of it from OpenRouter or Claude or OpenAI" in line
        kept = str([row.raw async for row in TelegramUpdate.objects.all()])
        assert key[30:40] not in kept
        assert key[40:] not in kept


class ModelAndTraceTests(SimpleTestCase):
    async def test_no_model_gets_a_key_that_got_into_a_prompt(self):
        # Mistral's are keys only where they are all of a message, and here they are not.
        vendors = [vendor for vendor in VENDORS if vendor != "mistral"]
        everyone = list(pastes("model", amount(1, proving=20), vendors))
        with running_sandbox() as base_url, override_settings(**environment(base_url)):
            provider = create_provider("openrouter", SHARED_KEY, "openai/gpt-5-mini")
            chat = Chat(base_url)
            for paste in everyone:
                await provider.complete(f"Remember: {paste.text}", paste.text)
            prompts = texts_in([call["messages"] for call in await chat.calls()])
            await chat.aclose()
            await provider.close()

        assert prompts.count(HIDDEN) >= 2 * len(everyone)
        for paste in everyone:
            assert not paste.is_in(prompts), paste

    def test_no_trace_has_a_key_that_got_into_a_record(self):
        for paste in pastes("trace", OF_A_VENDOR):
            text = TextBlob(text=f"the key: {paste.text}")
            now, error = timezone.now(), text.text
            run = PipelineRun(pipeline="support", user_message=text, answer=text, started_at=now)
            step = StepRun(run=run, agent="a", error=error, inputs=text, reply=text, started_at=now)
            call = LLMCall(step=step, user_message=text, output=text, error=error, started_at=now)

            told = [
                spans.of_run(run, with_content=True),
                spans.of_step(step, with_content=True),
                spans.of_call(call, with_content=True),
            ]

            assert not paste.is_in(str([span.attributes for span in told])), paste


class AdminTests(TestCase):
    def test_no_view_gets_a_key_from_a_field_or_a_search(self):
        got: list[str] = []

        def view(request: HttpRequest) -> HttpResponse:
            got.append(texts_in([list(request.GET.lists()), list(request.POST.lists())]))
            return HttpResponse()

        middleware = RedactingMiddleware(view)
        for paste in pastes("admin", OF_A_VENDOR):
            sent = {"title": "a page", "text": paste.text, "password": paste.text}
            request = RequestFactory().post(reverse("admin:pipeline_playbookpage_add"), sent)
            middleware.process_view(request, view)
            assert request.POST["title"] == "a page"
            assert HIDDEN in request.POST["text"]
            assert not paste.is_in(request.POST["text"]), paste
            assert (
                request.POST["password"] == paste.text.replace("\r\n", "\n") or "\r" in paste.text
            )

            found = RequestFactory().get(reverse("admin:index"), {"q": paste.text, "p": "2"})
            response = middleware(found)
            assert response.status_code == 302
            assert "p=2" in response["Location"]
            assert not paste.is_in(response["Location"]), paste
        assert got == []  # searches with a key are asked again without it

    def test_no_table_or_page_has_a_key_that_an_operator_typed(self):
        client, everyone = Client(), list(pastes("pages", amount(1, proving=5), IN_PAGES))
        client.force_login(User.objects.create_superuser("ana", password="ana"))
        pages = ""
        for n, paste in enumerate(everyone):
            page = {"title": f"Page {n}", "text": f"Ours: {paste.text}", "position": n}
            response = client.post(reverse("admin:pipeline_playbookpage_add"), page, follow=True)
            pages += response.content.decode()
            assert "looked like an API key was taken out of: text" in response.content.decode()
            found = client.get(
                reverse("admin:pipeline_member_changelist"), {"q": paste.text}, follow=True
            )
            pages += found.content.decode()
            client.get(f"/admin/pipeline/member/{quote(paste.text, safe='')}/change/", follow=True)
            client.post(reverse("admin:login"), {"username": paste.text, "password": "x"})

        assert PlaybookPage.objects.filter(text__contains=HIDDEN).count() == len(everyone)
        tables = _database()
        for paste in everyone:
            assert not paste.is_in(tables), paste
            assert not paste.is_in(pages), paste


# What `python -m uvicorn` does; then says which handlers would write what they are given.
SERVER = """
import logging, sys, uvicorn
config = uvicorn.Config("observatory.asgi:application", port=int(sys.argv[1]), lifespan="off")
config.load()
loggers = [logging.getLogger(), *map(logging.getLogger, logging.root.manager.loggerDict)]
print("unfiltered:", [
    (logger.name, handler)
    for logger in loggers
    for handler in logger.handlers
    if not isinstance(handler, logging.NullHandler)
    and ("Redacting" not in f"{handler.filters}" or "Redacting" not in f"{handler.formatter}")
], flush=True)
uvicorn.Server(config).run()
"""


class ServerLogTests(SimpleTestCase):
    def test_no_log_of_the_server_has_a_key_that_stood_in_an_address(self):
        port, key = free_port(), VENDORS["google"](random.Random(SEED))
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(port)],
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            lines = _lines_until(server, "Uvicorn running on")
            bent = f"{quote(key[:9])}%E2%80%8B{key[9:]}"
            for path in (f"/admin/login/?q={key}", f"/nothing?q={bent}"):
                _get(f"http://127.0.0.1:{port}{path}")
            lines += _lines_until(server, '"GET /nothing?q=')
        finally:
            server.terminate()
            lines += server.communicate(timeout=30)[0]

        assert "unfiltered: []" in lines
        assert '"GET /admin/login/?q=[key hidden] HTTP' in lines
        assert '"GET /nothing?q=[key hidden] HTTP' in lines
        assert key[9:] not in lines


def _lines_until(server: subprocess.Popen[str], words: str) -> str:
    lines: list[str] = []
    assert server.stdout is not None
    for line in server.stdout:
        lines.append(line)
        if words in line:
            return "".join(lines)
    raise AssertionError(f"the server never said {words!r}: {lines}")


def _get(url: str) -> None:
    try:
        with urlopen(url, timeout=30):
            pass
    except HTTPError:
        pass

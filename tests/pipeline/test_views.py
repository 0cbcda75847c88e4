"""The webhook: who may call it, what is stored, and what Telegram hears."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import patch

from django.db import OperationalError
from django.test import Client, TestCase, override_settings

from pipeline import views
from pipeline.models import Task, TelegramUpdate
from pipeline.models.inbox import TaskKind
from tests.canaries import BOT_TOKEN, MEMBER_KEY

SECRET = "the-secret-of-this-webhook"
PATH = "/telegram/webhook"
HELLO = {
    "update_id": 7,
    "message": {
        "message_id": 1,
        "date": 1,
        "chat": {"id": 5, "type": "private"},
        "from": {"id": 5, "is_bot": False, "first_name": "Maya"},
        "text": "hello",
    },
}
OTHERS = {"empty": "", "wrong": "the-secret-of-another-one!", "longer": SECRET + "x", "odd": "\xff"}


@override_settings(
    TELEGRAM_BOT_TOKEN=BOT_TOKEN,
    TELEGRAM_WEBHOOK_URL=f"https://bot.example.com{PATH}",
    TELEGRAM_WEBHOOK_SECRET=SECRET,
    SECURE_SSL_REDIRECT=False,
)
class WebhookTests(TestCase):
    def setUp(self) -> None:
        self.client = Client(enforce_csrf_checks=True, raise_request_exception=False)

    def deliver(self, body: object, secret: str = SECRET) -> Any:
        raw = body if isinstance(body, str | bytes) else json.dumps(body)
        return self.client.post(
            PATH,
            raw,
            content_type="application/json",
            headers={"X-Telegram-Bot-Api-Secret-Token": secret},
        )

    def test_an_update_is_stored_with_its_task(self):
        assert self.deliver(HELLO).status_code == 200

        task = Task.objects.select_related("update").get()
        assert (task.kind, task.lane) == (TaskKind.MESSAGE, "5:")
        assert task.update is not None
        assert (task.update.update_id, task.update.bot_id) == (7, int(BOT_TOKEN.split(":")[0]))

    def test_an_update_that_comes_again_is_stored_once(self):
        for _ in range(3):
            assert self.deliver(HELLO).status_code == 200

        assert TelegramUpdate.objects.count() == Task.objects.count() == 1

    def test_without_the_secret_nothing_is_stored(self):
        for name, secret in OTHERS.items():
            with self.subTest(name):
                assert self.deliver(HELLO, secret).status_code == 403
        assert self.client.post(PATH, HELLO, content_type="application/json").status_code == 403
        assert not TelegramUpdate.objects.exists()

    def test_an_installation_that_polls_has_no_webhook(self):
        with override_settings(TELEGRAM_WEBHOOK_SECRET="", TELEGRAM_WEBHOOK_URL=""):
            assert self.deliver(HELLO, "").status_code == 404

    def test_only_telegrams_way_of_calling_is_answered(self):
        assert self.client.get(PATH).status_code == 405

    def test_what_is_no_update_is_kept_once_and_acknowledged(self):
        bodies = [
            b"",
            b"{",
            b"[]",
            b"null",
            b"\xff\xfe",
            '{"update_id": "7"}',
            '{"update_id": true}',
        ]
        bodies += ['{"update_id": 9' + "9" * 30 + "}", "[" * 5000, '{"message": {}}', "1" * 5000]
        for body in bodies:
            with self.subTest(str(body)[:30]):
                assert self.deliver(body).status_code == 200
                assert self.deliver(body).status_code == 200

        stored = TelegramUpdate.objects.all()
        assert len(stored) == len(bodies) == Task.objects.count()
        assert all(row.update_id < 0 and not row.kind for row in stored)

    def test_a_key_in_a_body_that_cannot_be_read_is_not_stored(self):
        self.deliver(f"my key is {MEMBER_KEY} and this is no JSON")

        row = TelegramUpdate.objects.get()
        assert "this is no JSON" in row.raw
        assert MEMBER_KEY not in row.raw

    def test_a_body_without_end_is_refused(self):
        assert self.deliver(" " * (views.MAX_BYTES + 1)).status_code == 413
        assert not TelegramUpdate.objects.exists()

    def test_while_the_database_is_away_telegram_is_told_to_come_again(self):
        away = OperationalError(f"no route, and {MEMBER_KEY} is in the text")
        with (
            patch.object(views, "store", side_effect=away),
            self.assertLogs("pipeline.views", "ERROR") as logs,
        ):
            answer = self.deliver(HELLO)

        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert MEMBER_KEY not in logs.output[0]

"""What tests of the webhook share: its secrets, and the job with the time passed in."""

from __future__ import annotations

from base64 import b64decode
from datetime import datetime, timedelta
from typing import Any

from django.test import TestCase, override_settings
from django.utils import timezone

from agents.llm.http import close_clients
from agents.models import AgentModelConfig
from observatory.environment import Secret
from pipeline.models import PeriodicJob
from pipeline.models.inbox import Buttons
from pipeline.operations import periodic_jobs
from tests.canaries import canary
from tests.llm.loopback import Canned, Received

SECRETS = (
    canary("whsec_Q0FOQVJZLW9mLXRoZS13ZWJob29r/zAx"),
    canary("whsec_Q0FOQVJZLXRoYXQtd2FzK2NoYW5nZWQhISEh"),
)
KEYS = tuple(b64decode(secret.removeprefix("whsec_")) for secret in SECRETS)
TOKEN = canary("CANARY-token-in-the-path")
TAKEN = Canned(status=204, body=b"")


class WebhookCase(TestCase):
    """Runs the webhook's job as a process would, at the time `at`."""

    def setUp(self) -> None:
        AgentModelConfig.objects.upsert("trainer", "openai/gpt-4.1", "pete")
        self.at = timezone.now()
        self.told: list[str] = []
        self.chat_answers = True

    def webhook(self, base_url: str) -> override_settings:
        """Have changes delivered below this address."""
        return override_settings(
            CHANGE_WEBHOOK_URL=f"{base_url}/{TOKEN}", CHANGE_WEBHOOK_SECRETS=Secret(KEYS)
        )

    async def run_job(self, *, after: timedelta = timedelta(seconds=1)) -> None:
        """Run the job `after` the last time, as if it had just been made due."""
        self.at += after
        await self.job.aupdate(due_at=self.at)
        await self.run_if_due()

    async def run_if_due(self) -> None:
        (spec,) = (one for one in periodic_jobs.JOBS if one.name == PeriodicJob.WEBHOOK)
        await periodic_jobs.run_if_due(spec, self.at, self._send)
        await close_clients()

    async def _send(self, text: str, buttons: Buttons = (), *, is_news: bool = False) -> bool:
        if self.chat_answers:
            self.told.append(text)
        return self.chat_answers

    @property
    def job(self) -> Any:
        return PeriodicJob.objects.filter(name=PeriodicJob.WEBHOOK)

    async def state(self) -> dict[str, Any]:
        return dict((await self.job.aget()).last_result)

    async def due_at(self) -> datetime:
        at: datetime = (await self.job.aget()).due_at
        return at


async def change(model_id: str, **options: Any) -> None:
    await AgentModelConfig.objects.aupsert("trainer", model_id, "ada", **options)


def models(received: list[Received]) -> list[str]:
    """Return the models in the messages that the receiver got."""
    return [request.body["data"]["model"] for request in received]


def ids(received: list[Received]) -> list[str]:
    return [request.headers["webhook-id"] for request in received]

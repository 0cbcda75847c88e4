"""The specification's own library accepts what the webhook's job sends."""

from __future__ import annotations

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from tests.llm.loopback import Canned, Received, loopback
from tests.pipeline.webhook_case import SECRETS, TAKEN, WebhookCase, change


class ReferenceTest(WebhookCase):
    async def delivered(self) -> list[Received]:
        """Return two attempts at one message, and one at a message in more than ASCII."""
        async with loopback(Canned(status=503), TAKEN) as receiver:
            with self.webhook(receiver.base_url):
                await self.run_job()
                await change("z-ai/glm-4.6", reason="Cheaper")
                await change("openai/gpt-5", reason="Günstiger → besser")
                await self.run_job()
                await self.run_job()
                self.at = await self.due_at()
                await self.run_if_due()
        return receiver.received

    async def test_each_secret_verifies_each_attempt(self):
        received = await self.delivered()

        assert len(received) == 3
        for secret in SECRETS:
            for request in received:
                assert Webhook(secret).verify(request.raw, request.headers) == request.body

    async def test_another_secret_or_another_body_does_not(self):
        request = (await self.delivered())[0]
        other = request.raw.replace(b"Cheaper", b"Dearest")

        with pytest.raises(WebhookVerificationError):
            Webhook("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").verify(request.raw, request.headers)
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRETS[0]).verify(other, request.headers)

"""Webhooks are signed as the specification's own example is."""

from __future__ import annotations

from base64 import b64decode
from datetime import UTC, datetime

from django.test import SimpleTestCase

from agents.webhook_signature import signed_headers

# From the tests of the specification's reference libraries, the same in each language:
# https://github.com/standard-webhooks/standard-webhooks/blob/main/libraries/python/tests/test_webhooks.py
KEY = b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
AT = datetime.fromtimestamp(1614265330, UTC)
SIGNED = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}


class SignatureTest(SimpleTestCase):
    def signed(self, *keys: bytes) -> dict[str, str]:
        return signed_headers(SIGNED["webhook-id"], b'{"test": 2432232314}', keys=keys, at=AT)

    def test_the_published_example_has_the_published_signature(self):
        assert self.signed(KEY) == SIGNED

    def test_each_key_signs_in_its_order(self):
        other = self.signed(b"another key of 24 bytes!")["webhook-signature"]

        both = self.signed(b"another key of 24 bytes!", KEY)["webhook-signature"]

        assert both == f"{other} {SIGNED['webhook-signature']}"
        assert other != SIGNED["webhook-signature"]

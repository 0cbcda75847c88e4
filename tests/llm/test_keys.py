from __future__ import annotations

import copy
import json
from dataclasses import replace

import pytest
from cryptography.fernet import Fernet
from django.test import SimpleTestCase, override_settings

from agents.llm.errors import LLMError
from agents.llm.keys import KeyUnreadable, PlainKey, fingerprint, seal
from agents.llm.secrets import HIDDEN, scrub

KEY = "sk-or-v1-keys-test-0001"
OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


@override_settings(CREDENTIALS_KEYS=[OLD])
class SealedKeys(SimpleTestCase):
    def test_a_sealed_key_opens_for_its_owner_and_shows_nothing(self):
        sealed = seal(KEY, owner="42", provider="openrouter")

        assert sealed.reveal() == KEY
        assert sealed.fingerprint == fingerprint(KEY) == PlainKey(KEY).fingerprint
        assert KEY not in sealed.ciphertext
        assert sealed.ciphertext not in repr(sealed)

    def test_a_ciphertext_moved_to_another_row_does_not_open(self):
        sealed = seal(KEY, owner="42", provider="openrouter")

        for moved in (replace(sealed, owner="43"), replace(sealed, provider="claude")):
            with pytest.raises(KeyUnreadable, match="another member"):
                moved.reveal()

    def test_what_cannot_be_decrypted_is_never_passed_on(self):
        sealed = seal(KEY, owner="42", provider="openrouter")

        for broken in ("", "junk", sealed.ciphertext[:-4], "ключ"):
            with pytest.raises(KeyUnreadable):
                replace(sealed, ciphertext=broken).reveal()

    def test_keys_can_be_rotated(self):
        sealed = seal(KEY, owner="42", provider="openrouter")

        with override_settings(CREDENTIALS_KEYS=[NEW, OLD]):
            assert sealed.reveal() == KEY
        with override_settings(CREDENTIALS_KEYS=[NEW]), pytest.raises(KeyUnreadable):
            sealed.reveal()

    def test_an_unreadable_key_is_an_error_of_the_tree_with_words_for_the_member(self):
        assert issubclass(KeyUnreadable, LLMError)
        assert "send it again" in KeyUnreadable.member_line
        assert not KeyUnreadable.retryable


class Hiding(SimpleTestCase):
    def test_a_plain_key_shows_nothing(self):
        key = PlainKey(KEY)

        assert KEY not in f"{key} {key!r} {copy.copy(key)!r} {[key]!r}"
        assert PlainKey(KEY) == key
        assert len(key.fingerprint) == 8

    def test_everything_shaped_like_a_key_is_scrubbed(self):
        secrets = [
            "sk-or-v1-0123456789abcdef0123456789abcdef",
            "sk-ant-api03-AbCd_efgh-ijkl",
            "sk-proj-AbCdEfGhIjKl",
            "sk-AbCdEfGhIjKlMnOp",
            "1000000001:AAE-abcdefghijklmnopqrstuvwxyz01234",
        ]
        for secret in secrets:
            for text in (secret, f"Bearer {secret}.", f"https://host/{secret}/x", f"'{secret}'"):
                with self.subTest(text):
                    scrubbed = scrub(text)

                    assert secret not in scrubbed
                    assert HIDDEN in scrubbed

    def test_a_bots_token_is_scrubbed_from_its_urls(self):
        url = "https://api.telegram.org/bot1000000001:AAE-abcdefghijklmnopqrstuvwxyz01234/getMe"

        assert scrub(url) == f"https://api.telegram.org/bot{HIDDEN}/getMe"

    def test_a_bots_token_right_behind_a_key_is_scrubbed_too(self):
        token = "1000000001:AAE-abcdefghijklmnopqrstuvwxyz01234"

        assert scrub(f"sk-or-v1-0123456789abcdef{token}") == HIDDEN

    def test_a_named_secret_is_scrubbed_whatever_its_shape(self):
        assert scrub("it was hunter2hunter2, was it?", "", "hunter2hunter2") == (
            f"it was {HIDDEN}, was it?"
        )

    def test_ordinary_texts_stay(self):
        for text in ("risk-averse buyers", "task-oriented-selling", "12:30 in Berlin", "a sk- b"):
            assert scrub(text) == text

    def test_a_scrubbed_json_text_is_still_json(self):
        assert json.loads(scrub(json.dumps({"key": KEY}))) == {"key": HIDDEN}

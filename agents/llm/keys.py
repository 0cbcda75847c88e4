"""API keys: hidden from `repr` in memory, and encrypted in the database.

A key is revealed in one place only, where a request is built (`agents.llm.http`). A sealed key
contains its owner and provider inside the ciphertext, because Fernet alone does not detect a
ciphertext that was moved to another row.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from agents.llm.errors import KeyRejected


class KeyUnreadable(KeyRejected):
    """The stored key cannot be decrypted or is another member's; it must be entered again."""

    member_line = "Your stored API key can't be read any more. Please send it again."


class ApiKey(Protocol):
    """An API key whose value cannot be shown by accident."""

    @property
    def fingerprint(self) -> str:
        """Eight hex digits that identify the key without revealing it."""
        ...

    def reveal(self) -> str:
        """Return the key itself; only code that builds a request may call this.

        Raises:
            KeyUnreadable: the key cannot be decrypted, or belongs to another owner or provider.
        """
        ...


@dataclass(frozen=True, slots=True)
class PlainKey:
    """An unencrypted key, from the settings or just typed by a member."""

    _value: str = field(repr=False)

    @property
    def fingerprint(self) -> str:
        return fingerprint(self._value)

    def reveal(self) -> str:
        return self._value


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedKey:
    """A member's key in the encrypted form in which the database stores it."""

    owner: str
    provider: str
    ciphertext: str = field(repr=False)
    fingerprint: str

    def reveal(self) -> str:
        try:
            content = json.loads(_fernet().decrypt(self.ciphertext.encode()))
        except (InvalidToken, ValueError) as error:
            raise KeyUnreadable("the stored key cannot be decrypted: enter it again") from error
        if (content["owner"], content["provider"]) != (self.owner, self.provider):
            del content  # because a traceback keeps local variables: this is another member's key
            raise KeyUnreadable("the stored key belongs to another member: enter it again")
        return str(content["key"])


def seal(key: str, *, owner: str, provider: str) -> SealedKey:
    """Encrypt a member's key for the database, with the first key in CREDENTIALS_KEYS."""
    content = json.dumps({"owner": owner, "provider": provider, "key": key})
    ciphertext = _fernet().encrypt(content.encode()).decode()
    return SealedKey(
        owner=owner, provider=provider, ciphertext=ciphertext, fingerprint=fingerprint(key)
    )


def fingerprint(key: str) -> str:
    """Return the first eight hex digits of the key's SHA-256."""
    return hashlib.sha256(key.encode()).hexdigest()[:8]


def _fernet() -> MultiFernet:
    return _fernet_of(tuple(settings.CREDENTIALS_KEYS))


@lru_cache(maxsize=4)
def _fernet_of(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])

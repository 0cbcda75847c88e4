"""The interface between agents and LLM providers.

An `LLMProvider` is a client for one wire format bound to a key, a model and its payer. It is an
immutable value: `for_step` returns a copy bound to one step, so two steps can never share a
model, a key or a record. A provider reports every HTTP request to a `CallObserver`, once before the
request is sent and once after it has ended. This module does not depend on what the observer does
with these reports.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any, ClassVar, Protocol, Self
from uuid import UUID

from agents.llm.completion import Completion
from agents.llm.errors import LLMError
from agents.llm.keys import ApiKey
from agents.llm.limits import EmptyBook, MaxPrice, ModelBook
from agents.llm.retries import RetryPolicy


class Payer(StrEnum):
    """Who pays for a call."""

    SHARED = "shared"  # the team's OpenRouter key
    MEMBER = "member"  # the member's own key


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One HTTP request to a provider, recorded just before it is sent."""

    call_id: UUID
    number: int  # 1 for the first request of this `complete`, 2 for the second, and so on
    provider: str
    requested_model: str
    payer: Payer
    key_fingerprint: str
    system_prompt: str
    user_message: str
    has_image: bool
    is_fallback: bool  # runs on DEFAULT_MODEL because the chosen model failed for good
    most_usd: Decimal = Decimal(0)  # what it may cost at most; 0 if no price is known
    likely_usd: Decimal = Decimal(0)  # what such a request usually costs


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt ended: with a completion, with an error, or by cancellation."""

    completion: Completion | None = None
    error: LLMError | None = None
    http_status: int | None = None
    latency_ms: int = 0
    cancelled: bool = False  # by our side; the provider may still have charged for it

    @property
    def learnt(self) -> Completion | None:
        """Return model, usage and cost from the response, even of an unusable one, or None."""
        return self.completion or (self.error.learnt if self.error else None)

    @property
    def upstream(self) -> str:
        """Return the upstream provider that answered or refused behind a gateway, "" if unknown."""
        told = self.learnt.upstream if self.learnt else ""
        return told or (self.error.upstream if self.error else "")


class CallObserver(Protocol):
    """Receives a report of every attempt.

    `attempt_started` must have stored its report durably before it returns. It may raise an
    `LLMError` instead, such as `OverBudget`; then the request is not sent.
    """

    async def attempt_started(self, attempt: Attempt) -> None: ...

    async def attempt_ended(self, attempt: Attempt, outcome: Outcome) -> None: ...


class Unobserved:
    """An observer that does nothing, for calls outside any run, such as a key check."""

    async def attempt_started(self, attempt: Attempt) -> None:
        return None

    async def attempt_ended(self, attempt: Attempt, outcome: Outcome) -> None:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepScope:
    """The facts about a step that a provider needs to serve it."""

    agent: str = ""
    step_id: str = ""
    observer: CallObserver = field(default_factory=Unobserved)
    deadline_s: float = 120.0  # for one `complete`, including all its attempts and waits
    least_output_tokens: int = 256  # visible text: a complete answer needs at least this many
    most_output_tokens: int = 4_096  # visible text: a complete answer needs at most this many
    book: ModelBook = field(default_factory=EmptyBook)


@dataclass(frozen=True, kw_only=True)
class LLMProvider:
    """A client for one wire format, bound to a key, a model and its payer."""

    api_key: ApiKey
    model_id: str
    payer: Payer = Payer.MEMBER
    fallback_model: str = ""  # tried once, on the same key, when `model_id` fails for good
    is_fallback: bool = False  # `model_id` replaces a model that has failed for good
    # The maximum price for a model that the catalog has no price of; None = no maximum.
    unknown_price: MaxPrice | None = None
    scope: StepScope = field(default_factory=StepScope, repr=False)
    retries: RetryPolicy = field(default=RetryPolicy(), repr=False)

    name: ClassVar[str] = "abstract"
    title: ClassVar[str] = ""  # the display name
    key_shape: ClassVar[str] = ""  # a regular expression that a whole key matches
    keys_page: ClassVar[str] = ""  # the vendor's page on which keys are created

    def for_step(self, scope: StepScope) -> Self:
        """Return the same provider, bound to one step."""
        return replace(self, scope=scope)

    def on_fallback(self) -> Self | None:
        """Return a copy that asks the fallback model instead; None if there is no fallback."""
        if self.fallback_model in ("", self.model_id):
            return None
        return replace(self, model_id=self.fallback_model, fallback_model="", is_fallback=True)

    async def complete(
        self,
        system_prompt: str,
        user_message: str,
        *,
        image_b64: str | None = None,
        schema: dict[str, Any] | None = None,
    ) -> Completion:
        """Return the model's answer.

        `schema` is a strict JSON schema (`agents.llm.schemas.strict`). It asks the model for JSON
        of that schema; validating the text is left to the caller (`agents.llm.answers`).
        `image_b64` is a JPEG, PNG, WebP or GIF in base64.
        Errors that may pass are retried. All requests together take at most `scope.deadline_s`.

        Raises:
            LLMError: see `agents.llm.errors`; every attempt was reported to the observer.
        """
        raise NotImplementedError

    async def validate_key(self) -> None:
        """Check the key with the vendor, and return if it is accepted.

        Raises:
            KeyRejected: the vendor rejects the key.
            ProviderUnavailable: the key cannot be checked right now.
        """
        raise NotImplementedError

    async def settle(self, generation_id: str) -> Completion | None:
        """Return served model, usage and cost of an earlier call, looked up by the vendor's ID.

        Takes a few seconds at most. Returns None if the vendor does not report the cost, or not
        yet.
        """
        return None

    async def close(self) -> None:
        """Close the HTTP client, which all providers with the same base URL share."""
        raise NotImplementedError

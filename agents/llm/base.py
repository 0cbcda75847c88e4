"""The seam between agents and the models that answer them.

An `LLMProvider` is a client for one wire format bound to a key, a model and its payer. It is an
immutable value: `for_step` returns a copy bound to one step, so two steps can never share a
model, a key or a record. What a provider sent and got is told to a `CallObserver`, attempt by
attempt, before the request leaves and after it ended; who keeps that is not known here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, ClassVar, Protocol, Self
from uuid import UUID

from agents.llm.completion import Completion
from agents.llm.errors import LLMError
from agents.llm.keys import ApiKey
from agents.llm.limits import EmptyBook, ModelBook
from agents.llm.retries import RetryPolicy


class Payer(StrEnum):
    """Who pays for a call."""

    SHARED = "shared"  # the team's OpenRouter key
    MEMBER = "member"  # the member's own key


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One HTTP request to a provider, as it is about to leave."""

    call_id: UUID
    number: int  # 1 for the first try of this `complete`, then counted up to its end
    provider: str
    requested_model: str
    payer: Payer
    key_fingerprint: str
    system_prompt: str
    user_message: str
    has_image: bool
    is_fallback: bool  # runs on DEFAULT_MODEL because the chosen model failed for good


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt ended: with a completion, or with an error and what was still learnt."""

    completion: Completion | None = None
    error: LLMError | None = None
    http_status: int | None = None
    latency_ms: int = 0
    cancelled: bool = False  # our side gave up; the provider may still have charged for it

    @property
    def learnt(self) -> Completion | None:
        """Return what the response said of model, usage and cost, usable or not."""
        return self.completion or (self.error.learnt if self.error else None)

    @property
    def upstream(self) -> str:
        """Return who answered or refused behind the gateway, "" if that was not said."""
        told = self.learnt.upstream if self.learnt else ""
        return told or (self.error.upstream if self.error else "")


class CallObserver(Protocol):
    """Is told of every attempt; `attempt_started` must be durable before it returns."""

    async def attempt_started(self, attempt: Attempt) -> None: ...

    async def attempt_ended(self, attempt: Attempt, outcome: Outcome) -> None: ...


class Unobserved:
    """The observer of calls that belong to no run, such as a key check."""

    async def attempt_started(self, attempt: Attempt) -> None:
        return None

    async def attempt_ended(self, attempt: Attempt, outcome: Outcome) -> None:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepScope:
    """What a provider must know of the step it works for."""

    agent: str = ""
    step_id: str = ""
    observer: CallObserver = field(default_factory=Unobserved)
    deadline_s: float = 120.0  # for one `complete`, all its attempts and waits together
    least_output_tokens: int = 256  # of visible text, below which no answer can be whole
    most_output_tokens: int = 4_096  # of visible text, that an answer may need
    book: ModelBook = field(default_factory=EmptyBook)


@dataclass(frozen=True, kw_only=True)
class LLMProvider:
    """A client for one wire format, bound to a key, a model and its payer."""

    api_key: ApiKey
    model_id: str
    payer: Payer = Payer.MEMBER
    fallback_model: str = ""  # tried once, on the same key, when `model_id` fails for good
    is_fallback: bool = False  # `model_id` is the fallback of a model that has failed for good
    scope: StepScope = field(default_factory=StepScope, repr=False)
    retries: RetryPolicy = field(default=RetryPolicy(), repr=False)

    name: ClassVar[str] = "abstract"
    title: ClassVar[str] = ""  # as people call it
    key_shape: ClassVar[str] = ""  # a regular expression that a whole key matches
    keys_page: ClassVar[str] = ""  # where one gets a key

    def for_step(self, scope: StepScope) -> Self:
        """Return the same provider, bound to one step."""
        return replace(self, scope=scope)

    def on_fallback(self) -> Self | None:
        """Return the same provider with its fallback model alone; None if it has none."""
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

        `schema` is a strict JSON schema (`agents.llm.schemas.strict`): the answer's text is then
        meant to be JSON of that schema, but only the caller checks it (`agents.llm.answers`).
        `image_b64` is a JPEG, PNG, WebP or GIF in base64.
        Retries what may succeed on a second try, within `scope.deadline_s` in all.

        Raises:
            LLMError: see `agents.llm.errors`; every attempt was told to the observer.
        """
        raise NotImplementedError

    async def validate_key(self) -> None:
        """Return when the vendor accepts the key.

        Raises:
            KeyRejected: it does not.
            ProviderUnavailable: the key cannot be checked right now.
        """
        raise NotImplementedError

    async def settle(self, generation_id: str) -> Completion | None:
        """Return served model, usage and cost of an earlier call, by the vendor's name for it.

        Takes a few seconds at most. None = the vendor does not tell, or not now.
        """
        return None

    async def close(self) -> None:
        """Close the HTTP client that this provider shares with the others of its base URL."""
        raise NotImplementedError

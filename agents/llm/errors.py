"""The exceptions that a call to a model can raise.

    LLMError                        .retryable tells whether the same request may be sent again
    ├── ProviderUnavailable         connect error, 408, 409, 5xx, 529: a retry may succeed;
    │   │                           connection lost after sending: outcome unknown, .maybe_charged
    │   └── RateLimited             429; .retry_after_s if the provider sent a delay
    ├── ProviderRejected            the provider refused; retrying the same request is pointless
    │   ├── KeyRejected             401
    │   │   └── KeyUnreadable       the stored key cannot be decrypted (in `agents.llm.keys`)
    │   ├── NoCredit                402 or insufficient_quota
    │   │   ├── BudgetSpent         a spending limit of the key is reached
    │   │   └── CreditTooLow        the credit covers fewer tokens than requested; .most_tokens
    │   ├── RequestForbidden        403: guardrail, moderation
    │   │   └── RegionForbidden     the model is not offered in our region
    │   ├── ModelUnavailable        unknown, retired or served by no host; .fallback_models
    │   │   ├── PictureUnsupported  the model accepts no pictures
    │   │   └── PriceRefused        no host serves the model at the maximum price sent
    │   ├── SchemaUnsupported       no host enforces this JSON schema for this model
    │   ├── RoleUnsupported         the model accepts no system role
    │   ├── ParameterUnsupported    the model does not accept .parameter
    │   ├── LimitRefused            the limit exceeds the model's maximum; .most_tokens
    │   └── RequestInvalid          other 400s and 422s
    │       ├── PictureInvalid      this picture cannot be read
    │       └── RequestTooLong      the message is too long for the model
    ├── OverBudget                  a budget of the team has no room for it; nothing was sent
    ├── DeadlineExceeded            the call timed out
    ├── AnswerUnusable              200, but no content or no finish reason
    │   └── AnswerCut               the answer is truncated; .may_be_longer if a larger limit helps
    └── AnswerNotJson               no attempt returned JSON of the schema; .text is the last answer

Every class has a `cause`. Its row in `agents.llm.causes` defines how the error is handled and its
`member_line`, the message shown to the member, without key names and without text of the provider.
Exception messages are scrubbed of keys before they get here (`agents.llm.secrets.scrub`).
`.maybe_charged` means that the provider may have processed and billed the request although no
usable answer came; such a request is never repeated unchanged. `.generation_id` is the provider's
ID of the call, "" if unknown. `.learnt` holds the usage, cost and model that the response reported
despite the error. `.upstream` names the provider that refused the request, if it was called
through a gateway.
"""

from __future__ import annotations

from typing import Any, ClassVar

from agents.llm.causes import HANDLING, Cause, Handling, Next
from agents.llm.completion import Completion


class LLMError(Exception):
    """A call to a model did not give a usable answer."""

    cause: ClassVar[Cause] = Cause.OTHER
    handling: ClassVar[Handling] = HANDLING[Cause.OTHER]
    member_line: ClassVar[str] = handling.member_line
    retryable = False
    retry_after_s: float | None = None  # the wait that the provider asked for, at most a minute
    fallback_models: tuple[str, ...] = ()  # offered by the provider as alternatives
    maybe_charged = False
    generation_id = ""
    upstream = ""
    learnt: Completion | None = None  # usage, cost and model, as far as the response reported them

    def __init_subclass__(cls, **options: Any) -> None:
        """Set the handling of the class from its cause; a class may define its own member_line."""
        super().__init_subclass__(**options)
        cls.handling = HANDLING[cls.cause]
        if "member_line" not in cls.__dict__:
            cls.member_line = cls.handling.member_line
        cls.retryable = cls.handling.next is Next.SAME_LATER

    def __init__(
        self,
        message: str,
        *,
        provider: str = "",
        model_id: str = "",
        http_status: int | None = None,
        error_type: str = "",
    ) -> None:
        super().__init__(message)
        self.provider = provider
        self.model_id = model_id
        self.http_status = http_status
        self.error_type = error_type


class ProviderUnavailable(LLMError):
    """The provider could not be reached or was overloaded."""

    cause = Cause.OUTAGE


class RateLimited(ProviderUnavailable):
    """The provider asked us to slow down."""

    cause = Cause.RATE


class ProviderRejected(LLMError):
    """The provider refused the request for good."""

    cause = Cause.REFUSED


class KeyRejected(ProviderRejected):
    """The API key is not valid."""

    cause = Cause.KEY


class NoCredit(ProviderRejected):
    """The key has no credit left."""

    cause = Cause.ACCOUNT


class BudgetSpent(NoCredit):
    """A spending limit set for the key, its team or its user is reached."""

    cause = Cause.BUDGET


class CreditTooLow(NoCredit):
    """The credit covers fewer output tokens than were requested."""

    cause = Cause.CREDIT
    most_tokens: int | None = None  # covered by the credit; None = not reported


class RequestForbidden(ProviderRejected):
    """A guardrail or a moderation rule forbids the request."""

    cause = Cause.POLICY


class RegionForbidden(RequestForbidden):
    """The model is not offered where the request came from."""

    cause = Cause.REGION


class ModelUnavailable(ProviderRejected):
    """The model is unknown or retired, or none of its hosts can serve this request."""

    cause = Cause.UNKNOWN_MODEL


class PictureUnsupported(ModelUnavailable):
    """The request contains a picture, and the model accepts none."""

    cause = Cause.PICTURE


class PriceRefused(ModelUnavailable):
    """No host serves the model at the given maximum price."""

    cause = Cause.PRICE


class SchemaUnsupported(ProviderRejected):
    """No host of the model can enforce this JSON schema."""

    cause = Cause.SCHEMA


class RoleUnsupported(ProviderRejected):
    """The model does not accept a message with the role `system`."""

    cause = Cause.ROLE


class ParameterUnsupported(ProviderRejected):
    """The model does not accept one of the request's parameters."""

    cause = Cause.PARAMETER
    parameter = ""


class LimitRefused(ProviderRejected):
    """The model allows fewer output tokens than were requested."""

    cause = Cause.LIMIT
    most_tokens: int | None = None  # allowed by the model; None = not reported
    is_fixed = True  # the same for every message; False: what this message leaves of the context


class RequestInvalid(ProviderRejected):
    """The provider found the request invalid."""

    cause = Cause.REQUEST


class PictureInvalid(RequestInvalid):
    """The provider could not read this picture."""

    cause = Cause.THIS_PICTURE


class RequestTooLong(RequestInvalid):
    """The message is too long for the model."""

    cause = Cause.LENGTH


class OverBudget(LLMError):
    """A budget of the team has no room for what the call may cost, so it was not sent."""

    cause = Cause.TEAM_BUDGET

    def __init__(self, message: str, *, member_line: str) -> None:
        super().__init__(message)
        self.member_line = member_line  # type: ignore[misc] # a class variable of other errors


class DeadlineExceeded(LLMError):
    """The call was not answered before its deadline."""

    cause = Cause.TIME


class AnswerUnusable(LLMError):
    """The response had no content, no terminal signal, or an error inside a 200."""

    cause = Cause.UNUSABLE


class AnswerCut(AnswerUnusable):
    """The answer is cut off: at a limit, or without a terminal signal."""

    cause = Cause.CUT
    may_be_longer = False  # whether a larger output limit may give a complete answer


class AnswerNotJson(LLMError):
    """The answer does not match the agent's schema, even after repair and a second request."""

    cause = Cause.NOT_JSON
    text = ""

"""What can go wrong when a model is asked, as one small tree.

    LLMError                        .retryable decides whether the same call may be tried again
    ├── ProviderUnavailable         connect error, 408, 409, 5xx, 529: the next try may succeed;
    │   │                           a connection lost later: unknown, .maybe_charged
    │   └── RateLimited             429; .retry_after_s when the provider named a time
    ├── ProviderRejected            the provider refused; the same request again is pointless
    │   ├── KeyRejected             401
    │   │   └── KeyUnreadable       the stored key cannot be decrypted (in `agents.llm.keys`)
    │   ├── NoCredit                402 or insufficient_quota
    │   │   ├── BudgetSpent         a limit that was set for the key is reached
    │   │   └── CreditTooLow        it covers fewer tokens than were asked for; .most_tokens
    │   ├── RequestForbidden        403: guardrail, moderation
    │   │   └── RegionForbidden     not offered where we are
    │   ├── ModelUnavailable        unknown, retired or nowhere served; .fallback_models
    │   │   ├── PictureUnsupported  it takes no pictures
    │   │   └── PriceRefused        nowhere served at the price that was named
    │   ├── SchemaUnsupported       no host enforces this JSON schema for this model
    │   ├── RoleUnsupported         the model takes no system role
    │   ├── ParameterUnsupported    the model does not take .parameter
    │   ├── LimitRefused            the model gives fewer tokens; .most_tokens
    │   └── RequestInvalid          other 400s and 422s
    │       ├── PictureInvalid      this picture cannot be read
    │       └── RequestTooLong      the message is too long for the model
    ├── DeadlineExceeded            the call's time ran out
    ├── AnswerUnusable              200, but no content with a terminal signal
    │   └── AnswerCut               the answer breaks off; .may_be_longer with a larger limit
    └── AnswerNotJson               content came, but never as JSON of the schema; .text keeps it

Every class has a `cause`, and what follows from it is a row of `agents.llm.causes`: also the
`member_line`, the one sentence a member may read, without names of keys or vendors' texts. Messages
are scrubbed of keys before they get here (`agents.llm.secrets.scrub`). `.maybe_charged` says that
the provider may have worked, and may bill, although no answer came: then the same request is never
sent again. `.generation_id` is the vendor's name of the call, if it was still told, and `.learnt`
what it cost, if that was. `.upstream` is who refused behind a gateway.
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
    retry_after_s: float | None = None  # as the provider asked, at most a minute
    fallback_models: tuple[str, ...] = ()  # that the provider offers instead
    maybe_charged = False
    generation_id = ""
    upstream = ""
    learnt: Completion | None = None  # what an unusable answer still said: usage, cost, model

    def __init_subclass__(cls, **options: Any) -> None:
        """Give the class what its cause's row says, unless it says otherwise itself."""
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
    """A limit that was set for the key, its team or its user is reached."""

    cause = Cause.BUDGET


class CreditTooLow(NoCredit):
    """The credit covers fewer output tokens than were asked for."""

    cause = Cause.CREDIT
    most_tokens: int | None = None  # that it does cover


class RequestForbidden(ProviderRejected):
    """A guardrail or a moderation rule forbids the request."""

    cause = Cause.POLICY


class RegionForbidden(RequestForbidden):
    """The model is not offered where the request came from."""

    cause = Cause.REGION


class ModelUnavailable(ProviderRejected):
    """The model is unknown, retired, or no host of it can take this request."""

    cause = Cause.UNKNOWN_MODEL


class PictureUnsupported(ModelUnavailable):
    """The model takes no pictures, and was handed one."""

    cause = Cause.PICTURE


class PriceRefused(ModelUnavailable):
    """No host serves the model at the given maximum price."""

    cause = Cause.PRICE


class SchemaUnsupported(ProviderRejected):
    """No host of the model can enforce this JSON schema."""

    cause = Cause.SCHEMA


class RoleUnsupported(ProviderRejected):
    """The model takes no message of role system."""

    cause = Cause.ROLE


class ParameterUnsupported(ProviderRejected):
    """The model does not take one of the parameters that were sent."""

    cause = Cause.PARAMETER
    parameter = ""


class LimitRefused(ProviderRejected):
    """The model gives fewer output tokens than were asked for."""

    cause = Cause.LIMIT
    most_tokens: int | None = None  # that it does give
    is_fixed = True  # whatever the message; False: what this message leaves of its context


class RequestInvalid(ProviderRejected):
    """The provider could not take the request."""

    cause = Cause.REQUEST


class PictureInvalid(RequestInvalid):
    """The provider could not read this picture."""

    cause = Cause.THIS_PICTURE


class RequestTooLong(RequestInvalid):
    """The message is too long for the model."""

    cause = Cause.LENGTH


class DeadlineExceeded(LLMError):
    """The call was not answered within its time."""

    cause = Cause.TIME


class AnswerUnusable(LLMError):
    """The response had no content, no terminal signal, or an error inside a 200."""

    cause = Cause.UNUSABLE


class AnswerCut(AnswerUnusable):
    """The answer breaks off: at a limit, or without a terminal signal."""

    cause = Cause.CUT
    may_be_longer = False  # a larger output limit may make it whole


class AnswerNotJson(LLMError):
    """The answer does not fit the agent's schema, not even after repair and one more try."""

    cause = Cause.NOT_JSON
    text = ""

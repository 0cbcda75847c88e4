"""What can go wrong when a model is asked, as one small tree.

    LLMError                        .retryable decides whether the same call may be tried again
    ├── ProviderUnavailable         connect error, 408, 5xx, 529: the next try may succeed;
    │   │                           a connection lost later: nobody knows, .maybe_charged
    │   └── RateLimited             429; .retry_after_s when the provider named a time
    ├── ProviderRejected            the provider refused; trying again is pointless
    │   ├── KeyRejected             401
    │   │   └── KeyUnreadable       the stored key cannot be decrypted (in `agents.llm.keys`)
    │   ├── NoCredit                402, or 403 for an exhausted budget
    │   ├── RequestForbidden        403: guardrail, moderation, region
    │   ├── ModelUnavailable        unknown, retired or nowhere served; .fallback_models
    │   │   └── PictureUnsupported  it takes no pictures
    │   ├── SchemaUnsupported       nobody holds this model to a JSON schema; asked again by prompt
    │   └── RequestInvalid          400, 413, 422
    ├── DeadlineExceeded            the call's time ran out
    ├── AnswerUnusable              200, but no content with a terminal signal
    └── AnswerNotJson               content came, but never as JSON of the schema; .text keeps it

Every class carries `member_line`, the one sentence a member may read, without names of keys or
vendors' texts. Messages are scrubbed of keys before they get here (`agents.llm.secrets.scrub`).
`.maybe_charged` says that the provider may have worked, and may bill, although no answer came:
then the same request is never sent again. `.generation_id` is the vendor's name of the call, if it
was still told, and `.learnt` what it cost, if that was. `.upstream` is who refused behind a gateway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agents.llm.base import Completion


class LLMError(Exception):
    """A call to a model did not give a usable answer."""

    retryable = False
    member_line = "The model could not answer. Please try again."
    retry_after_s: float | None = None  # as the provider asked, at most a minute
    fallback_models: tuple[str, ...] = ()  # that the provider offers instead
    maybe_charged = False
    generation_id = ""
    upstream = ""
    learnt: Completion | None = None  # what an unusable answer still said: usage, cost, model

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

    retryable = True
    member_line = "The model's provider is not answering right now. Please try again in a minute."


class RateLimited(ProviderUnavailable):
    """The provider asked us to slow down."""

    member_line = "The model is busy right now. Please try again in a minute."


class ProviderRejected(LLMError):
    """The provider refused the request for good."""

    member_line = "The model's provider refused this request."


class KeyRejected(ProviderRejected):
    """The API key is not valid."""

    member_line = "The provider did not accept the API key."


class NoCredit(ProviderRejected):
    """The key has no credit left, or its budget is used up."""

    member_line = "The API key has no credit left."


class RequestForbidden(ProviderRejected):
    """A guardrail, a moderation rule or a region forbids the request."""

    member_line = "The provider's rules did not allow this request."


class ModelUnavailable(ProviderRejected):
    """The model is unknown, retired, or served by nobody who can take this request."""

    member_line = "The chosen model is not available."


class SchemaUnsupported(ProviderRejected):
    """Nobody who serves the model can hold it to a JSON schema."""

    member_line = "The chosen model is not available."


class PictureUnsupported(ModelUnavailable):
    """The model takes no pictures, and was handed one."""

    member_line = (
        "The chosen model cannot read pictures. Describe it in words, or ask an operator for"
        " another model."
    )

    @classmethod
    def told_by(cls, error: LLMError) -> PictureUnsupported:
        """Return the same refusal under its own name, with all that was learnt of it."""
        told = cls(str(error), http_status=error.http_status, error_type=error.error_type)
        told.maybe_charged = error.maybe_charged
        told.generation_id = error.generation_id
        told.upstream = error.upstream
        told.learnt = error.learnt
        return told


class RequestInvalid(ProviderRejected):
    """The provider could not read the request, or it was too large."""

    member_line = "The model could not take this message. Please make it shorter."


class DeadlineExceeded(LLMError):
    """The call was not answered within its time."""

    member_line = "The model took too long to answer. Please try again."


class AnswerUnusable(LLMError):
    """The response had no content, no terminal signal, or an error inside a 200."""

    member_line = "The model gave no complete answer. Please try again."


class AnswerNotJson(LLMError):
    """The answer does not fit the agent's schema, not even after repair and one more try."""

    member_line = "The model's answer could not be read. Please try again."
    text = ""

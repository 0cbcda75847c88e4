"""The causes of failed calls and how each is handled: one table for all vendors.

`agents.llm.refusals` determines the cause of a refusal from its error codes and wording.
`agents.llm.second_tries`, `agents.llm.retries` and `agents.llm.answers` carry out the next step
that the table names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum


class Cause(StrEnum):
    """Why a request was refused or its answer is unusable. Stored with each failed call."""

    OUTAGE = "outage"
    RATE = "rate"
    TIME = "time"
    KEY = "key"
    ACCOUNT = "account"
    BUDGET = "budget"  # of the key, at the provider
    TEAM_BUDGET = "team budget"  # our own: the request was not sent
    CREDIT = "credit"  # the remaining credit covers fewer output tokens than were requested
    REGION = "region"
    POLICY = "policy"
    UNKNOWN_MODEL = "unknown model"
    PRICE = "price"  # no provider offers the model within `provider.max_price`
    SCHEMA = "schema"
    ROLE = "role"
    PARAMETER = "parameter"
    LIMIT = "limit"  # the model allows fewer output tokens than were requested
    PICTURE = "picture"
    THIS_PICTURE = "this picture"
    LENGTH = "length"
    REQUEST = "request"
    REFUSED = "refused"
    CUT = "cut"
    UNUSABLE = "unusable"
    NOT_JSON = "not json"
    OTHER = "other"


class Next(Enum):
    """What to try next before the call fails."""

    NOTHING = "nothing"
    SAME_LATER = "the same request again, a few times"
    SCHEMA_IN_WORDS = "once more, with the schema in words"
    INSTRUCTIONS_IN_MESSAGE = "once more, with the instructions in the user's message"
    WITHOUT_PARAMETER = "once more, without that parameter"
    SMALLER_LIMIT = "once more, with the limit that was named, if it is enough for the agent"
    LARGER_LIMIT = "once more, with a larger limit or less effort, if there is one"
    CORRECTED = "once more, with the answer that does not fit and its mistakes"
    NEW_PRICE = "once more, if the model's price turns out to have risen"


class Operators(Enum):
    """What operators are told when an override's model fails for a cause."""

    NOTHING = "nothing"
    FAILURE = "that the call failed"
    UNFIT = "that the model cannot do what its agent needs"


@dataclass(frozen=True, slots=True)
class Handling:
    """One row of the table: how a cause is handled."""

    next: Next
    may_fall_back: bool  # to another model: not if the member's input or the key is at fault
    operators: Operators
    is_billed: bool  # the usual case; a cost reported in the response takes precedence
    member_line: str  # the message shown to the member


_NO_ANSWER = "The model's provider isn't responding. Please try again in a minute."
_NOT_AVAILABLE = "This model isn't available right now. An admin can choose another one."
_NOT_TAKEN = "The model can't handle this request. An admin can choose another one."

HANDLING: Mapping[Cause, Handling] = {
    Cause.OUTAGE: Handling(Next.SAME_LATER, True, Operators.FAILURE, False, _NO_ANSWER),
    Cause.RATE: Handling(
        Next.SAME_LATER,
        True,
        Operators.FAILURE,
        False,
        "The model is busy right now. Please try again in a minute.",
    ),
    Cause.TIME: Handling(
        Next.NOTHING,
        False,
        Operators.FAILURE,
        True,
        "The model took too long to answer. Please try again.",
    ),
    Cause.KEY: Handling(
        Next.NOTHING, False, Operators.FAILURE, False, "The provider didn't accept the API key."
    ),
    Cause.ACCOUNT: Handling(
        Next.NOTHING, True, Operators.FAILURE, False, "The API key is out of credit."
    ),
    Cause.BUDGET: Handling(
        Next.NOTHING, True, Operators.FAILURE, False, "The API key's budget is used up."
    ),
    # Operators hear once a period that a budget is used up, not at each refusal.
    Cause.TEAM_BUDGET: Handling(
        Next.NOTHING,
        True,
        Operators.NOTHING,
        False,
        "The team's budget for this is used up.",
    ),
    Cause.CREDIT: Handling(
        Next.SMALLER_LIMIT,
        True,
        Operators.FAILURE,
        False,
        "The API key doesn't have enough credit for an answer this long.",
    ),
    Cause.REGION: Handling(
        Next.NOTHING,
        True,
        Operators.FAILURE,
        False,
        "The model isn't available in this region.",
    ),
    Cause.POLICY: Handling(
        Next.NOTHING,
        True,
        Operators.FAILURE,
        False,
        "The provider's rules don't allow this request.",
    ),
    Cause.UNKNOWN_MODEL: Handling(Next.NOTHING, True, Operators.FAILURE, False, _NOT_AVAILABLE),
    Cause.PRICE: Handling(Next.NEW_PRICE, True, Operators.FAILURE, False, _NOT_AVAILABLE),
    Cause.SCHEMA: Handling(Next.SCHEMA_IN_WORDS, True, Operators.UNFIT, False, _NOT_TAKEN),
    Cause.ROLE: Handling(Next.INSTRUCTIONS_IN_MESSAGE, True, Operators.FAILURE, False, _NOT_TAKEN),
    Cause.PARAMETER: Handling(Next.WITHOUT_PARAMETER, True, Operators.FAILURE, False, _NOT_TAKEN),
    Cause.LIMIT: Handling(Next.SMALLER_LIMIT, True, Operators.UNFIT, False, _NOT_TAKEN),
    Cause.PICTURE: Handling(
        Next.NOTHING,
        True,
        Operators.UNFIT,
        False,
        "This model can't read pictures. Describe it in words, or ask an admin for another model.",
    ),
    Cause.THIS_PICTURE: Handling(
        Next.NOTHING,
        False,
        Operators.NOTHING,
        False,
        "The model couldn't read this picture. Please send another one.",
    ),
    Cause.LENGTH: Handling(
        Next.NOTHING,
        False,
        Operators.NOTHING,
        False,
        "This message is too long for the model. Please make it shorter.",
    ),
    Cause.REQUEST: Handling(Next.NOTHING, True, Operators.FAILURE, False, _NOT_TAKEN),
    Cause.REFUSED: Handling(
        Next.NOTHING,
        True,
        Operators.FAILURE,
        False,
        "The model's provider refused this request.",
    ),
    Cause.CUT: Handling(
        Next.LARGER_LIMIT,
        True,
        Operators.FAILURE,
        True,
        "The model's answer was cut off. Please try again.",
    ),
    Cause.UNUSABLE: Handling(
        Next.NOTHING,
        True,
        Operators.FAILURE,
        True,
        "The model's answer was incomplete. Please try again.",
    ),
    Cause.NOT_JSON: Handling(
        Next.CORRECTED,
        True,
        Operators.FAILURE,
        True,
        "The model's answer couldn't be read. Please try again.",
    ),
    Cause.OTHER: Handling(
        Next.NOTHING,
        True,
        Operators.FAILURE,
        False,
        "The model couldn't answer. Please try again.",
    ),
}
# Causes that show that the model lacks a capability that its agent needs.
UNFIT = tuple(
    cause for cause, handling in HANDLING.items() if handling.operators is Operators.UNFIT
)

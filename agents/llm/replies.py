"""Reading what a vendor sent without trusting its shape.

The readers return None, "" or an empty mapping for whatever is not what it should be: a response
with a strange `usage` is still an answer. The table of HTTP statuses is the same for all vendors.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from agents.llm.errors import (
    KeyRejected,
    LLMError,
    ModelUnavailable,
    NoCredit,
    ProviderRejected,
    ProviderUnavailable,
    RateLimited,
    RequestForbidden,
    RequestInvalid,
)
from agents.llm.keys import scrub

MESSAGE_MAX_CHARS = 500
TOKENS_MAX = 10**9
COST_MAX_USD = Decimal(10_000)  # for one call; more is a broken response

_ERROR_OF_STATUS: dict[int, type[LLMError]] = {
    400: RequestInvalid,
    401: KeyRejected,
    402: NoCredit,
    403: RequestForbidden,
    404: ModelUnavailable,
    408: ProviderUnavailable,
    413: RequestInvalid,
    422: RequestInvalid,
    429: RateLimited,
}


def error_for_status(
    status: int, message: str, *, error_type: str = "", kind: type[LLMError] | None = None
) -> LLMError:
    """Return the error that an HTTP status means, its message scrubbed and cut.

    `kind` is for those who know better than the table.
    """
    kind = kind or _ERROR_OF_STATUS.get(status)
    if kind is None:
        kind = ProviderUnavailable if status >= 500 else ProviderRejected
    return kind(cleaned(message), http_status=status, error_type=error_type)


def cleaned(message: str) -> str:
    """Return a vendor's text as it may stand in an error: without keys, on one line, cut."""
    return scrub(" ".join(storable(message).split()))[:MESSAGE_MAX_CHARS]


def storable(text: str) -> str:
    """Return the text without what UTF-8 or PostgreSQL cannot hold: half surrogates and NUL."""
    return (
        text.encode("utf-16-le", "surrogatepass")
        .decode("utf-16-le", "replace")
        .replace("\0", "\N{REPLACEMENT CHARACTER}")
    )


def mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def first(value: object) -> Mapping[str, Any]:
    """Return the first mapping of a list."""
    return mapping(value[0]) if isinstance(value, list) and value else {}


def text(value: object) -> str:
    return value if isinstance(value, str) else ""


def count(value: object) -> int | None:
    """Return a number of tokens."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= TOKENS_MAX else None


def number(value: object) -> Decimal | None:
    """Return a JSON number, finite as all of them are here."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    return Decimal(value)


def dollars(value: object) -> Decimal | None:
    """Return an amount that one call can cost."""
    amount = number(value)
    return amount if amount is not None and 0 <= amount <= COST_MAX_USD else None

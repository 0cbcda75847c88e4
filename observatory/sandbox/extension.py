"""What a caller can add to the sandbox from outside; the tests' addition makes things go wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.routing import BaseRoute

from observatory.sandbox.calls import BotCall
from observatory.sandbox.catalogue import Model
from observatory.sandbox.chats import Chats
from observatory.sandbox.exchange import Exchange, Reply
from observatory.sandbox.ledger import Ledger
from observatory.sandbox.limits import RateLimit
from observatory.sandbox.offers import Offers


class WireFormat(Protocol):
    """How one vendor words answers and errors."""

    @property
    def name(self) -> str:
        """The first part of the paths below which it answers."""

    def written(self, exchange: Exchange, text: str) -> Reply:
        """Return the full response around an answer's text."""

    def failure(self, status: int, text: str, **details: Any) -> Reply:
        """Return an error; `headers` among the details go to the HTTP headers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedModel:
    """A model that is in no list: what it costs and can do, how it answers, and after how long."""

    model: Model
    answer: Callable[[Exchange], Reply]
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What an added route can look at and change."""

    chats: Chats
    ledger: Ledger
    limit: RateLimit
    offers: Offers


class Extension:
    """The usual addition: nothing."""

    def model(self, vendor: WireFormat, model_id: str) -> AddedModel | None:
        """Return the added model of that id, before the vendor's own are looked at."""
        return None

    def before_call(self, call: BotCall) -> None:
        """See a call of the Bot API before it is answered; raise `Refused` to have it fail."""

    def after_call(self, call: BotCall, result: Any) -> Any:
        """Return what a call of the Bot API is answered with, given what it came to."""
        return result

    def routes(self, parts: Parts) -> Sequence[BaseRoute]:
        """Return routes of its own, which are tried first."""
        return ()

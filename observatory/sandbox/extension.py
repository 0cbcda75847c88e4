"""Hooks by which a caller extends the sandbox; the tests' extension makes things go wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.routing import BaseRoute

from observatory.sandbox.calls import BotCall
from observatory.sandbox.catalogue import Model
from observatory.sandbox.chats import Chats
from observatory.sandbox.exchange import Exchange, Reply, WireFormat
from observatory.sandbox.ledger import Ledger
from observatory.sandbox.web import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedModel:
    """A model that is in no list, with the function that answers and its delay in seconds."""

    model: Model
    answer: Callable[[Exchange], Reply]
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of the sandbox that an added route can read and change."""

    chats: Chats
    ledger: Ledger


class Extension:
    """The default extension, which adds nothing; any hook may raise `Refused` to make a call fail.

    Vendors are told apart by the names of their formats.
    """

    def offered(self, vendor: WireFormat, models: Sequence[Model]) -> Sequence[Model]:
        """Return the models that a vendor offers, given those that it has."""
        return models

    def model(self, vendor: WireFormat, model_id: str) -> AddedModel | None:
        """Return the added model with this id, or None to use the vendor's own models."""
        return None

    def before_answer(self, vendor: WireFormat, exchange: Exchange, body: Json) -> None:
        """Inspect a valid chat request before its model takes it."""

    def before_call(self, call: BotCall) -> None:
        """Inspect a Bot API call before it is answered."""

    def after_call(self, call: BotCall, result: Any) -> Any:
        """Return the result to answer a Bot API call with, given its actual result."""
        return result

    def routes(self, parts: Parts) -> Sequence[BaseRoute]:
        """Return additional routes, which are tried before the sandbox's own."""
        return ()

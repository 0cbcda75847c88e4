"""What sets one vendor of models apart from another; `desk.py` does what they have in common.

To add one: a class that fits `Vendor`, with a desk and its routes, and a line in `app.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from observatory.sandbox.catalogue import Model
from observatory.sandbox.exchange import Exchange, Misbehaviour, Reply
from observatory.sandbox.web import Answer, Handler, Json, Refused, Request, Route


class Rejected(Refused):
    """A refusal that says more than a sentence: `details` go into the vendor's error object."""

    def __init__(self, status: int, text: str, **details: Any) -> None:
        super().__init__(status, text)
        self.details = details


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The conversation, led by the system prompt if there is one, and the schema to answer by."""

    messages: list[Json]
    schema: Json | None


class Vendor(Protocol):
    """How one vendor words requests, answers and errors."""

    @property
    def name(self) -> str:
        """The first part of the paths below which it answers."""

    def key(self, request: Request) -> str:
        """Return the key that a request carries, or nothing."""

    def admit(self, request: Request) -> None:
        """Raise `Refused` for a bad key, one without credit, or a missing header."""

    def model(self, model_id: object) -> Model:
        """Return the sound model that is asked for; raise `Refused` for an unknown one."""

    def asked(self, body: Json, model: Model) -> Asked:
        """Return what is asked; raise `Refused` for what is malformed or does not fit the model."""

    def written(self, exchange: Exchange, text: str) -> Reply:
        """Return the full response around an answer's text."""

    def failure(self, status: int, text: str, **details: Any) -> Reply:
        """Return an error; `headers` among the details go to the HTTP headers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedModel:
    """A model that is in no list: what it costs and can do, how it answers, and after how long."""

    model: Model
    answer: Misbehaviour
    delay_s: float = 0.0


AddedModels = Callable[[Vendor, str], AddedModel | None]


def no_added_models(vendor: Vendor, model_id: str) -> None:
    """Return nothing: the usual sandbox has only the models of its lists."""


def vendor_route(vendor: Vendor, method: str, path: str, handler: Handler) -> Route:
    """Return a route that words its errors as the vendor does."""

    def render_error(status: int, text: str) -> Answer:
        return vendor.failure(status, text).answer()

    return Route(
        methods=(method,),
        pattern=re.compile(path),
        handler=handler,
        render_error=render_error,
        own_origin_only=False,
    )

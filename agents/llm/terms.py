"""Request terms of a model: output limit, price, effort, and parameters it does not accept.

Changes that made a request succeed are remembered for the model, in this process and for some
hours, since a model may gain abilities. They are remembered separately for each key, because one
account's restrictions must not affect requests with other keys.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from agents.llm.limits import MaxPrice, ModelFacts

REMEMBERED_FOR_S = 6 * 3600.0
MAX_REMEMBERED = 2_000  # models; beyond that, the oldest entries are dropped


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The settings of a request apart from its prompt."""

    max_tokens: int  # the output limit to send
    facts: ModelFacts = field(default_factory=ModelFacts)
    left_out: frozenset[str] = frozenset()  # parameters that the model does not accept
    effort: str = ""  # reasoning effort; "" = the model's default
    max_price: MaxPrice | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """The restrictions of a model that were found from its refusals."""

    schema_in_words: bool = False
    instructions_in_message: bool = False
    left_out: frozenset[str] = frozenset()
    max_output_tokens: int | None = None
    at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model at one base URL, used with one key."""

    base_url: str
    model_id: str
    key_fingerprint: str


_learnt: dict[Model, Learnt] = {}


def learnt_of(model: Model) -> Learnt:
    """Return the remembered restrictions of a model; none if they are unknown or too old."""
    known = _learnt.get(model)
    if known is None or time.monotonic() - known.at > REMEMBERED_FOR_S:
        return Learnt()
    return known


def remember(model: Model, known: Learnt) -> None:
    """Remember the restrictions found for a model."""
    _learnt[model] = replace(known, at=time.monotonic())
    while len(_learnt) > MAX_REMEMBERED:
        del _learnt[next(iter(_learnt))]


def forget_all() -> None:
    """Forget the restrictions of all models; for tests."""
    _learnt.clear()

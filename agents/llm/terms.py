"""On which terms a model is asked: output limit, price, effort, and what it does not take.

What helped once is remembered for the model, in this process and for some hours: a model may
learn. It is remembered for one key: what an account allows of a model must not change how others
are answered.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from agents.llm.limits import MaxPrice, ModelFacts

REMEMBERED_FOR_S = 6 * 3600.0
MAX_REMEMBERED = 2_000  # models; one more, and the oldest are asked anew


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is asked of a model beside the prompt."""

    max_tokens: int  # the output limit that is sent
    facts: ModelFacts = field(default_factory=ModelFacts)
    left_out: frozenset[str] = frozenset()  # parameters that it does not take
    effort: str = ""  # "" = as the model does without being told
    max_price: MaxPrice | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """What a model has been found not to take."""

    schema_in_words: bool = False
    instructions_in_message: bool = False
    left_out: frozenset[str] = frozenset()
    max_output_tokens: int | None = None
    at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model as one key reaches it."""

    base_url: str
    model_id: str
    key_fingerprint: str


_learnt: dict[Model, Learnt] = {}


def learnt_of(model: Model) -> Learnt:
    """Return what is remembered of a model."""
    known = _learnt.get(model)
    if known is None or time.monotonic() - known.at > REMEMBERED_FOR_S:
        return Learnt()
    return known


def remember(model: Model, known: Learnt) -> None:
    """Remember what a model was found not to take."""
    _learnt[model] = replace(known, at=time.monotonic())
    while len(_learnt) > MAX_REMEMBERED:
        del _learnt[next(iter(_learnt))]


def forget_all() -> None:
    """Forget all models; for tests."""
    _learnt.clear()

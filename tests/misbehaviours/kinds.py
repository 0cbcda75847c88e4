"""What misbehaviours are: functions of an exchange, or of a sound reply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from observatory.sandbox.exchange import Exchange, Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedExchange(Exchange):
    """An exchange that knows how many times this key has asked exactly this, this time included."""

    attempt: int


Misbehaviour = Callable[[CountedExchange], Reply]
Spoiling = Callable[[Reply], Reply]

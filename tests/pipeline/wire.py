"""What the model provider saw: the sandbox's ledger, read over HTTP."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.request import Request, urlopen

WAIT_S = 60.0  # for a state that comes within milliseconds, on a busy machine too
POLL_INTERVAL_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class WireCall:
    """One request for a completion, as it arrived."""

    n: int
    key: str
    model: str
    agent: str
    call_id: str
    step_id: str
    status: int | None  # None while it is not answered, 499 when the client left
    cost_usd: Decimal
    messages: list[dict[str, Any]]

    @property
    def user_text(self) -> str:
        content = self.messages[-1]["content"]
        return content if isinstance(content, str) else str(content[0]["text"])


class Wire:
    """The ledger of one sandbox."""

    def __init__(self, sandbox_url: str) -> None:
        self._url = f"{sandbox_url}/ledger"

    def calls(self) -> list[WireCall]:
        """Return all calls since the ledger was cleared, in the order of their arrival."""
        with urlopen(self._url) as response:
            lines = json.load(response)["calls"]
        names = WireCall.__slots__
        return [
            WireCall(
                **{name: line[name] for name in names if name != "cost_usd"},
                cost_usd=Decimal(line["cost_usd"]),
            )
            for line in lines
        ]

    def clear(self) -> None:
        with urlopen(Request(self._url, method="DELETE")):
            pass

    async def seen(self, condition: Callable[[list[WireCall]], object]) -> list[WireCall]:
        """Return the calls as soon as the condition holds.

        Raises:
            AssertionError: it did not hold for 5 s.
        """
        deadline = time.monotonic() + WAIT_S
        while not condition(calls := await asyncio.to_thread(self.calls)):
            assert time.monotonic() < deadline, f"never on the wire, but this was: {calls}"
            await asyncio.sleep(POLL_INTERVAL_S)
        return calls

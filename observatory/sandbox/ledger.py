"""The ledger of model calls: each call with the key that paid, recorded before it is answered.

It is the tests' oracle for "which key paid for which step". It is never written to disk. Full keys
leave this module only through `GET /ledger`; the page gets fingerprints.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from observatory.sandbox.exchange import Reply, conversation
from observatory.sandbox.feed import Feed
from observatory.sandbox.web import Clock, Json

KEPT_CALLS = 50_000
KEPT_PROMPTS = 10_000  # older calls lose their prompts, but keep their figures


@dataclass(slots=True, kw_only=True)
class Call:
    """One chat request to a model; `path` identifies the vendor.

    `status` is None until the request is answered, and 499 if it was cancelled before.
    """

    n: int
    at: str
    path: str
    key: str
    model: str
    agent: str | None
    call_id: str | None
    step_id: str | None
    status: int | None = None
    served_model: str | None = None
    cost_usd: str = "0"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    messages: Any = None
    generation: Json | None = None

    def as_payload(self) -> Json:
        """Return the call's entry in `GET /ledger`."""
        return {name: getattr(self, name) for name in LINE}

    def for_page(self) -> Json:
        """Return the call for the chat page: with the key's fingerprint, without key and prompt."""
        shown = {name: getattr(self, name) for name in LINE if name not in ("key", "messages")}
        return shown | {"fingerprint": fingerprint(self.key), "key_name": key_name(self.key)}


OWN_KEY = re.compile(r"-sandbox-([a-z]+)-key-")
LINE = tuple(field.name for field in fields(Call) if field.name != "generation")


def fingerprint(key: str) -> str:
    """Return an ellipsis and the last four characters of a key; "no key" for a short one."""
    return f"…{key[-4:]}" if len(key) >= 16 else "no key"


def key_name(key: str) -> str:
    """Return the owner of one of the sandbox's own keys, such as "Team key"; else a fingerprint."""
    found = OWN_KEY.search(key)
    if found is None:
        return fingerprint(key)
    return "Team key" if found[1] == "team" else f"{found[1].capitalize()}'s key"


class Ledger:
    """The calls since the sandbox started, newest last."""

    def __init__(self, *, feed: Feed, clock: Clock) -> None:
        self._feed = feed
        self._clock = clock
        self._last = 0
        self._calls: deque[Call] = deque(maxlen=KEPT_CALLS)
        self._spent: defaultdict[str, Decimal] = defaultdict(Decimal)

    def open(self, *, path: str, key: str, headers: Mapping[str, str], body: Json) -> Call:
        """Record a request before it is answered."""
        self._last += 1
        model = body.get("model")
        call = Call(
            n=self._last,
            at=datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds"),
            path=path,
            key=key,
            model=model if isinstance(model, str) else "",
            agent=headers.get("x-observatory-agent"),
            call_id=headers.get("x-observatory-call"),
            step_id=headers.get("x-observatory-step"),
            messages=conversation(body),
        )
        self._calls.append(call)
        if len(self._calls) > KEPT_PROMPTS:
            self._calls[-KEPT_PROMPTS - 1].messages = None
        self._feed.publish("call", call.for_page(), person_id=None)
        return call

    def close(self, call: Call, reply: Reply) -> None:
        """Record how a call was answered and the dollars billed for it."""
        call.status = reply.status
        call.cost_usd = f"{reply.billed:f}"
        call.generation = reply.generation
        if reply.generation is not None:
            call.served_model = reply.generation["model"]
            call.prompt_tokens = reply.generation["tokens_prompt"]
            call.completion_tokens = reply.generation["tokens_completion"]
        self._spent[call.key] += reply.billed
        self._feed.publish("call", call.for_page(), person_id=None)

    def after(self, n: int) -> list[Call]:
        """Return the calls that came after number `n`."""
        return [call for call in self._calls if call.n > n]

    def newest(self, count: int) -> list[Call]:
        """Return the last `count` calls."""
        return list(self._calls)[-count:]

    def clear(self) -> None:
        """Delete all calls; the numbering of calls continues."""
        self._calls.clear()
        self._spent.clear()
        self._feed.publish("calls_cleared", {}, person_id=None)

    def generation(self, generation_id: str, *, key: str) -> Json | None:
        """Return the data of `/generation` for a call; None unless `key` made the call."""
        for call in reversed(self._calls):
            if call.generation and call.generation["id"] == generation_id:
                return call.generation if call.key == key else None
        return None

    def spent(self, key: str) -> Decimal:
        """Return the dollars billed to this key."""
        return self._spent[key]

"""What keeps a bot from sending: Telegram's rate limit, and faults that a test scripts."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from dataclasses import dataclass

from observatory.sandbox.web import Clock, Json, Refused

OVERALL_LIMIT = (30, 1.0)  # in all chats together
PRIVATE_LIMIT = (20, 10.0)  # sends and edits, in so many seconds
GROUP_LIMIT = (20, 60.0)
HOLD_S = 3


class BotError(Refused):
    """An error of the Bot API.

    `parameters` is Telegram's ResponseParameters: `retry_after` (seconds) or `migrate_to_chat_id`.
    """

    def __init__(self, status: int, text: str, *, parameters: Json | None = None) -> None:
        super().__init__(status, text)
        self.parameters = parameters or {}


@dataclass(slots=True)
class Fault:
    """An error that the next `count` matching calls get."""

    method: str | None
    chat_id: int | None
    error_code: int
    description: str
    parameters: Json
    count: int

    def fits(self, method: str, chat_id: int | None) -> bool:
        """Tell whether this call is meant."""
        return self.count > 0 and self.method in (None, method) and self.chat_id in (None, chat_id)


class RateLimit:
    """Sends and edits together: bursts pass, a flood puts the chat on hold.

    What all chats together may have is refused call by call. Counted is every call, refused or not.
    """

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._recent: defaultdict[int, deque[float]] = defaultdict(deque)
        self._held_until: dict[int, float] = {}
        self._of_all: deque[float] = deque()
        self.is_on = True
        self.most_in_a_second = 0
        self.calls = 0

    def check(self, chat_id: int) -> None:
        """Count one send to this chat.

        Raises:
            BotError: the chat is on hold, or there were too many to all chats.
        """
        now = self._clock()
        in_a_second = self._count(now)
        if not self.is_on:
            return
        if in_a_second > OVERALL_LIMIT[0]:
            raise _flooded(1)
        held_s = self._held_until.get(chat_id, now) - now
        if held_s > 0:
            raise _flooded(math.ceil(held_s))
        burst, window_s = GROUP_LIMIT if chat_id < 0 else PRIVATE_LIMIT
        recent = self._recent[chat_id]
        while recent and recent[0] <= now - window_s:
            recent.popleft()
        if len(recent) >= burst:
            self._held_until[chat_id] = now + HOLD_S
            raise _flooded(HOLD_S)
        recent.append(now)

    def _count(self, now: float) -> int:
        """Count a call, and return how many there were in the second before it, itself included."""
        while self._of_all and self._of_all[0] <= now - OVERALL_LIMIT[1]:
            self._of_all.popleft()
        self._of_all.append(now)
        self.calls += 1
        self.most_in_a_second = max(self.most_in_a_second, len(self._of_all))
        return len(self._of_all)


class Faults:
    """The scripted faults, in the order they were asked for."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, script: Json) -> None:
        """Take `{"method", "chat_id", "error_code", "description", "retry_after", "count"}`.

        Raises:
            Refused: a value is of the wrong type, or there is no error code.
        """
        code = _whole(script, "error_code")
        if code is None or not 400 <= code <= 599:
            raise Refused(400, "a fault needs an error_code from 400 to 599")
        count, retry_after = _whole(script, "count"), _whole(script, "retry_after")
        usual = f"Too Many Requests: retry after {retry_after}" if code == 429 else "scripted fault"
        self._faults.append(
            Fault(
                method=script.get("method"),
                chat_id=_whole(script, "chat_id"),
                error_code=code,
                description=str(script.get("description", usual)),
                parameters={} if retry_after is None else {"retry_after": retry_after},
                count=1 if count is None else count,
            )
        )

    def clear(self) -> None:
        """Drop what is left of all faults."""
        self._faults.clear()

    def check(self, method: str, chat_id: int | None) -> None:
        """Count down the fault for this call, if there is one.

        Raises:
            BotError: there is.
        """
        for fault in self._faults:
            if fault.fits(method, chat_id):
                fault.count -= 1
                raise BotError(fault.error_code, fault.description, parameters=fault.parameters)


def _flooded(retry_after: int) -> BotError:
    text = f"Too Many Requests: retry after {retry_after}"
    return BotError(429, text, parameters={"retry_after": retry_after})


def _whole(script: Json, name: str) -> int | None:
    value = script.get(name)
    if not isinstance(value, int | None):
        raise Refused(400, f"{name} must be a whole number")
    return value

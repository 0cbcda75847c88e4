"""Telegram's rate limit on a bot's sends and edits, and how many there were."""

from __future__ import annotations

import math
from collections import defaultdict, deque

from observatory.sandbox.calls import BotCall
from observatory.sandbox.web import Clock, Refused

OVERALL_LIMIT = (30, 1.0)  # calls and seconds, for all chats together
PRIVATE_LIMIT = (20, 10.0)  # calls and seconds, per chat
GROUP_LIMIT = (20, 60.0)
HOLD_S = 3
LIMITED = (
    *("sendMessage", "sendPhoto", "sendDocument"),
    *("editMessageText", "editMessageCaption", "editMessageReplyMarkup"),
)


class RateLimit:
    """Limits sends and edits: bursts pass, a flood puts the chat on hold for `HOLD_S` seconds.

    Above the limit for all chats together, single calls are refused, and no chat is put on hold.
    Toward that limit, every call counts, refused or not.
    """

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._recent: defaultdict[int, deque[float]] = defaultdict(deque)
        self._held_until: dict[int, float] = {}
        self._of_all: deque[float] = deque()
        self.is_on = True
        self.most_in_a_second = 0
        self.calls = 0

    def before_call(self, call: BotCall) -> None:
        """Count the call if it is a send or an edit; raise `Refused` if there were too many."""
        chat_id = call.chat_id()
        if call.method in LIMITED and chat_id is not None:
            self.check(chat_id)

    def check(self, chat_id: int) -> None:
        """Count one send to this chat.

        Raises:
            Refused: the chat is on hold, or there were too many sends to all chats.
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
        """Count a call; return the number of calls in the last second, this one included."""
        while self._of_all and self._of_all[0] <= now - OVERALL_LIMIT[1]:
            self._of_all.popleft()
        self._of_all.append(now)
        self.calls += 1
        self.most_in_a_second = max(self.most_in_a_second, len(self._of_all))
        return len(self._of_all)


def _flooded(retry_after: int) -> Refused:
    text = f"Too Many Requests: retry after {retry_after}"
    return Refused(429, text, parameters={"retry_after": retry_after})

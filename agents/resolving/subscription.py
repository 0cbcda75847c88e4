"""Notifications from PostgreSQL when the overrides change, received over the resolver's connection.

The tables' triggers (migration 0007) send a notification for every change that is committed,
whichever program makes it. A notification says that something changed, never what.

Notifications can fail to arrive without an error: a connection pooler in transaction mode accepts
LISTEN and delivers nothing later, or a restored schema lacks the triggers. So the subscription
sends itself a notification every second, and counts as live only if the last one arrived. If a
change is found of which no notification told, the subscription is not relied on for a minute.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable
from typing import Any

from django.db import Error as DatabaseError
from django.db import connections

from agents.snapshot import close_connection

CHANNEL = "observatory_overrides"  # migration 0007 sends to it
CHECKED_EVERY_S = 1.0
NOT_RELIED_ON_FOR_S = 60.0


class Subscription:
    """A LISTEN on the connection of the resolver's thread, which alone may use it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._listening: Any = None  # psycopg's connection on which LISTEN was executed
        self._own_channel = f"observatory_check_{uuid.uuid4().hex}"
        self._checked_at = -math.inf
        self._has_arrived = False  # the last notification to itself
        self._has_news = False
        self._not_before = -math.inf

    @property
    def is_live(self) -> bool:
        """Whether a change would be announced, as far as is known."""
        return self._has_arrived and self._is_open and self._clock() >= self._not_before

    @property
    def has_news(self) -> bool:
        """Whether a change was announced since the last call of `take_news`."""
        return self._has_news

    def take_news(self) -> bool:
        """Return `has_news`, and reset it."""
        has_news, self._has_news = self._has_news, False
        return has_news

    def fileno(self) -> int | None:
        """Return the descriptor that becomes readable with a notification; None if not open."""
        return int(self._listening.fileno()) if self._is_open else None

    def renew(self) -> None:
        """Listen on the thread's connection if it is a new one; check the subscription if due.

        Raises:
            django.db.Error: the database does not answer.
        """
        connection = connections["default"]
        is_known = self._is_open and connection.connection is self._listening
        if is_known and self._clock() < self._checked_at + CHECKED_EVERY_S:
            return
        self._checked_at = self._clock()
        with connection.cursor() as cursor:
            if connection.connection is not self._listening:
                cursor.execute(f"LISTEN {CHANNEL}")
                cursor.execute(f"LISTEN {self._own_channel}")
                self._listening = connection.connection
                self._has_news = True  # changes until now were not announced here
            self._has_arrived = False
            cursor.execute(f"NOTIFY {self._own_channel}")
        self.receive()

    def receive(self) -> None:
        """Take in what has arrived, without waiting; close a connection that turns out dead."""
        if not self._is_open:
            return
        try:
            with connections["default"].wrap_database_errors:
                arrived = list(self._listening.notifies(timeout=0))
        except DatabaseError:
            close_connection()
            self._listening = None
            self._has_news = True  # there may be some
            return
        for notification in arrived:
            self._has_news = self._has_news or notification.channel == CHANNEL
            self._has_arrived = self._has_arrived or notification.channel == self._own_channel

    def distrust(self) -> None:
        """Rely on no notifications for a minute: a change was found that none announced."""
        self._not_before = self._clock() + NOT_RELIED_ON_FOR_S

    @property
    def _is_open(self) -> bool:
        return self._listening is not None and not self._listening.closed

"""Database connections of processes that serve no web requests, where Django closes none."""

from __future__ import annotations

from django.db import connections


def close_broken() -> None:
    """Close this thread's connections that have died; the next query opens new ones.

    A connection is tried only if a query on it has failed since it was last tried, so a call costs
    nothing as long as all is well.
    """
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block or not connection.errors_occurred:
            continue
        if connection.get_autocommit() and connection.is_usable():
            connection.errors_occurred = False
        else:
            connection.close()

"""Close dead database connections in processes without web requests, where Django does not."""

from __future__ import annotations

from django.db import connections


def close_broken() -> None:
    """Close this thread's dead connections; the next query opens new ones.

    A connection is tested only if a query on it has failed since its last test, so a call costs
    nothing in normal operation.
    """
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block or not connection.errors_occurred:
            continue
        if connection.get_autocommit() and connection.is_usable():
            connection.errors_occurred = False
        else:
            connection.close()

"""Close dead database connections in processes without web requests, where Django does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from django.db import OperationalError, connections

P = ParamSpec("P")
T = TypeVar("T")


def afresh(work: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Do database work, on a new connection if the thread's is dead; raises as the work does."""
    close_broken()
    return work(*arguments, **options)


def twice(ask: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Do work that only reads or may be repeated; once more if the connection turns out dead."""
    try:
        return ask(*arguments, **options)
    except OperationalError:
        return afresh(ask, *arguments, **options)


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

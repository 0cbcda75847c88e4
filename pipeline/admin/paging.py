"""Paging for tables that keep growing: their rows are counted only up to a limit."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.utils.functional import cached_property
from unfold.views import ChangeList

COUNTED = 2000  # rows: paging further is useless, and counting a large table is slow


class BoundedPaginator(Paginator):
    """A paginator that counts the rows of a table only up to `COUNTED`."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return rows.order_by().values("pk")[:COUNTED].count()


def without_show_all(changes: ChangeList) -> ChangeList:
    """Return the list without the theme's "Show all" link, which would lead to the same list."""
    changes.full_result_count = changes.result_count
    return changes

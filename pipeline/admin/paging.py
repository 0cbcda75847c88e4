"""Pages of tables that grow without end: never counted to their end."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.utils.functional import cached_property
from unfold.views import ChangeList

COUNTED = 2000  # rows: paging further is of no use, and counting a large table is slow


class BoundedPaginator(Paginator):
    """Pages of a table that is counted up to a limit only."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return rows.order_by().values("pk")[:COUNTED].count()


def without_show_all(changes: ChangeList) -> ChangeList:
    """Return the list without the theme's "Show all", which would lead to this very list."""
    changes.full_result_count = changes.result_count
    return changes

"""Who read what members and models wrote: a list to look at, which nobody changes."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin import ShowFacets
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from agents.guarded_admin import GuardedModelAdmin
from pipeline.admin.labels import HOW, HowFilter
from pipeline.admin.paging import BoundedPaginator, without_show_all
from pipeline.admin.run_filters import DaysFilter
from pipeline.models import TextsRead


@admin.register(TextsRead)
class TextsReadAdmin(GuardedModelAdmin):
    """Readings of texts: read only, for who has the permission to see them."""

    list_title = "Access log"
    empty_title = "No entries yet"
    empty_text = "Each view and export of members' and models' texts is logged here."
    list_display = ["at", "operator_name", "what", "how_label"]
    list_display_links = None
    list_filter = [("how", HowFilter), ("at", DaysFilter)]
    list_filter_submit = True
    search_fields = ["=operator_name"]
    search_help_text = "Operator's name"
    sortable_by = ["at"]
    list_select_related = ["run", "task"]
    list_per_page = 50
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    paginator = BoundedPaginator

    @display(description="what", empty_value="no longer stored")
    def what(self, reading: TextsRead) -> str | None:
        if reading.run is not None:
            return f"run {reading.run}"
        return f"task {reading.task_id}" if reading.task_id else None

    @display(description="how", ordering="how")
    def how_label(self, reading: TextsRead) -> str:
        return HOW.get(reading.how, reading.how)

    def get_queryset(self, request: HttpRequest) -> QuerySet[TextsRead]:
        return (
            super()
            .get_queryset(request)
            .only(*("at", "operator_name", "how", "run__pipeline", "task__id"))
        )

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        return without_show_all(super().get_changelist_instance(request))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

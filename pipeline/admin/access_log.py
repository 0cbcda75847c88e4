"""The access log: who read what members and models wrote; read-only."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin import ShowFacets
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from agents.display import ago
from agents.guarded_admin import GuardedModelAdmin
from pipeline.admin.labels import ACCESS_KIND, AccessKindFilter
from pipeline.admin.paging import BoundedPaginator, without_show_all
from pipeline.admin.run_filters import DaysFilter
from pipeline.models import TextsRead


@admin.register(TextsRead)
class AccessLogAdmin(GuardedModelAdmin):
    """The access log, for operators with permission to view it."""

    list_title = "Access log"
    empty_title = "No entries yet"
    empty_text = "Each view or export of text written by members or by AI models is logged here."
    list_display = ["when", "operator_name", "what", "how_label"]
    list_display_links = None
    list_filter = [("how", AccessKindFilter), ("at", DaysFilter)]
    list_filter_submit = True
    search_fields = ["=operator_name"]
    search_help_text = "Operator's name"
    sortable_by = ["when"]
    list_select_related = ["run", "task"]
    list_per_page = 50
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    paginator = BoundedPaginator

    @display(description="at", ordering="at")
    def when(self, access: TextsRead) -> str:
        return ago(access.at)

    @display(description="what", empty_value="no longer stored")
    def what(self, access: TextsRead) -> str | None:
        if access.run is not None:
            return f"run {access.run}"
        return f"task {access.task_id}" if access.task_id else None

    @display(description="how", ordering="how")
    def how_label(self, access: TextsRead) -> str:
        return ACCESS_KIND.get(access.how, access.how)

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

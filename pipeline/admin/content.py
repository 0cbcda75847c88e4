"""What agents know and members train on, edited by operators."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin, StackedInline

from pipeline.admin.text_pages import may_read_texts
from pipeline.models import CasebookEntry, Lesson, PlaybookPage, Scenario, Track


@admin.register(PlaybookPage)
class PlaybookPageAdmin(ModelAdmin):
    """The team's playbook."""

    list_display = ["title", "position", "is_active"]
    list_filter = ["is_active"]
    search_fields = ["title", "text"]


@admin.register(Scenario)
class ScenarioAdmin(ModelAdmin):
    """Training scenarios."""

    list_display = ["title", "difficulty", "is_active"]
    list_filter = ["difficulty", "is_active"]
    search_fields = ["title", "text"]


class LessonInline(StackedInline):
    """The levels of a track."""

    model = Lesson
    extra = 0


@admin.register(Track)
class TrackAdmin(ModelAdmin):
    """Tracks of lessons."""

    list_display = ["title", "position", "is_active"]
    list_filter = ["is_active"]
    inlines = [LessonInline]


@admin.register(CasebookEntry)
class CasebookEntryAdmin(ModelAdmin):
    """Cases that members saved; texts of theirs, so for those who may read texts."""

    list_display = ["title", "member", "is_active", "created_at"]
    list_filter = ["is_active"]
    list_select_related = ["member"]
    search_fields = ["title", "text"]
    fields = ["title", "text", "is_active", "member"]
    readonly_fields = ["member"]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_view_permission(request, obj) and may_read_texts(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and may_read_texts(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and may_read_texts(request)

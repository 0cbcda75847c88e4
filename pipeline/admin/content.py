"""What agents know and members train on, edited by operators."""

from __future__ import annotations

from django.contrib import admin
from unfold.admin import ModelAdmin

from pipeline.models import PlaybookPage, Scenario


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

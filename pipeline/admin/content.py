"""Admin pages for the knowledge of agents and the training of members."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import StackedInline
from unfold.decorators import display

from agents.display import ago
from agents.guarded_admin import Acted, GuardedModelAdmin
from pipeline.admin.text_pages import may_read_texts
from pipeline.models import CasebookEntry, Lesson, PlaybookPage, Scenario, Track

GOOD_ANSWER = "What a good answer contains. Only the trainer agent sees it."


@admin.register(PlaybookPage)
class PlaybookPageAdmin(GuardedModelAdmin):
    """The team's playbook."""

    list_title = "Playbook"
    empty_title = "No playbook pages yet"
    empty_text = "Agents use the pages of the playbook in their answers."
    list_display = ["title", "position", "is_active"]
    list_filter = ["is_active"]
    search_fields = ["title", "text"]


@admin.register(Scenario)
class ScenarioAdmin(GuardedModelAdmin):
    """Training scenarios."""

    list_title = "Scenarios"
    empty_title = "No scenarios yet"
    empty_text = "Members train on scenarios in their chat with the bot."
    list_display = ["title", "difficulty", "is_active"]
    list_filter = ["difficulty", "is_active"]
    search_fields = ["title", "text"]

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        texts = {"help_texts": {"difficulty": "1 = easy, 3 = hard", "good_answer": GOOD_ANSWER}}
        return super().get_form(request, obj, change=change, **{**texts, **kwargs})


class LessonInline(StackedInline):
    """The levels of a track."""

    model = Lesson
    extra = 0

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        texts = {
            "help_texts": {
                "text": "Up to 2,500 characters, so that it fits into one message",
                "task": "The exercise for the member",
                "good_answer": GOOD_ANSWER,
            }
        }
        return super().get_formset(request, obj, **{**texts, **kwargs})


@admin.register(Track)
class TrackAdmin(GuardedModelAdmin):
    """Tracks of lessons."""

    list_title = "Tracks"
    empty_title = "No tracks yet"
    empty_text = "A track is a course of lessons that members take in their chat with the bot."
    list_display = ["title", "position", "is_active"]
    list_filter = ["is_active"]
    inlines = [LessonInline]


class ApprovalFilter(admin.SimpleListFilter):
    """Filters cases by approval; an inactive case does not wait for approval."""

    title = "approval"
    parameter_name = "approval"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("waiting", "Waiting for approval"), ("approved", "Approved")]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[CasebookEntry]
    ) -> QuerySet[CasebookEntry]:
        if self.value() == "waiting":
            return queryset.filter(is_approved=False, is_active=True)
        return queryset.filter(is_approved=True) if self.value() == "approved" else queryset


@admin.register(CasebookEntry)
class CasebookEntryAdmin(GuardedModelAdmin):
    """Cases saved by members; only operators who may read members' texts see them."""

    list_title = "Casebook"
    empty_title = "No saved cases yet"
    empty_text = "Cases that members save appear here for approval."
    list_display = ["title", "member", "is_approved", "is_active", "created"]
    list_filter = [ApprovalFilter, "is_active"]
    actions = ["approve_selected"]
    list_select_related = ["member"]
    search_fields = ["title", "text"]
    fields = ["title", "text", "is_approved", "is_active", "member"]
    readonly_fields = ["member"]

    @display(description="created", ordering="created_at")
    def created(self, entry: CasebookEntry) -> str:
        return ago(entry.created_at)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_view_permission(request, obj) and may_read_texts(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and may_read_texts(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and may_read_texts(request)

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        until = "Until a case is approved, it's used only in answers to the member who saved it"
        texts = {"help_texts": {"is_approved": until}}
        return super().get_form(request, obj, change=change, **{**texts, **kwargs})

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Preselect approval for a case that an operator writes."""
        return {"is_approved": True, **super().get_changeform_initial_data(request)}

    @admin.action(description="Approve selected cases for everyone", permissions=["change"])
    def approve_selected(self, request: HttpRequest, cases: QuerySet[CasebookEntry]) -> Acted:
        """Approve the cases, so that every member's answers may use them."""
        waiting = list(cases.filter(is_approved=False))
        for case in waiting:
            case.is_approved = True
            case.save(update_fields=["is_approved"])
        said = f"Approved: {len(waiting)}."
        then = partial(self.message_user, request, said)
        return Acted(rows=waiting, log="Approved for everyone.", then=then)

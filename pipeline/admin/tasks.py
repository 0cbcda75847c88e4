"""Admin pages of tasks: the failed and the open ones, and the button to try again.

The list is a page of the theme, with scripts, so it shows only the kind of an error: the text may
quote a message. A task's own page shows texts and is one of `pipeline.admin.text_pages`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import F, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce, NullIf
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from unfold.decorators import display

from agents.display import ago
from agents.guarded_admin import Acted, GuardedModelAdmin
from pipeline.admin.labels import TASK_STATUS, TaskKindFilter, kind_label, status_label
from pipeline.admin.paging import BoundedPaginator, without_show_all
from pipeline.admin.text_pages import log_access, may_read_texts, text_page
from pipeline.models import Member, OutgoingMessage, PipelineRun, Task, TelegramUpdate
from pipeline.models.access_log import AccessKind
from pipeline.models.inbox import OPEN, PermanentFailureKind, TaskKind, TaskStatus
from pipeline.models.runs import kind_of
from pipeline.queue import task_store

# A member as `Member.__str__` names them, if the table knows the Telegram id.
_NAME = Coalesce(NullIf("name", Value("")), NullIf("username", Value("")))
_MEMBER = Member.objects.filter(telegram_id=OuterRef("person")).values_list(_NAME)[:1]


class Standing(admin.SimpleListFilter):
    """Filters tasks by status; by default, only failed ones are shown."""

    title = "status"
    parameter_name = "show"
    DEFAULT = "given_up"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(self.DEFAULT, "Failed"), ("open", "Open"), ("all", "All")]

    def value(self) -> str:
        value = super().value()
        return value if value in {"open", "all"} else self.DEFAULT

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        for value, title in self.lookup_choices:
            yield {
                "selected": self.value() == value,
                "query_string": changelist.get_query_string({self.parameter_name: value}),
                "display": title,
            }

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        if self.value() == "open":
            return queryset.filter(status__in=OPEN)
        return queryset if self.value() == "all" else queryset.filter(status=TaskStatus.DEAD_LETTER)


@admin.register(Task)
class TaskAdmin(GuardedModelAdmin):
    """The pages of tasks: read-only, except for trying again."""

    list_title = "Tasks"
    empty_title = "All clear"
    empty_text = "Everything that came in was handled, or is still being worked on."
    list_display = ["since", "what", "member", "chat", "delivery_count", "status_label", "failure"]
    list_display_links = ["since"]
    list_filter = [Standing, ("kind", TaskKindFilter)]
    list_before_template = "pipeline/tasks_intro.html"
    search_fields = ["=update__chat_id", "=update__user_id"]
    search_help_text = "Chat ID or Telegram ID"
    ordering = ["-pk"]
    list_per_page = 50
    show_full_result_count = False
    paginator = BoundedPaginator
    actions = ["try_again"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Task]:
        of_step = "step__run__update__"
        by_whom = Coalesce(
            *("update__user_id", f"{of_step}user_id"),
            *("step__run__member__telegram_id", "run__member__telegram_id"),
        )
        return (
            super()
            .get_queryset(request)
            .annotate(
                received_at=Coalesce("update__received_at", "created_at"),
                update_kind=F("update__kind"),
                agent=F("step__agent"),
                pipeline=F("run__pipeline"),
                chat_id=Coalesce("update__chat_id", f"{of_step}chat_id"),
                person=by_whom,
            )
            .annotate(member_name=Subquery(_MEMBER))
        )

    @display(description="received", ordering="pk")
    def since(self, task: Any) -> str:
        return ago(task.received_at)

    @display(description="what", header=True)
    def what(self, task: Any) -> list[str]:
        # For messages and control updates, the first line is enough.
        is_special = task.kind not in {TaskKind.MESSAGE, TaskKind.CONTROL}
        return [_what(task), kind_label(task) if is_special else ""]

    @display(description="member", empty_value="unknown")
    def member(self, task: Any) -> str | None:
        return task.member_name or (str(task.person) if task.person else None)

    @display(description="chat", empty_value="\N{EN DASH}")
    def chat(self, task: Any) -> str | None:
        return str(task.chat_id) if task.chat_id else None  # as text: without thousands separators

    @display(
        description="status",
        ordering="status",
        label={
            TASK_STATUS[TaskStatus.DEAD_LETTER]: "danger",
            TASK_STATUS[TaskStatus.READY]: "warning",
            TASK_STATUS[TaskStatus.RUNNING]: "info",
            TASK_STATUS[TaskStatus.SUCCESSFUL]: "success",
        },
    )
    def status_label(self, task: Task) -> str:
        return status_label(task)

    @display(description="error", empty_value="")
    def failure(self, task: Task) -> str:
        return _failure(task)

    @admin.action(description="Try again", permissions=["change"])
    def try_again(self, request: HttpRequest, tasks: QuerySet[Task]) -> Acted:
        selected = list(tasks)
        revived = [task for task in selected if task_store.try_again(task)]
        said = f"Queued again: {len(revived)}."
        if left_alone := len(selected) - len(revived):
            said += f" Skipped because they hadn't failed: {left_alone}."
        then = partial(self.message_user, request, said)
        return Acted(rows=revived, log="Tried again.", then=then)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        # Filtering by the text of an error in the address would reveal what the list hides.
        return not lookup.startswith("error") and super().lookup_allowed(lookup, value, request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        return without_show_all(super().get_changelist_instance(request))

    def get_urls(self) -> list[URLPattern]:
        again = path(
            "<path:object_id>/try-again/",
            self.admin_site.admin_view(self.try_again_view),
            name="pipeline_task_try_again",
        )
        return [again, *super().get_urls()]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show one task; include texts only if the operator has permission to read them."""
        if request.method not in {"GET", "HEAD"}:
            return HttpResponseNotAllowed(["GET", "HEAD"])
        if not self.has_view_permission(request):
            raise PermissionDenied
        task = self._task(request, object_id)
        may_read = may_read_texts(request)
        if may_read:
            log_access(request, AccessKind.PAGE, task=task)
        may_revive = task.status == TaskStatus.DEAD_LETTER and self.has_change_permission(
            request, task
        )
        context = {
            **_story(task, may_read=may_read),
            "task": task,
            "what": _what(task),
            "error": task.error if may_read else _failure(task),
            "may_read": may_read,
            "may_revive": may_revive,
            "may_see_run": request.user.has_perm("pipeline.view_pipelinerun"),
        }
        return text_page(request, "pipeline/task.html", context, has_button=may_revive)

    def try_again_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Queue a failed task again, and return to its page."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_change_permission(request):
            raise PermissionDenied
        task = self._task(request, object_id)
        with transaction.atomic():
            is_revived = task_store.try_again(task)
            if is_revived:
                self.log_rows(request, [task], "Tried again.")
        if is_revived:
            self.message_user(request, "Queued again. The next free worker picks it up.")
        else:
            said = "Nothing changed: this task hasn't failed, or it's already queued again."
            self.message_user(request, said, messages.WARNING)
        return redirect(reverse("admin:pipeline_task_change", args=[task.pk]))

    def _task(self, request: HttpRequest, object_id: str) -> Any:
        task = self.get_object(request, object_id)
        if task is None:
            raise Http404("No such task.")
        return task


def _what(task: Any) -> str:
    """Return the agent or pipeline of a task, else the kind of its update."""
    came_in = (task.update_kind or "").replace("_", " ")
    return str(task.agent or task.pipeline or came_in or "unreadable update")


def _failure(task: Task) -> str:
    """Return the error type of a task, which every operator may see; for older tasks its class."""
    labels = dict(PermanentFailureKind.choices)
    return str(labels.get(task.error_type, task.error_type)) or kind_of(task.error)


def _story(task: Task, *, may_read: bool) -> dict[str, Any]:
    """Return a task's run, update and replies; omit their texts without permission to read them."""
    if task.update_id is None:
        runs = PipelineRun.objects.filter(Q(steps=task.step_id) if task.step_id else Q(task=task))
        return {"run": runs.first(), "update": None, "replies": []}
    updates = TelegramUpdate.objects.filter(pk=task.update_id)
    replies = OutgoingMessage.objects.filter(update=task.update_id).order_by("number")
    if not may_read:
        updates, replies = updates.defer("raw"), replies.defer("text", "entities")
    update = updates.get()
    return {
        "run": PipelineRun.objects.filter(update=task.update_id).first(),
        "update": update,
        "raw": _indented(update.raw) if may_read else "",
        "replies": replies,
    }


def _indented(raw: str) -> str:
    """Return an update's JSON indented; unchanged if it cannot be parsed."""
    try:
        text = json.dumps(json.loads(raw), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        text = raw
    # Telegram's JSON may contain half of a surrogate pair, which cannot be encoded in a page.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")

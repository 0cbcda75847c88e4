"""Base classes of all admin pages: stale forms are not saved, and every change is logged.

A form carries the state of the row that it showed (`agents.form_state`). A save locks the row,
compares the states, and is refused if someone else has changed the row meanwhile. A bulk action
skips such rows. Each row that a bulk action or a button changes gets its own log entry, in the
transaction of the change.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.options import IncorrectLookupParameters, get_content_type_for_model
from django.contrib.admin.utils import flatten_fieldsets, unquote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import BadRequest, FieldDoesNotExist, PermissionDenied, ValidationError
from django.db import DataError, connections, router, transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from unfold.admin import ModelAdmin
from unfold.forms import ActionForm

from agents.form_state import STATE_INPUT, FormState, form_state
from agents.stale_form import StaleCheck, merged_form, refusal

MAX_SEARCH_LENGTH = 200  # characters
MAX_ID = 2**63  # larger ids cannot be compared in the database
LISTED_AT = "listed_at"
DELETE_SELECTED = "delete_selected"
# Lookups allowed in URLs: no regular expressions, which may be invalid or run forever, and no
# lookups that need two values.
LOOKUPS = {"pk", "id", "exact", "in", "isnull", "gt", "gte", "lt", "lte", "year", "month", "day"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Acted:
    """The result of a bulk action: changed rows, log message, and a callback after the commit."""

    rows: Collection[Model]
    log: str
    then: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The confirmation that a button asks for; `what` names the values that would change."""

    title: str
    what: str
    button: str
    back: str  # the URL to return to
    asks_reason: bool = False  # the answer has a field "reason"
    needs_reason: bool = False  # which must not be empty


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of a row that an operator may not have seen."""

    by: str
    at: datetime
    what: str


class GuardedActionForm(ActionForm):
    """The form of the list's actions, with the time at which the list was opened."""

    listed_at = forms.FloatField(label="", required=False, widget=forms.HiddenInput)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.fields[LISTED_AT].initial = timezone.now().timestamp()


class GuardedAdmin(admin.ModelAdmin):
    """Base class of all admin pages; pages of other packages list it as their first base class."""

    change_form_template = "agents/guarded_change_form.html"
    delete_confirmation_template = "agents/guarded_delete.html"
    delete_selected_confirmation_template = "agents/guarded_delete_selected.html"
    action_form = GuardedActionForm
    list_title = ""  # above the list; "" = the theme's default
    empty_title, empty_text = "Nothing here yet", ""  # shown for a list without rows
    also_seen: Sequence[str] = ()  # columns outside the form whose changes make the form stale
    not_seen: Sequence[str] = ()  # fields that change by themselves and do not make a form stale

    # --- URLs -----------------------------------------------------------------------------------

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        """Return the row, locked while a form is saved; None if there is none or the id is invalid.

        The lock lasts until the end of the transaction that saves the form.
        """
        field: Any = self.opts.get_field(from_field) if from_field else self.opts.pk
        value = _value(field, object_id)
        if value is None:
            return None
        using = router.db_for_write(self.model)
        if request.method == "POST" and connections[using].in_atomic_block:
            self.lock(self.model._base_manager.using(using).filter(**{field.name: value}))
        return super().get_object(request, object_id, from_field)

    def lock(self, rows: QuerySet[Any]) -> list[Any]:
        """Lock these rows against changes until the transaction ends, and return them.

        Other rows that refer to them can still be added. SQLite has one writer at a time, from the
        beginning of its transaction on.
        """
        return list(rows.order_by("pk").select_for_update(of=("self",), no_key=True))

    def lookup_allowed(self, lookup: str, value: str, request: Any = None) -> bool:
        """Allow URLs to filter only by columns that the list displays, filters or searches."""
        first, *rest = lookup.split("__")
        try:
            column = self.opts.pk.name if first == "pk" else self.opts.get_field(first).name
        except FieldDoesNotExist:  # the parameter of a custom filter
            return super().lookup_allowed(lookup, value, request)
        shown = {
            *(self.opts.pk.name, *(str(name) for name in self.get_list_display(request))),
            *(_first_part(one) for one in self.get_list_filter(request)),
            *(_first_part(one.lstrip("^=@")) for one in self.get_search_fields(request)),
        }
        if column not in shown or not LOOKUPS.issuperset(rest):
            return False
        return super().lookup_allowed(lookup, value, request)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        return super().get_search_results(request, queryset, search_term[:MAX_SEARCH_LENGTH])

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Return the list with its rows loaded.

        Filter values that no row can have then raise `IncorrectLookupParameters`, after which
        Django redirects to the list without them.
        """
        try:
            changes: ChangeList = super().get_changelist_instance(request)
            len(changes.result_list)
        except (DataError, OverflowError, ValueError, ValidationError) as error:
            raise IncorrectLookupParameters(str(error)) from error
        changes.title = self.list_title or changes.title
        return changes

    # --- stale forms ----------------------------------------------------------------------------

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> type[forms.ModelForm]:
        fields = kwargs.get("fields")
        if obj is None or fields is None:
            return super().get_form(request, obj, change=change, **kwargs)
        kwargs["form"] = type("CheckedForm", (StaleCheck, self.form), {})
        form_class: Any = super().get_form(request, obj, change=change, **kwargs)
        form_class.state = self.page_state(request, obj, fields)
        return form_class

    def page_state(
        self, request: HttpRequest, row: Model, fields: Sequence[str] | None = None
    ) -> FormState:
        """Return the current state of the row's form."""
        if fields is None:
            fields = flatten_fieldsets(self.get_fieldsets(request, row))
        seen = [name for name in (*fields, *self.also_seen) if name not in self.not_seen]
        return form_state(self, request, row, seen, at=timezone.now())

    def changes_since(
        self, rows: Collection[Model], at: datetime
    ) -> Mapping[str, Sequence[Change]]:
        """Return the logged changes of rows after a time, by row id, newest first."""
        entries = LogEntry.objects.filter(
            content_type=get_content_type_for_model(self.model),
            object_id__in=[str(row.pk) for row in rows],
            action_time__gt=at,
        ).select_related("user")
        found: dict[str, list[Change]] = {}
        entry: Any
        for entry in entries.order_by("-action_time", "-pk"):
            change = Change(
                by=entry.user.get_username(),
                at=entry.action_time,
                what=entry.get_change_message(),
            )
            found.setdefault(str(entry.object_id), []).append(change)
        return found

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        form = context["adminform"].form
        is_stale = isinstance(form, StaleCheck) and form.is_stale
        if is_stale:
            row = self.get_queryset(request).get(pk=form.instance.pk)
            obj = row
            new = merged_form(form, row)
            since = form.seen.opened_at if form.seen else None
            changes = self.changes_since([row], since).get(str(row.pk), []) if since else []
            context |= {
                "original": row,
                "subtitle": str(row),
                "errors": [],
                "stale": refusal(form, new, row, changes),
            }
            context["adminform"].form = new
        response = super().render_change_form(request, context, add, change, form_url, obj)
        if is_stale:
            response.status_code = 409
        return response

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Ask for confirmation, then delete the row unless it has changed since then."""
        row = self.get_object(request, unquote(object_id))
        context = {"state": self.page_state(request, row).dump() if row else ""}
        try:
            return super().delete_view(request, object_id, {**context, **(extra_context or {})})
        except StaleDeletion:
            said = f"Not deleted: “{row}” changed while this page was open. Check it again."
            self.message_user(request, said, messages.ERROR)
            return redirect(request.get_full_path())

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        seen = FormState.load(request.POST.get(STATE_INPUT, ""))
        if seen is None or self.page_state(request, obj).differing(seen):
            raise StaleDeletion  # also rolls back the log entry
        super().delete_model(request, obj)

    # --- actions, logged ------------------------------------------------------------------------

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        actions = super().get_actions(request)
        return {
            name: (partial(self._acted, name, function, description), name, description)
            for name, (function, _, description) in actions.items()
        }

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        for said in request.POST.getlist(ACTION_CHECKBOX_NAME):
            if _value(self.opts.pk, said) is None:
                raise BadRequest("One of the selected rows has an invalid ID.")
        return super().response_action(request, queryset)

    def _acted(
        self,
        name: str,
        function: Callable[..., Any],
        description: str,
        _: Any,
        request: HttpRequest,
        queryset: QuerySet[Any],
    ) -> HttpResponseBase | None:
        """Run a bulk action on the rows unchanged since the list was opened, and log each row."""
        result: Any = None
        with transaction.atomic(using=router.db_for_write(self.model)):
            rows = self._unchanged(request, self.lock(queryset))
            if rows:
                result = function(self, request, queryset.filter(pk__in=[row.pk for row in rows]))
            if isinstance(result, Acted):
                self.log_rows(request, result.rows, result.log)
            elif result is None and name != DELETE_SELECTED:  # deletion writes its own entries
                self.log_rows(request, rows, f"{description}.")
        if isinstance(result, Acted):
            result.then()
            return None
        return result

    def _unchanged(self, request: HttpRequest, rows: list[Any]) -> list[Any]:
        try:
            at = datetime.fromtimestamp(float(request.POST.get(LISTED_AT) or ""), UTC)
        except (ValueError, OverflowError):
            return rows
        changes = self.changes_since(rows, at)
        for row in rows:
            for change in changes.get(str(row.pk), [])[:1]:
                said = (
                    f"Skipped “{row}”: {change.by} changed it at "
                    f"{timezone.localtime(change.at):%H:%M:%S}, after you opened this list."
                )
                self.message_user(request, said, messages.WARNING)
        return [row for row in rows if str(row.pk) not in changes]

    def log_rows(self, request: HttpRequest, rows: Collection[Model], line: str) -> None:
        """Write one entry for each row to the admin log."""
        operator: Any = request.user
        LogEntry.objects.log_actions(
            user_id=operator.pk, queryset=rows, action_flag=CHANGE, change_message=line
        )

    def asked_first(
        self,
        request: HttpRequest,
        rows: QuerySet[Any],
        ask: Callable[[], Question],
        do: Callable[[], Acted],
    ) -> HttpResponse:
        """Ask for confirmation before a button changes these rows, then run the change.

        If the text of the question has changed by the time it is answered, the values at stake have
        changed meanwhile. Then nothing is done, and the new question is asked.
        """
        if not self.has_change_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return self.question(request, ask())
        with transaction.atomic(using=router.db_for_write(self.model)):
            self.lock(rows)
            question = ask()
            if request.POST.get("asked") != question.what:
                return self.question(request, question, is_stale=True)
            if question.needs_reason and not request.POST.get("reason", "").strip():
                return self.question(request, question)
            acted = do()
            self.log_rows(request, acted.rows, acted.log)
        acted.then()
        return redirect(question.back)

    def question(
        self, request: HttpRequest, question: Question, *, is_stale: bool = False
    ) -> HttpResponse:
        """Return the page that asks for confirmation; the answer is posted to the same URL."""
        context = {
            **self.admin_site.each_context(request),
            "title": question.title,
            "opts": self.model._meta,
            "question": question,
            "is_stale": is_stale,
        }
        status = 409 if is_stale else 200
        return TemplateResponse(request, "agents/confirm.html", context, status=status)


class GuardedModelAdmin(GuardedAdmin, ModelAdmin):
    """Base class of this project's admin pages, with the theme applied."""


def titled(kind: type[admin.FieldListFilter], title: str) -> type[admin.FieldListFilter]:
    """Return a filter class that is displayed under this title instead of the column's name."""

    def init(self: Any, *arguments: Any, **named: Any) -> None:
        kind.__init__(self, *arguments, **named)
        self.title = title

    return type(f"Titled{kind.__name__}", (kind,), {"__init__": init})


def _value(field: Any, text: str) -> Any:
    """Convert an id from text to the field's type; return None if no row can have it."""
    try:
        value = field.to_python(text)
    except (ValidationError, ValueError):
        return None
    is_too_large = isinstance(value, int) and not -MAX_ID <= value < MAX_ID
    return None if is_too_large else value


def _first_part(name: Any) -> str:
    """Return the column at the start of a filter or search field, "" if it names none."""
    name = name[0] if isinstance(name, tuple | list) else name
    return name.partition("__")[0] if isinstance(name, str) else ""


class StaleDeletion(Exception):
    """The row was changed after the page that confirms its deletion was opened."""

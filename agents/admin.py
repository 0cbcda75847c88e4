"""Admin pages on which operators set, change, turn off and restore overrides."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Model, QuerySet
from django.forms import ModelForm
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseForbidden
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.cache import never_cache
from unfold.decorators import display

from agents.forms import ON_FAILURE_LABELS, CheckedModel, OverrideForm
from agents.guarded_admin import Acted, Change, Question, titled
from agents.models import AgentModelConfig, Check, OnFailure, OverrideVersion, Suitability
from agents.override_history import OverrideHistoryAdmin, reason_of
from agents.override_state import state
from agents.registry import default_registry
from agents.served_names_admin import ServedNameAdmin

__all__ = ["AgentModelConfigAdmin", "ServedNameAdmin"]

STATE_PAGE = "agents_agentmodelconfig_state"
LIVE, OFF, INACTIVE = "Live", "Off", "Inactive: no team key"
UNCHECKED, ACCEPTED = "Live, not checked", "Live, unfit"
_LIVE_AS = {Check.UNCHECKED.value: UNCHECKED, Check.ACCEPTED.value: ACCEPTED}


class OnFailureFilter(admin.ChoicesFieldListFilter):
    """Filters overrides by their failure handling, with the labels of the form."""

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        words = {str(one.label): ON_FAILURE_LABELS[one.value] for one in OnFailure}
        for choice in super().choices(changelist):
            yield {**choice, "display": words.get(str(choice["display"]), choice["display"])}


@admin.register(AgentModelConfig)
class AgentModelConfigAdmin(OverrideHistoryAdmin):
    """Admin of overrides. Changes apply from the next step on, in every process."""

    form = OverrideForm
    list_title = "Overrides"
    empty_title = "No overrides yet"
    empty_text = "Every agent uses its default model. Add one to choose a model for an agent."
    change_form_template = "admin/agents/agentmodelconfig/change_form.html"
    also_seen = ["version"]
    list_display = ["agent", "model_id", "state", "if_it_fails", "set_by", "updated_at"]
    list_display_links = ["agent"]
    list_filter = [
        ("is_active", titled(admin.BooleanFieldListFilter, "on or off")),
        ("on_failure", titled(OnFailureFilter, "failure handling")),
        ("set_by", titled(admin.AllValuesFieldListFilter, "operator")),
    ]
    list_filter_submit = False
    search_fields = ["agent_name", "model_id", "set_by"]
    actions = ["activate", "deactivate"]
    list_before_template = "agents/override_state.html"
    change_form_before_template = "agents/override_state.html"
    change_form_show_cancel_button = True
    readonly_fields = ["set_by", "created_at", "updated_at"]

    @display(description="agent", ordering="agent_name")
    def agent(self, row: AgentModelConfig) -> str:
        known = row.agent_name in default_registry()
        return row.agent_name if known else f"{row.agent_name} (no longer available)"

    @display(
        description="status",
        ordering="is_active",
        label={
            LIVE: "success",
            UNCHECKED: "warning",
            ACCEPTED: "warning",
            OFF: "warning",
            INACTIVE: "danger",
        },
    )
    def state(self, row: AgentModelConfig) -> str:
        if not row.is_active:
            return OFF
        return _LIVE_AS.get(row.check_result, LIVE) if settings.OPENROUTER_API_KEY else INACTIVE

    @display(description="if the model fails", ordering="on_failure")
    def if_it_fails(self, row: AgentModelConfig) -> str:
        return ON_FAILURE_LABELS[row.on_failure]

    @admin.action(description="Turn on selected overrides", permissions=["change"])
    def activate(self, request: HttpRequest, rows: QuerySet[AgentModelConfig]) -> Acted:
        activated = []
        checked: dict[int, CheckedModel] = getattr(request, "checked", {})
        for row in rows.filter(is_active=False):
            found = checked.get(row.pk)
            try:
                if found is None or not found.is_about(row.agent_name, row.model_id):
                    raise ValidationError("It has changed meanwhile. Try again.")
                suited = found.suited
                if suited.problems or settings.REQUIRE_REASON:
                    why = "; ".join(suited.problems) or "a reason is required"
                    raise ValidationError(f"{row.model_id}: {why}. Open it to turn it on.")
                changed = AgentModelConfig.objects.set_checked(
                    row.agent_name,
                    is_active=True,
                    set_by=request.user.get_username(),
                    reason="",
                    check_result=suited.check,
                )
            except ValidationError as error:  # also if the agent is gone, or SQL set an invalid row
                said = f"Not turned on: {row.agent_name}. {' '.join(error.messages)}"
                self.message_user(request, said, messages.ERROR)
            else:
                activated.append(changed)
        if not activated:
            nothing = "Nothing changed: no override was turned on."
            return Acted(
                rows=[], log="Turned on.", then=partial(self.message_user, request, nothing)
            )
        done = f"Turned on: {_names(activated)}."
        return Acted(
            rows=activated, log="Turned on.", then=partial(self.tell_effect, request, done)
        )

    @admin.action(description="Turn off selected overrides", permissions=["change"])
    def deactivate(self, request: HttpRequest, rows: QuerySet[AgentModelConfig]) -> Acted:
        operator = request.user.get_username()
        deactivated = [
            row for row in rows if AgentModelConfig.objects.deactivate(row.agent_name, operator)
        ]
        if not deactivated:
            nothing = "Nothing changed: no override was turned off."
            return Acted(
                rows=[], log="Turned off.", then=partial(self.message_user, request, nothing)
            )
        done = f"Turned off: {_names(deactivated)}. These agents use their default model."
        return Acted(
            rows=deactivated, log="Turned off.", then=partial(self.tell_effect, request, done)
        )

    def lock(self, rows: QuerySet[AgentModelConfig]) -> list[AgentModelConfig]:
        """Lock out all other writers of overrides; every writer locks the counter first."""
        OverrideVersion.hold()
        return list(rows.order_by("pk"))

    def changes_since(
        self, rows: Collection[Model], at: datetime
    ) -> Mapping[str, Sequence[Change]]:
        """Return changes from the override history, which includes changes from the shell."""
        found: dict[str, list[Change]] = {}
        entries = AgentModelConfig.history.filter(
            id__in=[row.pk for row in rows], history_date__gt=at
        )
        for entry in entries.order_by("-version", "-history_id"):
            what = entry.model_id if entry.is_active else f"turned off ({entry.model_id})"
            change = Change(by=entry.set_by or "the shell", at=entry.history_date, what=what)
            found.setdefault(str(entry.id), []).append(change)
        return found

    def get_readonly_fields(
        self, request: HttpRequest, obj: AgentModelConfig | None = None
    ) -> list[str]:
        return ["agent_name", *self.readonly_fields] if obj else []

    def get_fields(self, request: HttpRequest, obj: AgentModelConfig | None = None) -> Any:
        fields = ["agent_name", "model_id", "accept_unfit", "on_failure", "is_active", "reason"]
        return [*fields, *self.readonly_fields] if obj else fields

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # an override is deactivated; its history stays

    def save_model(
        self, request: HttpRequest, obj: AgentModelConfig, form: Any, change: bool
    ) -> None:
        obj.set_by = request.user.get_username()
        if form.checked is not None:
            obj.check_result = form.checked.suited.check
        elif "model_id" in form.changed_data:  # turned off, so that nothing was checked
            obj.check_result = ""
        super().save_model(request, obj, form, change)

    def get_form(
        self,
        request: HttpRequest,
        obj: AgentModelConfig | None = None,
        change: bool = False,
        **kwargs: Any,
    ) -> type[ModelForm[Any]]:
        form_class: Any = super().get_form(request, obj, change=change, **kwargs)
        form_class.checked = getattr(request, "checked", None)
        return form_class

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        if request.POST.get("action") == "activate":
            # Before the transaction of the action, because it may wait for OpenRouter.
            chosen = request.POST.getlist(ACTION_CHECKBOX_NAME)
            rows = queryset.filter(is_active=False)
            if request.POST.get("select_across") != "1":
                rows = rows.filter(pk__in=[pk for pk in chosen if pk.isdecimal()])
            request.checked = {  # type: ignore[attr-defined] # for the action
                row.pk: self._checked_model(row.agent_name, row.model_id) for row in rows
            }
        return super().response_action(request, queryset)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(request, {**(extra_context or {}), **self._state(request)})

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        checked = self._checked(request, object_id) if request.method == "POST" else None
        request.checked = checked  # type: ignore[attr-defined] # for the form
        response = super().changeform_view(
            request,
            object_id,
            form_url,
            {**(extra_context or {}), **self._state(request, is_in_form=True)},
        )
        if request.method == "POST" and response.status_code == 302:
            self.tell_effect(request)  # here, after the change has been committed and announced
            suited = checked.suited if checked is not None else Suitability()
            if suited.unchecked and not suited.problems:
                self.message_user(request, f"Not checked: {suited.unchecked}", messages.WARNING)
        return response

    def _checked(self, request: HttpRequest, object_id: str | None) -> CheckedModel | None:
        """Check the model of a posted form; None if there is nothing to check.

        This happens before the form's transaction, because it may wait for OpenRouter.
        """
        row = self.get_object(request, unquote(object_id)) if object_id else None
        may = self.has_change_permission(request) if object_id else self.has_add_permission(request)
        model_id = request.POST.get("model_id", "").strip()
        is_as_before = row is not None and row.is_active and row.model_id == model_id
        if not may or is_as_before or "is_active" not in request.POST:
            return None
        agent_name = row.agent_name if row else request.POST.get("agent_name", "")
        return self._checked_model(agent_name, model_id)

    def _checked_model(self, agent_name: str, model_id: str) -> CheckedModel:
        suited = self.suitability(agent_name, model_id)
        return CheckedModel(agent_name=agent_name, model_id=model_id, suited=suited)

    # --- history and undo -----------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        restore = path(
            "<path:object_id>/history/<int:history_id>/restore/",
            self.admin_site.admin_view(self.restore_view),
            name="agents_agentmodelconfig_restore",
        )
        pages = [
            path(
                f"{url}/", self.admin_site.admin_view(view), name=f"agents_agentmodelconfig_{name}"
            )
            for url, view, name in (
                # The agent is in the query string: an override set by SQL may have any name.
                ("remove", self.remove_view, "remove"),
                ("of", self.of_view, "of"),
                ("stop-all", self.stop_all_view, "stop_all"),
                ("history-of", self.history_of_view, "history_of"),
                ("changes", self.all_changes_view, "changes"),
            )
        ]
        undo = path(
            "<path:object_id>/undo/<int:version>/",
            self.admin_site.admin_view(self.undo_view),
            name="agents_agentmodelconfig_undo",
        )
        # Not in `admin_view`, which would answer a poll with the sign-in page.
        state_url = path("state/", never_cache(self.state_view), name=STATE_PAGE)
        return [restore, undo, state_url, *pages, *super().get_urls()]

    def state_view(self, request: HttpRequest) -> HttpResponse:
        """Return the banner above the list anew, or 204 if the page shows it already."""
        if not (self.admin_site.has_permission(request) and self.has_view_permission(request)):
            # The operator has signed out or lost the permission: have the whole page reloaded.
            return HttpResponseForbidden(headers={"HX-Refresh": "true"})
        context = self._state(request, is_in_form="in_form" in request.GET)
        if request.GET.get("seen") == context["digest"]:
            return HttpResponse(status=204)
        return TemplateResponse(request, "agents/override_state.html", context)

    def _state(self, request: HttpRequest, *, is_in_form: bool = False) -> dict[str, Any]:
        return {**state(is_in_form=is_in_form), "may_undo": self.has_change_permission(request)}

    # --- linked from the overview ---------------------------------------------------------------

    def of_view(self, request: HttpRequest) -> HttpResponse:
        """Redirect to the form of an agent's override: to change it, or to add the first one."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        agent_name = request.GET.get("agent_name", "")
        row = self.get_queryset(request).filter(agent_name=agent_name).first()
        if row is not None:
            return redirect("admin:agents_agentmodelconfig_change", row.pk)
        if agent_name not in default_registry():
            raise Http404
        add = reverse("admin:agents_agentmodelconfig_add")
        return redirect(f"{add}?{urlencode({'agent_name': agent_name})}")

    def remove_view(self, request: HttpRequest) -> HttpResponse:
        """Ask for confirmation, then turn off one override."""
        agent_name = request.GET.get("agent_name", "")
        rows = self.get_queryset(request).filter(agent_name=agent_name)

        def ask() -> Question:
            row = get_object_or_404(rows, is_active=True)
            return Question(
                title=f"Reset {agent_name} to its default model?",
                what=f"From the next step on, {agent_name} stops using {row.model_id}"
                f" (v{row.version}) and uses its default instead: the member's own model, or"
                " the default model on the team key. You can restore the override from its"
                " history.",
                button="Back to default",
                back=reverse("admin:index"),
                asks_reason=True,  # never required: turning off must always be possible
            )

        def remove() -> Acted:
            AgentModelConfig.objects.deactivate(
                agent_name, request.user.get_username(), reason=reason_of(request)
            )
            done = f"{agent_name} is back to its default model."
            return Acted(
                rows=list(rows),
                log="Back to default.",
                then=partial(self.tell_effect, request, done),
            )

        return self.asked_first(request, rows, ask, remove)

    def stop_all_view(self, request: HttpRequest) -> HttpResponse:
        """Ask for confirmation, then turn off all overrides at once."""
        rows = self.get_queryset(request)

        def ask() -> Question:
            active = AgentModelConfig.objects.get_all_active()
            names = [f"{row.agent_name} v{row.version}" for row in active]
            return Question(
                title="Turn off all overrides?",
                what=f"On now: {', '.join(names) or 'none'}. From the next step on, every agent "
                "uses its default: the member's own model, or the default model on the team key. "
                "To turn overrides back on, select them in the list and choose “Turn on selected "
                "overrides”.",
                button="Turn off all",
                back=reverse("admin:index"),
                asks_reason=True,
            )

        def stop_all() -> Acted:
            names = AgentModelConfig.objects.deactivate_all(
                request.user.get_username(), reason=reason_of(request)
            )
            if names:
                then = partial(self.tell_effect, request, f"Turned off: {', '.join(names)}.")
            else:
                nothing = "Nothing changed: no override was on."
                then = partial(self.message_user, request, nothing)
            return Acted(
                rows=list(rows.filter(agent_name__in=names)),
                log="Turned off with all others.",
                then=then,
            )

        return self.asked_first(request, rows, ask, stop_all)


def _names(rows: Sequence[AgentModelConfig]) -> str:
    return ", ".join(row.agent_name for row in rows)

"""The history of an override in the admin: its former states, each with a button to restore it."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from agents import revision
from agents.guarded_admin import GuardedModelAdmin, Question
from agents.models import AgentModelConfig, Suitability, validate_model_id
from agents.models.overrides import MAX_REASON
from agents.override_changes import UNDONE_FREELY, UNDONE_WITHIN, latest_changes, undo_as
from agents.registry import default_registry

HISTORY_SHOWN = 200  # entries; an override changes a few times a week


class OverrideHistoryAdmin(GuardedModelAdmin):
    """The pages of the history; `agents.admin` adds those of the override."""

    def history_of_view(self, request: HttpRequest) -> HttpResponse:
        """Redirect to the history of an agent's override; runs know only the agent's name."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        agent_name = request.GET.get("agent_name", "")
        row = get_object_or_404(AgentModelConfig, agent_name=agent_name)
        return redirect(reverse("admin:agents_agentmodelconfig_history", args=[row.pk]))

    def all_changes_view(self, request: HttpRequest) -> HttpResponse:
        """Show the latest changes of all agents' overrides in one list."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": "All changes",
            "opts": self.model._meta,
            "changes": latest_changes(HISTORY_SHOWN),
            "most": HISTORY_SHOWN,
        }
        return TemplateResponse(request, "agents/override_all_changes.html", context)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the override's latest states, each with a button to restore it."""
        row = self._row(request, object_id)
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": f"History of {row.agent_name}",
            "opts": self.model._meta,
            "original": row,
            "object": row,
            "may_change": self.has_change_permission(request, row),
            "entries": row.history.order_by("-version", "-history_id")[:HISTORY_SHOWN],
            **(extra_context or {}),
        }
        return TemplateResponse(request, "agents/override_history.html", context)

    def restore_view(self, request: HttpRequest, object_id: str, history_id: int) -> HttpResponse:
        """Restore a former state of an override, as a new change."""
        row = self._row(request, object_id)
        if request.method != "POST" or not self.has_change_permission(request, row):
            raise PermissionDenied
        former = get_object_or_404(row.history.all(), history_id=history_id)
        history = reverse("admin:agents_agentmodelconfig_history", args=[row.pk])
        # Before the transaction, because it may wait for OpenRouter.
        suited = self._suitability_of_former(row, former)
        question = _consent(row.agent_name, former, suited, history)
        reason = reason_of(request)
        if question is not None and (request.POST.get("asked") != question.what or not reason):
            return self.question(request, question)
        try:
            with transaction.atomic():
                [row] = self.lock(self.get_queryset(request).filter(pk=row.pk))
                if request.GET.get("seen") != str(row.version):
                    said = f"Not restored: {row.agent_name} has changed. Check the history again."
                    self.message_user(request, said, messages.ERROR)
                    return redirect(history)
                AgentModelConfig.objects.set_checked(
                    row.agent_name,
                    model_id=former.model_id,
                    on_failure=former.on_failure,
                    is_active=former.is_active,
                    set_by=request.user.get_username(),
                    reason=reason,
                    check_result=suited.check if suited is not None else former.check_result,
                )
                self.log_rows(request, [row], f"Restored v{former.version}.")
        except ValidationError as error:  # an invalid state, set by SQL without validation
            self.message_user(request, " ".join(error.messages), messages.ERROR)
        else:
            self.tell_effect(request, f"Restored v{former.version}.")
        return redirect(history)

    def undo_view(self, request: HttpRequest, object_id: str, version: int) -> HttpResponse:
        """Take back an override's last change, which the button names by its version."""
        row = self._row(request, object_id)
        if request.method != "POST" or not self.has_change_permission(request, row):
            raise PermissionDenied
        overrides = redirect("admin:agents_agentmodelconfig_changelist")
        operator: Any = request.user
        try:
            result = undo_as(operator, row.agent_name, version, within=UNDONE_WITHIN)
        except ValidationError as error:  # the agent is gone, or SQL set an invalid state
            self.message_user(request, " ".join(error.messages), messages.ERROR)
            return overrides
        if result.is_too_old:
            said = "Not undone: the change is older than ten minutes. Restore a state from here."
            self.message_user(request, said, messages.WARNING)
            return redirect("admin:agents_agentmodelconfig_history", row.pk)
        if result.is_undone:
            self.tell_effect(request, f"Undone: {row.agent_name} is as it was before v{version}.")
        else:
            said = f"Not undone: v{version} is no longer the last change of {row.agent_name}."
            self.message_user(request, said, messages.WARNING)
        return overrides

    def _suitability_of_former(self, row: AgentModelConfig, former: Any) -> Suitability | None:
        """Check a former state; None if it was off, or was in force within a day.

        Taking a change back must be quick and always possible.
        """
        later = row.history.filter(history_id__gt=former.history_id).order_by("history_id").first()
        until = timezone.now() if later is None else later.history_date
        if not former.is_active or until > timezone.now() - UNDONE_FREELY:
            return None
        return self.suitability(former.agent_name, former.model_id)

    def suitability(self, agent_name: str, model_id: str) -> Suitability:
        """Check a model for an agent.

        An invalid model id or an unknown agent is not checked, because saving refuses it anyway.
        """
        try:
            validate_model_id(model_id)
        except ValidationError:
            return Suitability()
        if agent_name not in default_registry():
            return Suitability()
        return AgentModelConfig.objects.suitability(agent_name, model_id)

    def _row(self, request: HttpRequest, object_id: str) -> AgentModelConfig:
        row: AgentModelConfig | None = self.get_object(request, unquote(object_id))
        if row is None:  # also if the id is not a number
            raise Http404
        return row

    def tell_effect(self, request: HttpRequest, done: str = "") -> None:
        if not settings.OPENROUTER_API_KEY:
            when = "Inactive: no team key."
            level = messages.WARNING
        elif revision.is_reachable():
            when, level = "Applies from the next step.", messages.SUCCESS
        else:
            when = (
                "The cache isn't responding, so this applies within "
                f"{settings.OVERRIDE_TTL_SECONDS} s instead of right away."
            )
            level = messages.WARNING
        self.message_user(request, f"{done} {when}".strip(), level)


def reason_of(request: HttpRequest) -> str:
    """Return why an operator makes a change, as they put it; "" if they did not say."""
    return str(request.POST.get("reason", "")).strip()[:MAX_REASON]


def _consent(
    agent_name: str, former: Any, suited: Suitability | None, history: str
) -> Question | None:
    """Return what to ask before a former state is restored; None if nothing is to be asked."""
    problems = suited.problems if suited is not None else ()
    if suited is None or not (problems or settings.REQUIRE_REASON):
        return None  # turning off, and taking back what ran within a day, are always possible
    what = f"From the next step on, {agent_name} uses {former.model_id} again."
    if problems:
        what += f" It does not suit this agent: {'; '.join(problems)}."
        what += " The team key pays for its calls, and steps may fail."
    return Question(
        title=f"Restore v{former.version} of {agent_name}?",
        what=what,
        button="Restore anyway" if problems else "Restore",
        back=history,
        asks_reason=True,
        needs_reason=True,
    )

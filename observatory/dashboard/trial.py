"""Views of the form's section "Try it": what to give the agent, the trial, and its result.

The result shows what members and models wrote, so it is a page without scripts
(`pipeline.admin.text_pages`), which the form shows in a frame.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from agents.models import validate_model_id
from agents.registry import default_registry
from pipeline.admin.run_rows import steps_of, totals_of
from pipeline.admin.text_pages import log_access, may_read_texts, may_read_texts_of, text_page
from pipeline.models import PipelineRun, StepRun
from pipeline.models.access_log import AccessKind
from pipeline.running import trials

MAX_SAMPLE = 4000  # characters
RECORDED, SAMPLE = "recorded:", "sample:"  # prefixes of the choices of what to give the agent


def may_choose(request: HttpRequest) -> None:
    """Raise PermissionDenied unless the operator may change overrides."""
    if not request.user.has_perm("agents.change_agentmodelconfig"):
        raise PermissionDenied


@require_GET
def inputs_view(request: HttpRequest) -> HttpResponse:
    """Show what the agent can be given: its latest recorded steps, and samples."""
    may_choose(request)
    agent_name = request.GET.get("agent_name", "")
    is_known = agent_name in default_registry()
    may_read = may_read_texts(request)
    context = {
        "is_known": is_known,
        "may_read": may_read,
        "recorded": trials.recorded_steps(agent_name) if is_known and may_read else [],
        "samples": trials.sample_pipelines(agent_name) if is_known else [],
    }
    return render(request, "dashboard/trial_inputs.html", context)


@require_POST
def try_view(request: HttpRequest) -> HttpResponse:
    """Run the trial on the team key, and redirect to its result."""
    may_choose(request)
    operator = request.user.get_username()
    try:
        agent_name, model_id, given = _wanted(request)
        trial = trials.compare(model_id, given, operator)
    except trials.TrialRefused as error:
        context = {"problem": f"Can't try it: {error}"}
        return text_page(request, "dashboard/trial.html", context, is_framed=True)
    runs: Any = admin.site.get_model_admin(PipelineRun)
    tried = PipelineRun.objects.filter(pk=trial.tried.run_id)
    runs.log_rows(request, tried, f"Tried {model_id} for {agent_name}.")
    shown = urlencode({"live": trial.live.pk, "tried": trial.tried.pk})
    return redirect(f"{reverse('tried')}?{shown}")


@require_GET
def tried_view(request: HttpRequest) -> HttpResponse:
    """Show the step on the model that was tried beside the step on the agent's own model."""
    may_choose(request)
    live, tried = (_step(request.GET.get(name, "")) for name in ("live", "tried"))
    if not all(may_read_texts_of(request, step.run) for step in (live, tried)):
        raise PermissionDenied
    log_access(request, AccessKind.PAGE, runs=[live.run, tried.run])
    sides = []
    for title, step in (("Model in use", live), ("Model tried", tried)):
        [whole] = [one for one in steps_of(step.run, with_texts=True) if one.pk == step.pk]
        calls = list(whole.calls.all())
        sides.append(
            {
                "title": title,
                "run": step.run,
                "step": whole,
                "totals": totals_of([whole]),
                "served": next((c.served_model for c in reversed(calls) if c.served_model), ""),
                "is_as_it_was": step.run.source != tried.run.source,
            }
        )
    context = {"agent": tried.agent, "sides": sides}
    return text_page(request, "dashboard/trial.html", context, is_framed=True)


def _wanted(request: HttpRequest) -> tuple[str, str, trials.TrialInput]:
    """Return the agent, the model and the inputs that the form asks for.

    Raises:
        TrialRefused: one of them is missing or invalid.
        PermissionDenied: a recorded step is asked for by an operator who may not read texts.
    """
    agent_name = request.POST.get("agent_name", "")
    model_id = request.POST.get("model_id", "").strip()
    if agent_name not in default_registry():
        raise trials.TrialRefused("choose an agent first.")
    if not settings.OPENROUTER_API_KEY:
        raise trials.TrialRefused("no team key is set (OPENROUTER_API_KEY).")
    try:
        validate_model_id(model_id)
    except ValidationError as error:
        raise trials.TrialRefused(error.messages[0]) from None
    wanted = request.POST.get("given", "")
    if not wanted.startswith(RECORDED):
        message = request.POST.get("sample", "").strip()[:MAX_SAMPLE]
        pipeline_name = wanted.removeprefix(SAMPLE)
        return agent_name, model_id, trials.sample_input(agent_name, pipeline_name, message)
    if not may_read_texts(request):
        raise PermissionDenied
    step_id = _uuid(wanted.removeprefix(RECORDED))
    if step_id is None:
        raise trials.TrialRefused("choose what to give the agent.")
    given = trials.recorded_input(step_id, agent_name)
    if given.recorded is not None:
        log_access(request, AccessKind.TRIAL, runs=[given.recorded.run])
    return agent_name, model_id, given


def _step(said: str) -> StepRun:
    step_id = _uuid(said)
    steps = StepRun.objects.select_related("run")
    step = steps.filter(pk=step_id).first() if step_id is not None else None
    if step is None:
        raise Http404("There is no such step.")
    return step


def _uuid(said: str) -> UUID | None:
    try:
        return UUID(said)
    except ValueError:
        return None

"""Rerun pages: the confirmation, and the comparison of both runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID, uuid4

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone

from agents.llm.base import Payer
from pipeline.admin.run_rows import Totals, are_over, steps_of, totals_of
from pipeline.admin.text_pages import log_access, may_read_texts, text_page
from pipeline.models import PipelineRun, StepRun
from pipeline.models.access_log import AccessKind
from pipeline.models.runs import RunStatus
from pipeline.running.rerun import RerunRefused, request_rerun, rerun_plan

RELOAD_AFTER_S = 2
WORKER_WITHIN_S = 20  # after this time, the page asks whether a worker is running


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One step of one run: its last attempt, and the totals of all its attempts."""

    step: StepRun
    totals: Totals

    @property
    def text(self) -> str:
        kept = self.step.reply or self.step.output
        return kept.text if kept is not None else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One agent in both runs; None where a run has no step of that agent."""

    agent: str
    then: Side | None
    now: Side | None

    @property
    def sides(self) -> list[tuple[str, Side | None]]:
        return [("Original", self.then), ("Re-run", self.now)]


def may_rerun(request: HttpRequest) -> bool:
    """Tell whether this operator may pay for a rerun and read its texts."""
    return request.user.has_perm("pipeline.run_again") and may_read_texts(request)


def question(request: HttpRequest, run: PipelineRun, refusal: str = "") -> HttpResponse:
    """Return the confirmation page: the models that the run would use today, and who pays."""
    steps = steps_of(run, with_texts=False)
    then = {step.agent: Side(step=step, totals=totals_of([step])) for step in steps}
    todays: Sequence[object] = []
    try:
        todays = [(one, then.get(one.agent)) for one in rerun_plan(run)]
    except RerunRefused as error:
        refusal = refusal or str(error)
    context = {
        "run": run,
        "about": _about(run.cost_usd),
        "todays": todays,
        "refusal": refusal,
        "was_members": any(step.payer == Payer.MEMBER for step in steps),
        "new_id": uuid4(),  # pressing the button twice starts only one rerun
    }
    return text_page(request, "pipeline/rerun.html", context, has_button=not refusal)


def _about(cost: Decimal | None) -> str:
    """Return a cost rounded to two digits, as an estimate; "" if it is unknown."""
    return "" if cost is None else f"${cost:.{max(2, 1 - cost.adjusted())}f}"


def begin(request: HttpRequest, run: PipelineRun) -> HttpResponse:
    """Queue a rerun and redirect to its comparison; if refused, ask again with the reason."""
    try:
        new = request_rerun(
            run, UUID(request.POST.get("new_id", "")), operator=request.user.get_username()
        )
    except ValueError:
        return question(request, run, "The form was incomplete. Try again.")
    except RerunRefused as error:
        return question(request, run, str(error))
    return redirect(reverse("admin:pipeline_pipelinerun_beside", args=[new.pk]))


def beside(request: HttpRequest, new: PipelineRun) -> HttpResponse:
    """Show the original run and the rerun side by side.

    While the rerun is in progress, the page refreshes itself and shows only numbers, no texts."""
    old = new.rerun_of
    if old is None:
        raise Http404("This isn't a re-run, or its original is no longer stored.")
    now_steps = steps_of(new, with_texts=False)
    is_over = new.status not in {RunStatus.WAITING, RunStatus.RUNNING} and are_over(now_steps)
    # Texts are sent only once the rerun has ended, not with every reload: each view is logged.
    shows_texts = is_over and may_read_texts(request)
    if shows_texts:
        log_access(request, AccessKind.RERUN, runs=[old, new])
        now_steps = steps_of(new, with_texts=True)
    old_steps = steps_of(old, with_texts=shows_texts)
    reloads = not is_over and "still" not in request.GET
    waited = timezone.now() - new.started_at
    context = {
        "old": old,
        "new": new,
        "totals": [("Original", old, totals_of(old_steps)), ("Re-run", new, totals_of(now_steps))],
        "pairs": _pairs(old_steps, now_steps),
        "is_over": is_over,
        "reloads": reloads,
        "lacks_worker": new.status == RunStatus.WAITING
        and waited.total_seconds() > WORKER_WITHIN_S,
        "may_read": may_read_texts(request),
        "shows_texts": shows_texts,
    }
    response = text_page(request, "pipeline/beside.html", context)
    if reloads:
        response["Refresh"] = str(RELOAD_AFTER_S)
    return response


def _pairs(then: Sequence[StepRun], now: Sequence[StepRun]) -> list[Pair]:
    """Return the agents of both runs, in the new run's order; removed agents come last."""
    sides = [_sides(then), _sides(now)]
    agents = [*sides[1], *(agent for agent in sides[0] if agent not in sides[1])]
    return [Pair(agent=name, then=sides[0].get(name), now=sides[1].get(name)) for name in agents]


def _sides(steps: Sequence[StepRun]) -> dict[str, Side]:
    attempts: dict[str, list[StepRun]] = {}
    for step in steps:
        attempts.setdefault(step.agent, []).append(step)
    return {
        agent: Side(step=all_of[-1], totals=totals_of(all_of)) for agent, all_of in attempts.items()
    }

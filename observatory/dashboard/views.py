"""The admin's first page, and its live part, which the page polls."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET

from agents.models import ResolverProcess
from agents.process_report import effect
from agents.snapshot import read_snapshot
from observatory.dashboard.agents_now import agents_now, since, sum_of
from observatory.dashboard.charts import DIMENSIONS, RANGES, charts
from observatory.dashboard.health_strip import health_strip
from observatory.dashboard.recent import Recent
from pipeline.operations import attention
from pipeline.operations.aggregates import database_now

FIGURES_FOR_S = 5.0  # figures and counts are cached, the state of overrides never is

PAGES = {  # the permissions needed to open them
    "agents_agentmodelconfig_changelist": ["agents.view_agentmodelconfig"],
    "pipeline_casebookentry_changelist": ["pipeline.view_casebookentry", "pipeline.view_texts"],
    "pipeline_member_changelist": ["pipeline.view_member"],
    "pipeline_pipelinerun_changelist": ["pipeline.view_pipelinerun"],
    "pipeline_task_changelist": ["pipeline.view_task"],
}

NOTHING_NEW = 204
STOP_ASKING = 286  # htmx's own status: stop polling

_recent = Recent(FIGURES_FOR_S)


@dataclass(frozen=True, slots=True)
class _Rights:
    """What an operator may see and change on the first page."""

    sees: bool
    changes: bool
    pages: frozenset[str]  # URL names of the pages that may be linked to

    @classmethod
    def of(cls, request: HttpRequest) -> _Rights:
        may = request.user.has_perm
        return cls(
            sees=may("agents.view_agentmodelconfig") and may("pipeline.view_pipelinerun"),
            changes=may("agents.change_agentmodelconfig") and may("agents.add_agentmodelconfig"),
            pages=frozenset(
                page for page, needed in PAGES.items() if request.user.has_perms(needed)
            ),
        )


def first_page(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Return the first page's context with the live part and the charts; called by unfold."""
    rights = _Rights.of(request)
    if not rights.sees:
        return context
    over = RANGES.get(request.GET.get("range", ""), RANGES["24h"])
    dimension = request.GET.get("by", "")
    dimension = dimension if dimension in DIMENSIONS else "agent"
    return {
        **context,
        "title": "Overview",
        "now": _now(rights)[0],
        "charts": charts(over, dimension, now=timezone.now()),
        "ranges": [(one.name, one.title, one is over) for one in RANGES.values()],
        "dimensions": [(name, title, name == dimension) for name, title in DIMENSIONS.items()],
        "range": over.name,
        "dimension": dimension,
    }


@require_GET
def now(request: HttpRequest) -> HttpResponse:
    """Return the live part of the first page, or 204 if the page already shows this version."""
    rights = _Rights.of(request)
    if not request.user.is_staff or not rights.sees:
        # The operator has signed out or lost the permission: have the whole page reloaded.
        response = HttpResponse(status=STOP_ASKING)
        response["HX-Refresh"] = "true"
        return response
    html, digest = _now(rights)
    if request.GET.get("seen") == digest:
        return HttpResponse(status=NOTHING_NEW)
    return HttpResponse(html)


def _now(rights: _Rights) -> tuple[str, str]:
    """Return the live part's HTML and its digest, which the page sends with its next poll."""
    state = effect()
    body = _recent.get_or_make((state.version, rights), lambda: _body(rights, state.processes))
    html = render_to_string("dashboard/effect.html", {"words": state.sentence}) + body
    digest = hashlib.sha256(html.encode()).hexdigest()[:16]
    url = f"{reverse('now')}?seen={digest}"
    return render_to_string("dashboard/now.html", {"url": url, "html": html}), digest


def _body(rights: _Rights, processes: Sequence[ResolverProcess]) -> str:
    at, snapshot = timezone.now(), read_snapshot()
    rows = agents_now(snapshot, now=at)
    alerts = attention.alerts(at, snapshot, sum_of(rows).totals)
    context = {
        "rows": rows,
        "since": since(at),
        "health": health_strip(database_now(), processes, alerts),
        "tasks_page": _link(rights, "pipeline_task_changelist", "show=open"),
        "runs_page": _link(rights, "pipeline_pipelinerun_changelist", "since=hour"),
        "alerts": [(one, _link(rights, one.page, one.query)) for one in alerts],
        "may_change": rights.changes,
        "has_overrides": bool(snapshot.overrides),
        "default_model": settings.DEFAULT_MODEL if settings.SHARED_KEY_FOR_MEMBERS else "",
    }
    return render_to_string("dashboard/agents.html", context)


def _link(rights: _Rights, page: str, query: str) -> str:
    if page not in rights.pages:
        return ""
    return f"{reverse(f'admin:{page}')}{f'?{query}' if query else ''}"

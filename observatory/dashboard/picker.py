"""Views for choosing an agent's model: search, cost estimate, catalog refresh."""

from __future__ import annotations

from django.conf import settings
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_GET, require_POST

from agents.base import Needs
from agents.catalog import CatalogNotSynced, find, per_million, price_lines, search, sync_and_wait
from agents.catalog.fit import cannot
from agents.models import CatalogModel
from agents.registry import default_registry
from observatory.dashboard import trial
from observatory.dashboard.change import change
from observatory.dashboard.trial import may_choose
from pipeline.operations import attention

SHOWN = 12  # models at a time; typing more is quicker than scrolling


@require_GET
def models_view(request: HttpRequest) -> HttpResponse:
    """Show the models that match the search; models that the agent can use come first."""
    may_choose(request)
    needs = _needs(request.GET.get("agent_name", ""))
    words = request.GET.get("search", "")[:200]
    found = search(words, limit=3 * SHOWN) if _is_listed() else []
    rows = sorted((_row(model, needs) for model in found), key=lambda row: bool(row["reasons"]))
    context = {
        "rows": rows[:SHOWN],
        "more": len(rows) > SHOWN,
        "matches": f"{len(rows)}{'+' if len(rows) == 3 * SHOWN else ''}",
        "is_listed": _is_listed(),
        "is_empty": not CatalogModel.objects.exists(),
    }
    return render(request, "dashboard/models.html", context)


@require_GET
def cost_view(request: HttpRequest) -> HttpResponse:
    """Show what the chosen model lacks, its cost at last week's traffic, and whom it affects."""
    may_choose(request)
    agent_name = request.GET.get("agent_name", "")
    model_id = request.GET.get("model_id", "").strip()
    model = find(model_id) if model_id and _is_listed() else None
    context = {
        "agent": agent_name,
        "model_id": model_id,
        "model": model,
        "is_listed": _is_listed() and "@preset/" not in model_id,
        "row": _row(model, _needs(agent_name)) if model else None,
        "change": change(agent_name, model_id, now=timezone.now())
        if model and agent_name
        else None,
    }
    return render(request, "dashboard/cost.html", context)


@require_POST
def sync_view(request: HttpRequest) -> HttpResponse:
    """Fetch OpenRouter's list of models now."""
    may_choose(request)
    try:
        report = sync_and_wait([use.model_id for use in attention.uses()])
    except CatalogNotSynced as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"Catalog refreshed: {report.listed} models.")
    page = request.headers.get("Referer", "")
    is_ours = url_has_allowed_host_and_scheme(page, {request.get_host()}, request.is_secure())
    return redirect(page if is_ours else "admin:index")


urlpatterns = [
    path("models/", admin.site.admin_view(models_view), name="models"),
    path("cost/", admin.site.admin_view(cost_view), name="cost"),
    path("inputs/", admin.site.admin_view(trial.inputs_view), name="inputs"),
    path("try/", admin.site.admin_view(trial.try_view), name="try"),
    path("tried/", admin.site.admin_view(trial.tried_view), name="tried"),
    path("sync/", admin.site.admin_view(sync_view), name="sync"),
]


def _is_listed() -> bool:
    """Return whether the catalog applies, which holds only if the shared server is OpenRouter."""
    return bool(settings.SHARED_SERVER == "openrouter")


def _needs(agent_name: str) -> Needs:
    registry = default_registry()
    return registry.get(agent_name).needs if agent_name in registry else Needs(json_schema=False)


def _row(model: CatalogModel, needs: Needs) -> dict[str, object]:
    gone = ["no longer offered"] if model.vanished_at is not None else []
    return {
        "id": model.model_id,
        "name": model.name,
        "prompt": per_million(model.prompt_usd),
        "completion": per_million(model.completion_usd),
        "prices": price_lines(model),
        "context": model.context_tokens,
        "reads": ", ".join(model.input_modalities) or "text",
        "expires_on": model.expires_on,
        "reasons": gone + cannot(model, needs),
    }

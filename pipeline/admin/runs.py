"""Runs, as they were: which model ran each step, why, on which purse, and the exact texts.

A run's page shows what members and models wrote, so it is one of `pipeline.admin.text_pages`.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Count, Prefetch, Q, QuerySet, Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from unfold.admin import ModelAdmin
from unfold.decorators import display

from pipeline.admin.text_pages import may_read_texts, text_page
from pipeline.models import LLMCall, PipelineRun, StepRun
from pipeline.models.runs import RunStatus

_TEXTS = ("system_prompt", "user_message", "output")


@admin.register(PipelineRun)
class PipelineRunAdmin(ModelAdmin):
    """Runs: read only."""

    list_display = ["started_at", "pipeline", "member", "status_label", "models", "cost", "flags"]
    list_display_links = ["started_at"]
    list_filter = ["status", "pipeline", "source", "started_at"]
    search_fields = ["id", "member__name", "member__username"]
    list_per_page = 50
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[PipelineRun]:
        calls = "steps__calls"
        return (
            super()
            .get_queryset(request)
            .select_related("member")
            .prefetch_related(Prefetch("steps", StepRun.objects.order_by("position", "attempt")))
            .annotate(
                cost_usd=Sum(f"{calls}__cost_usd"),
                mismatches=Count(calls, filter=Q(**{f"{calls}__is_mismatch": True})),
                fallbacks=Count(calls, filter=Q(**{f"{calls}__is_fallback": True})),
            )
        )

    @display(
        description="status",
        ordering="status",
        label={
            RunStatus.OK.label: "success",
            RunStatus.RUNNING.label: "info",
            RunStatus.FAILED.label: "danger",
            RunStatus.GIVEN_UP.label: "danger",
        },
    )
    def status_label(self, run: PipelineRun) -> str:
        return run.get_status_display()

    @display(description="models")
    def models(self, run: PipelineRun) -> str:
        agents: dict[str, dict[str, None]] = {}  # in order, each agent once for all its attempts
        for step in run.steps.all():
            if step.requested_model:
                agents.setdefault(f"{step.requested_model} ({step.purse})", {})[step.agent] = None
        return "; ".join(f"{model}: {', '.join(names)}" for model, names in agents.items())

    @display(description="cost", ordering="cost_usd")
    def cost(self, run: Any) -> str:
        return _dollars(run.cost_usd)

    @display(description="look at", label="danger")
    def flags(self, run: Any) -> str:
        return ", ".join(
            word for word, n in (("mismatch", run.mismatches), ("fallback", run.fallbacks)) if n
        )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show one run; texts only to those who may read them."""
        may_read = may_read_texts(request)
        runs = PipelineRun.objects.select_related(
            "member", *(["user_message", "answer"] if may_read else [])
        )
        try:
            run = get_object_or_404(runs, pk=object_id)
        except ValidationError:
            raise Http404("a run's id is a UUID") from None
        if not self.has_view_permission(request, run):
            raise PermissionDenied
        calls = LLMCall.objects.order_by("started_at")
        steps = run.steps.order_by("position", "attempt")
        if may_read:
            calls = calls.select_related(*_TEXTS)
            steps = steps.select_related("output")
        steps = steps.prefetch_related(Prefetch("calls", calls))
        context = {
            "run": run,
            "steps": steps if may_read else [_without_quotes(step) for step in steps],
            "cost": _dollars(
                LLMCall.objects.filter(step__run=run).aggregate(total=Sum("cost_usd"))["total"]
            ),
            "may_read": may_read,
        }
        return text_page(request, "pipeline/run.html", context)


def _without_quotes(step: StepRun) -> StepRun:
    """Return the step with the kinds of its errors only: their texts quote models and vendors."""
    rows: list[StepRun | LLMCall] = [step, *step.calls.all()]
    for row in rows:
        kind = re.match(r"\w+(?=: )", row.error)
        row.error = (kind[0] if kind else "failed") if row.error else ""
    return step


def _dollars(cost: Decimal | None) -> str:
    return "unknown" if cost is None else f"${cost.normalize():f}"

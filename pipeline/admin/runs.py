"""Admin pages of runs: which model ran each step, why, who paid, and the exact texts.

The list reads no calls, and all its steps with one query. A run's page shows what members and
models wrote, so it is one of `pipeline.admin.text_pages`, and each view is logged.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin import ShowFacets
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Prefetch, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path
from django.utils import timezone
from unfold.decorators import display

from agents.display import ago, money
from agents.guarded_admin import GuardedModelAdmin
from pipeline.admin.labels import RUN_STATUS, RunStatusFilter, SourceFilter, payer, status_label
from pipeline.admin.paging import BoundedPaginator, without_show_all
from pipeline.admin.rerun import begin, beside, may_rerun, question
from pipeline.admin.run_export import MAX_RUNS, MAX_WITH_TEXTS, exported, may_export
from pipeline.admin.run_filters import (
    AgentFilter,
    CostFilter,
    DaysFilter,
    LookFilter,
    MemberFilter,
    ModelFilter,
    PayerFilter,
    PipelineFilter,
    RunList,
    SinceFilter,
    with_name,
)
from pipeline.admin.run_rows import steps_of, totals_of
from pipeline.admin.text_pages import log_access, may_read_texts, may_read_texts_of, text_page
from pipeline.admin.waterfall import waterfall
from pipeline.models import PipelineRun, StepRun
from pipeline.models.access_log import AccessKind
from pipeline.models.runs import RunStatus
from pipeline.models.sources import rules_of

MAX_RERUNS = 20  # on the page of one run
_OF_A_RUN = (
    *("pipeline", "status", "source", "cost_usd", "has_mismatch", "has_fallback"),
    *("started_at", "ended_at", "member__name", "member__username", "member__telegram_id"),
)
_OF_A_STEP = ("run", "position", "attempt", "agent", "requested_model", "payer")


@admin.register(PipelineRun)
class PipelineRunAdmin(GuardedModelAdmin):
    """The read-only pages of runs."""

    list_title = "Runs"
    empty_title = "No runs yet"
    empty_text = "A run appears here for each message that the bot answers."
    list_display = [
        "started",
        "pipeline",
        "member",
        "status_label",
        "models",
        "cost",
        "took",
        "flags",
    ]
    list_display_links = ["started"]
    list_select_related = ["member"]
    list_filter = [
        SinceFilter,
        ("started_at", DaysFilter),
        LookFilter,
        ("status", RunStatusFilter),
        PipelineFilter,
        AgentFilter,
        ModelFilter,
        PayerFilter,
        MemberFilter,
        ("cost_usd", CostFilter),
        ("source", SourceFilter),
    ]
    list_filter_submit = True
    list_before_template = "pipeline/runs_intro.html"
    search_fields = ["id"]
    search_help_text = "Member's name, or the first 8 characters of a run ID"
    sortable_by = ["started", "cost"]
    list_per_page = 50
    show_full_result_count = False
    show_facets = ShowFacets.NEVER  # each facet would count all runs
    paginator = BoundedPaginator
    actions = None

    class Media:
        css = {"all": ["pipeline/run_list.css"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[PipelineRun]:
        steps = StepRun.objects.order_by("position", "attempt").only(*_OF_A_STEP)
        runs = super().get_queryset(request).only(*_OF_A_RUN)
        return runs.prefetch_related(Prefetch("steps", steps))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[PipelineRun], search_term: str
    ) -> tuple[QuerySet[PipelineRun], bool]:
        found = with_name(queryset, search_term) if search_term else queryset
        return found, False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return RunList

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        return without_show_all(super().get_changelist_instance(request))

    @display(
        description="status",
        label={
            RUN_STATUS[RunStatus.OK]: "success",
            RUN_STATUS[RunStatus.RUNNING]: "info",
            RUN_STATUS[RunStatus.WAITING]: "info",
            RUN_STATUS[RunStatus.FAILED]: "danger",
            RUN_STATUS[RunStatus.GIVEN_UP]: "danger",
        },
    )
    def status_label(self, run: PipelineRun) -> str:
        return status_label(run)

    @display(description="started", ordering="started_at")
    def started(self, run: PipelineRun) -> str:
        return ago(run.started_at)

    @display(description="models")
    def models(self, run: PipelineRun) -> str:
        agents: dict[str, dict[str, None]] = {}  # in order; each agent once, not per attempt
        for step in run.steps.all():
            if step.requested_model:
                model = f"{step.requested_model} ({payer(step.payer)})"
                agents.setdefault(model, {})[step.agent] = None
        return "; ".join(f"{model}: {', '.join(names)}" for model, names in agents.items())

    @display(description="cost", ordering="cost_usd")
    def cost(self, run: PipelineRun) -> str:
        return money(run.cost_usd)

    @display(description="duration", empty_value="")
    def took(self, run: PipelineRun) -> str | None:
        return None if run.took_ms is None else f"{run.took_ms / 1000:.1f} s"

    @display(description="flags", label="danger", empty_value="")
    def flags(self, run: PipelineRun) -> str | None:
        flags = (("Wrong model", run.has_mismatch), ("Fallback", run.has_fallback))
        return ", ".join(word for word, is_so in flags if is_so) or None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    # --- pages ----------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        of_a_run = [
            path(f"<path:object_id>/{name}/", view(page), name=f"pipeline_pipelinerun_{name}")
            for name, page in (("again", self.rerun_view), ("beside", self.beside_view))
        ]
        export = path(
            "export/<str:form>/", view(self.export_view), name="pipeline_pipelinerun_export"
        )
        return [export, *of_a_run, *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {
            "query": request.GET.urlencode(),
            "may_read": may_read_texts(request),
            "most_runs": f"{MAX_RUNS:,}",
            "most_with_texts": f"{MAX_WITH_TEXTS:,}",
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show one run, with texts only if the operator may read them."""
        run = self._run(request, object_id, "user_message", "answer")
        may_read = may_read_texts_of(request, run)
        steps = steps_of(run, with_texts=may_read)
        if may_read:
            log_access(request, AccessKind.PAGE, runs=[run])
        context = {
            "run": run,
            "steps": steps,
            "waterfall": waterfall(run, steps, now=timezone.now()),
            "totals": totals_of(steps),
            "reruns": run.reruns.order_by("-started_at")[:MAX_RERUNS],
            "may_read": may_read,
            "may_rerun": may_rerun(request) and rules_of(run.source).may_be_rerun,
        }
        return text_page(request, "pipeline/run.html", context)

    def rerun_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the confirmation of a rerun (GET), or queue the rerun (POST)."""
        if request.method not in {"GET", "POST"}:
            return HttpResponseNotAllowed(["GET", "POST"])
        run = self._run(request, object_id)
        if not may_rerun(request):
            raise PermissionDenied
        if request.method == "GET":
            return question(request, run)
        answer = begin(request, run)
        if answer.status_code == 302:
            self.log_change(request, run, "Re-run.")
        return answer

    def beside_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Compare a rerun with its original."""
        return beside(request, self._run(request, object_id, "rerun_of"))

    def export_view(self, request: HttpRequest, form: str) -> HttpResponseBase:
        """Return the filtered list of runs as a file."""
        if not self.has_view_permission(request) or not may_export(request, form):
            raise PermissionDenied
        return exported(request, self.get_changelist_instance(request).queryset, form)

    def _run(self, request: HttpRequest, object_id: str, *related: str) -> PipelineRun:
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            return get_object_or_404(
                PipelineRun.objects.select_related("member", "rerun_of", *related), pk=object_id
            )
        except ValidationError:
            raise Http404("A run ID is a UUID.") from None

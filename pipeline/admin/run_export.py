"""Export runs: CSV with one line per call, or JSON with runs, steps, calls and optionally texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from pipeline.admin.downloads import csv_response, json_response
from pipeline.admin.run_rows import TEXTS_OF_A_CALL, TEXTS_OF_A_STEP
from pipeline.admin.text_pages import log_access, may_read_texts
from pipeline.models import LLMCall, PipelineRun, StepRun, TextBlob
from pipeline.models.access_log import AccessKind

MAX_RUNS = 10_000
MAX_WITH_TEXTS = 1_000  # a run with texts is about 50 kB
AT_ONCE = 100  # runs that are read together

RUN_FIGURES = (
    *("id", "pipeline", "source", "status", "rerun_of_id", "cost_usd"),
    *("has_mismatch", "has_fallback", "started_at", "ended_at"),
)
STEP_FIGURES = (
    *("position", "attempt", "agent", "mode", "status", "decision", "provider", "requested_model"),
    *("payer", "override_version", "snapshot_version", "snapshot_age_ms", "is_stale"),
    *("was_repaired", "started_at", "ended_at"),
)
CALL_FIGURES = (
    *("id", "number", "status", "provider", "requested_model", "served_model", "is_mismatch"),
    *("is_fallback", "payer", "key_fingerprint", "has_image", "input_tokens", "output_tokens"),
    *("cached_input_tokens", "reasoning_tokens", "cost_usd", "cost_source", "finish_reason"),
    *("generation_id", "http_status", "latency_ms", "started_at", "upstream"),
    *("cause", "is_cut"),
)
# Operators' spreadsheets and scripts use these names.
NAMES_IN_FILES = {"payer": "purse", "rerun_of_id": "again_of_id"}
TEXTS_OF_A_RUN = ("definition", "user_message", "background", "answer")


def _in_files(figures: Sequence[str]) -> list[str]:
    return [NAMES_IN_FILES.get(name, name) for name in figures]


HEADER = (
    *(f"run_{name}" for name in (*_in_files(RUN_FIGURES), "member")),
    *(f"step_{name}" for name in (*_in_files(STEP_FIGURES), "error")),
    *(f"call_{name}" for name in (*_in_files(CALL_FIGURES), "error")),
)


def may_export(request: HttpRequest, form: str) -> bool:
    """Tell whether this format exists and this operator may export it."""
    return form in {"csv", "json"} or (form == "texts" and may_read_texts(request))


def exported(request: HttpRequest, runs: QuerySet[PipelineRun], form: str) -> HttpResponseBase:
    """Return a list of runs as a file: `csv`, `json`, or `texts` (JSON with all texts).

    The access to texts is logged before the first text is sent.
    """
    most = MAX_WITH_TEXTS if form == "texts" else MAX_RUNS
    ids: list[UUID] = list(runs.values_list("pk", flat=True)[: most + 1])
    is_cut = len(ids) > most
    ids = ids[:most]
    name = f"runs-first-{most}" if is_cut else "runs"
    cut = f"Cut off: the list has more than {most:,} runs. Filter it to export the rest."
    if form == "csv":
        return csv_response(f"{name}.csv", HEADER, _lines(ids, cut if is_cut else ""))
    if form == "texts":
        log_access(request, AccessKind.EXPORT, runs=[PipelineRun(pk=pk) for pk in ids])
        name = f"{name}-with-texts"
    items = _items(ids, cut if is_cut else "", with_texts=form == "texts")
    return json_response(f"{name}.json", items)


def _lines(ids: Sequence[UUID], cut: str) -> Iterator[Sequence[Any]]:
    """Yield one line per call, and one for each step without calls and each run without steps."""
    for run in _read(ids, with_texts=False):
        of_run = [*_values(run, RUN_FIGURES), run.member]
        for step in run.steps.all() or [None]:
            of_step = _cells(step, STEP_FIGURES)
            for call in (step.calls.all() if step else None) or [None]:
                yield [*of_run, *of_step, *_cells(call, CALL_FIGURES)]
    if cut:
        yield [cut]


def _cells(row: StepRun | LLMCall | None, figures: Sequence[str]) -> list[Any]:
    """Return a row's figures and error kind; empty cells if the row is None."""
    if row is None:
        return [None] * (len(figures) + 1)
    return [*_values(row, figures), row.error_kind]


def _items(ids: Sequence[UUID], cut: str, *, with_texts: bool) -> Iterator[dict[str, Any]]:
    def told(row: Any, figures: Sequence[str], texts: Sequence[str]) -> dict[str, Any]:
        item = dict(zip(_in_files(figures), _values(row, figures), strict=True))
        if hasattr(row, "error"):
            item["error"] = row.error if with_texts else row.error_kind
        if with_texts:
            item |= {name: _text(getattr(row, name)) for name in texts}
        return item

    for run in _read(ids, with_texts=with_texts):
        steps = []
        for step in run.steps.all():
            calls = [told(call, CALL_FIGURES, TEXTS_OF_A_CALL) for call in step.calls.all()]
            steps.append(told(step, STEP_FIGURES, TEXTS_OF_A_STEP) | {"calls": calls})
        member = str(run.member) if run.member else None
        yield told(run, RUN_FIGURES, TEXTS_OF_A_RUN) | {"member": member, "steps": steps}
    if cut:
        yield {"cut": cut}


def _read(ids: Sequence[UUID], *, with_texts: bool) -> Iterator[PipelineRun]:
    """Yield the runs in the order of their ids, read in batches with three queries each."""
    calls = LLMCall.objects.order_by("started_at", "pk")
    steps = StepRun.objects.order_by("position", "attempt")
    runs = PipelineRun.objects.select_related("member")
    if with_texts:
        calls = calls.select_related(*TEXTS_OF_A_CALL)
        steps = steps.select_related(*TEXTS_OF_A_STEP)
        runs = runs.select_related("member", *TEXTS_OF_A_RUN)
    found = runs.prefetch_related(
        Prefetch("steps", steps.prefetch_related(Prefetch("calls", calls)))
    )
    for first in range(0, len(ids), AT_ONCE):
        wanted = ids[first : first + AT_ONCE]
        rows = found.in_bulk(wanted)
        yield from (rows[pk] for pk in wanted if pk in rows)


def _values(row: Any, names: Sequence[str]) -> list[Any]:
    return [_plain(getattr(row, name)) for name in names]


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"  # a float would lose the last decimal
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value


def _text(kept: TextBlob | None) -> str:
    return kept.text if kept is not None else ""

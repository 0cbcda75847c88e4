"""Filters for the list of runs; none of them scans all runs.

The chosen agent, model and payer must all match the same step. The newest matching steps are found
first, so that the list is as fast for a model of last year as for one of today.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django import forms
from django.db import connection
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.dateparse import parse_date
from unfold.contrib.filters.admin import (
    DropdownFilter,
    RangeDateFilter,
    RangeNumericFilter,
    TextFilter,
)
from unfold.views import ChangeList

from agents.registry import default_registry
from pipeline.admin.labels import PAYER
from pipeline.admin.paging import COUNTED
from pipeline.models import Member, PipelineRun, StepRun
from pipeline.running.config import pipeline_names

FOUND = COUNTED // 2  # runs found by their steps: each of their ids goes into two more queries
STEPS_LOOKED_AT = 2 * FOUND  # a run has a few steps of one payer, and rarely two of one agent
CLOCKS_DIFFER = timedelta(hours=1)  # at most, between the machines of one installation
MAX_MODELS = 200  # in the menu
MAX_MEMBERS = 100  # whose runs one name finds
LONGEST_VALUE = 200  # characters

# One index lookup per model: DISTINCT would read all steps.
_MODELS_SQL = f"""
    WITH RECURSIVE known(model) AS (
        SELECT MIN(requested_model) FROM {StepRun._meta.db_table} WHERE requested_model > ''
        UNION ALL
        SELECT (SELECT MIN(requested_model) FROM {StepRun._meta.db_table}
                 WHERE requested_model > known.model)
          FROM known WHERE known.model IS NOT NULL)
    SELECT model FROM known WHERE model IS NOT NULL LIMIT {MAX_MODELS}"""  # noqa: S608 - ours


class RunList(ChangeList):
    """The list of runs; filters on steps are applied last, after all others."""

    def get_queryset(
        self, request: HttpRequest, exclude_parameters: list[str | None] | None = None
    ) -> QuerySet[PipelineRun]:
        runs: QuerySet[PipelineRun] = super().get_queryset(request, exclude_parameters)
        wanted = {
            spec.lookup: value
            for spec in self.filter_specs
            if isinstance(spec, StepFilter) and (value := spec.value())
        }
        if str(runs.query.order_by[0]).endswith("cost_usd"):
            runs = runs.exclude(cost_usd=None)  # unknown costs cannot be ordered
        return with_steps_like(runs, wanted) if wanted else runs


def with_steps_like(
    runs: QuerySet[PipelineRun], wanted: Mapping[str, str]
) -> QuerySet[PipelineRun]:
    """Return the newest of the runs that have a step with all the wanted values.

    One query finds them, for both the list and its count.
    """
    steps = StepRun.objects.filter(**wanted)
    if runs.query.where:
        steps = steps.filter(run__in=runs.order_by().values("pk"))
    newest = list(steps.order_by("-started_at").values_list("run", "started_at")[:STEPS_LOOKED_AT])
    if newest:  # no run starts after its steps, so the database can skip newer runs
        runs = runs.filter(started_at__lte=newest[0][1] + CLOCKS_DIFFER)
    return runs.filter(pk__in=list(dict.fromkeys(run for run, _ in newest))[:FOUND])


def with_name(runs: QuerySet[PipelineRun], said: str) -> QuerySet[PipelineRun]:
    """Return the runs whose id starts with the text, else those of members with that name."""
    said = said.strip()
    if (bounds := _ids_from(said)) is not None and (
        by_id := runs.filter(pk__range=bounds)
    ).exists():
        return by_id
    return runs.filter(member__in=_members_called(said))


def _ids_from(said: str) -> tuple[UUID, UUID] | None:
    """Return the first and last id that start with these 8 to 32 hex digits; else None."""
    digits = said.rpartition(" ")[2].replace("-", "").lower()
    if not 8 <= len(digits) <= 32 or set(digits) - set("0123456789abcdef"):
        return None
    return UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))


def _members_called(said: str) -> list[int]:
    if not said:
        return []
    matches = Q(name__icontains=said) | Q(username__icontains=said.removeprefix("@"))
    if said.isdecimal() and len(said) < 19:  # digits: more than a Telegram id can have
        matches |= Q(telegram_id=int(said))
    return list(Member.objects.filter(matches).values_list("pk", flat=True)[:MAX_MEMBERS])


# --- filters --------------------------------------------------------------------------------------


class PipelineFilter(DropdownFilter):
    """Filters runs by pipeline; offers the pipelines that exist today."""

    title = "pipeline"
    parameter_name = "pipeline"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in pipeline_names()]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[PipelineRun]
    ) -> QuerySet[PipelineRun]:
        value = _clean(self.value())
        return queryset.filter(pipeline=value) if value else queryset


class StepFilter(DropdownFilter):
    """A filter on steps; `RunList` applies all of these filters together."""

    lookup = ""

    def value(self) -> str:
        return _clean(super().value())

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[PipelineRun]
    ) -> QuerySet[PipelineRun]:
        return queryset


class AgentFilter(StepFilter):
    """Filters for runs with a step of this agent."""

    title = "agent"
    parameter_name = lookup = "agent"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in default_registry().names()]


class ModelFilter(StepFilter):
    """Filters for runs with a step that requested this model."""

    title = "model"
    parameter_name = "model"
    lookup = "requested_model"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        with connection.cursor() as cursor:
            cursor.execute(_MODELS_SQL)
            return [(model, model) for (model,) in cursor.fetchall()]

    def has_output(self) -> bool:
        return True


class PayerFilter(StepFilter):
    """Filters for runs with a step that this payer paid for."""

    title = "payer"
    parameter_name = "purse"  # the name in bookmarked addresses
    lookup = "payer"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(PAYER.items())


class LookFilter(DropdownFilter):
    """Filters for runs in which a model other than the chosen one answered."""

    title = "flag"
    parameter_name = "look"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("mismatch", "Wrong model"), ("fallback", "Fallback")]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[PipelineRun]
    ) -> QuerySet[PipelineRun]:
        flags = {"mismatch": "has_mismatch", "fallback": "has_fallback"}
        flag = flags.get(self.value() or "")
        return queryset.filter(**{flag: True}) if flag else queryset


class MemberFilter(TextFilter):
    """Filters runs by member: name, Telegram name or Telegram id."""

    title = "member"
    parameter_name = "member"

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[PipelineRun]
    ) -> QuerySet[PipelineRun]:
        said = _clean(self.value())
        return queryset.filter(member__in=_members_called(said)) if said else queryset


class SinceFilter(DropdownFilter):
    """Filters for runs that started recently."""

    title = "time"
    parameter_name = "since"
    SPANS = {
        "hour": ("Last hour", timedelta(hours=1)),
        "day": ("Last 24 hours", timedelta(days=1)),
        "week": ("Last 7 days", timedelta(days=7)),
        "month": ("Last 30 days", timedelta(days=30)),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, title) for name, (title, _) in self.SPANS.items()]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[PipelineRun]
    ) -> QuerySet[PipelineRun]:
        span = self.SPANS.get(self.value() or "")
        return queryset.filter(started_at__gte=timezone.now() - span[1]) if span else queryset


class DaysFilter(RangeDateFilter):
    """Filters by a range of days, both included; an invalid day is ignored."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.title = "date"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        first, last = (self._day(end) for end in ("from", "to"))
        if first is not None:
            queryset = queryset.filter(**{f"{self.field_path}__gte": _midnight(first)})
        if last is not None and last < date.max:
            after = _midnight(last + timedelta(days=1))
            queryset = queryset.filter(**{f"{self.field_path}__lt": after})
        return queryset

    def _day(self, end: str) -> date | None:
        try:
            return parse_date(str(self.used_parameters.get(f"{self.parameter_name}_{end}") or ""))
        except ValueError:
            return None


class CostFilter(RangeNumericFilter):
    """Filters by a range of costs in dollars; an invalid amount is ignored."""

    _AMOUNT = forms.DecimalField(required=False, min_value=0, max_digits=20, decimal_places=12)

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[PipelineRun]
    ) -> QuerySet[PipelineRun]:
        for end, comparison in (("from", "gte"), ("to", "lte")):
            amount = self._amount(end)
            if amount is not None:
                queryset = queryset.filter(**{f"cost_usd__{comparison}": amount})
        return queryset

    def _amount(self, end: str) -> Decimal | None:
        try:
            return self._AMOUNT.clean(self.used_parameters.get(f"{self.parameter_name}_{end}"))
        except forms.ValidationError:
            return None


def _midnight(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))


def _clean(value: str | None) -> str:
    """Return a value from an address without outer spaces, cut to `LONGEST_VALUE` characters."""
    return (value or "")[:LONGEST_VALUE].strip()

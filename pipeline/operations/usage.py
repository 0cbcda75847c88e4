"""Usage by hour and day: the only reader and writer of `UsageRollup`.

An hour is closed an hour after its end; from then on its rollups replace its steps and calls.
Open hours are summed at each query, so every sum includes the latest call. A step or call that ends
after its hour was closed, such as one that a crash cut off, reopens the hour.

Clocks can be wrong. With PostgreSQL, the server's clock says which hours are over. An hour that a
clock which was ahead has closed too early counts as open, and is opened again. A process whose
clock is behind may not notice that its hour is closed; `audit` compares closed hours with their
steps and calls every night.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import Count, Q, QuerySet, Sum
from django.db.models.functions import Coalesce, TruncHour
from django.utils import timezone

from pipeline.journal import hooks
from pipeline.models import ClosedPeriod, LLMCall, PeriodicJob, PipelineRun, StepRun, UsageRollup
from pipeline.models.operations import Period
from pipeline.models.runs import CallStatus, StepStatus
from pipeline.models.sources import sources_where
from pipeline.operations.aggregates import SumOfUnits, bucket_of_time, dollars, from_json

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
LENGTHS = {Period.HOUR: HOUR, Period.DAY: DAY}
AUDITED_FOR = timedelta(days=8)
CLOSED_AFTER = HOUR  # after the end of an hour; a step lasts minutes
# Earlier than an hour can be closed, because the clocks of two machines may differ by this much.
LATE_AFTER = CLOSED_AFTER / 2
CLOSED_AT_ONCE = 24  # hours in one transaction
LOCK = "figures"  # the row whose lock serializes closing and reopening


class Key(NamedTuple):
    """The key of a rollup: an agent on one model and payer, in the period from `starts_at`."""

    starts_at: datetime
    agent: str
    model_id: str
    payer: str


@dataclass(slots=True, kw_only=True)
class UsageTotals:
    """Usage totals, which can be added up.

    Steps and calls are those of traffic; dollars, tokens and unpriced calls those of all runs.
    """

    steps: int = 0
    failed_steps: int = 0
    step_times: Counter[int] = field(default_factory=Counter)
    calls: int = 0
    failed_calls: int = 0
    mismatches: int = 0
    fallbacks: int = 0
    unpriced_calls: int = 0
    cut_answers: int = 0  # calls whose answer was cut off
    mended_answers: int = 0  # steps whose answer was repaired JSON
    cost_usd: Decimal = Decimal(0)
    input_tokens: int = 0
    output_tokens: int = 0
    # The share of cost and tokens that comes from trials and reruns.
    other_cost_usd: Decimal = Decimal(0)
    other_input_tokens: int = 0
    other_output_tokens: int = 0

    def add(self, other: UsageTotals) -> None:
        """Add other totals to these."""
        for name in NAMES:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


NAMES = tuple(field.name for field in fields(UsageTotals))
Rollups = dict[Key, UsageTotals]


def rollups(
    since: datetime, *, now: datetime, in_days: bool = False
) -> Iterator[tuple[Key, UsageTotals]]:
    """Yield the usage from the hour of `since` to now.

    With `in_days`, a closed day yields one rollup per key instead of 24: for a month 30, not 720.
    """
    first = _first_run()
    if first is None:
        return
    since = max(_hour_of(since), _hour_of(first))
    days = set(_closed(Period.DAY, since, now)) if in_days else set()
    hours = {hour for hour in _closed(Period.HOUR, since, now) if _day_of(hour) not in days}
    yield from _kept(Period.DAY, days)
    yield from _kept(Period.HOUR, hours)
    open_hours = {
        hour
        for hour in _hours(since, now + HOUR)  # another machine's clock may be ahead
        if hour not in hours and _day_of(hour) not in days
    }
    for key, totals in _added_up(min(open_hours, default=now), now + HOUR).items():
        if key.starts_at in open_hours:
            yield key, totals


def total(found: Iterable[tuple[Key, UsageTotals]]) -> UsageTotals:
    """Return the sum of rollups."""
    sum_of_all = UsageTotals()
    for _, totals in found:
        sum_of_all.add(totals)
    return sum_of_all


# --- closing and opening ------------------------------------------------------------------------


def close_hours(now: datetime) -> int:
    """Close the oldest hours that are due, at most 24, and the days that are complete.

    Returns:
        The number of hours closed; 0 if none are left to close.
    """
    first = _first_run()
    if first is None:
        return 0
    _open_those_ahead(now)
    closed = set(_closed(Period.HOUR, _hour_of(first), now))
    due = [hour for hour in _hours(first, now - HOUR - CLOSED_AFTER) if hour not in closed]
    if due := due[:CLOSED_AT_ONCE]:
        _close(due)
    days = {_day_of(hour) for hour in closed.union(due)}
    for day in sorted(days.difference(_closed(Period.DAY, _day_of(first), now))):
        _close_day(day, now)
    return len(due)


@transaction.atomic
def _open_those_ahead(now: datetime) -> None:
    """Reopen what a clock that was ahead has closed, at most once a minute for all processes."""
    ahead = Q()
    for period, length in LENGTHS.items():
        ahead |= Q(period=period, starts_at__gt=now - length - CLOSED_AFTER)
    if ClosedPeriod.objects.filter(ahead).exists():
        _line_up()
        ClosedPeriod.objects.filter(ahead).delete()


def audit(now: datetime) -> list[datetime]:
    """Reopen the closed hours of the last days whose sums are not those of their steps and calls.

    Returns:
        The hours reopened, which the next closing sums anew.
    """
    since = _hour_of(now) - AUDITED_FOR
    closed = sorted(_closed(Period.HOUR, since, now))
    wrong = []
    for first in range(0, len(closed), CLOSED_AT_ONCE):
        hours = closed[first : first + CLOSED_AT_ONCE]
        kept = dict(_kept(Period.HOUR, set(hours)))
        summed = _added_up(hours[0], hours[-1] + HOUR)
        keys = {key for key in {*kept, *summed} if kept.get(key) != summed.get(key)}
        wrong += sorted({key.starts_at for key in keys} & set(hours))
    if wrong:
        with transaction.atomic():
            _open(wrong)
    return wrong


def reopen(*moments: datetime) -> None:
    """Reopen the closed hours that contain these start times of steps or calls.

    Call it in the transaction that changes the steps or calls.
    """
    late = {_hour_of(moment) for moment in moments if moment < timezone.now() - LATE_AFTER}
    if late:
        _open(late)


def _open(hours: Collection[datetime]) -> None:
    _line_up()
    ClosedPeriod.objects.filter(period=Period.HOUR, starts_at__in=hours).delete()
    days = {_day_of(hour) for hour in hours}
    ClosedPeriod.objects.filter(period=Period.DAY, starts_at__in=days).delete()


@transaction.atomic
def _close(hours: list[datetime]) -> None:
    _line_up()
    found = _added_up(hours[0], hours[-1] + HOUR)
    _keep(
        Period.HOUR, hours, {k: totals for k, totals in found.items() if k.starts_at in set(hours)}
    )


@transaction.atomic
def _close_day(day: datetime, now: datetime) -> None:
    _line_up()
    hours = set(_hours(day, day + DAY - HOUR))
    if len(hours & set(_closed(Period.HOUR, day, now))) < len(hours):
        return
    of_day: defaultdict[Key, UsageTotals] = defaultdict(UsageTotals)
    for key, totals in _kept(Period.HOUR, hours):
        of_day[key._replace(starts_at=day)].add(totals)
    _keep(Period.DAY, [day], of_day)


def _line_up() -> None:
    """Serialize with other transactions that close or reopen hours.

    Otherwise a late call could find its hour still open while another transaction sums and closes
    it without that call.
    """
    if not PeriodicJob.objects.select_for_update().filter(name=LOCK).exists():
        PeriodicJob.objects.bulk_create(
            [PeriodicJob(name=LOCK, due_at=timezone.now())], ignore_conflicts=True
        )
        list(PeriodicJob.objects.select_for_update().filter(name=LOCK))


def _keep(period: Period, starts: list[datetime], found: Rollups) -> None:
    UsageRollup.objects.filter(period=period, starts_at__in=starts).delete()
    UsageRollup.objects.bulk_create(
        [
            UsageRollup(
                period=period, **key._asdict(), **{name: getattr(totals, name) for name in NAMES}
            )
            for key, totals in found.items()
        ]
    )
    ClosedPeriod.objects.bulk_create(
        [ClosedPeriod(period=period, starts_at=start) for start in starts], ignore_conflicts=True
    )


# --- reading ------------------------------------------------------------------------------------


def _first_run() -> datetime | None:
    return PipelineRun.objects.order_by("started_at").values_list("started_at", flat=True).first()


def _closed(period: Period, since: datetime, now: datetime) -> Iterable[datetime]:
    """Return the starts of the periods that are closed and can be: those that have been over."""
    closed = ClosedPeriod.objects.filter(
        period=period, starts_at__gte=since, starts_at__lte=now - LENGTHS[period] - CLOSED_AFTER
    )
    return closed.values_list("starts_at", flat=True)


def _kept(period: Period, starts: set[datetime]) -> Iterator[tuple[Key, UsageTotals]]:
    if not starts:
        return
    rows = UsageRollup.objects.filter(period=period, starts_at__gte=min(starts)).values_list(
        *Key._fields, *NAMES
    )
    for row in rows.iterator():
        key, values = Key(*row[: len(Key._fields)]), dict(zip(NAMES, row[4:], strict=True))
        if key.starts_at in starts:
            values["step_times"] = from_json(values["step_times"])
            yield key, UsageTotals(**values)


def _added_up(since: datetime, until: datetime) -> Rollups:
    """Sum the ended steps and calls that started in the interval, by hour."""
    found: defaultdict[Key, UsageTotals] = defaultdict(UsageTotals)
    for row in _steps(since, until):
        *key, bucket, steps, failed, mended = row
        found[Key(*key)].add(
            UsageTotals(
                steps=steps,
                failed_steps=failed,
                mended_answers=mended,
                step_times=Counter({bucket: steps}),
            )
        )
    for row in _calls(since, until):
        width = len(Key._fields)
        summed = dict(zip(_SUMMED, row[width:], strict=True))
        for name in ("cost_usd", "other_cost_usd"):
            summed[name] = dollars(summed[name])
        found[Key(*row[:width])].add(UsageTotals(**summed))
    return found


_SUMMED = (
    *("calls", "failed_calls", "mismatches", "fallbacks", "unpriced_calls", "cut_answers"),
    *("cost_usd", "input_tokens", "output_tokens"),
    *("other_cost_usd", "other_input_tokens", "other_output_tokens"),
)


def _steps(since: datetime, until: datetime) -> Iterable[tuple[Any, ...]]:
    rows: Iterable[tuple[Any, ...]] = (
        _within(StepRun.objects.exclude(ended_at=None), since, until)
        .filter(run__source__in=sources_where("is_traffic"))
        .annotate(bucket=bucket_of_time("started_at", "ended_at"))
        .values_list("hour", "agent", "requested_model", "payer", "bucket")
        .annotate(
            n=Count("pk"),
            n_failed=Count("pk", filter=Q(status=StepStatus.FAILED)),
            n_mended=Count("pk", filter=Q(was_repaired=True)),
        )
        .order_by()
    )
    return rows


def _calls(since: datetime, until: datetime) -> Iterable[tuple[Any, ...]]:
    failed = Q(status__in=[CallStatus.ERROR, CallStatus.UNKNOWN, CallStatus.INTERRUPTED])
    traffic = Q(step__run__source__in=sources_where("is_traffic"))
    rows: Iterable[tuple[Any, ...]] = (
        _within(LLMCall.objects.exclude(status=CallStatus.RUNNING), since, until)
        .values_list("hour", "step__agent", "requested_model", "payer")
        .annotate(  # in the order of _SUMMED
            n=Count("pk", filter=traffic),
            n_failed=Count("pk", filter=traffic & failed),
            n_mismatches=Count("pk", filter=traffic & Q(is_mismatch=True)),
            n_fallbacks=Count("pk", filter=traffic & Q(is_fallback=True)),
            n_unpriced=Count("pk", filter=Q(cost_usd=None) & ~Q(status=CallStatus.ERROR)),
            n_cut=Count("pk", filter=traffic & Q(is_cut=True)),
            units=SumOfUnits("cost_usd"),
            read=Coalesce(Sum("input_tokens"), 0),
            written=Coalesce(Sum("output_tokens"), 0),
            other_units=SumOfUnits("cost_usd", filter=~traffic),
            other_read=Coalesce(Sum("input_tokens", filter=~traffic), 0),
            other_written=Coalesce(Sum("output_tokens", filter=~traffic), 0),
        )
        .order_by()
    )
    return rows


def _within(rows: QuerySet[Any], since: datetime, until: datetime) -> Any:
    return rows.filter(started_at__gte=since, started_at__lt=until).annotate(
        hour=TruncHour("started_at", tzinfo=UTC)
    )


def _hours(since: datetime, until: datetime) -> Iterator[datetime]:
    """Yield the hours from that of `since` to that of `until`."""
    hour, last = _hour_of(since), _hour_of(until)
    while hour <= last:
        yield hour
        hour += HOUR


def _hour_of(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _day_of(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


hooks.reopen_with(reopen)

"""What was run, how fast, and what it cost, hour by hour: the one reader and writer of `Figures`.

An hour is closed once, an hour after its end; from then on its rows stand for its steps and calls.
Hours that are not closed are added up when they are asked for, so every sum includes the last call.
What ends later than that, such as a step that a crash cut off, opens its hour again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import Count, Q, QuerySet, Sum
from django.db.models.functions import Coalesce, TruncHour
from django.utils import timezone

from pipeline.journal import hooks
from pipeline.models import Chore, ClosedSpan, Figures, LLMCall, PipelineRun, StepRun
from pipeline.models.figures import Span
from pipeline.models.runs import CallStatus, StepStatus
from pipeline.operations.aggregates import SumOfUnits, bucket_of_time, dollars, from_json

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
CLOSED_AFTER = HOUR  # from the end of an hour on; a step lasts minutes
# Sooner than an hour can be closed, by as much as the clocks of two machines may differ.
LATE_AFTER = CLOSED_AFTER / 2
CLOSED_AT_ONCE = 24  # hours in one transaction
LOCK = "figures"  # the chore whose row lines up who closes hours and who opens them


class Key(NamedTuple):
    """Whose figures: an agent's on one model and payer, in the span that starts then."""

    starts_at: datetime
    agent: str
    model_id: str
    payer: str


@dataclass(slots=True, kw_only=True)
class Tally:
    """Figures that can be added up."""

    steps: int = 0
    failed_steps: int = 0
    step_times: Counter[int] = field(default_factory=Counter)
    calls: int = 0
    failed_calls: int = 0
    mismatches: int = 0
    fallbacks: int = 0
    unpriced_calls: int = 0
    cut_answers: int = 0  # calls whose answer broke off
    mended_answers: int = 0  # steps whose answer was broken JSON, and has been mended
    cost_usd: Decimal = Decimal(0)
    input_tokens: int = 0
    output_tokens: int = 0

    def add(self, other: Tally) -> None:
        """Add another tally to this one."""
        for name in NAMES:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


NAMES = tuple(field.name for field in fields(Tally))
Tallies = dict[Key, Tally]


def tallies(
    since: datetime, *, now: datetime, in_days: bool = False
) -> Iterator[tuple[Key, Tally]]:
    """Yield the figures from the hour of `since` to now.

    `in_days` yields what is closed for whole days in one piece: a month is 30 and not 720.
    """
    first = _first_run()
    if first is None:
        return
    since = max(_hour_of(since), _hour_of(first))
    days = set(_closed(Span.DAY, since)) if in_days else set()
    hours = {hour for hour in _closed(Span.HOUR, since) if _day_of(hour) not in days}
    yield from _kept(Span.DAY, days)
    yield from _kept(Span.HOUR, hours)
    open_hours = {
        hour
        for hour in _hours(since, now + HOUR)  # the clock of who wrote it may be ahead of ours
        if hour not in hours and _day_of(hour) not in days
    }
    for key, tally in _added_up(min(open_hours, default=now), now + HOUR).items():
        if key.starts_at in open_hours:
            yield key, tally


def total(found: Iterable[tuple[Key, Tally]]) -> Tally:
    """Return the sum of tallies."""
    sum_of_all = Tally()
    for _, tally in found:
        sum_of_all.add(tally)
    return sum_of_all


# --- closing and opening ------------------------------------------------------------------------


def close_hours(now: datetime) -> int:
    """Close the oldest hours that are due, a day's worth at most, and the days that are complete.

    Returns how many hours that were; 0 means that nothing is left to be closed.
    """
    first = _first_run()
    if first is None:
        return 0
    closed = set(_closed(Span.HOUR, _hour_of(first)))
    due = [hour for hour in _hours(first, now - HOUR - CLOSED_AFTER) if hour not in closed]
    if due := due[:CLOSED_AT_ONCE]:
        _close(due)
    days = {_day_of(hour) for hour in closed.union(due)}
    for day in sorted(days.difference(_closed(Span.DAY, _day_of(first)))):
        _close_day(day)
    return len(due)


def reopen(*moments: datetime) -> None:
    """Open the hours of steps or calls that started then and change only now.

    To be called in the transaction that changes them.
    """
    late = {_hour_of(moment) for moment in moments if moment < timezone.now() - LATE_AFTER}
    if not late:
        return
    _line_up()
    ClosedSpan.objects.filter(span=Span.HOUR, starts_at__in=late).delete()
    days = {_day_of(hour) for hour in late}
    ClosedSpan.objects.filter(span=Span.DAY, starts_at__in=days).delete()


@transaction.atomic
def _close(hours: list[datetime]) -> None:
    _line_up()
    found = _added_up(hours[0], hours[-1] + HOUR)
    _keep(Span.HOUR, hours, {k: tally for k, tally in found.items() if k.starts_at in set(hours)})


@transaction.atomic
def _close_day(day: datetime) -> None:
    _line_up()
    hours = set(_hours(day, day + DAY - HOUR))
    if len(hours & set(_closed(Span.HOUR, day))) < len(hours):
        return
    of_day: defaultdict[Key, Tally] = defaultdict(Tally)
    for key, tally in _kept(Span.HOUR, hours):
        of_day[key._replace(starts_at=day)].add(tally)
    _keep(Span.DAY, [day], of_day)


def _line_up() -> None:
    """Wait for whoever closes or opens hours now.

    Otherwise a late call could look for a closed hour in vain while that hour is being added up
    without it.
    """
    if not Chore.objects.select_for_update().filter(name=LOCK).exists():
        Chore.objects.bulk_create([Chore(name=LOCK, due_at=timezone.now())], ignore_conflicts=True)
        list(Chore.objects.select_for_update().filter(name=LOCK))


def _keep(span: Span, starts: list[datetime], found: Tallies) -> None:
    Figures.objects.filter(span=span, starts_at__in=starts).delete()
    Figures.objects.bulk_create(
        [
            Figures(span=span, **key._asdict(), **{name: getattr(tally, name) for name in NAMES})
            for key, tally in found.items()
        ]
    )
    ClosedSpan.objects.bulk_create(
        [ClosedSpan(span=span, starts_at=start) for start in starts], ignore_conflicts=True
    )


# --- reading ------------------------------------------------------------------------------------


def _first_run() -> datetime | None:
    return PipelineRun.objects.order_by("started_at").values_list("started_at", flat=True).first()


def _closed(span: Span, since: datetime) -> Iterable[datetime]:
    closed = ClosedSpan.objects.filter(span=span, starts_at__gte=since)
    return closed.values_list("starts_at", flat=True)


def _kept(span: Span, starts: set[datetime]) -> Iterator[tuple[Key, Tally]]:
    if not starts:
        return
    rows = Figures.objects.filter(span=span, starts_at__gte=min(starts)).values_list(
        *Key._fields, *NAMES
    )
    for row in rows.iterator():
        key, values = Key(*row[: len(Key._fields)]), dict(zip(NAMES, row[4:], strict=True))
        if key.starts_at in starts:
            values["step_times"] = from_json(values["step_times"])
            yield key, Tally(**values)


def _added_up(since: datetime, until: datetime) -> Tallies:
    """Add up the steps that ended and the calls that left in a time, hour by hour."""
    found: defaultdict[Key, Tally] = defaultdict(Tally)
    for row in _steps(since, until):
        *key, bucket, steps, failed, mended = row
        found[Key(*key)].add(
            Tally(
                steps=steps,
                failed_steps=failed,
                mended_answers=mended,
                step_times=Counter({bucket: steps}),
            )
        )
    for row in _calls(since, until):
        *key, calls, failed, mismatches, fallbacks, unpriced, cut, units, read, written = row
        found[Key(*key)].add(
            Tally(
                calls=calls,
                failed_calls=failed,
                mismatches=mismatches,
                fallbacks=fallbacks,
                unpriced_calls=unpriced,
                cut_answers=cut,
                cost_usd=dollars(units),
                input_tokens=read,
                output_tokens=written,
            )
        )
    return found


def _steps(since: datetime, until: datetime) -> Iterable[tuple[Any, ...]]:
    rows: Iterable[tuple[Any, ...]] = (
        _within(StepRun.objects.exclude(ended_at=None), since, until)
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
    rows: Iterable[tuple[Any, ...]] = (
        _within(LLMCall.objects.exclude(status=CallStatus.RUNNING), since, until)
        .values_list("hour", "step__agent", "requested_model", "payer")
        .annotate(
            n=Count("pk"),
            n_failed=Count("pk", filter=failed),
            n_mismatches=Count("pk", filter=Q(is_mismatch=True)),
            n_fallbacks=Count("pk", filter=Q(is_fallback=True)),
            n_unpriced=Count("pk", filter=Q(cost_usd=None) & ~Q(status=CallStatus.ERROR)),
            n_cut=Count("pk", filter=Q(is_cut=True)),
            units=SumOfUnits("cost_usd"),
            read=Coalesce(Sum("input_tokens"), 0),
            written=Coalesce(Sum("output_tokens"), 0),
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

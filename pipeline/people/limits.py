"""Limits per member: runs per hour, and early notice of a budget that is used up.

`admit` decides, in the transaction that opens a run; budgets decide for each call
(`pipeline.budgets`). `check` only tells members earlier, before anything is prepared for the run.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from pipeline.budgets.queries import newly_nearly_used_up, used_up_for
from pipeline.budgets.words import used_up
from pipeline.journal.facts import RunRefused
from pipeline.models import Member, PipelineRun
from pipeline.models.sources import sources_where
from pipeline.people.refusals import NotRun

HOUR = timedelta(hours=1)


class LimitReached(NotRun, RunRefused):
    """The member has reached a limit; `member_line` says which, and when they can go on."""

    def __init__(self, member_line: str) -> None:
        super().__init__(member_line)
        self.member_line = member_line


def check(member: Member, *, now: datetime) -> None:
    """Check that a member may have another run now.

    Raises:
        LimitReached: the member has reached RUNS_PER_HOUR or, without a key of their own, has
            used up a budget.
    """
    _check_runs(member, now=now)
    if member.api_key is None and (period := used_up_for(member.pk, now)) is not None:
        raise LimitReached(f"{used_up(period)} You can also use a key of your own: /start.")


def note_on_spending(member_id: int, *, now: datetime) -> str:
    """Return what a member is told, once a day, when 80 % of a budget is used up; else ""."""
    period = newly_nearly_used_up(member_id, now)
    return used_up(period) if period is not None else ""


def admit(member_id: int) -> None:
    """Check RUNS_PER_HOUR again in the transaction that opens a run, in turn with others.

    Raises:
        LimitReached: runs that began meanwhile have reached the limit.
    """
    member = Member.objects.select_for_update(no_key=True).filter(pk=member_id).first()
    if member is not None:
        _check_runs(member, now=timezone.now())


def _check_runs(member: Member, *, now: datetime) -> None:
    most = settings.RUNS_PER_HOUR
    if runs_within_an_hour(member, now=now) >= most:
        raise LimitReached(
            f"You've reached the limit of {most} messages an hour. "
            f"You can send the next one in {_minutes(_next_run_at(member, now=now) - now)}."
        )


def runs_within_an_hour(member: Member, *, now: datetime) -> int:
    """Return how many runs a member started in the last hour, including any erased since."""
    is_recent = member.forgotten_at is not None and member.forgotten_at > now - HOUR
    return _runs(member, now=now).count() + (member.forgotten_runs if is_recent else 0)


def _runs(member: Member, *, now: datetime) -> QuerySet[PipelineRun]:
    counted = sources_where("counts_for_limits")
    return PipelineRun.objects.filter(member=member, source__in=counted, started_at__gt=now - HOUR)


def _next_run_at(member: Member, *, now: datetime) -> datetime:
    """Return when enough of the counted runs will be an hour old for the next one to be allowed."""
    starts = list(
        _runs(member, now=now).order_by("-started_at").values_list("started_at", flat=True)
    )
    most = settings.RUNS_PER_HOUR
    oldest = starts[most - 1] if len(starts) >= most else member.forgotten_at or now
    return oldest + HOUR


def _minutes(wait: timedelta) -> str:
    minutes = max(1, -(-int(wait.total_seconds()) // 60))
    return f"{minutes} minute{'s' if minutes != 1 else ''}"

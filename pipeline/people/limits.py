"""Limits per member: runs per hour, and dollars per day spent on the team's key.

A run's cost is known only once it has ended, so members can exceed the limit by the cost of their
runs in progress: one run in each chat in which they write at the same time.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.db.models import QuerySet, Sum

from agents.llm.base import Payer
from pipeline.models import LLMCall, Member, PipelineRun
from pipeline.models.sources import sources_where
from pipeline.people.refusals import NotRun

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
LONGEST_OUTAGE = timedelta(days=2)  # a run that resumes after a longer outage is not counted


class LimitReached(NotRun):
    """The member has reached a limit; `member_line` says which, and when they can go on."""

    def __init__(self, member_line: str) -> None:
        super().__init__(member_line)
        self.member_line = member_line


def check(member: Member, *, now: datetime) -> None:
    """Check that a member may have another run now.

    Raises:
        LimitReached: the member has reached RUNS_PER_HOUR or, without a key of their own,
            SHARED_DOLLARS_PER_DAY.
    """
    most = settings.RUNS_PER_HOUR
    if runs_within_an_hour(member, now=now) >= most:
        raise LimitReached(
            f"You've reached the limit of {most} messages an hour. "
            f"You can send the next one in {_minutes(_next_run_at(member, now=now) - now)}."
        )
    if member.api_key is not None:
        return
    spent = spent_within_a_day(member, now=now)
    if spent >= settings.SHARED_DOLLARS_PER_DAY:
        raise LimitReached(
            f"You've spent ${spent:.2f} on the team's key in the last 24 hours; "
            f"the limit is ${settings.SHARED_DOLLARS_PER_DAY:.2f}. "
            "Try again later, or use your own key: /start."
        )


def runs_within_an_hour(member: Member, *, now: datetime) -> int:
    """Return how many runs a member started in the last hour, including any erased since."""
    is_recent = member.forgotten_at is not None and member.forgotten_at > now - HOUR
    return _runs(member, now=now).count() + (member.forgotten_runs if is_recent else 0)


def spent_within_a_day(member: Member, *, now: datetime) -> Decimal:
    """Return the dollars the team's key has paid for a member in 24 hours, as far as known.

    Calls erased since are included, and operators' reruns are not.
    """
    calls = LLMCall.objects.filter(
        step__run__member=member,
        step__run__source__in=sources_where("counts_for_limits"),
        # Keeps the query from reading the member's whole history. A run may have started more
        # than a day ago if it waited for the end of an outage.
        step__run__started_at__gt=now - DAY - LONGEST_OUTAGE,
        started_at__gt=now - DAY,
        payer=Payer.SHARED.value,
    )
    spent = calls.aggregate(total=Sum("cost_usd"))["total"] or Decimal(0)
    is_recent = member.forgotten_at is not None and member.forgotten_at > now - DAY
    return spent + (member.forgotten_usd if is_recent else 0)


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

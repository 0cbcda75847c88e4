"""How much one member may ask for: runs an hour, and dollars a day of the team's key.

What a run costs is known when it has ended, so members can pass their limit by what they have under
way: one run in each chat in which they write at the same time.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.db.models import Sum

from agents.llm.base import Purse
from pipeline.context import NotRun
from pipeline.models import LLMCall, Member, PipelineRun

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


class LimitReached(NotRun):
    """The member has to wait; `member_line` says for what and how long."""

    def __init__(self, member_line: str) -> None:
        super().__init__(member_line)
        self.member_line = member_line


def check(member: Member, *, now: datetime) -> None:
    """Return if this member may have another run now.

    Raises:
        LimitReached: RUNS_PER_HOUR, or SHARED_DOLLARS_PER_DAY for a member without a key.
    """
    runs = PipelineRun.objects.filter(member=member)
    most = settings.RUNS_PER_HOUR
    recent = runs.filter(started_at__gt=now - HOUR).order_by("-started_at")
    counted = list(recent.values_list("started_at", flat=True)[:most])
    if len(counted) == most:
        raise LimitReached(
            f"That is {most} messages within an hour, as many as I may answer one person. "
            f"The next one can come in {_minutes(counted[-1] + HOUR - now)}."
        )
    if member.api_key is not None:
        return
    spent = spent_of_shared(member, since=now - DAY)
    if spent >= settings.SHARED_DOLLARS_PER_DAY:
        raise LimitReached(
            f"You have used ${spent:.2f} of the team's key within 24 hours; "
            f"${settings.SHARED_DOLLARS_PER_DAY:.2f} are allowed. "
            "Try again later today or tomorrow, or use a key of your own: /start."
        )


def spent_of_shared(member: Member, *, since: datetime) -> Decimal:
    """Return the dollars that the shared key has paid for a member since then, as far as known."""
    calls = LLMCall.objects.filter(
        step__run__member=member, purse=Purse.SHARED.value, started_at__gt=since
    )
    return calls.aggregate(total=Sum("cost_usd"))["total"] or Decimal(0)


def _minutes(wait: timedelta) -> str:
    minutes = max(1, -(-int(wait.total_seconds()) // 60))
    return f"{minutes} minute{'s' if minutes != 1 else ''}"

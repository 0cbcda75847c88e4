"""The periodic job of budgets: count calls without a reservation, settle those of dead processes.

Every 20 s it applies changed caps, settles the reservations of calls whose process was killed, and
asks the provider what calls with an unknown cost have cost. Every five minutes, and for a new
budget at once, it counts calls that have no reservation. Once a day it compares all sums.
"""

from __future__ import annotations

import logging
import random
from datetime import datetime, timedelta
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings

from agents.llm.keys import PlainKey
from agents.llm.router import create_shared_provider
from pipeline.budgets import upkeep
from pipeline.journal import call_rows
from pipeline.models import Budget, LLMCall, PeriodicJob
from pipeline.operations.aggregates import database_now
from pipeline.operations.attention import Send

logger = logging.getLogger(__name__)

ASKED_AT_ONCE = 5  # costs in one run of the job
# How often a cost is asked for: for some minutes each time, then every half hour.
OFTEN_FOR_MIN, THEN_EVERY_MIN = 5, 30
BATCHES = 20  # of calls counted in one run of the job
COUNTED_EVERY, AUDITED_EVERY = timedelta(minutes=5), timedelta(days=1)

Result = dict[str, Any]


async def keep_budgets(now: datetime, send: Send) -> Result:
    """Do all that is due; return when each budget was counted, and when all were audited."""
    last: Result = (await PeriodicJob.objects.aget(name=PeriodicJob.BUDGETS)).last_result
    now = await sync_to_async(database_now)()
    budgets = [budget async for budget in Budget.objects.all()]
    for budget in budgets:
        await sync_to_async(upkeep.apply_cap)(budget.pk, now)
    longest_step = timedelta(seconds=settings.STEP_DEADLINE_SECONDS)
    await sync_to_async(upkeep.settle_abandoned)(now, longest_step=longest_step)
    await sync_to_async(upkeep.book_unknown)(now)
    is_daily = not _is_recent(last.get("audited"), now, AUDITED_EVERY)
    # Once a day from the start of its interval, for costs that were found late.
    earlier = {} if is_daily else last.get("counted", {})
    counted = {
        str(budget.pk): await _counted(budget, earlier.get(str(budget.pk)), now)
        for budget in budgets
    }
    if is_daily:
        await _audit(now, send)
    await _ask_for_costs(now)
    return {"counted": counted, "audited": now.isoformat() if is_daily else last["audited"]}


async def _counted(budget: Budget, counted_at: str | None, now: datetime) -> str | None:
    """Count a budget's calls without a reservation if that is due; return up to when it counts."""
    if _is_recent(counted_at, now, COUNTED_EVERY):
        return counted_at
    since = None if counted_at is None else datetime.fromisoformat(counted_at)
    for _ in range(BATCHES):  # between which others may use the database's thread
        if not await sync_to_async(upkeep.count_uncounted)(budget, now, since):
            return now.isoformat()
    return counted_at  # the next run goes on


async def _audit(now: datetime, send: Send) -> None:
    wrong = []
    for period_id in await sync_to_async(upkeep.audited)(now):
        if sentence := await sync_to_async(upkeep.audit)(period_id):
            logger.error("budgets: the sums of a period were wrong and are corrected: %s", sentence)
            wrong.append(sentence)
    if wrong:
        await send(
            f"Budgets: the sums of {len(wrong)} periods were not those of their calls, and have "
            "been corrected. Please report this; the log has the details."
        )


def _is_recent(at: str | None, now: datetime, within: timedelta) -> bool:
    return at is not None and timedelta() <= now - datetime.fromisoformat(at) < within


async def _ask_for_costs(now: datetime) -> None:
    if not settings.OPENROUTER_API_KEY:
        return
    key = PlainKey(settings.OPENROUTER_API_KEY)  # another key may not ask for this one's calls
    due = [
        call
        for call in await sync_to_async(upkeep.sought)(now)
        if call.key_fingerprint == key.fingerprint and _is_due(call, now)
    ]
    for call in random.sample(due, min(len(due), ASKED_AT_ONCE)):
        provider = create_shared_provider(key, call.requested_model)
        found = await provider.settle(call.generation_id)
        if found is not None:
            await sync_to_async(call_rows.cost_found)(call.step.run_id, call.pk, found)


def _is_due(call: LLMCall, now: datetime) -> bool:
    minutes = int((now - call.started_at).total_seconds() // 60)
    return minutes < OFTEN_FOR_MIN or minutes % THEN_EVERY_MIN == 0

"""The periodic job of budgets: count what is not counted, settle what no process will.

Every 20 s it settles the reservations of calls whose process was killed, and asks the provider what
calls with an unknown cost have cost. Once a day, and for a new budget at once, it counts calls that
have no reservation and compares all sums.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings

from agents.llm.router import create_shared_provider
from pipeline.budgets import upkeep
from pipeline.journal import call_rows
from pipeline.models import Budget, LLMCall, PeriodicJob
from pipeline.operations.aggregates import database_now

logger = logging.getLogger(__name__)

ASKED_AT_ONCE = 5  # costs in one run of the job
# How often a cost is asked for: for some minutes each time, then every half hour.
OFTEN_FOR_MIN, THEN_EVERY_MIN = 5, 30
RECOUNTED_AFTER = timedelta(days=1)


async def keep_budgets(now: datetime, send: Callable[[str], Awaitable[bool]]) -> dict[str, Any]:
    """Do all that is due; return when each budget was counted."""
    last: dict[str, Any] = (await PeriodicJob.objects.aget(name=PeriodicJob.BUDGETS)).last_result
    now = await sync_to_async(database_now)()
    longest_step = timedelta(seconds=settings.STEP_DEADLINE_SECONDS)
    await sync_to_async(upkeep.settle_abandoned)(now, longest_step=longest_step)
    await sync_to_async(upkeep.book_unknown)(now)
    await _ask_for_costs(now)
    counted: dict[str, str] = last.get("counted", {})
    due = [
        budget
        async for budget in Budget.objects.all()
        if not _is_recent(counted.get(str(budget.pk)), now)
    ]
    for budget in due:
        await sync_to_async(upkeep.count_uncounted)(budget, now)
        counted[str(budget.pk)] = now.isoformat()
    wrong = await sync_to_async(upkeep.audit)(now) if due else []
    for sentence in wrong:
        logger.error("budgets: the sums were wrong and have been corrected: %s", sentence)
    if wrong:
        await send(
            f"Budgets: the sums of {len(wrong)} periods were not those of their calls, and have "
            "been corrected. Please report this; the log has the details."
        )
    return {"counted": counted}


def _is_recent(counted_at: str | None, now: datetime) -> bool:
    return counted_at is not None and now - datetime.fromisoformat(counted_at) < RECOUNTED_AFTER


async def _ask_for_costs(now: datetime) -> None:
    if not settings.OPENROUTER_API_KEY:
        return
    due = [call for call in await sync_to_async(upkeep.sought)(now) if _is_due(call, now)]
    for call in due[:ASKED_AT_ONCE]:
        provider = create_shared_provider(settings.OPENROUTER_API_KEY, call.requested_model)
        if provider.api_key.fingerprint != call.key_fingerprint:
            continue  # the key was changed meanwhile, and the new one may not ask
        found = await provider.settle(call.generation_id)
        if found is not None:
            await sync_to_async(call_rows.cost_found)(call.step.run_id, call.pk, found)


def _is_due(call: LLMCall, now: datetime) -> bool:
    minutes = int((now - call.started_at).total_seconds() // 60)
    return minutes < OFTEN_FOR_MIN or minutes % THEN_EVERY_MIN == 0

"""A system check of the first budget: a variable that the page Budgets has overruled."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register
from django.db import DatabaseError

from agents.display import dollars
from pipeline.models import Budget
from pipeline.models.budgets import Interval, Scope


@register(Tags.database)  # which `migrate` runs, too
def check_first_budget(databases: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Warn if SHARED_DOLLARS_PER_DAY is set to another amount than each member's daily budget."""
    if not databases or not settings.SHARED_DOLLARS_PER_DAY_IS_SET:
        return []
    asked = settings.SHARED_DOLLARS_PER_DAY
    try:
        budget = Budget.objects.filter(scope=Scope.EACH_MEMBER, interval=Interval.DAY).first()
    except DatabaseError:  # not migrated yet: the migration will make it
        return []
    if budget is not None and budget.cap_usd == asked:
        return []
    counts = f"{dollars(budget.cap_usd)} for each member a day" if budget else "no such budget"
    return [
        Warning(
            f"SHARED_DOLLARS_PER_DAY is {dollars(asked)}, but the page Budgets has {counts}.",
            hint="The page counts. Change the budget there, or remove the variable.",
            id="pipeline.W001",
        )
    ]

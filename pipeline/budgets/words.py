"""What operators and members read when a budget has no room for a call."""

from __future__ import annotations

from agents.display import dollars as in_words
from pipeline.budgets.intervals import begins_anew
from pipeline.budgets.money import dollars
from pipeline.budgets.turns import Refusal
from pipeline.models.budgets import INTERVAL_WORDS, OF_MEMBERS, BudgetPeriod

_OTHERS = "Other requests are using the rest of it. Please try again in a minute."


def explained(refusal: Refusal) -> tuple[str, str]:
    """Return why a call was refused, in a sentence for the record and one for the member."""
    period = BudgetPeriod.objects.select_related("budget__member").filter(pk=refusal.period_id)
    row = period.first()
    if row is None:
        return "the call's budget was deleted meanwhile", "Please try again."
    left = in_words(dollars(max(0, refusal.cap_picousd - refusal.spent_picousd)))
    need = in_words(dollars(refusal.need_picousd))
    told = f"the budget “{row.budget}” has {left} left, and this call may cost up to {need}"
    if not refusal.is_for_good:
        told += f"; {in_words(dollars(refusal.reserved_picousd))} of it are set aside for others"
    return f"{told}. {begins_anew(row.ends_at)}", member_line(row, is_for_good=refusal.is_for_good)


def member_line(period: BudgetPeriod, *, is_for_good: bool = True) -> str:
    """Return what a member reads when a period has no room for their request."""
    budget = period.budget
    cap = f"{in_words(dollars(period.cap_picousd))} {INTERVAL_WORDS[budget.interval]}"
    if budget.scope in OF_MEMBERS:
        spent = in_words(dollars(period.spent_picousd))
        told = f"You've used {spent} of the {cap} that the team's key may spend for you."
    else:
        told = f"A budget of the team's key ({cap}) has no room for this."
    return f"{told} {begins_anew(period.ends_at) if is_for_good else _OTHERS}"

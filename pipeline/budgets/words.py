"""What operators and members read when a budget has no room for a call."""

from __future__ import annotations

from agents.display import dollars as in_words
from pipeline.budgets.intervals import starts_again
from pipeline.budgets.money import dollars
from pipeline.budgets.turns import Refusal
from pipeline.models.budgets import INTERVAL_WORDS, OF_MEMBERS, BudgetPeriod

_OTHERS = "Other requests have set aside what is left of the budget. Please try again in a minute."
_RAISE = "An admin can raise it."


def explained(refusal: Refusal) -> tuple[str, str]:
    """Return why a call was refused, in a sentence for the record and one for the member."""
    found = BudgetPeriod.objects.select_related("budget__member").filter(pk=refusal.period_id)
    period = found.first()
    if period is None:
        return "the call's budget was deleted meanwhile", "Please try again."
    left = in_words(dollars(max(0, refusal.cap_picousd - refusal.spent_picousd)))
    need = in_words(dollars(refusal.need_picousd))
    told = f"the budget “{period.budget}” has {left} left, and this call may cost up to {need}"
    if not refusal.is_for_good and refusal.reserved_picousd:
        set_aside = in_words(dollars(refusal.reserved_picousd))
        told += f"; {set_aside} of that is set aside for other calls"
    return f"{told}. {starts_again(period.ends_at)}", _for_member(refusal, period)


def _for_member(refusal: Refusal, period: BudgetPeriod) -> str:
    if not refusal.is_for_good:
        return _OTHERS
    is_own = period.budget.scope in OF_MEMBERS
    if refusal.need_picousd > refusal.cap_picousd:
        need = in_words(dollars(refusal.need_picousd))
        limit = f"your limit is {_cap(period)}" if is_own else "the team's budget is smaller"
        return f"This request may cost up to {need}, and {limit}. {_RAISE}"
    end = _RAISE if period.ends_at is None else starts_again(period.ends_at)
    if not is_own:
        return f"A budget of the team's key is used up. {end}"
    return f"{_used(period)} This request may cost more than what is left. {end}"


def used_up(period: BudgetPeriod) -> str:
    """Return what a member reads whose own budget has little or nothing left."""
    return f"{_used(period)} {starts_again(period.ends_at)}"


def _used(period: BudgetPeriod) -> str:
    spent = in_words(dollars(period.spent_picousd))
    return f"You've used {spent} of the {_cap(period)} that the team's key may spend for you."


def _cap(period: BudgetPeriod) -> str:
    return f"{in_words(dollars(period.cap_picousd))} {INTERVAL_WORDS[period.budget.interval]}"

"""The admin page of budgets: what the team's key may spend, what it has spent, who was refused."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from django import forms
from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet, Sum
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import display

from agents.display import ago, money
from agents.display import dollars as in_words
from agents.guarded_admin import GuardedModelAdmin
from agents.registry import default_registry
from pipeline.budgets.intervals import starts_again
from pipeline.budgets.money import dollars
from pipeline.budgets.queries import current, owners
from pipeline.budgets.upkeep import apply_cap, lock
from pipeline.models import Budget, BudgetPeriod, PeriodicJob, Reservation
from pipeline.models.budgets import Scope

MAX_SHOWN = 50  # periods of a budget for each member
BAR_WIDTH, BAR_HEIGHT = 160, 8  # pixels


class BudgetForm(forms.ModelForm):
    """A new budget, or a new cap."""

    def clean(self) -> dict[str, Any]:
        """Check that a budget of one agent names one of our agents."""
        data: dict[str, Any] = super().clean() or {}
        if data.get("scope") == Scope.AGENT:
            known = [agent.name for agent in default_registry()]
            if data.get("name") not in known:
                self.add_error("name", f"There is no such agent. There are {', '.join(known)}.")
        return data


@admin.register(Budget)
class BudgetAdmin(GuardedModelAdmin):
    """Budgets, with the sums of their current interval."""

    form = BudgetForm
    list_title = "Budgets"
    empty_title = "No budgets"
    empty_text = "Nothing limits what the team key may spend. Add a budget to change that."
    list_display = ["__str__", "spending", "refused", "renewal"]
    list_filter = ["scope", "interval"]
    list_select_related = ["member"]
    fields = ["scope", "name", "member", "interval", "cap_usd"]

    def get_fields(self, request: HttpRequest, obj: Budget | None = None) -> Any:
        if obj is None:
            return self.fields
        whose = ["name"] if obj.name else ["member"] if obj.member_id else []
        return ["scope", *whose, "interval", "cap_usd", "periods"]

    def get_readonly_fields(self, request: HttpRequest, obj: Budget | None = None) -> Any:
        return ["scope", "name", "member", "interval", "periods"] if obj else []

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        texts = {
            "help_texts": {
                "cap_usd": "The most that calls may cost in one interval. Before a call is sent, "
                "the most that it can cost is set aside; a call that does not fit is refused."
            }
        }
        return super().get_form(request, obj, change=change, **{**texts, **kwargs})

    @display(description="this interval")
    def spending(self, budget: Budget) -> str:
        periods = list(_periods(budget)[:1])
        if not periods:
            return "Nothing spent yet"
        owner = owners(periods).get(periods[0].pk, "")
        most = f"Most: {owner}. " if owner else ""
        return format_html("{} {}{}", _bar(periods[0]), most, _sums(periods[0]))

    @display(description="refused requests")
    def refused(self, budget: Budget) -> int:
        return _periods(budget).aggregate(sum=Sum("refusals"))["sum"] or 0

    @display(description="starts again")
    def renewal(self, budget: Budget) -> str:
        return budget.get_interval_display()

    @display(description="this interval", empty_value="Nothing spent yet")
    def periods(self, budget: Budget) -> str | None:
        """Show each period with its bar, the ones that spent most first."""
        found = list(_periods(budget)[:MAX_SHOWN])
        if not found:
            return None
        names = owners(found)
        shown = bars((period, names.get(period.pk, "")) for period in found)
        return format_html("{}<p>{}</p>", shown, starts_again(found[0].ends_at))

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Count the rows that go along, which are too many to list."""
        found = list(objs)
        reserved = Reservation.objects.filter(period__budget__in=found).count()
        counts = {
            "budgets": len(found),
            "intervals": BudgetPeriod.objects.filter(budget__in=found).count(),
            "calls' amounts": reserved,
        }
        return [str(budget) for budget in found], counts, set(), []

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Budget]) -> None:
        _lock_periods(BudgetPeriod.objects.filter(budget__in=queryset))
        super().delete_queryset(request, queryset)
        transaction.on_commit(_recount)

    def delete_model(self, request: HttpRequest, obj: Budget) -> None:
        _lock_periods(obj.periods.all())
        super().delete_model(request, obj)
        transaction.on_commit(_recount)

    def save_model(self, request: HttpRequest, obj: Budget, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        apply_cap(obj.pk, timezone.now())
        # The job counts what was spent before the budget was made.
        transaction.on_commit(partial(PeriodicJob.hasten, PeriodicJob.BUDGETS))


def bars(periods: Iterable[tuple[BudgetPeriod, str]]) -> SafeString:
    """Return a paragraph for each period, with whose it is unless that is empty."""
    return format_html_join(
        "",
        "<p>{} {}{}{}</p>",
        (
            (_bar(period), f"{whose}: " if whose else "", _sums(period), _refusals(period))
            for period, whose in periods
        ),
    )


def _recount() -> None:
    """Have the job count all budgets from the start of their intervals.

    What one for each member did not count while a member had one of their own counts now.
    """
    job = PeriodicJob.objects.filter(name=PeriodicJob.BUDGETS)
    job.update(last_result={}, due_at=timezone.now())


def _lock_periods(periods: QuerySet[BudgetPeriod]) -> None:
    """Have no call reserve for periods that are about to be deleted with their reservations."""
    with transaction.atomic():
        lock(periods)


def _periods(budget: Budget) -> Any:
    return current(timezone.now()).filter(budget=budget).order_by("-spent_picousd", "pk")


def _sums(period: BudgetPeriod) -> SafeString:
    reserved, unknown = dollars(period.reserved_picousd), dollars(period.unknown_picousd)
    return format_html(
        "{} of {} spent{}{}",
        money(dollars(period.spent_picousd)),
        money(dollars(period.cap_picousd)),
        format_html(", {} set aside", money(reserved)) if reserved else "",
        format_html(", {} at most for calls of unknown cost", money(unknown)) if unknown else "",
    )


def _refusals(period: BudgetPeriod) -> SafeString | str:
    if not period.refusals:
        return ""
    return format_html("; {} refused, last {}", period.refusals, ago(period.last_refused_at))


def _bar(period: BudgetPeriod) -> SafeString:
    """Return a bar of what is spent and what is set aside, in proportion to the cap."""
    not_spent = period.reserved_picousd + period.unknown_picousd
    cap = max(1, period.cap_picousd, period.spent_picousd + not_spent)
    spent = round(BAR_WIDTH * period.spent_picousd / cap)
    reserved = round(BAR_WIDTH * not_spent / cap)
    title = (
        f"{in_words(dollars(period.spent_picousd))} spent, "
        f"{in_words(dollars(not_spent))} set aside, "
        f"cap {in_words(dollars(period.cap_picousd))}"
    )
    return format_html(
        '<svg class="budget-bar" width="{w}" height="{h}" role="img" aria-label="{title}">'
        "<title>{title}</title>"
        '<rect width="{w}" height="{h}" rx="4" fill="currentColor" opacity="0.15"/>'
        '<rect width="{both}" height="{h}" rx="4" fill="currentColor" opacity="0.35"/>'
        '<rect width="{spent}" height="{h}" rx="4" fill="currentColor"/></svg>',
        w=BAR_WIDTH,
        h=BAR_HEIGHT,
        title=title,
        both=min(BAR_WIDTH, spent + reserved),
        spent=min(BAR_WIDTH, spent),
    )

"""Budgets: what the shared key may spend, by scope and interval.

`pipeline.budgets` is the only writer of periods and reservations. Amounts are whole numbers of
picodollars (10⁻¹² dollars), because a price per token has up to ten decimals and SQLite would add
dollars as floats. When a member erases everything, the sums of their current periods stay, as their
other recent usage does, without a reference to their calls; earlier periods are deleted.
"""

from __future__ import annotations

from decimal import Decimal

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import F, Q

from agents.display import dollars


class Scope(models.TextChoices):
    """Which calls on the shared key count for a budget."""

    SHARED_KEY = "shared key", "All calls on the team key"
    AGENT = "agent", "One agent"
    MODEL = "model", "One model"
    EACH_MEMBER = "each member", "Each member"
    MEMBER = "member", "One member"
    TRIALS = "trials", "Each operator's trials and reruns"


NAMED = (Scope.AGENT, Scope.MODEL)  # scopes with a `name`
# Unknown costs count here as estimated, so that crashes do not lock a member out for a day.
OF_MEMBERS = (Scope.EACH_MEMBER, Scope.MEMBER)


class Interval(models.TextChoices):
    """How often a budget starts again, in TIME_ZONE."""

    DAY = "day", "Every day"
    WEEK = "week", "Every week, on Monday"
    MONTH = "month", "Every month"
    ONCE = "once", "Never"


class Budget(models.Model):
    """A cap in dollars for each interval of a scope."""

    scope = models.CharField(max_length=12, choices=Scope)
    name = models.CharField(
        "agent or model",
        max_length=200,
        blank=True,
        help_text="Only for one agent, its name, and for one model, its ID.",
    )
    member = models.ForeignKey(
        "pipeline.Member",
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="budgets",
        help_text="Only for one member, for whom this replaces a budget for each member with the "
        "same interval.",
    )
    interval = models.CharField(
        "starts again", max_length=5, choices=Interval, default=Interval.DAY
    )
    cap_usd = models.DecimalField(
        "cap in dollars",
        max_digits=12,
        decimal_places=6,
        validators=[MinValueValidator(Decimal("0.000001"))],
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["scope", "name", "member", "interval"]
        constraints = [
            models.UniqueConstraint(
                fields=["scope", "name", "interval"],
                condition=Q(member=None),
                name="budget_once",
                violation_error_message="There is such a budget already. Change its cap instead.",
            ),
            models.UniqueConstraint(
                fields=["member", "interval"],
                condition=~Q(member=None),
                name="budget_once_a_member",
                violation_error_message="This member has such a budget already. Change its cap "
                "instead.",
            ),
            models.CheckConstraint(condition=Q(cap_usd__gt=0), name="budget_cap_positive"),
            models.CheckConstraint(
                condition=Q(scope__in=NAMED) & ~Q(name="") | ~Q(scope__in=NAMED) & Q(name=""),
                name="budget_name_where_needed",
                violation_error_message="A budget of one agent or model needs its name; others "
                "have none.",
            ),
            models.CheckConstraint(
                condition=Q(scope=Scope.MEMBER, member__isnull=False)
                | ~Q(scope=Scope.MEMBER) & Q(member=None),
                name="budget_member_where_needed",
                violation_error_message="A budget of one member needs the member; others have "
                "none.",
            ),
        ]

    def __str__(self) -> str:
        whose = self.get_scope_display()
        if self.name or self.member_id:
            whose = f"{whose}: {self.name or self.member}"
        return f"{whose}, {dollars(self.cap_usd)} {INTERVAL_WORDS[self.interval]}"


INTERVAL_WORDS = {
    Interval.DAY.value: "a day",
    Interval.WEEK.value: "a week",
    Interval.MONTH.value: "a month",
    Interval.ONCE.value: "in all",
}


class BudgetPeriod(models.Model):
    """The sums of one budget in one interval, and for one member or operator if it is for each."""

    budget = models.ForeignKey(Budget, on_delete=models.CASCADE, related_name="periods")
    # Of a budget for each member the member's row, for each operator's trials the user name.
    key = models.CharField(max_length=150, blank=True)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True, blank=True)  # None: never
    cap_picousd = models.BigIntegerField()
    reserved_picousd = models.BigIntegerField(default=0)  # for calls under way
    unknown_picousd = models.BigIntegerField(default=0)  # what ended calls may have cost
    spent_picousd = models.BigIntegerField(default=0)
    # By how much the three amounts exceed the cap: a call was dearer than reserved, or the cap was
    # lowered.
    over_picousd = models.BigIntegerField(default=0)
    refusals = models.PositiveIntegerField(default=0)
    last_refused_at = models.DateTimeField(null=True, blank=True)
    # When the member was last told that little is left.
    member_told_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-starts_at", "budget", "key"]
        constraints = [
            models.UniqueConstraint(
                fields=["budget", "key", "starts_at"], name="budget_period_once"
            ),
            models.CheckConstraint(
                condition=Q(
                    reserved_picousd__gte=0,
                    unknown_picousd__gte=0,
                    spent_picousd__gte=0,
                    over_picousd__gte=0,
                ),
                name="budget_period_not_negative",
            ),
            models.CheckConstraint(
                condition=Q(
                    reserved_picousd__lte=F("cap_picousd")
                    + F("over_picousd")
                    - F("unknown_picousd")
                    - F("spent_picousd")
                ),
                name="budget_period_within_cap",
            ),
        ]
        indexes = [models.Index(fields=["starts_at"], name="budget_period_started")]

    def __str__(self) -> str:
        return f"{self.budget_id} {self.key} from {self.starts_at:%Y-%m-%d}"


class ReservationState(models.TextChoices):
    """What has become of the amount that was set aside for a call."""

    HELD = "held", "Set aside: the call is under way"
    UNKNOWN = "unknown", "Set aside: it is not known whether the call was charged"
    BOOKED = "booked", "Booked at its cost"
    BOOKED_AT_MOST = "at most", "Booked at what it can have cost: its cost was never found out"
    RELEASED = "released", "Released: the call cost nothing"


OPEN_STATES = (ReservationState.HELD, ReservationState.UNKNOWN)


class Reservation(models.Model):
    """The amount set aside for one call in one period, and what was booked for it."""

    # No foreign key: the sums stay when old calls are deleted.
    call_id = models.UUIDField(editable=False)
    period = models.ForeignKey(BudgetPeriod, on_delete=models.CASCADE, related_name="reservations")
    picousd = models.BigIntegerField()  # set aside, or booked
    estimate_picousd = models.BigIntegerField(default=0)  # what such a call usually costs
    state = models.CharField(max_length=8, choices=ReservationState, default=ReservationState.HELD)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["call_id", "period"], name="reserved_once_a_period"),
            models.CheckConstraint(condition=Q(picousd__gte=0), name="reservation_not_negative"),
        ]
        # Not of open ones alone: SQLite would use such an index only for a literal condition.
        indexes = [models.Index(fields=["state", "created_at"], name="reservation_state")]

    def __str__(self) -> str:
        return f"{self.call_id}: {self.picousd} ({self.state})"

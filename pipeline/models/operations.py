"""Usage rollups, periodic jobs and alerts.

Rollups sum closed hours and days, so that no page sums millions of calls; their only reader and
writer is `pipeline.operations.usage`. They name agents, models and payers, never a member or a
text, so they are kept when members and texts are deleted.
"""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from agents.llm.base import Payer


class Period(models.TextChoices):
    """The length of a rollup."""

    HOUR = "hour", "Hour"
    DAY = "day", "Day, in UTC"


class UsageRollup(models.Model):
    """The usage of one agent on one model and payer, in an hour or a day.

    Steps and calls are those of traffic (`pipeline.models.sources`). Dollars and tokens are those
    of all runs, since they were paid; the columns `other_…` tell which part is not traffic's. Rows
    that releases before these columns wrote count all runs as traffic.
    """

    period = models.CharField(max_length=4, choices=Period, db_column="span")
    starts_at = models.DateTimeField()
    agent = models.CharField(max_length=100)
    # For steps the model that was chosen, for calls the model that was requested: they differ when
    # a call used the fallback.
    model_id = models.CharField(max_length=200, blank=True)
    payer = models.CharField(
        max_length=10,
        blank=True,
        db_column="purse",
        choices=[(payer.value, payer.value) for payer in Payer],
    )
    steps = models.PositiveBigIntegerField(default=0)
    failed_steps = models.PositiveBigIntegerField(default=0)
    step_times = models.JSONField(default=dict)  # {bucket: steps}, see `operations.aggregates`
    calls = models.PositiveBigIntegerField(default=0)
    failed_calls = models.PositiveBigIntegerField(default=0)
    mismatches = models.PositiveBigIntegerField(default=0)
    fallbacks = models.PositiveBigIntegerField(default=0)
    unpriced_calls = models.PositiveBigIntegerField(default=0)  # may have cost something
    cut_answers = models.PositiveBigIntegerField(default=0, db_default=0)
    mended_answers = models.PositiveBigIntegerField(default=0, db_default=0)
    cost_usd = models.DecimalField(max_digits=26, decimal_places=12, default=0)
    input_tokens = models.PositiveBigIntegerField(default=0)
    output_tokens = models.PositiveBigIntegerField(default=0)
    other_cost_usd = models.DecimalField(max_digits=26, decimal_places=12, default=0, db_default=0)
    other_input_tokens = models.PositiveBigIntegerField(default=0, db_default=0)
    other_output_tokens = models.PositiveBigIntegerField(default=0, db_default=0)

    class Meta:
        db_table = "pipeline_figures"
        constraints = [
            models.UniqueConstraint(
                fields=["period", "starts_at", "agent", "model_id", "payer"], name="figures_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.agent} on {self.model_id}, {self.get_period_display()} of {self.starts_at}"


class ClosedPeriod(models.Model):
    """An hour or a day with complete rollups; open ones are summed at each query."""

    period = models.CharField(max_length=4, choices=Period, db_column="span")
    starts_at = models.DateTimeField()

    class Meta:
        db_table = "pipeline_closedspan"
        constraints = [
            models.UniqueConstraint(fields=["period", "starts_at"], name="span_closed_once")
        ]

    def __str__(self) -> str:
        return f"{self.get_period_display()} of {self.starts_at}"


class PeriodicJob(models.Model):
    """A periodic job: when it is due, and its last result. One process claims each due time."""

    name = models.CharField(primary_key=True, max_length=40)
    due_at = models.DateTimeField()
    last_result = models.JSONField(default=dict, db_column="found")

    ALERTS = "concerns"  # the job that sends alerts
    CHANGES = "override changes"  # the job that tells of changes of the overrides
    WEBHOOK = "change webhook"  # the job that posts changes of the overrides to the webhook
    BUDGETS = "budgets"  # the job that counts calls without a reservation, and settles dead ones

    class Meta:
        db_table = "pipeline_chore"

    def __str__(self) -> str:
        return self.name

    @classmethod
    def hasten(cls, name: str) -> None:
        """Make a job due now, because there is something for it to do."""
        cls.objects.filter(name=name).update(due_at=timezone.now())


class AlertNotification(models.Model):
    """An alert sent to the operators' chat; kept while the alert lasts, so that it is sent once."""

    key = models.CharField(primary_key=True, max_length=300)
    sent_at = models.DateTimeField(auto_now_add=True, db_column="told_at")

    class Meta:
        db_table = "pipeline_toldconcern"

    def __str__(self) -> str:
        return self.key

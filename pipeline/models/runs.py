"""The record of all runs: PipelineRun → StepRun → LLMCall; identical texts are stored only once.

`pipeline.journal.records` is the only writer. A call's row, with its step and its run, is committed
before the request is sent and completed after the answer, so that a call interrupted by a crash
remains visible.
"""

from __future__ import annotations

import re
import uuid
from datetime import datetime, timedelta
from enum import StrEnum

from django.db import models

from agents.llm.base import Payer
from agents.llm.causes import Cause
from agents.llm.completion import CostSource

# Causes of failed calls that show that a model lacks what its agent needs; equal to
# `agents.llm.causes.UNFIT`.
UNFIT_CAUSES = [Cause.SCHEMA.value, Cause.LIMIT.value, Cause.PICTURE.value]


class RunStatus(models.TextChoices):
    """The status of a run."""

    WAITING = "waiting", "Waiting for a worker"
    RUNNING = "running", "Running"
    OK = "ok", "Answered"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"
    INTERRUPTED = "interrupted", "Interrupted by a restart"
    GIVEN_UP = "given_up", "Given up: every attempt failed"


class StepStatus(models.TextChoices):
    """The status of a step run."""

    WAITING = "waiting", "Waiting for a worker"
    RUNNING = "running", "Running"
    OK = "ok", "Done"
    FAILED = "failed", "Failed"
    SKIPPED = "skipped", "Skipped: what it needs is missing"
    CANCELLED = "cancelled", "Cancelled"
    INTERRUPTED = "interrupted", "Interrupted by a restart"


class DecisionSource(models.TextChoices):
    """What determined the model of a step."""

    OVERRIDE = "override", "An override"
    NO_SHARED_KEY = "no shared key", "The default: an override without a shared key has no effect"
    DEFAULT = "default", "The default: there is no override"
    GIVEN = "given", "The caller of the run"


class StepMode(StrEnum):
    """How a step runs relative to the other steps."""

    SEQUENTIAL = "sequential"  # after the steps before it
    PARALLEL = "parallel"  # together with the parallel steps next to it
    BACKGROUND = "background"  # started in its turn; the run does not wait for it


class CallStatus(models.TextChoices):
    """The status of an LLM call."""

    RUNNING = "running", "Under way"
    OK = "ok", "Answered"
    ERROR = "error", "Error"
    UNKNOWN = "unknown", "Outcome unknown: it may have been charged"
    INTERRUPTED = "interrupted", "Interrupted by a restart: it may have been charged"


class Source(models.TextChoices):
    """Where a run came from."""

    TELEGRAM = "telegram", "Telegram"
    SHELL = "shell", "Shell"
    RERUN = "again", "Run again by an operator"
    TRIAL = "trial", "Trial of a model"


class TextBlob(models.Model):
    """A content-addressed text, sent or received; `pipeline.journal.text_store` writes it."""

    sha256 = models.CharField(primary_key=True, max_length=64, editable=False)
    text = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "pipeline_prompttext"
        verbose_name = "prompt or answer text"

    def __str__(self) -> str:
        return self.sha256[:8]


def kind_of(error: str) -> str:
    """Return the class name at the start of an error text, for rows without an `error_type`.

    Other error texts yield "failed", and no error yields "". The rest of a text quotes models,
    vendors and sometimes members.
    """
    kind = re.match(r"\w+(?=: |\Z)", error)
    return kind[0] if kind else "failed" if error else ""


def text_field() -> models.ForeignKey[TextBlob | None, TextBlob | None]:
    """Return a foreign key to a text, which may be deleted while the figures stay."""
    return models.ForeignKey(
        TextBlob, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )


class PipelineRun(models.Model):
    """One execution of a pipeline for one message."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    pipeline = models.CharField(max_length=100)
    member = models.ForeignKey(
        "pipeline.Member", null=True, blank=True, on_delete=models.SET_NULL, related_name="runs"
    )
    source = models.CharField(max_length=10, choices=Source)
    update = models.OneToOneField(
        "pipeline.TelegramUpdate",
        null=True,
        blank=True,
        editable=False,
        on_delete=models.SET_NULL,
        related_name="run",
    )
    # The original run, whose inputs this rerun uses with a later configuration.
    rerun_of = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        db_column="again_of_id",
        on_delete=models.SET_NULL,
        related_name="reruns",
    )
    # The operator who started a trial or a rerun.
    started_by = models.CharField(max_length=150, blank=True, default="", db_default="")
    # A trial on a recorded step: reading it needs the permission to read members' texts.
    has_recorded_texts = models.BooleanField(default=False, db_default=False)
    status = models.CharField(max_length=12, choices=RunStatus, default=RunStatus.RUNNING)
    # The fencing token of the current attempt; a worker that was presumed dead has an older one.
    attempt_token = models.UUIDField(null=True, blank=True, editable=False)
    definition = text_field()  # the pipeline as it was when the run started
    user_message = text_field()
    background = text_field()  # playbook, memory, casebook and scenario as the agents saw them
    image = text_field()  # base64
    answer = text_field()
    # Summed over the calls, so that a list reads no calls; see `call_rows.complete_call`.
    cost_usd = models.DecimalField(  # null: no charge is known
        "cost", max_digits=20, decimal_places=12, null=True, blank=True
    )
    has_mismatch = models.BooleanField("served by another model", default=False, db_default=False)
    has_fallback = models.BooleanField("on DEFAULT_MODEL", default=False, db_default=False)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "run"
        ordering = ["-started_at"]
        # In the order of the list, including the id, so that a page is read from the index.
        indexes = [
            models.Index(fields=["-started_at", "-id"], name="run_started"),
            models.Index(fields=["status", "-started_at", "-id"], name="run_status_started"),
            models.Index(fields=["pipeline", "-started_at", "-id"], name="run_pipeline_started"),
            models.Index(fields=["member", "-started_at", "-id"], name="run_member_started"),
            models.Index(fields=["source", "-started_at", "-id"], name="run_source_started"),
            models.Index(
                fields=["-cost_usd"], name="run_cost", condition=models.Q(cost_usd__isnull=False)
            ),
            models.Index(
                fields=["-started_at", "-id"],
                name="run_mismatch",
                condition=models.Q(has_mismatch=True),
            ),
            models.Index(
                fields=["-started_at", "-id"],
                name="run_fallback",
                condition=models.Q(has_fallback=True),
            ),
        ]
        permissions = [
            ("view_texts", "Can read the prompts and answers of runs"),
            ("run_again", "Can run a run again, on the shared key"),
        ]

    def __str__(self) -> str:
        return f"{self.pipeline} {str(self.id)[:8]}"

    @property
    def took_ms(self) -> int | None:
        """The duration of the run in ms; None while it has not ended."""
        return _between_ms(self.started_at, self.ended_at)


class HasErrorKind:
    """A mixin for steps and calls: an error and its class."""

    error: str
    error_type: str

    @property
    def error_kind(self) -> str:
        """The class of the error, which unlike its text everyone may see; "" without an error."""
        return self.error_type or kind_of(self.error)


class StepRun(HasErrorKind, models.Model):
    """One attempt at one step, with the reason for the model it ran on."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    run = models.ForeignKey(
        PipelineRun, on_delete=models.CASCADE, related_name="steps", db_index=False
    )
    position = models.PositiveSmallIntegerField()
    attempt = models.PositiveSmallIntegerField(default=1)  # 2 or more after a restart
    attempt_token = models.UUIDField(null=True, blank=True, editable=False)
    agent = models.CharField(max_length=100)
    mode = models.CharField(max_length=12)
    status = models.CharField(max_length=12, choices=StepStatus, default=StepStatus.RUNNING)
    decision = models.TextField(blank=True)
    provider = models.CharField(max_length=30, blank=True)
    requested_model = models.CharField(max_length=200, blank=True)
    payer = models.CharField(
        max_length=10,
        blank=True,
        db_column="purse",
        choices=[(payer.value, payer.value) for payer in Payer],
    )
    override_version = models.PositiveBigIntegerField(null=True, blank=True)
    snapshot_version = models.CharField(max_length=40, blank=True)
    snapshot_age_ms = models.PositiveIntegerField(null=True, blank=True)
    is_stale = models.BooleanField("snapshot was stale", default=False)
    # The reason for the model; empty in rows older than these columns, whose `decision` has the
    # reason as a sentence.
    decision_source = models.CharField(
        max_length=13, choices=DecisionSource, blank=True, default="", db_default=""
    )
    is_outside_change = models.BooleanField(  # of the override, or its removal
        "changed outside the admin", default=False, db_default=False
    )
    # The version that the override's row claims, whether the override is in effect or not.
    said_version = models.PositiveBigIntegerField(null=True, blank=True)
    set_by = models.CharField(max_length=150, blank=True, default="", db_default="")
    set_at = models.DateTimeField(null=True, blank=True)
    given_because = models.CharField(max_length=200, blank=True, default="", db_default="")
    has_called = models.BooleanField("a model was asked", null=True, blank=True)
    fell_back_to = models.CharField(max_length=200, blank=True, default="", db_default="")
    error_type = models.CharField(max_length=100, blank=True, default="", db_default="")
    inputs = text_field()
    output = text_field()
    reply = text_field()  # the output as Markdown for a person
    was_repaired = models.BooleanField("JSON was repaired", default=False)
    error = models.TextField(blank=True)
    member_line = models.CharField(max_length=200, blank=True)  # error text for members
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "step run"
        ordering = ["run", "position", "attempt"]
        constraints = [
            models.UniqueConstraint(
                fields=["run", "position", "attempt"], name="step_run_once_an_attempt"
            )
        ]
        indexes = [
            models.Index(fields=["-started_at"], name="step_started"),
            models.Index(fields=["agent", "-started_at"], name="step_agent_started"),
            models.Index(fields=["requested_model", "-started_at"], name="step_model_started"),
            models.Index(fields=["payer", "-started_at"], name="step_purse_started"),
            # Covers the filters of the list of runs, so that they need not read the rows.
            models.Index(
                fields=["run", "payer", "agent", "requested_model", "started_at"],
                name="step_of_run",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.agent} ({self.status})"

    @property
    def took_ms(self) -> int | None:
        """The duration of the step in ms; None while it has not ended."""
        return _between_ms(self.started_at, self.ended_at)


class LLMCall(HasErrorKind, models.Model):
    """One HTTP request to a provider; its row is written before the request is sent."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    step = models.ForeignKey(StepRun, on_delete=models.CASCADE, related_name="calls")
    number = models.PositiveSmallIntegerField("attempt")
    status = models.CharField(max_length=12, choices=CallStatus, default=CallStatus.RUNNING)
    provider = models.CharField(max_length=30)
    requested_model = models.CharField(max_length=200)
    served_model = models.CharField(max_length=200, blank=True)
    # The company behind a gateway that ran the model or refused to, as named by the gateway.
    upstream = models.CharField(max_length=100, blank=True, default="", db_default="")
    is_mismatch = models.BooleanField("served by another model", default=False)
    is_fallback = models.BooleanField("on DEFAULT_MODEL after a failure", default=False)
    payer = models.CharField(
        max_length=10,
        db_column="purse",
        choices=[(payer.value, payer.value) for payer in Payer],
    )
    key_fingerprint = models.CharField("key", max_length=8)
    system_prompt = text_field()
    user_message = text_field()
    has_image = models.BooleanField(default=False)
    output = text_field()
    input_tokens = models.PositiveIntegerField(null=True, blank=True)
    output_tokens = models.PositiveIntegerField(null=True, blank=True)
    cached_input_tokens = models.PositiveIntegerField(null=True, blank=True)
    reasoning_tokens = models.PositiveIntegerField(null=True, blank=True)
    # Twelve decimals: a price per token has up to ten, and sums must match to the last digit.
    cost_usd = models.DecimalField(max_digits=20, decimal_places=12, null=True, blank=True)
    cost_source = models.CharField(
        max_length=10,
        choices=[(source.value, source.value) for source in CostSource],
        default=CostSource.UNKNOWN.value,
    )
    finish_reason = models.CharField(max_length=40, blank=True)
    is_cut = models.BooleanField("answer was cut", default=False, db_default=False)
    # Why the call failed; see `agents.llm.causes`. "": it did not, or the row is older than this
    # column.
    cause = models.CharField(max_length=20, blank=True, default="", db_default="")
    generation_id = models.CharField(max_length=200, blank=True)
    http_status = models.PositiveSmallIntegerField(null=True, blank=True)
    error = models.TextField(blank=True)
    error_type = models.CharField(max_length=100, blank=True, default="", db_default="")
    latency_ms = models.PositiveIntegerField(null=True, blank=True)
    started_at = models.DateTimeField()

    class Meta:
        verbose_name = "LLM call"
        ordering = ["step", "started_at"]
        indexes = [
            models.Index(fields=["-started_at"], name="call_started"),
            models.Index(
                fields=["-started_at"],
                name="call_unfit",
                condition=models.Q(cause__in=UNFIT_CAUSES),
            ),
            models.Index(
                fields=["requested_model", "-started_at"],
                name="call_reasoning",
                condition=models.Q(reasoning_tokens__gt=0),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.requested_model} #{self.number} ({self.status})"


def _between_ms(start: datetime, end: datetime | None) -> int | None:
    return None if end is None else round((end - start) / timedelta(milliseconds=1))

"""Updates from Telegram, tasks to be done, and the bot's outgoing messages.

Each row is committed before its effect: the update before Telegram forgets it, the task before a
worker starts it, the message before it is sent. After a restart, everything needed is in here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

# Rows of buttons; each button is a label and the callback data that a press sends back.
Buttons: TypeAlias = Sequence[Sequence[tuple[str, str]]]


class TelegramUpdate(models.Model):
    """One update as Telegram delivered it, stored before it was parsed or acknowledged."""

    bot_id = models.BigIntegerField()
    update_id = models.BigIntegerField()
    kind = models.CharField(max_length=60)  # message, callback_query, …, including future kinds
    chat_id = models.BigIntegerField(null=True, blank=True)
    user_id = models.BigIntegerField(null=True, blank=True)
    album = models.CharField(max_length=64, blank=True)
    holds_key = models.BooleanField("held an API key, which is not kept", default=False)
    # The message that this one was joined to; both get one answer.
    joined_to = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.SET_NULL, related_name="joined"
    )
    raw = models.TextField()  # JSON in ASCII: PostgreSQL's own JSON type accepts no NUL
    received_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = "update"
        constraints = [
            models.UniqueConstraint(fields=["bot_id", "update_id"], name="update_stored_once")
        ]
        indexes = [models.Index(fields=["chat_id", "album"], name="update_of_album")]

    def __str__(self) -> str:
        return f"update {self.update_id}"


class TaskKind(models.TextChoices):
    """The kind of a task, which decides what it may run beside."""

    CONTROL = "control", "Update that waits for nothing"
    MESSAGE = "message", "Message, in the order of its chat"
    NOTICE = "notice", "Telling a member that a message is in line"
    GREETING = "greeting", "Telling a member that they are let in"
    STEP = "step", "Background step"
    RERUN = "again", "Run again for an operator"


class TaskStatus(models.TextChoices):
    """The status of a task."""

    READY = "waiting", "Queued"
    RUNNING = "running", "Running"
    SUCCESSFUL = "done", "Done"
    IGNORED = "ignored", "Ignored: nothing to do"
    MERGED = "merged", "Part of the message before it, and answered with that"
    DEAD_LETTER = "dead", "Failed"


class PermanentFailureKind(models.TextChoices):
    """Why a task can never succeed; other failures are identified by their exception class."""

    WORKER_DIED = "worker_died", "Its worker died every time"
    UNREADABLE = "unreadable", "Unreadable"
    OTHER_BOT = "other_bot", "Came to another bot"
    PERMANENT = "permanent", "Can't be done"


OPEN = (TaskStatus.READY, TaskStatus.RUNNING)


class Task(models.Model):
    """A queued unit of work, claimed by one worker at a time, and again if that worker dies."""

    kind = models.CharField(max_length=8, choices=TaskKind)
    lane = models.CharField(max_length=60, blank=True)  # empty: the task is in no lane
    update = models.ForeignKey(
        TelegramUpdate, null=True, blank=True, on_delete=models.CASCADE, related_name="tasks"
    )
    step = models.OneToOneField(
        "pipeline.StepRun", null=True, blank=True, on_delete=models.CASCADE, related_name="task"
    )
    run = models.OneToOneField(
        "pipeline.PipelineRun",
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="task",
    )
    status = models.CharField(max_length=8, choices=TaskStatus, default=TaskStatus.READY)
    # How often it was handed out since its last progress.
    delivery_count = models.PositiveSmallIntegerField(default=0, db_column="attempts")
    token = models.UUIDField(null=True, blank=True, editable=False)  # of the attempt that may write
    worker = models.CharField(max_length=200, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField(null=True, blank=True)  # not claimed before this time
    stop_requested = models.BooleanField(default=False)
    # A text so long that another part of it may follow; see `pipeline.queue.pastes`.
    is_paste = models.BooleanField(default=False, db_default=False)
    error = models.TextField(blank=True)
    # A `PermanentFailureKind` or the class of an exception: unlike the text, everyone may see it.
    error_type = models.CharField(max_length=100, blank=True, default="", db_default="")
    created_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(update__isnull=False, step__isnull=True, run__isnull=True)
                | Q(update__isnull=True, step__isnull=False, run__isnull=True)
                | Q(update__isnull=True, step__isnull=True, run__isnull=False),
                name="task_is_about_one_thing",
            ),
            models.UniqueConstraint(fields=["update", "kind"], name="task_once_an_update"),
        ]
        # Not partial: SQLite cannot use a partial index for a status that is a parameter.
        indexes = [models.Index(fields=["status", "kind", "lane", "id"], name="task_open_in_lane")]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"


class SendStatus(models.TextChoices):
    """The status of a message to a chat."""

    PENDING = "pending", "To be sent"
    SENDING = "sending", "On its way"
    SHOWN = "shown", "Placeholder shown, its text is to come"
    SENT = "sent", "Sent"
    AMBIGUOUS = "ambiguous", "Cut off on its way: nobody knows whether it arrived"
    REFUSED = "refused", "Refused by Telegram"


class ReplyKind(models.TextChoices):
    """The kind of a message that the bot sends."""

    ANSWER = "answer", "An answer of a run"
    LINE = "line", "A line of the bot's own"
    REFUSAL = "refusal", "A refusal, which does no harm if it is sent twice"


class OutgoingMessage(models.Model):
    """One message of the bot in reply to an update; number 0 is the placeholder and the answer."""

    update = models.ForeignKey(TelegramUpdate, on_delete=models.CASCADE, related_name="replies")
    number = models.PositiveSmallIntegerField()
    text = models.TextField(blank=True)  # empty: only a placeholder so far
    kind = models.CharField(max_length=7, choices=ReplyKind, blank=True, default="", db_default="")
    entities = models.JSONField(default=list, blank=True)
    picture = models.TextField(blank=True)  # a PNG in base64; the text is its caption
    file_name = models.CharField(max_length=60, blank=True)  # if set, the text is sent as this file
    buttons = models.JSONField(default=list, blank=True)  # rows of [label, callback data]
    message_id = models.BigIntegerField(null=True, blank=True)
    # The newest message id known just before it was sent: its own id, if it got one, is higher.
    sent_after = models.BigIntegerField(null=True, blank=True, editable=False)
    # The same for each time it was sent again because its arrival was unknown. None: it was sent by
    # a release before migration 0017, which did not record this.
    resent_after = models.JSONField(
        null=True, blank=True, editable=False, db_column="sent_again_after"
    )
    status = models.CharField(max_length=9, choices=SendStatus, default=SendStatus.PENDING)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = "outgoing message"
        constraints = [
            models.UniqueConstraint(fields=["update", "number"], name="reply_once_a_number")
        ]
        indexes = [models.Index(fields=["message_id"], name="reply_by_message_id")]

    def __str__(self) -> str:
        return f"reply {self.number} to {self.update}"


class SentAlert(models.Model):
    """An alert to the operators' chat, stored so that it is not lost or taken for a lost reply."""

    chat_id = models.CharField(max_length=64)
    text = models.TextField(blank=True)  # until it has arrived or is sent a second time
    buttons = models.JSONField(null=True, blank=True)  # as of an OutgoingMessage
    message_id = models.BigIntegerField(null=True, blank=True)  # None until Telegram has answered
    left_at = models.DateTimeField(default=timezone.now, db_index=True)

    def __str__(self) -> str:
        return f"alert {self.pk} in {self.chat_id}"


class Action(models.TextChoices):
    """The action of a button below an answer."""

    REGENERATE = "again", "🔄 Regenerate"
    SHORTER = "shorter", "✂️ Shorter"
    SAVE = "save", "📌 Save to casebook"
    WHY = "why", "❔ Why this model?"


class Press(models.Model):
    """A pressed button below an answer; its action is done once, however often it is pressed."""

    run = models.ForeignKey(
        "pipeline.PipelineRun", on_delete=models.CASCADE, related_name="presses"
    )
    action = models.CharField(max_length=8, choices=Action)
    update = models.OneToOneField(
        TelegramUpdate, on_delete=models.CASCADE, related_name="counted_press"
    )

    class Meta:
        verbose_name_plural = "presses"
        constraints = [models.UniqueConstraint(fields=["run", "action"], name="press_counts_once")]

    def __str__(self) -> str:
        return f"{self.action} of {self.run}"


class MovedChat(models.Model):
    """A group that became a supergroup; Telegram refuses its old id."""

    old_id = models.BigIntegerField(primary_key=True)
    new_id = models.BigIntegerField()
    noticed_at = models.DateTimeField(default=timezone.now, db_default=Now())

    class Meta:
        verbose_name = "moved chat"

    def __str__(self) -> str:
        return f"chat {self.old_id}, now {self.new_id}"


class Poller(models.Model):
    """When a bot last heard from Telegram; shown by `/readyz` and to operators."""

    bot_id = models.BigIntegerField(primary_key=True)
    username = models.CharField(max_length=64, blank=True)  # of the bot, for links to it
    heard_at = models.DateTimeField()
    trouble = models.TextField(blank=True)

    def __str__(self) -> str:
        return f"bot {self.bot_id}"

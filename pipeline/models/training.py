"""The training of members: scenarios, tracks, lessons, and exercises with their results."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone


class Scenario(models.Model):
    """One situation with a prospect that a member answers."""

    title = models.CharField(max_length=200, unique=True)
    difficulty = models.PositiveSmallIntegerField(
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(3)],
        help_text="1 easy, 3 hard",
    )
    text = models.TextField()
    good_answer = models.TextField(blank=True, help_text="What a good answer does; for the trainer")
    is_active = models.BooleanField("in use", default=True)

    class Meta:
        ordering = ["difficulty", "title"]

    def __str__(self) -> str:
        return self.title


class Track(models.Model):
    """A course of lessons, taken one level after the other."""

    title = models.CharField(max_length=100, unique=True)
    summary = models.CharField(max_length=200, blank=True)
    position = models.PositiveSmallIntegerField(default=0)
    is_active = models.BooleanField("in use", default=True)

    class Meta:
        ordering = ["position", "title"]

    def __str__(self) -> str:
        return self.title


class Lesson(models.Model):
    """One level of a track: a text to read, and an exercise on it."""

    track = models.ForeignKey(Track, on_delete=models.CASCADE, related_name="lessons")
    level = models.PositiveSmallIntegerField(validators=[MinValueValidator(1)])
    title = models.CharField(max_length=100)
    text = models.TextField(
        help_text="The lesson; at most 2,500 characters, so that it fits a message"
    )
    task = models.TextField(help_text="The exercise that the member answers")
    good_answer = models.TextField(blank=True, help_text="What a good answer does; for the trainer")

    class Meta:
        ordering = ["track", "level"]
        constraints = [
            models.UniqueConstraint(fields=["track", "level"], name="lesson_once_a_level")
        ]

    def __str__(self) -> str:
        return f"{self.track}, level {self.level}: {self.title}"


class Exercise(models.Model):
    """A lesson's exercise or a scenario that was given to a member, and the result."""

    member = models.ForeignKey(
        "pipeline.Member", on_delete=models.CASCADE, related_name="exercises"
    )
    lesson = models.ForeignKey(Lesson, null=True, blank=True, on_delete=models.CASCADE)
    scenario = models.ForeignKey(Scenario, null=True, blank=True, on_delete=models.CASCADE)
    asked_at = models.DateTimeField(default=timezone.now)
    # `asked_by` is the update that asked for the exercise; a member may answer by replying to the
    # bot's reply to it. `asked_after` is the newest update when the exercise was given or
    # reopened: earlier messages are not answers. It is an id, not a time, because clocks differ.
    asked_by = models.ForeignKey(
        "pipeline.TelegramUpdate",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="exercises_put",
    )
    asked_after = models.BigIntegerField(null=True, blank=True)
    # The update whose run judges the exercise: from then on no other message is the answer.
    answer = models.OneToOneField(
        "pipeline.TelegramUpdate",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="exercise",
    )
    is_open = models.BooleanField(default=True)
    score = models.PositiveSmallIntegerField(null=True, blank=True)  # 0 to 100
    criteria = models.JSONField(default=list, blank=True)  # [name, 0 to 10]
    xp = models.PositiveIntegerField(default=0)
    judged_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["asked_at"]
        constraints = [
            models.CheckConstraint(
                condition=Q(lesson__isnull=False, scenario__isnull=True)
                | Q(lesson__isnull=True, scenario__isnull=False),
                name="exercise_is_of_one_kind",
            ),
            models.UniqueConstraint(
                fields=["member"], condition=Q(is_open=True), name="exercise_one_open_a_member"
            ),
        ]
        indexes = [models.Index(fields=["member", "judged_at"], name="exercise_judged")]

    def __str__(self) -> str:
        return f"{self.lesson or self.scenario} for {self.member}"

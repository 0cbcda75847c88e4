"""What members train on."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models


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

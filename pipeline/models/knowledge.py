"""The team's knowledge: playbook and casebook; every agent may read them."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class PlaybookPage(models.Model):
    """One page of the team's playbook, in Markdown."""

    title = models.CharField(max_length=200, unique=True)
    text = models.TextField()
    position = models.PositiveIntegerField(default=0)
    is_active = models.BooleanField("in use", default=True)

    class Meta:
        ordering = ["position", "title"]

    def __str__(self) -> str:
        return self.title


class CasebookEntry(models.Model):
    """A case that a member saved for the team.

    It is used in that member's prompts at once, but in other members' prompts only after an
    operator has approved it, because it contains a member's text and a model's answer.
    """

    title = models.CharField(max_length=200)
    text = models.TextField()
    is_active = models.BooleanField("in use", default=True)
    is_approved = models.BooleanField(
        "approved for everyone",
        default=False,
        db_default=False,
        help_text="Until then only answers to the member who saved it use it",
    )
    run = models.OneToOneField(
        "pipeline.PipelineRun",
        null=True,
        blank=True,
        editable=False,
        on_delete=models.SET_NULL,
        related_name="case",
    )
    member = models.ForeignKey(
        "pipeline.Member", null=True, blank=True, on_delete=models.CASCADE, related_name="cases"
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = "case"
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.title

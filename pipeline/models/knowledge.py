"""What the team knows: the playbook, and past cases; every agent may read them."""

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
    """A case that a member thought worth keeping for the team.

    It reaches prompts of that member at once, and prompts of others once an operator has approved
    it: what a member wrote is in it, and what a model made of that.
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

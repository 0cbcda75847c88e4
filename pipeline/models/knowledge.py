"""What the team knows: the playbook that every agent may read."""

from __future__ import annotations

from django.db import models


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

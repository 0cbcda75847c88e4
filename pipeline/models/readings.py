"""Who read what members and models wrote: one row each time a page or a file with texts is sent."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone


class How(models.TextChoices):
    """In which way texts were read."""

    PAGE = "page", "Page"
    EXPORT = "export", "Export"
    AGAIN = "again", "Beside a run again"


class TextsRead(models.Model):
    """One reading: written before the texts are sent, and never changed."""

    operator = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    operator_name = models.CharField("operator", max_length=150)  # also once the account is gone
    run = models.ForeignKey(
        "pipeline.PipelineRun", null=True, on_delete=models.SET_NULL, related_name="readings"
    )
    task = models.ForeignKey(
        "pipeline.Task", null=True, on_delete=models.SET_NULL, related_name="readings"
    )
    how = models.CharField(max_length=8, choices=How)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = "reading of texts"
        verbose_name_plural = "readings of texts"
        ordering = ["-at"]
        indexes = [
            models.Index(fields=["-at"], name="reading_at"),
            models.Index(fields=["operator_name", "-at"], name="reading_operator_at"),
        ]

    def __str__(self) -> str:
        return f"{self.operator_name}, {self.at:%Y-%m-%d %H:%M:%S}"

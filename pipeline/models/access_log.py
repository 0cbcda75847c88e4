"""The access log: one row each time a page or a file with members' or models' texts is sent."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone


class AccessKind(models.TextChoices):
    """How texts were accessed."""

    PAGE = "page", "Page"
    EXPORT = "export", "Export"
    RERUN = "again", "Beside a run again"
    TRIAL = "trial", "Given again in a trial"


class TextsRead(models.Model):
    """One access to texts, written before they are sent and never changed.

    The class keeps its name because the roles' permission does: `view_textsread`.
    """

    operator = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    operator_name = models.CharField("operator", max_length=150)  # kept when the account is deleted
    run = models.ForeignKey(
        "pipeline.PipelineRun", null=True, on_delete=models.SET_NULL, related_name="accesses"
    )
    task = models.ForeignKey(
        "pipeline.Task", null=True, on_delete=models.SET_NULL, related_name="accesses"
    )
    how = models.CharField(max_length=8, choices=AccessKind)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = "text access"
        verbose_name_plural = "access log"
        ordering = ["-at"]
        indexes = [
            models.Index(fields=["-at"], name="reading_at"),
            models.Index(fields=["operator_name", "-at"], name="reading_operator_at"),
        ]

    def __str__(self) -> str:
        return f"{self.operator_name}, {self.at:%Y-%m-%d %H:%M:%S}"

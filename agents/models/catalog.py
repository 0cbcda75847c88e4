"""OpenRouter's models as last listed, and names that servers answer with.

Only `agents.catalog` writes the catalog.
"""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone


class CatalogModel(models.Model):
    """A model as last described by OpenRouter's list; rows of delisted models are kept.

    Prices are dollars per token, None if the list does not name them.
    """

    model_id = models.CharField("model", max_length=200, primary_key=True)
    name = models.CharField(max_length=200)
    canonical_slug = models.CharField(max_length=200, blank=True, db_index=True)
    alias_target = models.CharField(max_length=200, blank=True)
    context_tokens = models.PositiveIntegerField(null=True)
    max_completion_tokens = models.PositiveIntegerField(null=True)
    # Prices are below $1; SQLite holds 15 digits exactly.
    prompt_usd = models.DecimalField(max_digits=15, decimal_places=15, null=True)
    completion_usd = models.DecimalField(max_digits=15, decimal_places=15, null=True)
    # Dollars for each request, in addition to its tokens.
    request_usd = models.DecimalField(max_digits=15, decimal_places=15, null=True)
    price_overrides = models.JSONField(default=list)
    input_modalities = models.JSONField(default=list)
    output_modalities = models.JSONField(default=list)
    supported_parameters = models.JSONField(default=list)
    expires_on = models.DateField(null=True)
    created = models.DateTimeField(null=True)
    # A router forwards requests to a model of its choice, so any model may answer.
    is_router = models.BooleanField(default=False, db_default=False)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    vanished_at = models.DateTimeField("no longer listed since", null=True)
    # Only for models in use: facts from the endpoints that serve them.
    endpoints_seen_at = models.DateTimeField(null=True)
    endpoints = models.PositiveIntegerField(null=True)
    endpoints_with_schema = models.PositiveIntegerField(null=True)
    uptime_percent = models.FloatField("uptime of the best endpoint", null=True)

    class Meta:
        verbose_name = "model of the catalogue"
        verbose_name_plural = "models of the catalogue"
        ordering = ["model_id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(prompt_usd__gte=0) | Q(prompt_usd=None), name="catalog_prompt_price"
            ),
            models.CheckConstraint(
                condition=Q(completion_usd__gte=0) | Q(completion_usd=None),
                name="catalog_completion_price",
            ),
        ]

    def __str__(self) -> str:
        return self.model_id

    @property
    def author(self) -> str:
        return self.model_id.removeprefix("~").partition("/")[0]

    @property
    def has_structured_outputs(self) -> bool:
        """Whether at least one endpoint of the model can enforce a JSON schema."""
        if "structured_outputs" not in self.supported_parameters:
            return False
        return self.endpoints_with_schema is None or self.endpoints_with_schema > 0


class ServedName(models.Model):
    """A model name in a server's answer that differs from the requested one.

    Servers such as llama.cpp answer with a file path. Only an operator knows whether that is the
    same model. OpenRouter's names are compared by the catalog and have no rows here.
    """

    provider = models.CharField(max_length=30)
    requested_model = models.CharField("requested", max_length=200)
    served_model = models.CharField("served", max_length=200)
    is_same = models.BooleanField(
        "is the same model",
        default=False,
        db_default=False,
        help_text=(
            "From the next call on, this name is no mismatch. Calls on record stay as they are."
        ),
    )
    set_by = models.CharField(max_length=150, default="", db_default="", blank=True, editable=False)
    first_seen_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = "served name"
        ordering = ["is_same", "-first_seen_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["provider", "requested_model", "served_model"], name="served_name_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.requested_model} → {self.served_model}"

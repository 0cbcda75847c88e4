"""Describe, for operators, why a model does not suit an agent."""

from __future__ import annotations

from agents.base import Needs
from agents.models import CatalogModel


def lacks(model: CatalogModel, needs: Needs) -> list[str]:
    """Return the reasons why a model does not meet these needs, or will be gone; empty if none.

    Facts that the catalog does not report do not count against a model.
    """
    reasons = []
    if model.vanished_at is not None:
        reasons.append("no longer offered")
    elif model.expires_on is not None:
        reasons.append(f"retires on {model.expires_on:%Y-%m-%d}")
    return reasons + cannot(model, needs)


def cannot(model: CatalogModel, needs: Needs) -> list[str]:
    """Return the needs that the model cannot meet, regardless of whether it is still offered."""
    reasons = []
    if model.output_modalities and "text" not in model.output_modalities:
        reasons.append("no text output")
    if needs.vision and "image" not in model.input_modalities:
        reasons.append("can't read pictures")
    if needs.json_schema and not model.has_structured_outputs:
        reasons.append("no structured outputs")
    context_tokens = model.context_tokens
    if context_tokens is not None and context_tokens < needs.context_tokens:
        reasons.append(f"{context_tokens:,}-token context ({needs.context_tokens:,} needed)")
    most = model.max_completion_tokens
    if most is not None and most < needs.least_output_tokens:
        reasons.append(f"at most {most:,} output tokens ({needs.least_output_tokens:,} needed)")
    return reasons

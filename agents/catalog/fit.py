"""What a model lacks for an agent, in words for the operator who chooses."""

from __future__ import annotations

from agents.base import Needs
from agents.models import CatalogModel


def lacks(model: CatalogModel, needs: Needs) -> list[str]:
    """Return why the model does not serve these needs, or not for long; empty if it does.

    What the catalogue does not say is not held against a model.
    """
    reasons = []
    if model.vanished_at is not None:
        reasons.append("no longer offered")
    elif model.expires_on is not None:
        reasons.append(f"retires on {model.expires_on:%Y-%m-%d}")
    return reasons + cannot(model, needs)


def cannot(model: CatalogModel, needs: Needs) -> list[str]:
    """Return what the model cannot do, however long it is offered."""
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

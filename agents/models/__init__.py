"""Models of the overrides, the processes that use them, the catalog, and served names."""

from __future__ import annotations

from agents.models.catalog import CatalogModel, ServedName
from agents.models.checking import Check, Suitability, UnfitModel, check_models_with
from agents.models.model_ids import MAX_ID_CHARS, MODEL_ID_SHAPE, validate_model_id
from agents.models.overrides import (
    AGENTS,
    AgentModelConfig,
    AgentModelConfigQuerySet,
    AgentModelConfigRepository,
    OnFailure,
    OverrideVersion,
    ResolverProcess,
)

__all__ = [
    "AGENTS",
    "MAX_ID_CHARS",
    "MODEL_ID_SHAPE",
    "AgentModelConfig",
    "AgentModelConfigQuerySet",
    "AgentModelConfigRepository",
    "CatalogModel",
    "Check",
    "OnFailure",
    "OverrideVersion",
    "ResolverProcess",
    "ServedName",
    "Suitability",
    "UnfitModel",
    "check_models_with",
    "validate_model_id",
]

"""The models that the stand-ins for Anthropic and OpenAI offer, at the vendors' prices.

Each answers under the name of its dated release. Neither vendor tells a price on the wire; the
ledger needs it to know what was billed.
"""

from __future__ import annotations

from observatory.sandbox.catalogue import Model

ANTHROPIC_MODELS = (
    Model(
        id="claude-sonnet-4-5",
        name="Claude Sonnet 4.5",
        prompt="0.000003",
        completion="0.000015",
        context_length=200_000,
        provider="Anthropic",
        alias_target="claude-sonnet-4-5-20250929",
    ),
    Model(
        id="claude-haiku-4-5",
        name="Claude Haiku 4.5",
        prompt="0.000001",
        completion="0.000005",
        context_length=200_000,
        provider="Anthropic",
        alias_target="claude-haiku-4-5-20251001",
    ),
    Model(
        id="claude-opus-4-1",
        name="Claude Opus 4.1",
        prompt="0.000015",
        completion="0.000075",
        context_length=200_000,
        provider="Anthropic",
        alias_target="claude-opus-4-1-20250805",
    ),
)
OPENAI_MODELS = (
    Model(
        id="gpt-4.1",
        name="GPT-4.1",
        prompt="0.000002",
        completion="0.000008",
        context_length=1_047_576,
        provider="OpenAI",
        alias_target="gpt-4.1-2025-04-14",
    ),
    Model(
        id="gpt-4.1-mini",
        name="GPT-4.1 mini",
        prompt="0.0000004",
        completion="0.0000016",
        context_length=1_047_576,
        provider="OpenAI",
        alias_target="gpt-4.1-mini-2025-04-14",
    ),
    Model(
        id="gpt-5-mini",
        name="GPT-5 mini",
        prompt="0.00000025",
        completion="0.000002",
        context_length=400_000,
        provider="OpenAI",
        alias_target="gpt-5-mini-2025-08-07",
    ),
    Model(
        id="o4-mini",
        name="o4-mini",
        prompt="0.0000011",
        completion="0.0000044",
        context_length=200_000,
        provider="OpenAI",
        alias_target="o4-mini-2025-04-16",
    ),
)


def find_listed(models: tuple[Model, ...], model_id: object) -> Model | None:
    """Return the model that is called so, undated or dated."""
    return next((model for model in models if model_id in (model.id, model.served_as)), None)

"""The models that the stand-ins offer, for OpenRouter in the shapes of its `/models`.

Prices are decimal strings per token, as on the wire. Models that retire do so in so many days from
now on, whenever now is. Which of them are on offer: `offers.py`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from observatory.sandbox.web import Json

MODELS_FILE = Path(__file__).with_name("models.json")
CREATED = 1_756_000_000
TEXT_AND_IMAGE = ("text", "image")
PLAIN_PARAMETERS = ("max_tokens", "seed", "stop", "temperature", "top_p")
JSON_PARAMETERS = (*PLAIN_PARAMETERS, "response_format", "structured_outputs", "tools")
VARIANTS = (":free", ":nitro", ":floor", ":exacto")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model of the catalogue; prices in dollars per token."""

    id: str
    name: str
    prompt: str
    completion: str
    context_length: int
    provider: str
    canonical_slug: str = ""
    inputs: Sequence[str] = TEXT_AND_IMAGE
    parameters: Sequence[str] = JSON_PARAMETERS
    created: int = CREATED
    expires_in_days: int | None = None
    lesser_provider: str = ""  # serves the model, too, but without structured outputs
    alias_target: str | None = None
    overrides: Sequence[Json] = ()

    @property
    def served_as(self) -> str:
        """The id that answers name: an alias answers as its target."""
        return self.alias_target or self.id

    def cost_usd(
        self, *, prompt_tokens: int, completion_tokens: int, at: float
    ) -> tuple[Decimal, Decimal]:
        """Return the exact price of the prompt and of the completion at the moment `at`."""
        rates: Json = {"prompt": self.prompt, "completion": self.completion}
        for override in self.overrides:
            if _applies(override, prompt_tokens, at):
                rates |= override
        return prompt_tokens * Decimal(rates["prompt"]), completion_tokens * Decimal(
            rates["completion"]
        )

    def as_payload(self, *, at: float) -> Json:
        """Return the entry of `/models` at the moment `at`."""
        pricing: Json = {
            "prompt": self.prompt,
            "completion": self.completion,
            "request": "0",
            "image": "0",
        }
        if self.overrides:
            pricing["overrides"] = list(self.overrides)
        payload: Json = {
            "id": self.id,
            "canonical_slug": self.canonical_slug or self.id,
            "name": self.name,
            "created": self.created,
            "description": f"{self.name}, as offered by the sandbox.",
            "context_length": self.context_length,
            "architecture": {
                "modality": f"{'+'.join(self.inputs)}->text",
                "input_modalities": list(self.inputs),
                "output_modalities": ["text"],
                "tokenizer": "Other",
            },
            "pricing": pricing,
            "top_provider": {
                "context_length": self.context_length,
                "max_completion_tokens": self.context_length // 4,
                "is_moderated": False,
            },
            "supported_parameters": list(self.parameters),
            "expiration_date": self._expiration_date(at),
        }
        if self.alias_target:
            payload["alias_target"] = {"slug": self.alias_target, "name": self.name}
        return payload

    def as_endpoints(self) -> Json:
        """Return what `/models/{id}/endpoints` tells: who serves the model, and how."""
        endpoints = [self._endpoint(self.provider, self.parameters, 99.9)]
        if self.lesser_provider:
            lesser = tuple(name for name in self.parameters if name != "structured_outputs")
            endpoints.append(self._endpoint(self.lesser_provider, lesser, 97.5))
        return {"id": self.id, "name": self.name, "created": self.created, "endpoints": endpoints}

    def _endpoint(self, provider: str, parameters: Sequence[str], uptime: float) -> Json:
        return {
            "name": f"{provider} | {self.id}",
            "provider_name": provider,
            "context_length": self.context_length,
            "pricing": {"prompt": self.prompt, "completion": self.completion},
            "supported_parameters": list(parameters),
            "status": 0,
            "uptime_last_30m": uptime,
            "uptime_last_1d": uptime,
            "latency_last_30m": {"p50": 700, "p75": 900, "p90": 1400, "p99": 3100},
        }

    def _expiration_date(self, at: float) -> str | None:
        if self.expires_in_days is None:
            return None
        day = datetime.fromtimestamp(at, UTC).date() + timedelta(days=self.expires_in_days)
        return day.isoformat()


def _applies(override: Json, prompt_tokens: int, at: float) -> bool:
    """Tell whether all conditions of a price override match; the hours may wrap midnight."""
    if prompt_tokens < override.get("min_prompt_tokens", 0):
        return False
    if "utc_start" not in override:
        return True
    start, end = int(override["utc_start"]), int(override["utc_end"])
    now = int(datetime.fromtimestamp(at, UTC).strftime("%H%M"))
    return start <= now < end if start <= end else now >= start or now < end


def _listed(vendor: str) -> tuple[Model, ...]:
    """Return a vendor's models from `models.json`, which has prices for a million tokens."""
    models = []
    for entry in json.loads(MODELS_FILE.read_text("utf-8"))[vendor]:
        prompt, completion = (f"{Decimal(price) / 1_000_000:f}" for price in entry.pop("prices"))
        models.append(Model(prompt=prompt, completion=completion, **entry))
    return tuple(models)


MODELS = _listed("openrouter")
# Neither vendor tells a price on the wire; the ledger needs it to know what was billed. Each model
# answers under the name of its dated release.
ANTHROPIC_MODELS = _listed("anthropic")
OPENAI_MODELS = _listed("openai")
BY_ID = {model.id: model for model in MODELS}


def find_model(model_id: str) -> Model | None:
    """Return the model with this id, with or without a `:variant`, or nothing."""
    base, separator, variant = model_id.partition(":")
    if model_id in BY_ID or separator + variant not in VARIANTS:
        return BY_ID.get(model_id)
    return BY_ID.get(base)


def find_listed(models: tuple[Model, ...], model_id: object) -> Model | None:
    """Return the model that is called so, undated or dated."""
    return next((model for model in models if model_id in (model.id, model.served_as)), None)

"""The models of the stand-ins; for OpenRouter, in the format of its `/models`.

Prices are decimal strings in dollars per token, as in the API. A model that retires always does so
a fixed number of days from now.
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
    """One model of the catalog; prices in dollars per token."""

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
    lesser_provider: str = ""  # also serves the model, but without structured outputs
    alias_target: str | None = None
    overrides: Sequence[Json] = ()

    @property
    def served_as(self) -> str:
        """The model id stated in answers; an alias answers as its target."""
        return self.alias_target or self.id

    @property
    def prices(self) -> Json:
        """The prices of a token, before any override."""
        return {"prompt": self.prompt, "completion": self.completion}

    def cost_usd(
        self, *, prompt_tokens: int, completion_tokens: int, at: float
    ) -> tuple[Decimal, Decimal]:
        """Return the exact prices in dollars of prompt and completion at the time `at`."""
        rates = self.prices
        for override in self.overrides:
            if _applies(override, prompt_tokens, at):
                rates |= override
        prompt, completion = Decimal(rates["prompt"]), Decimal(rates["completion"])
        return prompt_tokens * prompt, completion_tokens * completion

    def as_payload(self, *, at: float) -> Json:
        """Return the model's entry in `/models` at the time `at`, in seconds since the epoch."""
        pricing = self.prices | {"request": "0", "image": "0"}
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
        """Return the data of `/models/{id}/endpoints`: the providers that serve the model."""
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
            "pricing": self.prices,
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
    """Return whether all conditions of a price override match; its hours may wrap midnight."""
    if prompt_tokens < override.get("min_prompt_tokens", 0):
        return False
    if "utc_start" not in override:
        return True
    start, end = int(override["utc_start"]), int(override["utc_end"])
    now = int(datetime.fromtimestamp(at, UTC).strftime("%H%M"))
    return start <= now < end if start <= end else now >= start or now < end


def _listed(vendor: str) -> tuple[Model, ...]:
    """Return a vendor's models from `models.json`, whose prices are per million tokens."""
    models = []
    for entry in json.loads(MODELS_FILE.read_text("utf-8"))[vendor]:
        prompt, completion = (f"{Decimal(price) / 1_000_000:f}" for price in entry.pop("prices"))
        models.append(Model(prompt=prompt, completion=completion, **entry))
    return tuple(models)


MODELS = _listed("openrouter")
# Neither vendor's API states prices; the ledger needs them to know what was billed. Each model
# answers under the name of its dated release.
ANTHROPIC_MODELS = _listed("anthropic")
OPENAI_MODELS = _listed("openai")


def find_model(model_id: str, models: Sequence[Model] = MODELS) -> Model | None:
    """Return the model with this id, plain, dated or with a `:variant`; None if there is none."""
    by_id = {model.served_as: model for model in models} | {model.id: model for model in models}
    base, separator, variant = model_id.partition(":")
    is_variant = separator + variant in VARIANTS
    return by_id.get(model_id) or (by_id.get(base) if is_variant else None)

"""The models that the stand-in for OpenRouter offers, in the shapes of its `/models`.

Prices are decimal strings per token, as on the wire. Models that retire do so in so many days from
now on, whenever now is. Which of them are on offer: `offers.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from observatory.sandbox.web import Json

CREATED = 1_756_000_000
TEXT = ("text",)
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
    inputs: tuple[str, ...] = TEXT_AND_IMAGE
    parameters: tuple[str, ...] = JSON_PARAMETERS
    created: int = CREATED
    expires_in_days: int | None = None
    lesser_provider: str = ""  # serves the model, too, but without structured outputs
    alias_target: str | None = None
    overrides: tuple[Json, ...] = ()

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
                "instruct_type": None,
            },
            "pricing": pricing,
            "top_provider": {
                "context_length": self.context_length,
                "max_completion_tokens": self.context_length // 4,
                "is_moderated": False,
            },
            "per_request_limits": None,
            "supported_parameters": list(self.parameters),
            "default_parameters": None,
            "supported_voices": None,
            "knowledge_cutoff": None,
            "expiration_date": self._expiration_date(at),
            "links": {"details": f"/api/v1/models/{self.id}/endpoints"},
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

    def _endpoint(self, provider: str, parameters: tuple[str, ...], uptime: float) -> Json:
        return {
            "name": f"{provider} | {self.id}",
            "provider_name": provider,
            "context_length": self.context_length,
            "pricing": {"prompt": self.prompt, "completion": self.completion},
            "supported_parameters": list(parameters),
            "status": 0,
            "uptime_last_5m": None,
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


MODELS = (
    Model(
        id="anthropic/claude-sonnet-4.5",
        canonical_slug="anthropic/claude-4.5-sonnet-20250929",
        name="Anthropic: Claude Sonnet 4.5",
        prompt="0.000003",
        completion="0.000015",
        context_length=1_000_000,
        provider="Anthropic",
        overrides=(
            {"min_prompt_tokens": 200_000, "prompt": "0.000006", "completion": "0.0000225"},
        ),
    ),
    Model(
        id="anthropic/claude-haiku-4.5",
        canonical_slug="anthropic/claude-4.5-haiku-20251001",
        name="Anthropic: Claude Haiku 4.5",
        prompt="0.000001",
        completion="0.000005",
        context_length=200_000,
        provider="Anthropic",
    ),
    Model(
        id="anthropic/claude-sonnet-latest",
        name="Anthropic: Claude Sonnet, newest",
        prompt="0.000003",
        completion="0.000015",
        context_length=1_000_000,
        provider="Anthropic",
        alias_target="anthropic/claude-sonnet-4.5",
    ),
    Model(
        id="~openai/gpt-mini-latest",
        name="OpenAI: GPT Mini, newest",
        prompt="0.00000025",
        completion="0.000002",
        context_length=400_000,
        provider="OpenAI",
        alias_target="openai/gpt-5-mini",
    ),
    Model(
        id="openai/gpt-5-mini",
        canonical_slug="openai/gpt-5-mini-2025-08-07",
        name="OpenAI: GPT-5 Mini",
        prompt="0.00000025",
        completion="0.000002",
        context_length=400_000,
        provider="OpenAI",
    ),
    Model(
        id="openai/gpt-4.1",
        canonical_slug="openai/gpt-4.1-2025-04-14",
        name="OpenAI: GPT-4.1",
        prompt="0.000002",
        completion="0.000008",
        context_length=1_047_576,
        provider="OpenAI",
        created=1_744_651_385,
    ),
    Model(
        id="openai/gpt-4o-mini",
        name="OpenAI: GPT-4o-mini",
        prompt="0.00000015",
        completion="0.0000006",
        context_length=128_000,
        provider="OpenAI",
        created=1_721_260_800,
    ),
    Model(
        id="google/gemini-2.5-flash",
        name="Google: Gemini 2.5 Flash",
        prompt="0.0000003",
        completion="0.0000025",
        context_length=1_048_576,
        provider="Google",
    ),
    Model(
        id="meta-llama/llama-3.3-70b-instruct",
        name="Meta: Llama 3.3 70B Instruct",
        prompt="0.00000013",
        completion="0.00000039",
        context_length=131_072,
        provider="DeepInfra",
        inputs=TEXT,
    ),
    Model(
        id="mistralai/mistral-small-3.2-24b-instruct",
        name="Mistral: Mistral Small 3.2 24B",
        prompt="0.00000006",
        completion="0.00000018",
        context_length=131_072,
        provider="Mistral",
        lesser_provider="DeepInfra",
    ),
    Model(
        id="deepseek/deepseek-chat-v3.1:free",
        canonical_slug="deepseek/deepseek-chat-v3.1",
        name="DeepSeek: DeepSeek V3.1 (free)",
        prompt="0",
        completion="0",
        context_length=163_840,
        provider="DeepInfra",
        inputs=TEXT,
    ),
    Model(
        id="deepseek/deepseek-v3.2",
        name="DeepSeek: DeepSeek V3.2",
        prompt="0.00000027",
        completion="0.0000004",
        context_length=163_840,
        provider="DeepSeek",
        inputs=TEXT,
        overrides=(
            {
                "utc_start": "1630",
                "utc_end": "0030",
                "prompt": "0.000000135",
                "completion": "0.0000002",
            },
        ),
    ),
    Model(
        id="openai/gpt-4-1106-preview",
        name="OpenAI: GPT-4 Turbo (older v1106)",
        prompt="0.00001",
        completion="0.00003",
        context_length=128_000,
        provider="OpenAI",
        inputs=TEXT,
        created=1_699_228_800,
        expires_in_days=25,
    ),
    Model(
        id="google/gemini-2.0-flash",
        canonical_slug="google/gemini-2.0-flash-001",
        name="Google: Gemini 2.0 Flash",
        prompt="0.0000001",
        completion="0.0000004",
        context_length=1_048_576,
        provider="Google",
        created=1_738_769_413,
        expires_in_days=5,
    ),
    Model(
        id="nousresearch/hermes-3-llama-3.1-70b",
        name="Nous: Hermes 3 70B Instruct",
        prompt="0.0000003",
        completion="0.0000003",
        context_length=65_536,
        provider="DeepInfra",
        inputs=TEXT,
        parameters=PLAIN_PARAMETERS,
    ),
)
BY_ID = {model.id: model for model in MODELS}


def find_model(model_id: str) -> Model | None:
    """Return the model with this id, with or without a `:variant`, or nothing."""
    base, separator, variant = model_id.partition(":")
    if model_id in BY_ID or separator + variant not in VARIANTS:
        return BY_ID.get(model_id)
    return BY_ID.get(base)

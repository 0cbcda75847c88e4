"""From a provider's name to a provider: the one list of the vendors that can be asked.

To add one: a file with its class, as `agents.llm.openai` or `agents.llm.claude`, and its line in
`PROVIDERS`.
"""

from __future__ import annotations

import re

from django.conf import settings

from agents.llm import compatible
from agents.llm.base import LLMProvider, Payer
from agents.llm.claude import ClaudeProvider
from agents.llm.keys import ApiKey, PlainKey
from agents.llm.openai import OpenAIProvider
from agents.llm.openai_compatible import ChatCompletionsProvider
from agents.llm.openrouter import OpenRouterProvider
from agents.llm.secrets import look_out_for
from agents.llm.vendor import VendorProvider

PROVIDERS: dict[str, type[VendorProvider]] = {
    "openrouter": OpenRouterProvider,
    "claude": ClaudeProvider,
    "openai": OpenAIProvider,
}
# The detector stands beneath the providers, so it is told their shapes rather than asks for them.
look_out_for(provider.key_shape for provider in PROVIDERS.values())
# Asked with the shared key only, where SHARED_SERVER says so: members have no keys for it.
SHARED_PROVIDERS: dict[str, type[VendorProvider]] = {compatible.NAME: compatible.CompatibleProvider}


class ProviderNotConfigured(ValueError):
    """A provider was asked for with a name, key or model that can never work."""


def create_provider(
    name: str,
    api_key: str | ApiKey,
    model: str,
    *,
    payer: Payer = Payer.MEMBER,
    fallback_model: str = "",
) -> LLMProvider:
    """Return the provider of that name, bound to a key and a model. Sends nothing.

    Raises:
        ProviderNotConfigured: the name is unknown, or the key or the model is empty.
    """
    provider = vendor_of(name)
    if provider is None:
        known = ", ".join(provider_names())
        raise ProviderNotConfigured(f"unknown provider {name!r}: the known ones are {known}")
    if isinstance(api_key, str):
        api_key = api_key.strip()
        if not api_key:
            raise ProviderNotConfigured(f"there is no API key for {name!r}: enter one")
        api_key = PlainKey(api_key)
    if not model.strip():
        raise ProviderNotConfigured(f"there is no model for {name!r}: choose one")
    return provider(
        api_key=api_key,
        model_id=model.strip(),
        payer=payer,
        fallback_model=fallback_model.strip(),
    )


def create_shared_provider(
    api_key: str | ApiKey, model: str, *, fallback_model: str = ""
) -> LLMProvider:
    """Return the provider that the shared key is for: OpenRouter, or what SHARED_SERVER names.

    Raises as `create_provider`.
    """
    return create_provider(
        settings.SHARED_SERVER, api_key, model, payer=Payer.SHARED, fallback_model=fallback_model
    )


def vendor_of(name: str) -> type[VendorProvider] | None:
    """Return the provider class of that name, or None if there is none."""
    return PROVIDERS.get(name) or SHARED_PROVIDERS.get(name)


def default_model(name: str) -> str:
    """Return the model of members who have a key of this provider and chose no model."""
    return str(settings.DEFAULT_MODELS.get(name) or PROVIDERS[name].default_model)


def provider_of_key(key: str) -> str | None:
    """Return the name of the provider whose keys look like this; None when it is none of them."""
    for name, provider in PROVIDERS.items():
        if re.fullmatch(provider.key_shape, key):
            return name
    return None


def sandbox_vendors() -> dict[str, str]:
    """Return key shapes by vendor name, of those other than OpenAI that speak chat completions."""
    return {
        name: provider.key_shape
        for name, provider in PROVIDERS.items()
        if issubclass(provider, ChatCompletionsProvider) and provider is not OpenAIProvider
    }


def provider_names() -> tuple[str, ...]:
    """Return the names of the vendors that members may have keys of."""
    return tuple(PROVIDERS)

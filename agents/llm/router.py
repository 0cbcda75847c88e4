"""Registry of the LLM providers, and functions that create a provider from its name.

To add a vendor, write a module with its class, like `agents.llm.openai` or `agents.llm.claude`, and
add the class to `PROVIDERS`.
"""

from __future__ import annotations

import re
from dataclasses import replace

from django.conf import settings

from agents.llm import compatible
from agents.llm.base import LLMProvider, Payer
from agents.llm.claude import ClaudeProvider
from agents.llm.keys import ApiKey, PlainKey
from agents.llm.limits import MaxPrice
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
# The key detector must not import the providers, so their key formats are passed to it.
look_out_for(provider.key_shape for provider in PROVIDERS.values())
# Used with the shared key only, if SHARED_SERVER selects one: members have no keys for them.
SHARED_PROVIDERS: dict[str, type[VendorProvider]] = {compatible.NAME: compatible.CompatibleProvider}


class ProviderNotConfigured(ValueError):
    """The name, key or model given for a provider can never work."""


def create_provider(
    name: str,
    api_key: str | ApiKey,
    model: str,
    *,
    payer: Payer = Payer.MEMBER,
    fallback_model: str = "",
) -> LLMProvider:
    """Create the provider with this name, bound to a key and a model, without sending anything.

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
    """Create the provider for the shared key, as selected by SHARED_SERVER.

    Raises:
        ProviderNotConfigured: see `create_provider`.
    """
    provider = create_provider(
        settings.SHARED_SERVER, api_key, model, payer=Payer.SHARED, fallback_model=fallback_model
    )
    if settings.UNKNOWN_PRICE is None:
        return provider
    prompt, completion = settings.UNKNOWN_PRICE
    return replace(provider, unknown_price=MaxPrice(prompt=prompt, completion=completion))


def vendor_of(name: str) -> type[VendorProvider] | None:
    """Return the provider class with this name, or None if there is none."""
    return PROVIDERS.get(name) or SHARED_PROVIDERS.get(name)


def default_model(name: str) -> str:
    """Return the model for members who have a key for this provider but chose no model."""
    return str(settings.DEFAULT_MODELS.get(name) or PROVIDERS[name].default_model)


def provider_of_key(key: str) -> str | None:
    """Return the name of the provider whose key format matches; None if there is none."""
    for name, provider in PROVIDERS.items():
        if re.fullmatch(provider.key_shape, key):
            return name
    return None


def sandbox_vendors() -> dict[str, str]:
    """Return the key formats, by name, of all vendors but OpenAI with chat completions APIs."""
    return {
        name: provider.key_shape
        for name, provider in PROVIDERS.items()
        if issubclass(provider, ChatCompletionsProvider) and provider is not OpenAIProvider
    }


def provider_names() -> tuple[str, ...]:
    """Return the names of the vendors for which members may have keys."""
    return tuple(PROVIDERS)

"""litellm on its OpenRouter path: one completion by schema, read into a model."""

from __future__ import annotations

import sys

import litellm
from laps import serve_calls
from work import KEY, MESSAGES, MODEL, RESPONSE_FORMAT, Plan

litellm.telemetry = False


async def ask() -> None:
    completion = await litellm.acompletion(
        model=f"openrouter/{MODEL}",
        api_base=sys.argv[1],
        api_key=KEY,
        messages=MESSAGES,
        response_format=RESPONSE_FORMAT,
    )
    Plan.model_validate_json(completion.choices[0].message.content)


serve_calls(ask, "litellm")

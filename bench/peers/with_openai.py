"""The openai SDK: one completion by schema, read into a model."""

from __future__ import annotations

import sys

from laps import serve_calls
from openai import AsyncOpenAI
from work import KEY, MESSAGES, MODEL, RESPONSE_FORMAT, Plan

client = AsyncOpenAI(base_url=sys.argv[1], api_key=KEY)


async def ask() -> None:
    completion = await client.chat.completions.create(
        model=MODEL, messages=MESSAGES, response_format=RESPONSE_FORMAT
    )
    Plan.model_validate_json(completion.choices[0].message.content)


serve_calls(ask, "openai", "httpx2")

"""pydantic-ai: one run of an agent whose answer is read into a model; nothing is recorded."""

from __future__ import annotations

import sys

from laps import serve_calls
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.openai import OpenAIProvider
from work import KEY, MESSAGE, MODEL, SYSTEM, Plan

agent = Agent(
    OpenAIChatModel(
        MODEL,
        provider=OpenAIProvider(base_url=sys.argv[1], api_key=KEY),
        profile=OpenAIModelProfile(supports_json_schema_output=True),
    ),
    output_type=NativeOutput(Plan),
    system_prompt=SYSTEM,
)


async def ask() -> None:
    await agent.run(MESSAGE)


serve_calls(ask, "pydantic-ai-slim")

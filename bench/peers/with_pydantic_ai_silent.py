"""pydantic-ai: three agents one after the other, on its own model that answers at once."""

from __future__ import annotations

import asyncio

from laps import serve_runs
from pydantic_ai import Agent
from pydantic_ai.models.test import TestModel

agents = [Agent(TestModel(custom_output_text="done"), system_prompt="Plan.") for _ in range(3)]


async def run() -> None:
    for agent in agents:
        result = await agent.run("hello")
        assert result.output == "done"


with asyncio.Runner() as loop:
    serve_runs(loop, run, "pydantic-ai-slim")

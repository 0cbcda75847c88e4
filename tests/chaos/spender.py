"""A process that spends: `python -m tests.chaos.spender AGENT RUNS` runs one step RUNS times.

All of them at once, on the team's key, on the models of sandbox and settings. It writes a line in
JSON for each run that has ended.
"""

from __future__ import annotations

import asyncio
import json
import sys

import django

django.setup()

from django.conf import settings  # noqa: E402

from agents.llm.http import close_clients  # noqa: E402
from agents.llm.router import create_shared_provider  # noqa: E402
from agents.registry import AgentRegistry  # noqa: E402
from pipeline.models.runs import Source  # noqa: E402
from pipeline.running.context import PipelineContext  # noqa: E402
from pipeline.running.runner import PipelineRunner  # noqa: E402
from tests.pipeline.players import asking, pipeline, step  # noqa: E402


async def spend(agent: str, runs: int) -> None:
    """Run a step so often, all at once, and say how each run ended."""
    runner = PipelineRunner(AgentRegistry([asking(agent)]), step_deadline_s=15)
    provider = create_shared_provider(settings.OPENROUTER_API_KEY, settings.DEFAULT_MODEL)

    async def one_run() -> None:
        ctx = PipelineContext(default_llm=provider)
        report = await runner.run(pipeline(step(agent)), ctx, source=Source.SHELL)
        line = {"status": report.status, "member_line": report.steps[0].member_line}
        sys.stdout.write(f"{json.dumps(line)}\n")
        sys.stdout.flush()

    await asyncio.gather(*(one_run() for _ in range(runs)))
    await close_clients()


if __name__ == "__main__":
    asyncio.run(spend(sys.argv[1], int(sys.argv[2])))

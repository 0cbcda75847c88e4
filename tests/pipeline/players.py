"""Agents that do what a test tells them to, and pipelines of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from agents.base import AgentContext, AgentInput, AgentOutput, BaseAgent
from agents.llm.completion import Completion
from pipeline.models.runs import StepMode
from pipeline.running.config import PipelineConfig, StepConfig

Play = Callable[[AgentInput, AgentContext], Awaitable[AgentOutput]]


def player(name: str, play: Play) -> BaseAgent:
    """Return an agent of that name whose work is `play`."""

    class Player(BaseAgent):
        title = f"{name} is at work"
        purpose = "Plays a part in a test."

        def __init__(self) -> None:
            self.system_prompt = f"You are {name}."

        async def run(self, agent_input: AgentInput, ctx: AgentContext) -> AgentOutput:
            return await play(agent_input, ctx)

    Player.name = name
    return Player()


def asking(name: str, *, times: int = 1) -> BaseAgent:
    """Return an agent that asks its model, and answers what the last answer was."""

    async def play(agent_input: AgentInput, ctx: AgentContext) -> AgentOutput:
        for _ in range(times):
            completion = await ask(ctx, name)
        return said(name, completion.text)

    return player(name, play)


def raising(name: str, error: Exception) -> BaseAgent:
    async def play(agent_input: AgentInput, ctx: AgentContext) -> AgentOutput:
        raise error

    return player(name, play)


async def ask(ctx: AgentContext, name: str) -> Completion:
    return await ctx.llm.complete(f"You are {name}.", f"A question of {name}.")


def said(name: str, text: str) -> AgentOutput:
    return AgentOutput(agent=name, success=True, data={"text": text}, reply=text)


def step(agent: str, mode: StepMode = StepMode.SEQUENTIAL, **inputs: str) -> StepConfig:
    return StepConfig(agent=agent, mode=mode, input_mapping=inputs or {"message": "Hello."})


def pipeline(*steps: StepConfig, answer: str = "") -> PipelineConfig:
    """Return a pipeline; its last foreground step answers unless another is named."""
    foreground = [step.agent for step in steps if step.mode is not StepMode.BACKGROUND]
    return PipelineConfig(
        name="play", title="A play", answer=(answer or foreground[-1],), steps=steps
    )

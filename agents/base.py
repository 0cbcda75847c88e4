"""Base classes of agents: a prompt, requirements on the model, and the shape of the answer.

An agent sees only an `AgentContext`: it knows nothing about runs, members or Telegram. It calls
`ctx.llm`, which the runner has bound to the model, key and record of the agent's step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from agents.llm.answers import ask_json
from agents.llm.base import LLMProvider
from agents.passages import TASK_TAG, Tags, render, with_task

PROMPTS_DIR = Path(__file__).parent / "prompts"


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The inputs of a run. Pipeline definitions refer to them as `ctx.NAME`.

    Texts are data, not instructions. To add a field, declare it here and fill it in
    `pipeline.running.briefing.brief`.
    """

    user_message: str = ""  # the member's own words
    forwarded: str = field(default="", repr=False)  # texts of others that the member forwarded
    conversation: str = field(default="", repr=False)  # the conversation before the message
    image_b64: str | None = field(default=None, repr=False)
    knowledge_base: str = field(default="", repr=False)  # the team's playbook
    user_memory: str = field(default="", repr=False)  # known facts about the member
    casebook_text: str = field(default="", repr=False)
    scenario: str = field(default="", repr=False)  # of the exercise that the message answers

    @classmethod
    def from_record(cls, kept: Mapping[str, Any]) -> Inputs:
        """Create inputs from a stored record of names and values; unknown names are ignored."""
        return Inputs(**{name: kept[name] for name in INPUT_NAMES if kept.get(name)})

    def by_name(self) -> dict[str, Any]:
        """Return all inputs by name."""
        return {name: getattr(self, name) for name in INPUT_NAMES}


INPUT_NAMES = tuple(one.name for one in fields(Inputs))


@dataclass(frozen=True, kw_only=True)
class AgentContext(Inputs):
    """The part of a run that an agent may see."""

    results: dict[str, AgentOutput] = field(default_factory=dict)  # of earlier steps

    @property
    def llm(self) -> LLMProvider:
        """The LLM provider bound to the agent's step."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """An agent's requirements on its model."""

    json_schema: bool = True
    vision: bool = False  # the agent may get a picture
    context_tokens: int = 16_000
    # Visible text: the least that can hold a complete answer, and the most an answer ever needs.
    least_output_tokens: int = 256
    most_output_tokens: int = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentInput:
    """An agent's input, from the pipeline's `input_mapping`: named passages in the mapping's order.

    Passages are data, while the task is the pipeline's own text and contains instructions. No
    passage can contain a tag that delimits the task, a passage or a part of the agent's prompt.
    """

    passages: Mapping[str, Any] = field(default_factory=dict)
    task: str = ""
    tags: Tags = field(default_factory=Tags, repr=False)
    image_b64: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOutput:
    """The result of an agent: its answer, or the error that stopped it."""

    agent: str
    success: bool
    data: Mapping[str, Any] = field(default_factory=dict)
    reply: str = ""  # `data` as Markdown for people
    error: str | None = None
    was_repaired: bool = False  # the model's JSON was invalid and has been repaired


class AgentAnswer(BaseModel):
    """Base class of the agents' output models, whose JSON schemas are sent to the LLM."""

    model_config = ConfigDict(extra="ignore", str_strip_whitespace=True)

    def as_reply(self) -> str:
        """Return the answer as Markdown for a person."""
        raise NotImplementedError


class BaseAgent:
    """Base class of agents. Most subclasses only set the class attributes."""

    name: ClassVar[str]
    title: ClassVar[str]  # shown to the member while the agent works, e.g. "Reading your message"
    purpose: ClassVar[str]  # shown to operators, one sentence
    needs: ClassVar[Needs] = Needs()
    answer_model: ClassVar[type[AgentAnswer]]

    def __init__(self) -> None:
        self.system_prompt = (PROMPTS_DIR / f"{self.name}.md").read_text(encoding="utf-8").strip()

    @property
    def tags(self) -> Tags:
        """The names of the tags in the agent's prompt, and the tag of the task."""
        return Tags.written_in(self.system_prompt) | TASK_TAG

    async def run(self, agent_input: AgentInput, ctx: AgentContext) -> AgentOutput:
        """Ask the model and return the agent's answer.

        Raises:
            LLMError: the model could not be asked, or never returned JSON of the schema.
        """
        system_prompt = with_task(self.system_prompt, agent_input.task)
        # Includes the tags in the prompt as it is sent, wherever its text comes from.
        tags = agent_input.tags | Tags.written_in(system_prompt) | TASK_TAG
        answer = await ask_json(
            ctx.llm,
            system_prompt,
            render(agent_input.passages, tags),
            self.answer_model,
            image_b64=agent_input.image_b64,
            tags=tags | Tags.of(agent_input.passages),
        )
        return AgentOutput(
            agent=self.name,
            success=True,
            data=answer.value.model_dump(mode="json"),
            reply=answer.value.as_reply(),
            was_repaired=answer.was_repaired,
        )

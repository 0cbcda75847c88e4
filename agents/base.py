"""What an agent is: a prompt, what it needs from a model, and the shape of its answer.

An agent sees an `AgentContext` and nothing else: it knows no runs, no members and no Telegram.
It asks `ctx.llm`, which the runner has bound to the model, key and record of this very step.
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
    """What a run is given; definitions call a field `ctx.NAME`. Texts are data, not instructions.

    A new field is a line here and one where it is filled in (`pipeline.running.briefing.brief`).
    """

    user_message: str = ""  # the member's own words
    forwarded: str = field(default="", repr=False)  # what others wrote and the member passed on
    conversation: str = field(default="", repr=False)  # what the message goes on from
    image_b64: str | None = field(default=None, repr=False)
    knowledge_base: str = field(default="", repr=False)  # the team's playbook
    user_memory: str = field(default="", repr=False)  # what is known of the member
    casebook_text: str = field(default="", repr=False)
    scenario: str = field(default="", repr=False)  # of the exercise that the message answers

    @classmethod
    def from_record(cls, kept: Mapping[str, Any]) -> Inputs:
        """Return the inputs that a record has by their names; unknown names are ignored."""
        return Inputs(**{name: kept[name] for name in INPUT_NAMES if kept.get(name)})

    def by_name(self) -> dict[str, Any]:
        """Return every input by its name."""
        return {name: getattr(self, name) for name in INPUT_NAMES}


INPUT_NAMES = tuple(one.name for one in fields(Inputs))


@dataclass(frozen=True, kw_only=True)
class AgentContext(Inputs):
    """What an agent may see of a run."""

    results: dict[str, AgentOutput] = field(default_factory=dict)  # of the steps before

    @property
    def llm(self) -> LLMProvider:
        """The provider of the agent's own step."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a model must offer to serve an agent."""

    json_schema: bool = True
    vision: bool = False  # the agent may be handed a picture
    context_tokens: int = 16_000
    # Of visible text: fewer cannot hold a whole answer, and more it never needs.
    least_output_tokens: int = 256
    most_output_tokens: int = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentInput:
    """What the pipeline's `input_mapping` yields: named passages, in the mapping's order.

    The task is the pipeline's own text and holds instructions; passages are data. No passage can
    contain a tag that delimits the task, a passage or a part of the agent's prompt.
    """

    passages: Mapping[str, Any] = field(default_factory=dict)
    task: str = ""
    tags: Tags = field(default_factory=Tags, repr=False)
    image_b64: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOutput:
    """What an agent came to: its data, or the error that stopped it."""

    agent: str
    success: bool
    data: Mapping[str, Any] = field(default_factory=dict)
    reply: str = ""  # the same as Markdown, for a person
    error: str | None = None
    was_repaired: bool = False  # the model's JSON was broken and has been mended


class AgentAnswer(BaseModel):
    """The base of every agent's output model; its JSON schema goes to the model."""

    model_config = ConfigDict(extra="ignore", str_strip_whitespace=True)

    def as_reply(self) -> str:
        """Return the answer as Markdown for a person."""
        raise NotImplementedError


class BaseAgent:
    """One named role; subclasses set the class attributes and add nothing they do not need."""

    name: ClassVar[str]
    title: ClassVar[str]  # what a member reads while the agent works, e.g. "Reading your message"
    purpose: ClassVar[str]  # what an operator reads, one sentence
    needs: ClassVar[Needs] = Needs()
    answer_model: ClassVar[type[AgentAnswer]]

    def __init__(self) -> None:
        self.system_prompt = (PROMPTS_DIR / f"{self.name}.md").read_text(encoding="utf-8").strip()

    @property
    def tags(self) -> Tags:
        """The tags that the agent's prompt names, of passages and of the task."""
        return Tags.written_in(self.system_prompt) | TASK_TAG

    async def run(self, agent_input: AgentInput, ctx: AgentContext) -> AgentOutput:
        """Return the agent's answer.

        Raises:
            LLMError: the model could not be asked, or never gave JSON of the schema.
        """
        system_prompt = with_task(self.system_prompt, agent_input.task)
        # The tags of the very prompt that is sent, wherever it came from.
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

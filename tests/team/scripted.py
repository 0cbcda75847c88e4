"""A model that says what a test tells it to, and a context that holds nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agents.base import AgentContext
from agents.llm.base import LLMProvider
from agents.llm.completion import Completion, CostSource, Usage
from agents.llm.keys import PlainKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What an agent asked."""

    system_prompt: str
    user_message: str
    image_b64: str | None
    schema: dict[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class ScriptedModel(LLMProvider):
    """Gives its answers in order, the last one again and again, and keeps what it was asked."""

    api_key: PlainKey = field(default_factory=lambda: PlainKey("sk-or-a-key-for-tests"))
    model_id: str = "scripted/model"
    answers: tuple[Mapping[str, Any], ...]
    requests: list[Request] = field(default_factory=list)

    name = "scripted"

    async def complete(
        self,
        system_prompt: str,
        user_message: str,
        *,
        image_b64: str | None = None,
        schema: dict[str, Any] | None = None,
    ) -> Completion:
        answer = self.answers[min(len(self.requests), len(self.answers) - 1)]
        self.requests.append(
            Request(
                system_prompt=system_prompt,
                user_message=user_message,
                image_b64=image_b64,
                schema=schema,
            )
        )
        return Completion(
            text=json.dumps(answer),
            served_model=self.model_id,
            usage=Usage(),
            cost_usd=None,
            cost_source=CostSource.UNKNOWN,
            finish_reason="stop",
            latency_ms=1,
        )


@dataclass(frozen=True, kw_only=True)
class BareContext(AgentContext):
    """The least that an agent may be given."""

    step_llm: LLMProvider

    @property
    def llm(self) -> LLMProvider:
        return self.step_llm

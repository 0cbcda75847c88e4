"""What every client is asked to do: one prompt, and an answer that is read into the same model."""

from __future__ import annotations

from pydantic import BaseModel

MODEL = "openai/gpt-5-mini"
KEY = "sk-or-v1-bench-0123456789abcdef"
SYSTEM = "You plan how to move one deal forward. " * 50  # 2 kB, as the strategist's
MESSAGE = "VP of Strategy at a mid-size bank, worried about switching cost. " * 3
MESSAGES = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": MESSAGE}]


class Step(BaseModel):
    """One thing to do next."""

    action: str
    why: str
    when: str


class Plan(BaseModel):
    """How to bring a deal to a decision."""

    analysis: str
    strategy: str
    steps: list[Step]
    draft: str
    risks: list[str]


RESPONSE_FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "Plan", "schema": Plan.model_json_schema()},
}

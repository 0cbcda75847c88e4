"""Providers, recorders and OpenRouter bodies for the tests of calls."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from agents.llm.base import Attempt, Outcome, StepScope
from agents.llm.keys import PlainKey
from agents.llm.openrouter import OpenRouterProvider
from agents.llm.retries import RetryPolicy
from tests.llm.loopback import PATIENCE_S, SHARED_KEY, Canned

MODEL = "anthropic/claude-sonnet-4.5"
NO_WAIT = RetryPolicy(wait_initial_s=0, wait_jitter_s=0)
SCHEMA = {
    "title": "Verdict",
    "type": "object",
    "properties": {"is_lead": {"type": "boolean"}},
    "required": ["is_lead"],
    "additionalProperties": False,
}


class Recorder:
    """An observer that remembers what it was told, in order."""

    def __init__(self) -> None:
        self.started: list[Attempt] = []
        self.ended: list[tuple[Attempt, Outcome]] = []
        self.order: list[str] = []

    async def attempt_started(self, attempt: Attempt) -> None:
        self.started.append(attempt)
        self.order.append(f"started {attempt.number}")

    async def attempt_ended(self, attempt: Attempt, outcome: Outcome) -> None:
        self.ended.append((attempt, outcome))
        self.order.append(f"ended {attempt.number}")

    @property
    def outcomes(self) -> list[Outcome]:
        return [outcome for _, outcome in self.ended]


def provider(base_url: str, observer: Any = None, **changes: Any) -> OpenRouterProvider:
    scope = StepScope(
        agent="strategist",
        step_id="step-7",
        observer=observer or Recorder(),
        deadline_s=changes.pop("deadline_s", PATIENCE_S),
    )
    values = {
        "api_key": PlainKey(SHARED_KEY),
        "model_id": MODEL,
        "base_url": base_url,
        "retries": NO_WAIT,
        "scope": scope,
        **changes,
    }
    return OpenRouterProvider(**values)


def answer(text: Any = "Hello.", **changes: Any) -> dict[str, Any]:
    """Return a body as OpenRouter sends it; changes replace top-level members."""
    return {
        "id": "gen-1762064097-abc",
        "provider": "Anthropic",
        "model": MODEL,
        "object": "chat.completion",
        "created": 1762064097,
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "native_finish_reason": "end_turn",
                "message": {"role": "assistant", "content": text, "refusal": None},
            }
        ],
        "usage": {
            "prompt_tokens": 687,
            "completion_tokens": 187,
            "total_tokens": 874,
            "cost": 0.00333825,
            "is_byok": False,
            "prompt_tokens_details": {"cached_tokens": 679},
            "completion_tokens_details": {"reasoning_tokens": 118},
            "cost_details": {"upstream_inference_cost": None},
        },
        **changes,
    }


def ok(text: Any = "Hello.", **changes: Any) -> Canned:
    return Canned(body=answer(text, **changes))


def refused(status: int, message: str = "no", **members: Any) -> Canned:
    return Canned(status=status, body={"error": {"code": status, "message": message, **members}})


@contextmanager
def everything_logged() -> Iterator[io.StringIO]:
    """Collect what any logger says at DEBUG, unredacted, as text."""
    logged = io.StringIO()
    handler = logging.StreamHandler(logged)
    root = logging.getLogger()
    names = ("httpx", "httpcore", "aiohttp", "asyncio", "stamina", "agents")
    loggers = [root, *map(logging.getLogger, names)]
    levels = [logger.level for logger in loggers]
    root.addHandler(handler)
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    try:
        yield logged
    finally:
        root.removeHandler(handler)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

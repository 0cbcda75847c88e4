"""The vendors, for the tests of what is common to them: sound bodies, errors, keys, ids.

`WIRES` has the team's own server, too, which speaks as OpenAI does and knows less of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from agents.llm.base import StepScope
from agents.llm.claude import ClaudeProvider
from agents.llm.compatible import CompatibleProvider
from agents.llm.completion import Completion
from agents.llm.errors import LLMError
from agents.llm.keys import PlainKey
from agents.llm.openai import OpenAIProvider
from agents.llm.openrouter import OpenRouterProvider
from agents.llm.vendor import VendorProvider
from tests import canaries
from tests.llm import calling
from tests.llm.loopback import PATIENCE_S, Canned, Received, loopback

Body = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Vendor:
    """What a test must know of a vendor."""

    name: str
    provider_class: type[VendorProvider]
    key: str
    model: str
    answer: Callable[..., Body]
    error: Callable[[int, str], Body]
    id_header: str
    sandbox_path: str
    misbehaving: str  # how the ids of the sandbox's misbehaving models begin

    def provider(self, base_url: str, observer: Any = None, **changes: Any) -> VendorProvider:
        scope = StepScope(
            agent="trainer",
            step_id="step-1",
            observer=observer or calling.Recorder(),
            deadline_s=changes.pop("deadline_s", PATIENCE_S),
        )
        values = {
            "api_key": PlainKey(self.key),
            "model_id": self.model,
            "base_url": base_url,
            "retries": calling.NO_WAIT,
            "scope": scope,
            **changes,
        }
        return self.provider_class(**values)

    def ok(self, text: Any = "Hello.", **changes: Any) -> Canned:
        return Canned(body=self.answer(text, **changes), headers={self.id_header: "id-of-header"})

    def refused(self, status: int, message: str = "no", **members: Any) -> Canned:
        body = self.error(status, message)
        body["error"] |= members
        return Canned(status=status, body=body, headers={self.id_header: "id-of-header"})

    async def completed(self, reply: Canned) -> Completion:
        """Return what the provider makes of one reply."""
        async with loopback(reply) as server:
            return await self.provider(server.base_url).complete("s", "u")

    async def failed(self, reply: Canned, error_class: type[LLMError]) -> LLMError:
        """Return the error of exactly this class that one reply ends in."""
        with pytest.raises(error_class) as caught:
            await self.completed(reply)
        assert type(caught.value) is error_class
        return caught.value

    def key_of(self, request: Received) -> str:
        """Return the key that a request carried, wherever this vendor wants it."""
        if self.name == "claude":
            assert "authorization" not in request.headers
            return request.headers["x-api-key"]
        assert "x-api-key" not in request.headers
        return request.headers["authorization"].removeprefix("Bearer ")


def claude_answer(text: Any = "Hello.", **changes: Any) -> Body:
    """Return a body as Anthropic sends it; changes replace top-level members."""
    return {
        "id": "msg_01NH",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 805,
            "output_tokens": 68,
            "cache_creation_input_tokens": 100,
            "cache_read_input_tokens": 2000,
            "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 0},
            "service_tier": "standard",
        },
        **changes,
    }


def claude_error(status: int, message: str) -> Body:
    error = {"type": "invalid_request_error", "message": message}
    return {"type": "error", "error": error, "request_id": "req_1"}


def openai_answer(text: Any = "Hello.", **changes: Any) -> Body:
    """Return a body as OpenAI sends it; changes replace top-level members."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1762064097,
        "model": "gpt-4.1-2025-04-14",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 1000,
            "completion_tokens": 200,
            "total_tokens": 1200,
            "prompt_tokens_details": {"cached_tokens": 400, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 64},
        },
        "service_tier": "default",
        "system_fingerprint": "fp_1",
        **changes,
    }


def openai_error(status: int, message: str) -> Body:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return {"error": error}


def openrouter_error(status: int, message: str) -> Body:
    return {"error": {"code": status, "message": message}}


OPENROUTER = Vendor(
    name="openrouter",
    provider_class=OpenRouterProvider,
    key=canaries.SHARED_KEY,
    model=calling.MODEL,
    answer=calling.answer,
    error=openrouter_error,
    id_header="x-generation-id",
    sandbox_path="/openrouter/api/v1",
    misbehaving="sandbox/",
)
CLAUDE = Vendor(
    name="claude",
    provider_class=ClaudeProvider,
    key=canaries.CLAUDE_KEY,
    model="claude-sonnet-4-5",
    answer=claude_answer,
    error=claude_error,
    id_header="request-id",
    sandbox_path="/anthropic",
    misbehaving="sandbox-",
)
OPENAI = Vendor(
    name="openai",
    provider_class=OpenAIProvider,
    key=canaries.OPENAI_KEY,
    model="gpt-4.1",
    answer=openai_answer,
    error=openai_error,
    id_header="x-request-id",
    sandbox_path="/openai",
    misbehaving="sandbox-",
)
COMPATIBLE = replace(
    OPENAI,
    name="compatible",
    provider_class=CompatibleProvider,
    key=canaries.SHARED_KEY,
    model="llama3.2:1b",
)
VENDORS = (OPENROUTER, CLAUDE, OPENAI)
WIRES = (*VENDORS, COMPATIBLE)

"""The stand-in for OpenAI's own API: chat completions and models; it reports no costs.

Each other vendor with a compatible API has its own instance, with its own path and keys.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from observatory.sandbox.catalogue import CREATED, OPENAI_MODELS, Model
from observatory.sandbox.chat_request import CompletionRequest
from observatory.sandbox.exchange import Exchange, Reply, WireFormat
from observatory.sandbox.vendor import Vendor
from observatory.sandbox.web import Json, json_response

KEYS = r"sk-(?!or-|ant-|.*revoked).{12,}"
QUOTA = "You exceeded your current quota, please check your plan and billing details."
# An error's type and code, by HTTP status.
ERRORS = {
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
    500: ("server_error", None),
    503: ("server_error", None),
}
OTHER_ERROR = ("invalid_request_error", None)


def failure(status: int, text: str, **details: Any) -> Reply:
    """Return OpenAI's error response; `headers` in `details` become HTTP headers."""
    headers = details.pop("headers", {})
    kind, code = ERRORS.get(status, OTHER_ERROR)
    usual = {"message": text, "type": kind, "param": None, "code": code}
    return Reply(status=status, body={"error": usual | details}, headers=_request_id() | headers)


def written(exchange: Exchange, text: str) -> Reply:
    """Return OpenAI's full response with an answer's text."""
    said = exchange.generated(text)
    choice: Json = {
        "index": 0,
        "message": {
            "role": "assistant",
            "content": said.text,
            "refusal": None,
            "annotations": [],
        },
        "logprobs": None,
        "finish_reason": "length" if said.is_cut else "stop",
    }
    body = {
        "id": f"chatcmpl-{exchange.n:029d}",
        "object": "chat.completion",
        "created": int(exchange.at),
        "model": exchange.model.served_as,
        "choices": [choice],
        "usage": {
            "prompt_tokens": said.prompt_tokens,
            "completion_tokens": said.completion_tokens,
            "total_tokens": said.prompt_tokens + said.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }
    return Reply.of(said, body, _request_id())


def _request_id() -> dict[str, str]:
    return {"x-request-id": f"req_{secrets.token_hex(16)}"}


class OpenAi(Vendor):
    """The API below `/openai/v1`, or below another vendor's name."""

    wire = WireFormat(name="openai", written=written, failure=failure)
    request_format = CompletionRequest
    keys = KEYS
    models = OPENAI_MODELS
    bad_key = "Incorrect API key provided."
    unknown_model = (404, "The model `{}` does not exist or you do not have access to it.")
    no_credit = {
        "status": 429,
        "text": QUOTA,
        "type": "insufficient_quota",
        "code": "insufficient_quota",
    }

    async def list_models(self, request: Request) -> Response:
        """List the models; clients use this call to validate keys."""
        self.admit(request)
        ids = [model_id for model in self.models for model_id in (model.id, model.served_as)]
        listed = [
            {"id": model_id, "object": "model", "created": CREATED, "owned_by": "system"}
            for model_id in ids
        ]
        return json_response({"object": "list", "data": listed})


class Compatible(OpenAi):
    """Another vendor's API in OpenAI's format, whose models are unknown: it has any."""

    def __init__(self, *, name: str, keys: str, **shared: Any) -> None:
        super().__init__(**shared)
        self.wire = replace(self.wire, name=name)
        self.keys = keys

    def model(self, model_id: str) -> Model:
        """Return a model with this id."""
        return replace(self.models[0], id=model_id, alias_target=None)

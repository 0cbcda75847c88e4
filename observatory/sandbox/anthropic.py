"""The stand-in for Anthropic's own API: messages and models; it reports no costs."""

from __future__ import annotations

import secrets
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from observatory.sandbox.catalogue import ANTHROPIC_MODELS, Model
from observatory.sandbox.chat_request import AnthropicRequest
from observatory.sandbox.exchange import Exchange, Reply, WireFormat
from observatory.sandbox.vendor import Vendor
from observatory.sandbox.web import Json, Refused, json_response

MAX_TOKENS = 64_000  # of an answer
ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def failure(status: int, text: str, **details: Any) -> Reply:
    """Return Anthropic's error response; `headers` in `details` become HTTP headers."""
    headers = _request_id() | details.pop("headers", {})
    error = {"type": ERROR_TYPES.get(status, "api_error"), "message": text} | details
    body = {"type": "error", "error": error, "request_id": headers["request-id"]}
    return Reply(status=status, body=body, headers=headers)


def written(exchange: Exchange, text: str) -> Reply:
    """Return the full response with an answer's text; an empty text gives no content block."""
    said = exchange.generated(text)
    body = {
        "id": f"msg_{exchange.n:024d}",
        "type": "message",
        "role": "assistant",
        "model": exchange.model.served_as,
        "content": [{"type": "text", "text": said.text}] if said.text else [],
        "stop_reason": "max_tokens" if said.is_cut else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": said.prompt_tokens,
            "output_tokens": said.completion_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
        },
    }
    return Reply.of(said, body, _request_id())


def _request_id() -> dict[str, str]:
    return {"request-id": f"req_{secrets.token_hex(12)}"}


class Anthropic(Vendor):
    """The API below `/anthropic/v1`."""

    chat_path = "/messages"
    wire = WireFormat(name="anthropic", written=written, failure=failure)
    request_format = AnthropicRequest
    keys = r"sk-ant-(?!.*revoked).{12,}"
    models = ANTHROPIC_MODELS
    bad_key = "invalid x-api-key"
    unknown_model = (404, "model: {}")
    no_credit = {
        "status": 402,
        "text": "Your credit balance is too low to access the Anthropic API.",
    }

    def key(self, request: Request) -> str:
        """Return the key in the header `x-api-key`, or ""."""
        return request.headers.get("x-api-key", "").strip()

    def admit(self, request: Request) -> str:
        """Return the key; raise 401 if it is bad, and 400 without a version header."""
        key = super().admit(request)
        if "anthropic-version" not in request.headers:
            raise Refused(400, "anthropic-version: header is required")
        return key

    async def list_models(self, request: Request) -> Response:
        """List the models; clients use this call to validate keys."""
        self.admit(request)
        listed = [_listed(model) for model in self.models]
        ends = {"first_id": listed[0]["id"], "last_id": listed[-1]["id"]}
        return json_response({"data": listed, "has_more": False} | ends)


def _listed(model: Model) -> Json:
    date = model.served_as[-8:]
    return {
        "type": "model",
        "id": model.served_as,
        "display_name": model.name,
        "created_at": f"{date[:4]}-{date[4:6]}-{date[6:]}T00:00:00Z",
        "max_input_tokens": model.context_length,
        "max_tokens": MAX_TOKENS,
    }

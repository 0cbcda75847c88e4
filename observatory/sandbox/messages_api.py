"""Anthropic's wire format: validation of requests to `/v1/messages`, answers and errors."""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Iterator
from typing import Any

from observatory.sandbox import strictness
from observatory.sandbox.exchange import Exchange, Figures, Reply
from observatory.sandbox.web import Json, Refused

PICTURES = ("image/jpeg", "image/png", "image/gif", "image/webp")
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
    headers = details.pop("headers", {})
    request_id = _new_id("req")
    usual = {"type": ERROR_TYPES.get(status, "api_error"), "message": text}
    return Reply(
        status=status,
        body={"type": "error", "error": usual | details, "request_id": request_id},
        headers={"request-id": request_id} | headers,
    )


def written(exchange: Exchange, text: str) -> Reply:
    """Return the full response with an answer's text; an empty text gives no content block."""
    text, is_cut = exchange.fitted(text)
    figures = exchange.figures(text)
    message_id = f"msg_{exchange.n:024d}"
    body = {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": exchange.model.served_as,
        "content": [{"type": "text", "text": text}] if text else [],
        "stop_reason": "max_tokens" if is_cut else "end_turn",
        "stop_sequence": None,
        "usage": _usage(figures),
    }
    return Reply(
        status=200,
        body=body,
        headers={"request-id": _new_id("req")},
        billed=figures.total_usd,
        generation={
            "id": message_id,
            "model": exchange.model.served_as,
            "tokens_prompt": figures.prompt_tokens,
            "tokens_completion": figures.completion_tokens,
        },
    )


def conversation(body: Json) -> list[Json]:
    """Return the messages, with the system prompt as the first one.

    Raises:
        Refused: something is missing or malformed.
    """
    if not _is_count(body.get("max_tokens")):
        raise Refused(400, "max_tokens: Field required")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refused(400, "messages: Field required")
    for number, message in enumerate(messages):
        _check_message(message, f"messages.{number}")
    system = body.get("system")
    if not system:
        return messages
    _check_content(system, "system")
    return [{"role": "system", "content": system}, *messages]


def wanted_schema(body: Json) -> Json | None:
    """Return the schema of the requested structured output, or None.

    Raises:
        Refused: the format is malformed, or Anthropic cannot enforce the schema.
    """
    config = body.get("output_config") or {}
    described = config.get("format") if isinstance(config, dict) else {}
    if described is None:
        return None
    if not isinstance(described, dict) or described.get("type") != "json_schema":
        raise Refused(400, "output_config.format.type: Input should be 'json_schema'")
    schema = described.get("schema")
    if not isinstance(schema, dict):
        raise Refused(400, "output_config.format.schema: Field required")
    for flaw in _flaws(schema):
        raise Refused(400, f"output_config.format.schema: {flaw}")
    return schema


def _flaws(schema: Json) -> Iterator[str]:
    if strictness.open_object(schema):
        yield "For 'object' type, 'additionalProperties' must be explicitly set to false"
    if name := strictness.constraint(schema):
        yield f"property '{name}' is not supported"


def _check_message(message: object, where: str) -> None:
    if not isinstance(message, dict):
        raise Refused(400, f"{where}: Input should be a valid dictionary")
    if message.get("role") == "system":
        raise Refused(
            400,
            'messages: Unexpected role "system". The Messages API accepts a top-level `system`'
            ' parameter, not "system" as an input message role.',
        )
    if message.get("role") not in ("user", "assistant"):
        raise Refused(400, f"{where}.role: Input should be 'user' or 'assistant'")
    _check_content(message.get("content"), f"{where}.content")


def _check_content(content: object, where: str) -> None:
    if isinstance(content, str) and content:
        return
    if not isinstance(content, list) or not content:
        raise Refused(400, f"{where}: Field required")
    for number, block in enumerate(content):
        _check_block(block, f"{where}.{number}")


def _check_block(block: object, where: str) -> None:
    kind = block.get("type") if isinstance(block, dict) else None
    if not isinstance(block, dict) or kind not in ("text", "image"):
        raise Refused(400, f"{where}: Input tag {kind!r} does not match any of the expected tags")
    if kind == "image":
        _check_picture(block.get("source"), f"{where}.image.source")
    elif not isinstance(block.get("text"), str) or not block["text"]:
        raise Refused(400, f"{where}: text content blocks must be non-empty")


def _check_picture(source: object, where: str) -> None:
    if not isinstance(source, dict) or source.get("type") != "base64":
        raise Refused(400, f"{where}: the sandbox takes base64 only")
    if source.get("media_type") not in PICTURES:
        expected = ", ".join(PICTURES)
        raise Refused(400, f"{where}.base64.media_type: Input should be one of {expected}")
    try:
        base64.b64decode(source.get("data") or "?", validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise Refused(400, f"{where}.base64.data: invalid base64 data") from error


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _usage(figures: Figures) -> Json:
    return {
        "input_tokens": figures.prompt_tokens,
        "output_tokens": figures.completion_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
    }


def _new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(12)}"

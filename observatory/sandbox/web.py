"""HTTP helpers of the sandbox: refusals, JSON, and cancelling work when the client disconnects.

They know nothing of Telegram or models; routes, forms and streams are Starlette's.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

Json = dict[str, Any]
Clock = Callable[[], float]
Valid = TypeVar("Valid", bound=BaseModel)

CLIENT_LEFT = 499


class Refused(Exception):
    """The request is answered with an error status and one clear sentence.

    `details` go into the error object, in the format of the requested API.
    """

    def __init__(self, status: int, text: str, **details: Any) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.details = details


ErrorRenderer = Callable[[Refused], Response]


def application(
    routes: Sequence[BaseRoute], render_error: ErrorRenderer, **options: Any
) -> Starlette:
    """Return an app with these routes; `render_error` formats its errors, also unknown paths'."""

    async def refused(request: Request, error: Exception) -> Response:
        if isinstance(error, Refused):
            return render_error(error)
        status = error.status_code if isinstance(error, HTTPException) else 500
        return render_error(Refused(status, getattr(error, "detail", "")))

    handlers = {Refused: refused, HTTPException: refused}
    return Starlette(routes=routes, exception_handlers=handlers, **options)


def plain_error(error: Refused) -> Response:
    """Return an error response of the sandbox's own API: `{"error": text}`."""
    return json_response({"error": error.text}, status=error.status)


def json_response(
    value: Any, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Return a response with `value` as JSON."""
    body = json.dumps(value, separators=(",", ":"))
    return Response(body, status, headers, media_type="application/json")


async def json_object(request: Request) -> Json:
    """Return the body as a JSON object; an empty body is an empty object.

    Raises:
        Refused: the body is anything else.
    """
    raw = await request.body()
    value = parse_json(raw) if raw.strip() else {}
    if not isinstance(value, dict):
        raise Refused(400, "the body must be a JSON object")
    return value


def parse_json(raw: bytes | str) -> Any:
    """Parse `raw` as JSON.

    Raises:
        Refused: it is not JSON, is nested too deeply, or contains lone surrogates.
    """
    try:
        value = json.loads(raw, parse_constant=_refuse_constant)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"not valid JSON: {error}") from error
    return value


def validated(model: type[Valid], value: Any, *, refusal: str = "") -> Valid:
    """Return `value` as a pydantic model.

    Raises:
        Refused: it is malformed; `refusal` begins the text, which says where and why.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        raise Refused(400, f"{refusal}{where}: {first['msg']}") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


async def while_connected(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """Return the result of `work`; if the client disconnects first, cancel it and return a 499.

    The request's body must have been read before.
    """
    answering = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_client_leaves(request))
    try:
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return answering.result() if answering.done() else Response(status_code=CLIENT_LEFT)
    finally:
        answering.cancel()
        leaving.cancel()


async def _client_leaves(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass

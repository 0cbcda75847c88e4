"""One chat request to a model of any vendor: the request, its cost and the reply.

Costs are exact: estimated tokens times the model's price, in Decimal; only responses have floats.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from starlette.responses import Response

from observatory.sandbox.answers import answer
from observatory.sandbox.catalogue import Model
from observatory.sandbox.phrases import read_message
from observatory.sandbox.pictures import picture_size
from observatory.sandbox.styles import style_of
from observatory.sandbox.web import Json, json_response

CHARACTERS_PER_TOKEN = 4
TOKENS_PER_IMAGE = 258
IMAGE_PARTS = ("image_url", "image")  # of OpenRouter and OpenAI, and of Anthropic


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """An answer's text, with the token counts of prompt and answer and the price of each."""

    text: str
    is_cut: bool  # at the requested output limit
    prompt_tokens: int
    completion_tokens: int
    costs_usd: tuple[Decimal, Decimal]

    @property
    def total_usd(self) -> Decimal:
        """The total price in dollars."""
        return sum(self.costs_usd, Decimal(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One valid request: its number, key, model, messages and schema."""

    n: int
    key: str
    model: Model
    messages: list[Json]
    schema: Json | None
    at: float
    max_tokens: int | None = None  # the requested output limit

    @property
    def prompt(self) -> str:
        """The text of the last user message."""
        texts = [text_of(message) for message in self.messages if message.get("role") == "user"]
        return texts[-1] if texts else ""

    @property
    def is_corrected(self) -> bool:
        """Whether the conversation contains an earlier answer or a second user message."""
        roles = [message.get("role") for message in self.messages]
        return "assistant" in roles or roles.count("user") > 1

    def answer(self) -> str:
        """Return a valid answer: it follows the schema and quotes the member."""
        instructions = [text_of(one) for one in self.messages if one.get("role") == "system"]
        reading = read_message(
            self.prompt, instructions="".join(instructions), picture=_picture_in(self.messages)
        )
        return answer(self.schema, reading, self.model.id)

    def answer_in_style(self) -> str:
        """Return the answer in the model's style; a careless model breaks JSON at its first try."""
        text = self.answer()
        is_careless = style_of(self.model.id).breaks_json and self.schema is not None
        if not is_careless or self.is_corrected:
            return text
        return f"Sure, here it is:\n{text.removesuffix('}')},"

    def generated(self, text: str) -> Generated:
        """Return the answer with this text, cut to the output limit."""
        is_cut = self.max_tokens is not None and _text_tokens(text) > self.max_tokens
        if self.max_tokens is not None:
            text = text[: self.max_tokens * CHARACTERS_PER_TOKEN]
        prompt_tokens = sum(_text_tokens(text_of(message)) for message in self.messages)
        prompt_tokens += TOKENS_PER_IMAGE * len(images_in(self.messages))
        completion_tokens = _text_tokens(text)
        return Generated(
            text=text,
            is_cut=is_cut,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            costs_usd=self.model.cost_usd(
                prompt_tokens=prompt_tokens, completion_tokens=completion_tokens, at=self.at
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A response, the amount billed for it in dollars, and the record of its generation.

    `generation` is the data of OpenRouter's `/generation`, of which the ledger needs `id`, `model`,
    `tokens_prompt` and `tokens_completion`. `wire`, if set, is sent instead of `body` as JSON.
    """

    status: int
    body: Json
    headers: dict[str, str] = field(default_factory=dict)
    billed: Decimal = Decimal(0)
    generation: Json | None = None
    wire: Response | None = None

    @classmethod
    def of(cls, generated: Generated, body: Json, headers: dict[str, str], **facts: Any) -> Reply:
        """Return the response to an answered request; `facts` are added to its generation."""
        generation = {
            "id": body["id"],
            "model": body["model"],
            "tokens_prompt": generated.prompt_tokens,
            "tokens_completion": generated.completion_tokens,
        }
        return cls(
            status=200,
            body=body,
            headers=headers,
            billed=generated.total_usd,
            generation=generation | facts,
        )

    def answer(self) -> Response:
        """Return the HTTP response to send."""
        return self.wire or json_response(self.body, status=self.status, headers=self.headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class WireFormat:
    """The format of one vendor's answers and errors.

    `written` returns the full response with an answer's text. `failure` returns an error response,
    given its status, text and details; `headers` among the details become HTTP headers.
    """

    name: str  # the vendor's, with which its paths begin
    written: Callable[[Exchange, str], Reply]
    failure: Callable[..., Reply]


def conversation(body: Json) -> Any:
    """Return a request's messages; Anthropic's separate system prompt becomes the first one."""
    system, messages = body.get("system"), body.get("messages")
    if not system or not isinstance(messages, list):
        return messages
    return [{"role": "system", "content": system}, *messages]


def text_of(message: Json) -> str:
    """Return the text of a message, its text parts joined by line breaks."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content or () if part["type"] == "text")


def images_in(messages: list[Json]) -> list[Json]:
    """Return the pictures in the conversation, as parts of its messages."""
    contents = [message.get("content") for message in messages]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return [part for part in parts if part["type"] in IMAGE_PARTS]


def _picture_in(messages: list[Json]) -> str:
    """Describe the size of the first picture in the conversation; "" if none or unreadable."""
    for part in images_in(messages):
        url = part.get("image_url", {}).get("url", "")
        encoded = part.get("source", {}).get("data") or url.partition(",")[2]
        size = picture_size(base64.b64decode(encoded))
        return f"picture of {size[0]} by {size[1]} pixels" if size else ""
    return ""


def _text_tokens(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)

"""One chat with a model, whichever vendor is asked: what was asked, what it costs, what goes back.

Costs are exact: token estimate times the model's price in Decimal, a number only on the wire.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from decimal import Decimal

from starlette.responses import Response

from observatory.sandbox.answers import answer
from observatory.sandbox.catalogue import Model
from observatory.sandbox.phrases import read_message
from observatory.sandbox.pictures import picture_size
from observatory.sandbox.styles import style_of
from observatory.sandbox.web import Json, json_response

CHARACTERS_PER_TOKEN = 4
TOKENS_PER_IMAGE = 258
IMAGE_PARTS = ("image_url", "image")  # OpenRouter's and OpenAI's name for it, and Anthropic's


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What an answer took: tokens in and out, and the price in dollars of each."""

    prompt_tokens: int
    completion_tokens: int
    costs: tuple[Decimal, Decimal]

    @property
    def total_usd(self) -> Decimal:
        """The whole price."""
        return sum(self.costs, Decimal(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One valid request: who asks which model what."""

    n: int
    key: str
    model: Model
    messages: list[Json]
    schema: Json | None
    at: float
    max_tokens: int | None = None  # the output limit that was asked for

    def fitted(self, text: str) -> tuple[str, bool]:
        """Return as much of an answer as the limit allows, and whether that cuts it."""
        if self.max_tokens is None or _text_tokens(text) <= self.max_tokens:
            return text, False
        return text[: self.max_tokens * CHARACTERS_PER_TOKEN], True

    @property
    def prompt(self) -> str:
        """The text of the last user message."""
        texts = [text_of(message) for message in self.messages if message.get("role") == "user"]
        return texts[-1] if texts else ""

    @property
    def is_corrected(self) -> bool:
        """Whether the conversation holds an earlier answer or a second request."""
        roles = [message.get("role") for message in self.messages]
        return "assistant" in roles or roles.count("user") > 1

    def answer(self) -> str:
        """Return the sound answer: by the schema, and quoting the member."""
        instructions = [text_of(one) for one in self.messages if one.get("role") == "system"]
        reading = read_message(
            self.prompt, instructions="".join(instructions), picture=picture_in(self.messages)
        )
        return answer(self.schema, reading, self.model.id)

    def answer_in_style(self) -> str:
        """Return the answer as this model gives it: one takes no care with JSON at first."""
        text = self.answer()
        is_careless = style_of(self.model.id).breaks_json and self.schema is not None
        if not is_careless or self.is_corrected:
            return text
        return f"Sure, here it is:\n{text.removesuffix('}')},"

    def figures(self, text: str) -> Figures:
        """Return what `text` takes as the answer."""
        prompt_tokens, completion_tokens = _tokens(self.messages), _text_tokens(text)
        costs = self.model.cost_usd(
            prompt_tokens=prompt_tokens, completion_tokens=completion_tokens, at=self.at
        )
        return Figures(
            prompt_tokens=prompt_tokens, completion_tokens=completion_tokens, costs=costs
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What goes back, what is billed for it, and what was generated.

    `generation` is what OpenRouter's `/generation` tells; of it the ledger needs `id`, `model`,
    `tokens_prompt` and `tokens_completion`. `wire` goes out instead of `body` as JSON.
    """

    status: int
    body: Json
    headers: dict[str, str] = field(default_factory=dict)
    billed: Decimal = Decimal(0)
    generation: Json | None = None
    wire: Response | None = None

    def answer(self) -> Response:
        """Return what goes out."""
        return self.wire or json_response(self.body, status=self.status, headers=self.headers)


def text_of(message: Json) -> str:
    """Return the text parts of a message as one text."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    texts = (part.get("text", "") for part in parts_of(message) if part.get("type") == "text")
    return "\n".join(str(text) for text in texts)


def parts_of(message: Json) -> list[Json]:
    """Return the parts of a message that comes in parts."""
    content = message.get("content")
    return content if isinstance(content, list) else []


def picture_in(messages: list[Json]) -> str:
    """Return what can be told of the first picture in the conversation, or nothing."""
    for part in (part for message in messages for part in parts_of(message)):
        if part.get("type") in IMAGE_PARTS:
            url = (part.get("image_url") or {}).get("url", "")
            encoded = (part.get("source") or {}).get("data") or url.partition(",")[2]
            size = picture_size(base64.b64decode(encoded))
            return f"picture of {size[0]} by {size[1]} pixels" if size else ""
    return ""


def images_in(messages: list[Json]) -> int:
    """Return how many pictures the conversation holds."""
    parts = [part for message in messages for part in parts_of(message)]
    return sum(part.get("type") in IMAGE_PARTS for part in parts)


def _tokens(messages: list[Json]) -> int:
    texts = sum(_text_tokens(text_of(message)) for message in messages)
    return texts + TOKENS_PER_IMAGE * images_in(messages)


def _text_tokens(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)

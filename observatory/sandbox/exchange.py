"""One chat request to a model of any vendor: the request, its cost and the reply.

Costs are exact: estimated tokens times the model's price, in Decimal; only responses have floats.
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
IMAGE_PARTS = ("image_url", "image")  # of OpenRouter and OpenAI, and of Anthropic


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Token counts of prompt and completion, and the price of each in dollars."""

    prompt_tokens: int
    completion_tokens: int
    costs: tuple[Decimal, Decimal]

    @property
    def total_usd(self) -> Decimal:
        """The total price in dollars."""
        return sum(self.costs, Decimal(0))


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

    def fitted(self, text: str) -> tuple[str, bool]:
        """Return the answer, cut to the output limit, and whether it was cut."""
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
        """Whether the conversation contains an earlier answer or a second user message."""
        roles = [message.get("role") for message in self.messages]
        return "assistant" in roles or roles.count("user") > 1

    def answer(self) -> str:
        """Return a valid answer: it follows the schema and quotes the member."""
        instructions = [text_of(one) for one in self.messages if one.get("role") == "system"]
        reading = read_message(
            self.prompt, instructions="".join(instructions), picture=picture_in(self.messages)
        )
        return answer(self.schema, reading, self.model.id)

    def answer_in_style(self) -> str:
        """Return the answer in the model's style; a careless model breaks JSON at its first try."""
        text = self.answer()
        is_careless = style_of(self.model.id).breaks_json and self.schema is not None
        if not is_careless or self.is_corrected:
            return text
        return f"Sure, here it is:\n{text.removesuffix('}')},"

    def figures(self, text: str) -> Figures:
        """Return tokens and costs of the request with `text` as the answer."""
        prompt_tokens, completion_tokens = _tokens(self.messages), _text_tokens(text)
        costs = self.model.cost_usd(
            prompt_tokens=prompt_tokens, completion_tokens=completion_tokens, at=self.at
        )
        return Figures(
            prompt_tokens=prompt_tokens, completion_tokens=completion_tokens, costs=costs
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

    def answer(self) -> Response:
        """Return the HTTP response to send."""
        return self.wire or json_response(self.body, status=self.status, headers=self.headers)


def text_of(message: Json) -> str:
    """Return the text of a message, its text parts joined by line breaks."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    texts = (part.get("text", "") for part in parts_of(message) if part.get("type") == "text")
    return "\n".join(str(text) for text in texts)


def parts_of(message: Json) -> list[Json]:
    """Return the parts of a message's content, or [] if the content is a text."""
    content = message.get("content")
    return content if isinstance(content, list) else []


def picture_in(messages: list[Json]) -> str:
    """Describe the size of the first picture in the conversation; "" if none or unreadable."""
    for part in (part for message in messages for part in parts_of(message)):
        if part.get("type") in IMAGE_PARTS:
            url = (part.get("image_url") or {}).get("url", "")
            encoded = (part.get("source") or {}).get("data") or url.partition(",")[2]
            size = picture_size(base64.b64decode(encoded))
            return f"picture of {size[0]} by {size[1]} pixels" if size else ""
    return ""


def images_in(messages: list[Json]) -> int:
    """Return how many pictures the conversation contains."""
    parts = [part for message in messages for part in parts_of(message)]
    return sum(part.get("type") in IMAGE_PARTS for part in parts)


def _tokens(messages: list[Json]) -> int:
    texts = sum(_text_tokens(text_of(message)) for message in messages)
    return texts + TOKENS_PER_IMAGE * images_in(messages)


def _text_tokens(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)

"""What a chat request may hold: in OpenAI's format, which OpenRouter shares, and in Anthropic's.

The models only validate: answers are made from the request's own messages, as the ledger shows
them.
"""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    BaseModel,
    BeforeValidator,
    Field,
    PositiveInt,
)

from observatory.sandbox.web import Json

Text = Annotated[str, Field(min_length=1)]
ANY_OBJECT = {"type": "object", "properties": {"answer": {"type": "string"}}}


def _checked_base64(data: str) -> str:
    try:
        base64.b64decode(data, validate=True)
    except ValueError as error:
        raise ValueError("invalid base64 data") from error
    return data


def _as_parts(content: Any) -> Any:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


class TextPart(BaseModel):
    """A text in OpenAI's format."""

    type: Literal["text"]
    text: str


class FilledTextPart(TextPart):
    """A text in Anthropic's format, which may not be empty."""

    text: Text


class ImageUrlPart(BaseModel):
    """A picture in OpenAI's format; the sandbox reads those that are inside their address."""

    type: Literal["image_url"]
    image_url: dict[Literal["url", "detail"], Text]


class ImageSource(BaseModel):
    """The bytes of a picture in Anthropic's format."""

    type: Literal["base64"]
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: Annotated[Text, AfterValidator(_checked_base64)]


class ImagePart(BaseModel):
    """A picture in Anthropic's format."""

    type: Literal["image"]
    source: ImageSource


CompletionPart = Annotated[TextPart | ImageUrlPart, Field(discriminator="type")]
CompletionParts = Annotated[list[CompletionPart], BeforeValidator(_as_parts)]
AnthropicPart = Annotated[FilledTextPart | ImagePart, Field(discriminator="type")]
AnthropicParts = Annotated[list[AnthropicPart], Field(min_length=1), BeforeValidator(_as_parts)]


class PlainFormat(BaseModel):
    """The order for a text, or for any JSON object."""

    type: Literal["text", "json_object"]

    @property
    def wanted(self) -> Json | None:
        """The schema of any object, or None."""
        return ANY_OBJECT if self.type == "json_object" else None


class SchemaFormat(BaseModel):
    """The order for an answer that follows a schema."""

    type: Literal["json_schema"]
    wanted: Json = Field(
        validation_alias=AliasChoices("schema", AliasPath("json_schema", "schema"))
    )


class CompletionMessage(BaseModel):
    """A message in OpenAI's format."""

    role: Text
    content: CompletionParts | None = None


class AnthropicMessage(BaseModel):
    """A message in Anthropic's format."""

    role: Literal["user", "assistant"]
    content: AnthropicParts


class CompletionRequest(BaseModel):
    """A request to `/chat/completions`."""

    model: Text
    messages: list[CompletionMessage] = Field(min_length=1)
    stream: Literal[False, None] = None
    max_tokens: PositiveInt | None = Field(
        None, validation_alias=AliasChoices("max_completion_tokens", "max_tokens")
    )
    format: PlainFormat | SchemaFormat | None = Field(
        None, discriminator="type", validation_alias="response_format"
    )


class AnthropicRequest(BaseModel):
    """A request to Anthropic's `/messages`."""

    model: Text
    messages: list[AnthropicMessage] = Field(min_length=1)
    system: AnthropicParts | None = None
    stream: Literal[False, None] = None
    max_tokens: PositiveInt
    format: SchemaFormat | None = Field(None, validation_alias=AliasPath("output_config", "format"))

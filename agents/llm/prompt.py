"""What a model is asked, before any vendor's words are made of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from agents.llm import schemas


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What a model is asked, in no vendor's words yet."""

    system: str
    user: str
    image_b64: str = ""
    schema: dict[str, Any] | None = None  # strict; None = any text will do, or it is in words
    is_in_words: bool = False

    @property
    def wants_json(self) -> bool:
        return self.schema is not None or self.is_in_words

    def with_schema_in_words(self) -> Prompt:
        """Return a prompt that describes the schema in words: nothing enforces it then."""
        if self.schema is None:
            return self
        words = schemas.in_words(self.schema)
        if not self.system:  # the instructions stand in the message already
            user = f"{self.user}\n\n{words}"
            return replace(self, user=user, schema=None, is_in_words=True)
        return replace(self, system=f"{self.system}\n\n{words}", schema=None, is_in_words=True)

    def with_instructions_in_message(self) -> Prompt:
        """Return a prompt for a model that takes no message of role system."""
        if not self.system:
            return self
        return replace(self, system="", user=f"{self.system}\n\n{self.user}")

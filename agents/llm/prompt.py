"""The prompt for a model, independent of any vendor's request format."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from agents.llm import schemas


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt, independent of any vendor's request format."""

    system: str
    user: str
    image_b64: str = ""
    schema: dict[str, Any] | None = None  # strict; None = free text, or the schema is in words
    is_in_words: bool = False  # the schema is described in the instructions

    @property
    def wants_json(self) -> bool:
        return self.schema is not None or self.is_in_words

    def with_schema_in_words(self) -> Prompt:
        """Return a copy that describes the schema in its instructions instead of enforcing it."""
        if self.schema is None:
            return self
        words = schemas.in_words(self.schema)
        if not self.system:  # the instructions are in the user message already
            user = f"{self.user}\n\n{words}"
            return replace(self, user=user, schema=None, is_in_words=True)
        return replace(self, system=f"{self.system}\n\n{words}", schema=None, is_in_words=True)

    def with_instructions_in_message(self) -> Prompt:
        """Return a copy for models without a system role: instructions start the user message."""
        if not self.system:
            return self
        return replace(self, system="", user=f"{self.system}\n\n{self.user}")

"""Bounded text and list types for the answers of the team's agents.

Values that are too long are cut rather than rejected, because a second call costs more than the
tail is worth. Therefore upper bounds are validators here, and are stated in the fields'
descriptions, instead of being `maxLength` and `maxItems` in the schema. A missing text is rejected.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Part(BaseModel):
    """One entry of a list in an answer; its first field is the subject of the others."""

    model_config = ConfigDict(extra="ignore", str_strip_whitespace=True)

    @property
    def is_blank(self) -> bool:
        """Whether the first field is empty, so that the others have no subject."""
        return not next(iter(self.__dict__.values()))


Entry = TypeVar("Entry", bound=str | Part)


def cut_to(limit: int) -> AfterValidator:
    """Return a validator that cuts a text to `limit` characters, at a word, and appends `…`."""

    def cut(text: str) -> str:
        if len(text) <= limit:
            return text
        return text[: limit - 1].rsplit(maxsplit=1)[0] + "…"

    return AfterValidator(cut)


def at_most(count: int) -> AfterValidator:
    """Return a validator that drops blank entries and keeps at most the first `count` others."""

    def keep_first(entries: list[Entry]) -> list[Entry]:
        return [entry for entry in entries if not _is_blank(entry)][:count]

    return AfterValidator(keep_first)


def _is_blank(entry: str | Part) -> bool:
    return entry.is_blank if isinstance(entry, Part) else not entry


def _blank_as_none(text: str | None) -> str | None:
    return text or None


Line = Annotated[str, cut_to(240)]
KnownLine = Annotated[Line | None, AfterValidator(_blank_as_none)]
Prose = Annotated[str, Field(min_length=1), cut_to(1200)]
Lines = Annotated[list[Line], at_most(6)]

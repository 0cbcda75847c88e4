"""Clean the name of the provider behind a gateway, so that it can be stored and shown."""

from __future__ import annotations

from agents.llm.secrets import scrub

NAME_MAX_CHARS = 100


def name(value: object, *secrets: str) -> str:
    """Return an untrusted value as a short printable line without keys; "" if it is no string."""
    if not isinstance(value, str):
        return ""
    line = scrub(" ".join(value[: 8 * NAME_MAX_CHARS].split()), *secrets)
    return "".join(char for char in line if char.isprintable())[:NAME_MAX_CHARS].strip()

"""Which model ids an override may have."""

from __future__ import annotations

import re

from django.conf import settings
from django.core.exceptions import ValidationError

from agents.llm.secrets import scrub

# OpenRouter's ids: author/slug, an alias marked by "~", and a variant such as ":free".
_LISTED_ID = r"~?[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*(:[a-z0-9-]+)?"
MODEL_ID_SHAPE = rf"^{_LISTED_ID}\Z"
_PRESET = r"@preset/[A-Za-z0-9._-]+"  # named settings at OpenRouter, alone or after a model's id
_ASKED_FOR = re.compile(rf"{_LISTED_ID}({_PRESET})?|{_PRESET}")
MAX_ID_CHARS = 200


def validate_model_id(value: str) -> None:
    """Refuse a model id that the shared key's server cannot know.

    OpenRouter's ids have a fixed format. The ids of other servers have no common format: examples
    are llama3.2:1b, hf.co/author/model-GGUF:Q4_K_M, @cf/author/model or a file path.

    Raises:
        ValidationError: the id is invalid, or looks like an API key.
    """
    if settings.SHARED_SERVER == "openrouter":
        if not _ASKED_FOR.fullmatch(value):
            raise ValidationError(
                "Enter an OpenRouter model ID, author/model or author/model:variant,"
                " for example anthropic/claude-sonnet-4.5."
            )
    elif not value.isprintable() or value != value.strip() or len(value) > MAX_ID_CHARS:
        raise ValidationError(
            "Enter the model's name as the server knows it, for example llama3.2:1b:"
            f" at most {MAX_ID_CHARS} characters on one line."
        )
    if scrub(value) != value:
        raise ValidationError("This looks like an API key. Enter a model's name here.")

"""Other names of the same model, entered by operators for servers that no catalogue describes."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction

from agents.llm.compatible import CompatibleProvider
from agents.llm.openai import OpenAIProvider
from agents.models import ServedName

# Those whose base URL may lead to anybody's server. OpenRouter's names are the catalogue's matter.
PROVIDERS = (CompatibleProvider.name, OpenAIProvider.name)
MAX_NAMES = 50  # of one requested model: a server that makes up names must not fill the table
MAX_CHARS = 200


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a name under which a server answered."""

    is_same: bool  # an operator says that it is the model that was asked for
    is_new: bool  # never seen before, so an operator should look


def note(provider: str, requested: str, served: str) -> Seen:
    """Return what is known of a name, and record that it was seen.

    The call blocks, and raises `django.db.Error`.
    """
    names = {
        "provider": provider,
        "requested_model": requested[:MAX_CHARS],
        "served_model": served[:MAX_CHARS],
    }
    row = ServedName.objects.filter(**names).first()
    if row is not None:
        return Seen(is_same=row.is_same, is_new=False)
    of_model = ServedName.objects.filter(provider=provider, requested_model=requested[:MAX_CHARS])
    if of_model.count() >= MAX_NAMES:
        return Seen(is_same=False, is_new=False)
    with transaction.atomic():
        # Of two calls that see it first, the one whose row it is tells of it.
        row, is_new = ServedName.objects.get_or_create(None, **names)
    return Seen(is_same=row.is_same, is_new=is_new)

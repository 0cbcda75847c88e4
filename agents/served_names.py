"""Alternative names of models, confirmed by operators, for servers outside the catalog."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction

from agents.llm.compatible import CompatibleProvider
from agents.llm.openai import OpenAIProvider
from agents.models import ServedName

# Providers whose base URL may lead to any server. The catalog knows OpenRouter's names.
PROVIDERS = (CompatibleProvider.name, OpenAIProvider.name)
MAX_NAMES = 50  # for one requested model: a server that makes up names must not fill the table
MAX_CHARS = 200


@dataclass(frozen=True, slots=True)
class Seen:
    """The facts known about a model name in a server's answer."""

    is_same: bool  # an operator has confirmed that it is the requested model
    is_new: bool  # seen for the first time, so an operator should check it


def note(provider: str, requested: str, served: str) -> Seen:
    """Return the facts known about a served name, and record the name if it is new.

    Once a requested model has `MAX_NAMES` names, further ones are not recorded. The call blocks.

    Raises:
        django.db.Error: the database does not answer.
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
        # If two calls see the name at the same time, only the one that creates the row reports it.
        row, is_new = ServedName.objects.get_or_create(None, **names)
    return Seen(is_same=row.is_same, is_new=is_new)

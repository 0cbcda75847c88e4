"""The texts of runs, each kept once: how one is kept, and how what nothing refers to is dropped.

Many rows share a text, so whoever drops one may meet a writer that is about to use it again.
Whoever keeps a text holds it until the end of its transaction (`_is_held`), and whoever drops texts
takes only those that nobody holds, never waiting for one, and looks once more whether a row refers
to them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from typing import Any

from django.db import connection, models, transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from agents.llm.secrets import scrub
from pipeline.journal.statements import Lock, insert, read
from pipeline.models.runs import LLMCall, PipelineRun, PromptText, StepRun

HOLDERS: tuple[type[models.Model], ...] = (PipelineRun, StepRun, LLMCall)
# What came from or went to a person; definitions and system prompts are the product's own.
TEXTS_OF_A_RUN = ("user_message", "background", "image", "answer")
TEXTS_OF_A_STEP = ("inputs", "output", "reply")
TEXTS_OF_A_CALL = ("user_message", "output")


def keep_text(text: str) -> str | None:
    """Keep a text once and return its id; None for "".

    The caller's transaction may refer to the id.
    """
    if not text:
        return None
    text = clean(text)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    row = {"sha256": sha256, "text": text, "created_at": timezone.now()}
    while not (insert(PromptText, row, unless_there=True) or _is_held(sha256)):
        pass  # it was there, and was dropped before we could hold it
    return sha256


def _is_held(sha256: str) -> bool:
    """Hold a text until the transaction ends; False if it is not there (any more).

    It is the lock that PostgreSQL takes for a foreign key anyway, only that it checks ours at the
    commit, when it is too late to insert the text again. Any number of writers share it.
    """
    if not connection.features.has_select_for_update:
        return True  # SQLite: there is one writer at a time
    return bool(read(PromptText, ("sha256",), lock=Lock.DELETE, sha256=sha256))


@transaction.atomic
def drop_unused(sha256s: Collection[str]) -> int:
    """Delete those of the texts that no row refers to and no writer holds; return how many.

    Nothing waits here, so no transaction can end in a deadlock with this one. What a writer held
    and then did not use after all is dropped the next time that runs are pruned.
    """
    free = PromptText.objects.select_for_update(skip_locked=True).filter(pk__in=sha256s)
    held = list(free.values_list("pk", flat=True))
    unused = unreferenced().filter(pk__in=held)
    # Not `delete()`: it would first set to NULL what refers to them, also what came in meanwhile.
    return unused._raw_delete(unused.db) or 0


def unreferenced() -> models.QuerySet[PromptText]:
    """Return the texts that no row refers to."""
    texts = PromptText.objects.all()
    for holder in HOLDERS:
        for name in references(holder):
            texts = texts.filter(~Exists(holder._default_manager.filter(**{name: OuterRef("pk")})))
    return texts


def references(holder: type[models.Model]) -> Iterator[str]:
    """Yield the names of a table's references to texts."""
    for field in holder._meta.get_fields():
        if field.is_relation and field.related_model is PromptText:
            yield field.name


def clean(text: str) -> str:
    """Return the text as the database can hold it, without anything shaped like a key.

    PostgreSQL takes no NUL, and UTF-8 no lone surrogates.
    """
    # Before anything is replaced: what stands in for it would break a key in two.
    text = scrub(text).replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return text.encode("utf-8", "replace").decode("utf-8")


def taken_out(rows: models.QuerySet[Any], names: Collection[str]) -> set[str]:
    """Take these texts out of rows and return which they were; they are not dropped yet."""
    texts = {
        text
        for name in names
        for text in rows.exclude(**{name: None}).values_list(f"{name}_id", flat=True)
    }
    rows.update(**dict.fromkeys(names))
    return texts

"""The content-addressed store of texts: each text is one row, keyed by its SHA-256.

Many rows refer to the same text, so a delete races with a writer that is about to use it again.
A writer locks the text until the end of its transaction (`_store`). A delete skips locked texts,
never waits, and checks again that no row refers to the text.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from django.db import connection, models, transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from agents.llm.secrets import scrub
from pipeline.journal.statements import Lock, insert_missing, read_any
from pipeline.models.runs import LLMCall, PipelineRun, StepRun, TextBlob

P = ParamSpec("P")
T = TypeVar("T")

HOLDERS: tuple[type[models.Model], ...] = (PipelineRun, StepRun, LLMCall)
# Texts from or to a person; definitions and system prompts belong to the product.
TEXTS_OF_A_RUN = ("user_message", "background", "image", "answer")
TEXTS_OF_A_STEP = ("inputs", "output", "reply")
TEXTS_OF_A_CALL = ("user_message", "output")


class _Gathered(threading.local):
    """The texts of this thread's transaction by id, while `gathering`."""

    texts: dict[str, str] | None = None


_gathered = _Gathered()


@contextmanager
def gathering() -> Iterator[None]:
    """Do what belongs to the whole transaction at the end of the block; may be nested.

    That is to store what is `put` in the block, and what `gather_also` has added. Rows that refer
    to a text may be written before it: the constraint is checked at the commit.
    """
    if _gathered.texts is not None:
        yield
        return
    _gathered.texts = {}
    try:
        with ExitStack() as others:
            for other in _others:
                others.enter_context(other())
            yield
        _store(_gathered.texts)
    finally:
        _gathered.texts = None


Gathering = Callable[[], AbstractContextManager[None]]
_others: list[Gathering] = []


def gather_also(other: Gathering) -> None:
    """Have each `gathering` enter this context, too."""
    if other not in _others:
        _others.append(other)


def grouped(write: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function that is one transaction, alone or in a group.

    It sets no savepoint, because a group is committed or rolled back as a whole.
    """

    @wraps(write)
    def transaction_of_its_own(*arguments: P.args, **options: P.kwargs) -> T:
        with transaction.atomic(savepoint=False), gathering():
            return write(*arguments, **options)

    return transaction_of_its_own


def put(text: str) -> str | None:
    """Store a text unless it exists and return its id; None for "".

    The id is safe to refer to until the end of the caller's transaction.
    """
    if not text:
        return None
    text = clean(text)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    if _gathered.texts is None:
        _store({sha256: text})
    else:
        _gathered.texts[sha256] = text
    return sha256


def _store(texts: dict[str, str]) -> None:
    """Store texts and lock those that existed against deletion until the transaction ends.

    PostgreSQL takes the same lock for a foreign key, but checks a deferred one at the commit, when
    it is too late to insert the text again. Any number of writers share the lock. All of them go
    by the order of the ids, so that none waits for one that waits for it.
    """
    now = timezone.now()
    missing = sorted(texts)
    while missing:
        rows = [{"sha256": sha256, "text": texts[sha256], "created_at": now} for sha256 in missing]
        if insert_missing(TextBlob, rows) == len(rows):
            return
        if not connection.features.has_select_for_update:
            return  # SQLite: there is one writer at a time
        held = read_any(TextBlob, "sha256", missing, lock=Lock.DELETE)
        missing = sorted(set(missing) - held)  # they were deleted before they could be locked


@transaction.atomic
def drop_unused(sha256s: Collection[str]) -> int:
    """Delete the given texts that no row refers to and no writer has locked; return how many.

    This transaction never waits, so it cannot be part of a deadlock. A text that a writer
    locked and then did not use is deleted the next time that runs are pruned.
    """
    free = TextBlob.objects.select_for_update(skip_locked=True).filter(pk__in=sha256s)
    held = list(free.values_list("pk", flat=True))
    unused = unreferenced().filter(pk__in=held)
    # Not `delete()`: it would first set references to NULL, including those added meanwhile.
    return unused._raw_delete(unused.db) or 0


def unreferenced() -> models.QuerySet[TextBlob]:
    """Return the texts that no row refers to."""
    texts = TextBlob.objects.all()
    for holder in HOLDERS:
        for name in references(holder):
            texts = texts.filter(~Exists(holder._default_manager.filter(**{name: OuterRef("pk")})))
    return texts


def references(holder: type[models.Model]) -> Iterator[str]:
    """Yield the names of a model's foreign keys to texts."""
    for field in holder._meta.get_fields():
        if field.is_relation and field.related_model is TextBlob:
            yield field.name


def clean(text: str) -> str:
    """Return the text as the database can store it, with anything shaped like an API key removed.

    PostgreSQL accepts no NUL, and UTF-8 no lone surrogates.
    """
    # Scrub first: a replacement character could split a key, which would then go undetected.
    text = scrub(text).replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return text.encode("utf-8", "replace").decode("utf-8")


def taken_out(rows: models.QuerySet[Any], names: Collection[str]) -> set[str]:
    """Set the named text references of rows to NULL; return the texts' ids. The texts remain."""
    texts = {
        text
        for name in names
        for text in rows.exclude(**{name: None}).values_list(f"{name}_id", flat=True)
    }
    rows.update(**dict.fromkeys(names))
    return texts

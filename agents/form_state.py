"""What an admin form showed of a row when it was opened, so that a stale save is detected.

The form carries a short digest of each field. A save compares them with the row as it is then: what
differs was changed by someone else meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.contrib.admin.utils import flatten_fieldsets
from django.core.exceptions import FieldDoesNotExist
from django.db.models import Field, ManyToManyField, Model, QuerySet
from django.http import HttpRequest

STATE_INPUT = "seen_state"  # the hidden input
MAX_STATE_LENGTH = 20_000  # characters
DIGEST_LENGTH = 16  # hex digits
INLINE = "inline "  # before the name of an inline's model


@dataclass(frozen=True, slots=True, kw_only=True)
class FormState:
    """A digest of each field and of each inline's rows, and when they were read."""

    opened_at: datetime
    digests: Mapping[str, str]

    def dump(self) -> str:
        """Return the text that the form carries."""
        return json.dumps({"at": self.opened_at.timestamp(), "digests": dict(self.digests)})

    @classmethod
    def load(cls, text: str) -> FormState | None:
        """Return the state that a form carried; None for a text that no form of ours has."""
        try:
            read = json.loads(text[:MAX_STATE_LENGTH])
            at, digests = float(read["at"]), read["digests"]
            if not math.isfinite(at) or not all(isinstance(one, str) for one in digests.values()):
                return None
            return cls(opened_at=datetime.fromtimestamp(at, UTC), digests=dict(digests))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            return None

    def differing(self, seen: FormState) -> set[str]:
        """Return the names whose digest is not the one that was seen."""
        names = self.digests.keys() | seen.digests.keys()
        return {name for name in names if self.digests.get(name) != seen.digests.get(name)}


def form_state(
    model_admin: Any, request: HttpRequest, row: Model, fields: Iterable[str], *, at: datetime
) -> FormState:
    """Return the form state of a row for these fields and the inlines this operator edits."""
    digests = {name: digest(value) for name, value in _values(row, fields)}
    for inline in model_admin.get_inline_instances(request, row):
        # Rows that can only be deleted are named by their id, which never goes stale.
        may_edit = inline.has_change_permission(request, row) or inline.has_add_permission(
            request, row
        )
        if may_edit:
            digests[INLINE + inline.model._meta.model_name] = _inline_digest(inline, request, row)
    return FormState(opened_at=at, digests=digests)


def digest(value: Any) -> str:
    """Return a digest that is the same for a stored value and for what a form makes of it."""
    text = json.dumps(_plain(value), default=str, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]


def _inline_digest(inline: Any, request: HttpRequest, row: Model) -> str:
    fields = flatten_fieldsets(inline.get_fieldsets(request, row))
    parent = inline.get_formset(request, row).fk.name
    rows = inline.get_queryset(request).filter(**{parent: row}).order_by("pk")
    return digest([[one.pk, [_plain(value) for _, value in _values(one, fields)]] for one in rows])


def _values(row: Model, fields: Iterable[str]) -> Sequence[tuple[str, Any]]:
    """Return those of the fields that the row's table holds, with their values."""
    found: list[tuple[str, Any]] = []
    for name in dict.fromkeys(fields):
        try:
            field = row._meta.get_field(name)
        except FieldDoesNotExist:
            continue  # shown by a method, or the form's own
        if isinstance(field, ManyToManyField):
            found.append((name, getattr(row, name).all()))
        elif isinstance(field, Field):
            found.append((name, getattr(row, field.attname)))
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, QuerySet):
        return sorted(str(pk) for pk in value.values_list("pk", flat=True))
    if isinstance(value, Model):
        return value.pk
    if isinstance(value, str):  # browsers send other line ends, and forms strip
        return value.replace("\r\n", "\n").strip()
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value

"""Detect stale admin forms from digests of the row's fields at the time the form was opened.

The form carries a short digest of each field. A save compares these with the current row: if a
digest differs, someone else has changed the field since the form was opened.
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
INLINE = "inline "  # the prefix of the digest name of an inline's rows


@dataclass(frozen=True, slots=True, kw_only=True)
class FormState:
    """Digests of a row's fields and of each inline's rows, and the time they were read."""

    opened_at: datetime
    digests: Mapping[str, str]

    def dump(self) -> str:
        """Return the state as text, for the form's hidden input."""
        return json.dumps({"at": self.opened_at.timestamp(), "digests": dict(self.digests)})

    @classmethod
    def load(cls, text: str) -> FormState | None:
        """Parse the text from a form's hidden input; return None if it is invalid."""
        try:
            read = json.loads(text[:MAX_STATE_LENGTH])
            at, digests = float(read["at"]), read["digests"]
            if not math.isfinite(at) or not all(isinstance(one, str) for one in digests.values()):
                return None
            return cls(opened_at=datetime.fromtimestamp(at, UTC), digests=dict(digests))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            return None

    def differing(self, seen: FormState) -> set[str]:
        """Return the names of fields and inlines whose digests differ between the two states."""
        names = self.digests.keys() | seen.digests.keys()
        return {name for name in names if self.digests.get(name) != seen.digests.get(name)}


def form_state(
    model_admin: Any, request: HttpRequest, row: Model, fields: Iterable[str], *, at: datetime
) -> FormState:
    """Return the form state of a row, for these fields and the inlines this operator may edit."""
    digests = {name: digest(value) for name, value in _values(row, fields)}
    for inline in model_admin.get_inline_instances(request, row):
        # Rows that can only be deleted are identified by their id, which cannot become stale.
        may_edit = inline.has_change_permission(request, row) or inline.has_add_permission(
            request, row
        )
        if may_edit:
            digests[INLINE + inline.model._meta.model_name] = _inline_digest(inline, request, row)
    return FormState(opened_at=at, digests=digests)


def digest(value: Any) -> str:
    """Return a digest of a field's value, equal for the stored value and the form's version."""
    text = json.dumps(_plain(value), default=str, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]


def _inline_digest(inline: Any, request: HttpRequest, row: Model) -> str:
    fields = flatten_fieldsets(inline.get_fieldsets(request, row))
    parent = inline.get_formset(request, row).fk.name
    rows = inline.get_queryset(request).filter(**{parent: row}).order_by("pk")
    return digest([[one.pk, [_plain(value) for _, value in _values(one, fields)]] for one in rows])


def _values(row: Model, fields: Iterable[str]) -> Sequence[tuple[str, Any]]:
    """Return the values of the fields that are model fields, with their names."""
    found: list[tuple[str, Any]] = []
    for name in dict.fromkeys(fields):
        try:
            field = row._meta.get_field(name)
        except FieldDoesNotExist:
            continue  # displayed by a method, or defined by the form itself
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
    if isinstance(value, str):  # browsers change line ends, and forms strip whitespace
        return value.replace("\r\n", "\n").strip()
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value

"""A form that refuses to be saved when it is stale, and the page that is shown then.

Fields that the operator edited keep the operator's input. All others show the current values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.db.models import Model

from agents.form_state import INLINE, STATE_INPUT, FormState, digest

MAX_SHOWN = 300  # characters of a value


class StaleCheck:
    """Form mixin that detects stale data; must be the first base class of the form.

    It is for admin forms of existing rows.
    """

    state: FormState  # of the row's current data, set by the admin
    fields: dict[str, forms.Field]
    data: Any
    is_bound: bool

    @property
    def seen(self) -> FormState | None:
        """The row's state when the form was opened, or None if the form carries none."""
        text = self.data.get(STATE_INPUT, "") if self.is_bound else ""
        return FormState.load(str(text))

    @property
    def changed_meanwhile(self) -> set[str]:
        """The names of the fields and inlines that have changed since the form was opened.

        If the form carries no state, all of them.
        """
        return self.state.differing(self.seen) if self.seen else set(self.state.digests)

    @property
    def is_stale(self) -> bool:
        return self.is_bound and bool(self.changed_meanwhile)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean()
        if self.is_stale:
            raise forms.ValidationError("This changed while you had it open.", code="stale")
        return cleaned


def merged_form(form: Any, row: Model) -> Any:
    """Return a new form of the current row that keeps the operator's input.

    The result can be saved, unless an inline's rows were changed. Then the form must be reopened.
    """
    merged = type(form)(instance=row, initial=_typed(form))
    inlines = {name for name in form.changed_meanwhile if name.startswith(INLINE)}
    seen = form.seen.digests if form.seen else {}
    merged.state = FormState(
        opened_at=form.state.opened_at,
        digests={**form.state.digests, **{name: seen.get(name, "") for name in inlines}},
    )
    return merged


def refusal(form: Any, merged: Any, row: Model, changes: Sequence[Any]) -> dict[str, Any]:
    """Return the template context that explains why a stale form was not saved."""
    typed = _typed(form)
    fields = [name for name in form.fields if name in form.changed_meanwhile]
    return {
        "row": row,
        "changes": changes,
        "is_unknown": form.seen is None,
        "fields": [
            {
                "label": merged[name].label,
                "now": _words(form.fields[name], _current(row, name)),
                "typed": _words(form.fields[name], typed[name]) if name in typed else None,
            }
            for name in (fields if form.seen else [])
        ],
        "has_inlines": any(name.startswith(INLINE) for name in form.changed_meanwhile),
    }


def _typed(form: Any) -> dict[str, Any]:
    """Return the operator's input: the values that differ from those the form showed."""
    seen = form.seen.digests if form.seen else {}
    values = {
        name: form.cleaned_data.get(name, form[name].data)
        for name, field in form.fields.items()
        if not field.disabled
    }
    return {name: value for name, value in values.items() if digest(value) != seen.get(name)}


def _current(row: Model, name: str) -> Any:
    field = row._meta.get_field(name)
    return getattr(row, name).all() if field.many_to_many else getattr(row, name)


def _words(field: forms.Field, value: Any) -> str:
    """Return a field's value as text for operators."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if hasattr(value, "all") or isinstance(value, list | tuple):
        text = ", ".join(str(one) for one in value)
    else:
        choices = (
            dict(getattr(field, "choices", ())) if isinstance(field, forms.ChoiceField) else {}
        )
        text = str(choices.get(value, "" if value is None else value))
    text = " ".join(text.split())
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"

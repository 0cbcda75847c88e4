"""Admin page on which operators decide which served names are the requested model."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from agents.guarded_admin import GuardedModelAdmin, titled
from agents.models import ServedName
from agents.served_names import PROVIDERS


@admin.register(ServedName)
class ServedNameAdmin(GuardedModelAdmin):
    """Admin of served names that differ from the requested one, with the operators' decisions."""

    list_title = "Served names"
    empty_title = "No served names yet"
    empty_text = (
        "When a server answers under another model name than the one requested, the name appears "
        "here. Then you can say whether it's the same model."
    )
    list_display = ["requested_model", "served_model", "provider", "is_same", "set_by"]
    list_filter = [("is_same", titled(admin.BooleanFieldListFilter, "same model"))]
    list_filter_submit = False
    search_fields = ["requested_model", "served_model"]
    fields = ["provider", "requested_model", "served_model", "is_same"]

    def get_readonly_fields(self, request: HttpRequest, obj: ServedName | None = None) -> list[str]:
        return ["provider", "requested_model", "served_model"] if obj else []

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field: Any = super().formfield_for_dbfield(db_field, request, **kwargs)
        if db_field.name == "provider":
            return forms.ChoiceField(choices=[(name, name) for name in PROVIDERS])
        if db_field.name == "is_same":
            field.label = "Same model"
            field.help_text = (
                "From the next call on, this name no longer counts as a wrong model. "
                "Earlier calls stay as they are."
            )
        return field

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"is_same": True}  # an operator who adds a name means that it is the same model

    def save_model(self, request: HttpRequest, obj: ServedName, form: Any, change: bool) -> None:
        obj.set_by = request.user.get_username()
        super().save_model(request, obj, form, change)

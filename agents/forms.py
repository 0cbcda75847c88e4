"""The form on which an operator chooses a model for an agent."""

from __future__ import annotations

from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from agents.models import AgentModelConfig
from agents.registry import default_registry


class OverrideForm(forms.ModelForm):
    """Offers the agents there are, and checks the shape of the model id."""

    # What the operator saw: the form of an override that somebody changed meanwhile is refused.
    seen_version = forms.IntegerField(label="", required=False, widget=forms.HiddenInput)

    class Meta:
        model = AgentModelConfig
        fields = ["agent_name", "model_id", "on_failure", "is_active"]
        widgets = {
            "model_id": UnfoldAdminTextInputWidget(
                attrs={
                    "placeholder": "author/slug, for example anthropic/claude-sonnet-4.5",
                    "spellcheck": "false",
                    "autocapitalize": "none",
                    "autocomplete": "off",
                }
            )
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["seen_version"].initial = self.instance.version
        if self.instance.pk and "is_active" in self.fields:
            self.initial["is_active"] = True  # who opens it to choose a model wants it to run
            if not self.instance.is_active:
                self.fields["is_active"].help_text = "Not active now: saving puts it in force."
        if "agent_name" in self.fields:  # on an existing override it is read-only
            self.fields["agent_name"] = forms.ChoiceField(
                label="Agent",
                choices=self._agents_without_override,
                widget=UnfoldAdminSelectWidget,
                help_text="Agents that have an override already are changed in the list.",
            )

    def clean_model_id(self) -> str:
        return str(self.cleaned_data["model_id"]).strip()

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        seen, row = cleaned.get("seen_version"), self._row_now()
        if row is not None and seen is not None and row.version != seen:
            raise forms.ValidationError(
                f"{row.set_by or 'Somebody'} has changed this override meanwhile, to {row.model_id}"
                f"{'' if row.is_active else ' (not active)'}. Reload the page and look again."
            )
        return cleaned

    def _row_now(self) -> AgentModelConfig | None:
        return AgentModelConfig.objects.filter(pk=self.instance.pk).first()

    @staticmethod
    def _agents_without_override() -> list[tuple[str, str]]:
        taken = set(AgentModelConfig.objects.values_list("agent_name", flat=True))
        free = [agent for agent in default_registry() if agent.name not in taken]
        return [("", "Choose an agent"), *((a.name, f"{a.name}: {a.purpose}") for a in free)]

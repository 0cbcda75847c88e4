"""The form in which operators choose a model for an agent."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from django import forms
from django.conf import settings
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from agents.models import AgentModelConfig, OnFailure, Suitability
from agents.registry import default_registry

# The labels that operators see. The model's own labels are part of its migrations.
ON_FAILURE_LABELS = {
    OnFailure.FAIL.value: "Fail the step",
    OnFailure.DEFAULT_MODEL.value: "Retry on the default model",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedModel:
    """The problems of a model for an agent, with the agent and the model that were checked."""

    agent_name: str
    model_id: str
    suited: Suitability

    @property
    def consent(self) -> str:
        """The form's value for consent to exactly these problems of this model."""
        about = repr((self.agent_name, self.model_id, self.suited.problems))
        return hashlib.sha256(about.encode()).hexdigest()[:16]

    def is_about(self, agent_name: str, model_id: str) -> bool:
        """Whether this is the check of this model for this agent."""
        return (self.agent_name, self.model_id) == (agent_name, model_id)


class OverrideForm(forms.ModelForm):
    """Form of an override. Offers the agents without an override, and validates the model id.

    A model that is unfit or unknown is saved only if the operator accepts that, and says why.
    """

    # What was checked before the transaction in which the form is validated. None if no check was
    # needed: the override stays off, or keeps its model.
    checked: CheckedModel | None = None

    accept_unfit = forms.BooleanField(
        label="Use this model anyway",
        required=False,
        widget=UnfoldBooleanSwitchWidget,
        help_text="The team key pays for its calls, and steps may fail.",
    )

    class Meta:
        model = AgentModelConfig
        fields = ["agent_name", "model_id", "on_failure", "is_active", "reason"]
        labels = {"on_failure": "If the model fails", "is_active": "On", "reason": "Why"}
        help_texts = {"on_failure": "The team key pays either way."}
        widgets = {
            "model_id": UnfoldAdminTextInputWidget(
                attrs={
                    "placeholder": "author/model, e.g. anthropic/claude-sonnet-4.5",
                    "spellcheck": "false",
                    "autocapitalize": "none",
                    "autocomplete": "off",
                }
            )
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk and "is_active" in self.fields:
            # Preselected, because an operator who opens the form to choose a model wants it on.
            self.initial["is_active"] = (kwargs.get("initial") or {}).get("is_active", True)
            if not self.instance.is_active:
                self.fields["is_active"].help_text = "Off now. Saving turns it on."
        self._has_consent = False
        if self._problems:
            consent = self.checked.consent if self.checked else ""
            self.fields["accept_unfit"].widget.attrs["value"] = consent
            self._has_consent = self.data.get("accept_unfit") == consent
        else:
            self.fields["accept_unfit"].widget = forms.HiddenInput()
        if self.is_bound and not self._has_consent:  # it was given to something else, or not at all
            self.data = {name: sent for name, sent in self.data.items() if name != "accept_unfit"}
        if "reason" in self.fields:
            self.initial["reason"] = ""  # each change has its own
        if "on_failure" in self.fields:
            field: Any = self.fields["on_failure"]
            field.choices = list(ON_FAILURE_LABELS.items())
        if settings.SHARED_SERVER != "openrouter" and "model_id" in self.fields:
            example = "as your server knows it, e.g. llama3.2:1b"
            self.fields["model_id"].widget.attrs["placeholder"] = example
        if "agent_name" in self.fields:  # absent if the override exists: then it is read-only
            self.fields["agent_name"] = forms.ChoiceField(
                label="Agent",
                choices=self._agents_without_override,
                widget=UnfoldAdminSelectWidget,
                help_text="To change an agent that already has an override, open it from the list.",
            )

    def clean_model_id(self) -> str:
        return str(self.cleaned_data["model_id"]).strip()

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if "model_id" not in cleaned or not cleaned.get("is_active"):
            return cleaned
        reason = cleaned.get("reason", "").strip()
        if settings.REQUIRE_REASON and not reason:
            self.add_error("reason", "Say why. This installation requires a reason.")
        before = self.instance
        is_as_before = before.pk and before.is_active and before.model_id == cleaned["model_id"]
        agent_name = before.agent_name if before.pk else cleaned.get("agent_name", "")
        if not is_as_before and not (
            self.checked and self.checked.is_about(agent_name, cleaned["model_id"])
        ):
            self.add_error("model_id", "The model could not be checked. Save again.")
        if not self._problems:
            return cleaned
        problems = "; ".join(self._problems)
        if not self._has_consent:
            self.add_error(
                "model_id",
                f"Not saved: {problems}. Choose another model, or turn on “Use this model anyway” "
                "and say why.",
            )
        elif not reason:
            self.add_error("reason", f"Say why you use it all the same ({problems}).")
        return cleaned

    @property
    def _problems(self) -> tuple[str, ...]:
        return self.checked.suited.problems if self.checked else ()

    @staticmethod
    def _agents_without_override() -> list[tuple[str, str]]:
        taken = set(AgentModelConfig.objects.values_list("agent_name", flat=True))
        free = [agent for agent in default_registry() if agent.name not in taken]
        return [("", "Choose an agent"), *((a.name, f"{a.name}: {a.purpose}") for a in free)]

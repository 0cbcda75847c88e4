"""The models that OpenRouter's stand-in currently offers, and their prices."""

from __future__ import annotations

from dataclasses import replace

from observatory.sandbox.catalogue import BY_ID, MODELS, Model, find_model
from observatory.sandbox.web import Clock, Json, Refused


class Offers:
    """The catalog without withdrawn models, at current prices."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self.withdrawn: set[str] = set()
        self.prices: dict[str, dict[str, str]] = {}

    def priced(self, model: Model) -> Model:
        """Return the model with its current prices."""
        changed = self.prices.get(model.id, {})
        return replace(
            model,
            prompt=changed.get("prompt", model.prompt),
            completion=changed.get("completion", model.completion),
        )

    def listed(self) -> list[Json]:
        """Return the entries of `/models`."""
        now = self._clock()
        return [
            self.priced(model).as_payload(at=now)
            for model in MODELS
            if model.id not in self.withdrawn
        ]

    def described(self, model_id: str) -> Json:
        """Return one entry of `/models`; aliases and variants resolve to their model."""
        model = BY_ID[self._found(model_id).served_as]
        return self.priced(model).as_payload(at=self._clock())

    def endpoints(self, model_id: str) -> Json:
        """Return the data of `/models/{id}/endpoints`: the providers that serve the model."""
        return self._found(model_id).as_endpoints()

    def check(self, model: Model) -> None:
        """Raise the 404 for a model that has been withdrawn."""
        if model.id in self.withdrawn:
            raise Refused(
                404,
                f"{model.id} is no longer available",
                availability={
                    "code": "model_deprecated",
                    "retryable": False,
                    "retry_after": None,
                    "requested_models": [model.id],
                    "fallback_models": [],
                },
            )

    def _found(self, model_id: str) -> Model:
        model = find_model(model_id)
        if model is None or model.id in self.withdrawn:
            raise Refused(404, f"Model {model_id} not found")
        return model

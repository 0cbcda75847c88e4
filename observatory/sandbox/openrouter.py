"""The stand-in for OpenRouter: keys, models, completions and their costs.

It refuses what OpenRouter refuses; otherwise the requested model answers.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from observatory.sandbox import openai
from observatory.sandbox.catalogue import MODELS, Model, find_model
from observatory.sandbox.chat_request import CompletionRequest
from observatory.sandbox.exchange import Exchange, Reply, WireFormat, images_in
from observatory.sandbox.vendor import NO_CREDIT, Vendor
from observatory.sandbox.web import Json, Refused, json_response

FREE_LIMIT_USD = 100
NATIVE_REASONS = {"stop": "completed", "length": "max_tokens"}
UNFIT = {
    "code": "constraint_filtered",
    "retryable": False,
    "retry_after": None,
    "fallback_models": ["anthropic/claude-haiku-4.5", "openai/gpt-5-mini"],
    "constraint": {"field": "response_format", "detail": "not supported"},
}


def failure(status: int, text: str, **details: Any) -> Reply:
    """Return OpenRouter's error response; `headers` in `details` become HTTP headers."""
    headers = details.pop("headers", {})
    error = {"code": status, "message": text} | details
    return Reply(status=status, body={"error": error}, headers=headers)


def written(exchange: Exchange, text: str) -> Reply:
    """Return the full response with an answer's text: OpenAI's plus OpenRouter's additions."""
    said, body = exchange.generated(text), openai.written(exchange, text).body
    (choice,) = body["choices"]
    generation_id, provider = f"gen-{int(exchange.at)}-{exchange.n:012d}", exchange.model.provider
    reasons = {
        "finish_reason": choice["finish_reason"],
        "native_finish_reason": NATIVE_REASONS[choice["finish_reason"]],
    }
    cost, (prompt_cost, completion_cost) = float(said.total_usd), map(float, said.costs_usd)
    details = {
        "upstream_inference_cost": None,
        "upstream_inference_prompt_cost": prompt_cost,
        "upstream_inference_completions_cost": completion_cost,
    }
    priced = {"cost": cost, "is_byok": False, "cost_details": details}
    body |= {"id": generation_id, "provider": provider, "choices": [choice | reasons]}
    body["usage"] |= priced
    return Reply.of(
        said,
        body,
        {"x-generation-id": generation_id, "x-provider-name": provider},
        provider_name=provider,
        total_cost=cost,
        usage=cost,
        is_byok=False,
        upstream_inference_cost=None,
        native_tokens_prompt=said.prompt_tokens,
        native_tokens_completion=said.completion_tokens,
        **reasons,
    )


class OpenRouter(Vendor):
    """The API below `/openrouter/api/v1`."""

    root = "/openrouter/api/v1"
    wire = WireFormat(name="openrouter", written=written, failure=failure)
    request_format = CompletionRequest
    models = MODELS
    keys = r"sk-or-v1-(?!.*revoked).{12,}"  # a key with "revoked" in it is refused
    bad_key = "No auth credentials found"
    unknown_model = (400, "{} is not a valid model ID")
    no_credit = {"status": 402, "text": "Insufficient credits. Add more and try again."}

    def routes(self) -> list[BaseRoute]:
        """Return the routes of the catalog, of keys and of generations."""
        return [
            *super().routes(),
            Route("/models/{model_id:path}/endpoints", self.list_endpoints),
            Route("/model/{model_id:path}", self.show_model),
            Route("/key", self.show_key),
            Route("/generation", self.show_generation),
        ]

    def fitted(self, exchange: Exchange, body: Json) -> Exchange:
        """Refuse what the model cannot take; one without structured outputs gets no schema."""
        model = exchange.model
        if images_in(exchange.messages) and "image" not in model.inputs:
            raise Refused(404, "No endpoints found that support image input")
        routing = body.get("provider")
        must_fit = isinstance(routing, dict) and routing.get("require_parameters") is True
        if must_fit and body.get("response_format") and "response_format" not in model.parameters:
            raise Refused(
                404,
                "No endpoints found that can handle the requested parameters.",
                availability=UNFIT | {"requested_models": [model.id]},
            )
        follows_schemas = "structured_outputs" in model.parameters
        return exchange if follows_schemas else replace(exchange, schema=None)

    async def list_models(self, request: Request) -> Response:
        """List the catalog; needs no key."""
        now = time.time()
        listed = [model.as_payload(at=now) for model in self.offered()]
        return json_response({"data": listed, "total_count": len(listed), "links": {"next": None}})

    async def list_endpoints(self, request: Request) -> Response:
        """List the providers that serve one model; needs no key."""
        return json_response({"data": self._found(request.path_params["model_id"]).as_endpoints()})

    async def show_model(self, request: Request) -> Response:
        """Show one model; aliases and variants resolve to their model."""
        model = self._found(self._found(request.path_params["model_id"]).served_as)
        return json_response({"data": model.as_payload(at=time.time())})

    async def show_key(self, request: Request) -> Response:
        """Describe the request's key; clients use this call to validate keys."""
        key = self.admit(request)
        used = float(self._ledger.spent(key))
        limit = 0 if NO_CREDIT in key else FREE_LIMIT_USD
        facts = {
            "label": f"{key[:12]}...{key[-3:]}",
            "limit": limit,
            "limit_remaining": max(limit - used, 0),
            "limit_reset": "monthly",
            "usage": used,
            "is_free_tier": False,
            "expires_at": None,
        }
        return json_response({"data": facts})

    async def show_generation(self, request: Request) -> Response:
        """Show the cost of an earlier answer, only to the key that paid for it."""
        key, generation_id = self.admit(request), request.query_params.get("id", "")
        found = self._ledger.generation(generation_id, key=key)
        if found is None:
            raise Refused(404, f"Generation {generation_id} not found")
        return json_response({"data": found})

    def _found(self, model_id: str) -> Model:
        model = find_model(model_id, self.offered())
        if model is None:
            raise Refused(404, f"Model {model_id} not found")
        return model

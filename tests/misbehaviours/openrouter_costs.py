"""Answers of OpenRouter whose usage and cost are odd; the ledger holds what was billed in truth."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from starlette.responses import Response

from observatory.sandbox.exchange import Reply
from tests.misbehaviours.bodies import with_body
from tests.misbehaviours.kinds import Spoiling

NOTHING_USED = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "cost": 0}


def _with_usage(reply: Reply, **values: Any) -> Reply:
    return with_body(reply, usage=reply.body["usage"] | values)


def _with_upstream(reply: Reply, upstream: float, **values: Any) -> Reply:
    details = reply.body["usage"]["cost_details"] | {"upstream_inference_cost": upstream}
    return _with_usage(reply, cost_details=details, **values)


def _byok(reply: Reply) -> Reply:
    cost = reply.body["usage"]["cost"]
    facts = {"total_cost": 0, "is_byok": True, "upstream_inference_cost": cost}
    elsewhere = _with_upstream(reply, cost, cost=0, is_byok=True)
    return replace(elsewhere, generation=(reply.generation or {}) | facts)


def _cost_equals_upstream(reply: Reply) -> Reply:
    cost = reply.body["usage"]["cost"]
    facts = {"upstream_inference_cost": cost}
    return replace(_with_upstream(reply, cost), generation=(reply.generation or {}) | facts)


def _without_cost(reply: Reply) -> Reply:
    usage = {
        name: value
        for name, value in reply.body["usage"].items()
        if name not in ("cost", "cost_details")
    }
    return with_body(reply, usage=usage)


def _odd_usage(reply: Reply) -> Reply:
    """Return figures that no counter should take; `NaN` goes out bare, as no JSON allows."""
    odd = {
        "prompt_tokens": -12,
        "completion_tokens": "187",
        "total_tokens": float("nan"),
        "cost": 1e308,
        "prompt_tokens_details": {"cached_tokens": 1e308},
        "completion_tokens_details": {"reasoning_tokens": 2**70},
    }
    return _with_upstream(reply, -0.5, **odd)


def _costing(cost: object) -> Spoiling:
    return lambda reply: _with_usage(reply, cost=cost)


def _usage_twice(reply: Reply) -> Reply:
    """Return a body that says `usage` twice, first of nothing."""
    rest = {name: value for name, value in reply.body.items() if name != "usage"}
    parts = [json.dumps({"usage": NOTHING_USED}), json.dumps(rest)]
    parts.append(json.dumps({"usage": reply.body["usage"]}))
    body = "{" + ",".join(part[1:-1] for part in parts) + "}"
    wire = Response(body, 200, reply.headers, "application/json")
    return replace(reply, wire=wire)


COSTS: dict[str, Spoiling] = {
    "byok": _byok,
    "cost-equals-upstream": _cost_equals_upstream,
    "no-cost": _without_cost,
    "odd-usage": _odd_usage,
    "odd-cost-negative": _costing(-0.25),
    "odd-cost-text": _costing("about a cent"),
    "odd-cost-nan": _costing("NaN"),
    "duplicate-usage": _usage_twice,
    "late-generation": _without_cost,
}

"""Whatever a provider sends, it ends as an answer or as one of our errors, and never costs less."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

from django.test import SimpleTestCase
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.llm import http, openrouter_replies
from agents.llm.base import Completion
from agents.llm.errors import LLMError
from tests.llm.calling import answer, provider
from tests.llm.loopback import Canned, loopback

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=5,
)
ERROR = {
    "code": 404,
    "message": "gone",
    "error_type": "x",
    "metadata": {"raw": "x", "error_type": "not_found", "reasons": []},
    "availability": {
        "code": "model_not_found",
        "retryable": False,
        "retry_after": 1,
        "fallback_models": ["a/b"],
        "constraint": {"field": "response_format"},
    },
}
BODY = {**answer(), "error": ERROR}


def places_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every member and item."""
    members = dict(enumerate(value)) if isinstance(value, list) else value
    if not isinstance(members, dict):
        return []
    return [
        place
        for key, part in members.items()
        for place in ((*path, key), *places_in(part, (*path, key)))
    ]


def mutated(body: Any, place: tuple[Any, ...], value: Any) -> Any:
    body = copy.deepcopy(body)
    target = body
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    return body


class Fuzzing(SimpleTestCase):
    @settings(max_examples=300, deadline=None)
    @given(
        place=st.sampled_from(places_in(BODY)),
        value=JSON,
        status=st.sampled_from([200, 200, 400, 403, 404, 429, 503]),
        has_error=st.booleans(),
        has_schema=st.booleans(),
    )
    def test_no_body_crashes(self, place, value, status, has_error, has_schema):
        body = mutated(BODY, place, value)
        if not has_error:
            body.pop("error", None)
        reply = http.Reply(status=status, headers={}, body=body, flaw="", latency_ms=1)

        learnt: Completion | None
        try:
            learnt = openrouter_replies.completion(reply, has_schema=has_schema)
        except LLMError as error:
            learnt = error.learnt
            str(error).encode()

        if learnt is not None:
            assert learnt.cost_usd is None or learnt.cost_usd >= 0
            learnt.text.encode()
            learnt.served_model.encode()

    async def test_no_flipped_byte_crashes(self):
        chance = random.Random(20261124)
        raw = json.dumps(answer()).encode()
        for _ in range(300):
            flipped = bytearray(raw)
            for _ in range(chance.randint(1, 3)):
                flipped[chance.randrange(len(raw))] = chance.randrange(256)
            async with loopback(Canned(body=bytes(flipped))) as server:
                try:
                    completion = await provider(server.base_url).complete("s", "u")
                except LLMError:
                    continue
                assert completion.text

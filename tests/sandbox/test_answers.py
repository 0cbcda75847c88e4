"""Answers fit whatever schema they are asked to fit, and quote the member."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from observatory.sandbox.answers import answer
from observatory.sandbox.phrases import read_message
from observatory.sandbox.web import Refused

Json = dict[str, Any]

MODEL = "openai/gpt-4.1"
MESSAGE = "VP of Strategy at a mid-size bank, worried about switching cost"
READING = read_message(MESSAGE)


class Signal(BaseModel):
    quote: str
    meaning: str = Field(max_length=60)


class Step(BaseModel):
    action: str
    why: str
    when: str | None


class Criterion(BaseModel):
    name: str
    score: int = Field(ge=0, le=10)
    quote: str
    advice: str


class Advice(BaseModel):
    summary: str
    kind: Literal["support", "training"]
    confidence: float = Field(gt=0, lt=1)
    signals: list[Signal] = Field(min_length=2, max_length=4)
    steps: list[Step] = Field(max_length=2)
    criteria: list[Criterion]
    analysis: str = Field(min_length=20, max_length=120)
    parent: Advice | None = None
    replies: list[Advice] = []
    even: int = Field(multiple_of=2, ge=3)
    anything: dict[str, str]


def test_an_answer_validates_against_a_model_with_every_kind_of_field() -> None:
    text = answer(Advice.model_json_schema(), READING, MODEL)

    advice = Advice.model_validate_json(text)
    assert MESSAGE[:40] in text
    assert text.count(MODEL) == 1
    assert advice.analysis.endswith(f"(answered by {MODEL})")


def scalars() -> st.SearchStrategy[Json]:
    def with_bounds(kind: str, low: int, room: int) -> Json:
        return {"type": kind, "minimum": low, "maximum": low + room}

    def with_lengths(least: int, room: int) -> Json:
        return {"type": "string", "minLength": least, "maxLength": least + room}

    small = st.integers(-50, 50)
    return st.one_of(
        st.builds(with_bounds, st.sampled_from(["integer", "number"]), small, st.integers(0, 9)),
        st.builds(with_lengths, st.integers(0, 300), st.integers(0, 90)),
        st.builds(lambda low: {"type": "integer", "exclusiveMinimum": low}, small),
        st.builds(lambda high: {"type": "number", "exclusiveMaximum": high}, small),
        st.sampled_from([{"type": "boolean"}, {"type": "string"}, {"type": "null"}]),
        st.builds(lambda values: {"enum": values}, st.lists(small, min_size=1, unique=True)),
        st.builds(lambda value: {"const": value}, st.text(max_size=5)),
    )


def containers(inner: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    def an_array(items: Json, least: int, room: int) -> Json:
        return {"type": "array", "items": items, "minItems": least, "maxItems": least + room}

    def an_object(properties: Json) -> Json:
        return {"type": "object", "properties": properties, "required": list(properties)}

    names = st.sampled_from(["summary", "steps", "action", "x", "score", "signals", "quote"])
    return st.one_of(
        st.builds(an_array, inner, st.integers(0, 4), st.integers(0, 3)),
        st.builds(an_object, st.dictionaries(names, inner, max_size=4)),
        st.builds(lambda one: {"anyOf": [{"type": "null"}, one]}, inner),
    )


@given(st.recursive(scalars(), containers, max_leaves=8))
def test_an_answer_validates_against_any_schema(schema: Json) -> None:
    value = json.loads(answer(schema, READING, MODEL))

    assert_fits(value, schema)


def assert_fits(value: Any, schema: Json) -> None:
    if "anyOf" in schema:
        assert_fits(value, schema["anyOf"][value is not None])
    elif "enum" in schema:
        assert value in schema["enum"]
    elif "const" in schema:
        assert value == schema["const"]
    else:
        CHECKS[schema["type"]](value, schema)


def assert_number(value: Any, schema: Json) -> None:
    assert isinstance(value, int if schema["type"] == "integer" else int | float)
    assert not isinstance(value, bool)
    assert schema.get("minimum", value) <= value <= schema.get("maximum", value)
    assert schema.get("exclusiveMinimum", value - 1) < value < schema.get("exclusiveMaximum", 999)


def assert_string(value: Any, schema: Json) -> None:
    assert isinstance(value, str)
    assert schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))


def assert_array(value: Any, schema: Json) -> None:
    assert schema["minItems"] <= len(value) <= schema["maxItems"]
    for item in value:
        assert_fits(item, schema["items"])


def assert_object(value: Any, schema: Json) -> None:
    assert set(value) == set(schema["properties"])
    for name, inner in schema["properties"].items():
        assert_fits(value[name], inner)


def assert_boolean(value: Any, schema: Json) -> None:
    assert isinstance(value, bool)


def assert_null(value: Any, schema: Json) -> None:
    assert value is None


CHECKS = {
    "integer": assert_number,
    "number": assert_number,
    "string": assert_string,
    "array": assert_array,
    "object": assert_object,
    "boolean": assert_boolean,
    "null": assert_null,
}


@given(st.text(max_size=400))
def test_any_message_is_quoted_in_short(message: str) -> None:
    reading = read_message(message)

    value = json.loads(answer({"properties": {"note": {"type": "string"}}}, reading, MODEL))

    assert len(reading.quote) <= 140
    assert reading.quote in value["note"]


def test_the_quote_ends_at_a_word_and_comes_from_the_message_block() -> None:
    words = "budget " * 40

    reading = read_message(f"Earlier: no.\n<message>\n{words}\n</message>\nLater: no.")

    assert reading.quote == ("budget " * 20).strip()


def test_role_company_and_worry_are_read_out_of_the_message() -> None:
    reading = read_message(f"<message>/support {MESSAGE}</message>")

    assert reading.role == "VP of Strategy"
    assert reading.company == "mid-size bank"
    assert reading.worry == "switching cost"


def test_bounds_that_only_a_description_tells_are_kept_to() -> None:
    score = {"type": "integer", "description": "Of the answer. (minimum: 0, maximum: 100)"}

    assert json.loads(answer(score, READING, MODEL)) == 70


def test_braces_in_a_message_are_only_text() -> None:
    value = json.loads(answer({"type": "string"}, read_message("{role} {quote}"), MODEL))

    assert "{role} {quote}" in value


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/Missing"},
        {"$ref": "#"},
        {"type": "array", "minItems": 1, "items": {"$ref": "#"}},
        {"enum": []},
        {"type": "number", "minimum": "low"},
    ],
)
def test_a_schema_that_nothing_fits_is_refused(schema: Json) -> None:
    with pytest.raises(Refused):
        answer(schema, READING, MODEL)

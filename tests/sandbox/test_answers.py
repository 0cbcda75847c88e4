"""Answers fit whatever schema they are asked to fit, and quote the member."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from observatory.sandbox.answers import answer
from observatory.sandbox.phrases import Reading, read_message
from observatory.sandbox.styles import style_of
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
    signals: list[Signal] = Field(min_length=2, max_length=4)
    steps: list[Step] = Field(max_length=2)
    criteria: list[Criterion]
    analysis: str = Field(min_length=20, max_length=120)


def test_an_answer_validates_against_a_model_with_every_kind_of_field() -> None:
    text = answer(Advice.model_json_schema(), READING, MODEL)

    advice = Advice.model_validate_json(text)
    assert MESSAGE[:40] in text
    assert text.count(MODEL) == 1
    assert advice.analysis.endswith(f"(answered by {MODEL})")


def analysis(model_id: str, reading: Reading = READING) -> str:
    schema = {"type": "object", "properties": {"analysis": {"type": "string"}}}
    return str(json.loads(answer(schema, reading, model_id))["analysis"])


def test_models_differ_in_length_tone_and_pace() -> None:
    models = ("anthropic/claude-sonnet-4.5", "anthropic/claude-haiku-4.5", "openai/gpt-5-mini")
    styles = [style_of(model_id) for model_id in (*models, "google/gemini-2.5-flash")]
    said = [analysis(model_id).partition(" (answered")[0] for model_id in models]

    assert len({style.pace for style in styles}) == len(styles)
    assert len(set(said)) == 3 - 1, "the default model and the thorough one say the same here"
    assert len(said[1]) < len(said[0])


def test_shorter_is_honoured() -> None:
    shorter = read_message(
        f"<message>{MESSAGE}</message>",
        instructions="Where a `<task>` is… <task>In at most half the words</task>",
    )

    assert len(analysis(MODEL, shorter)) < len(analysis(MODEL))
    assert read_message("Shorter, please").wants_less


def test_a_picture_is_spoken_of_by_who_sees_it_and_by_who_reads_of_it() -> None:
    seen = read_message("What is this?", picture="picture of 40 by 30 pixels")
    told = read_message("<message>Hi</message><profile>It comes with a picture of 8 by 9 pixels.")

    assert "picture of 40 by 30 pixels" in analysis(MODEL, seen)
    assert "picture of 8 by 9 pixels" in analysis(MODEL, told)


class Fact(BaseModel):
    text: str
    kind: Literal["role", "market", "goal", "style"]


class Memory(BaseModel):
    facts: list[Fact]


@pytest.mark.parametrize(
    ("message", "fact"),
    [
        (
            MESSAGE,
            "Sells to a mid-size bank; speaks with its VP of Strategy, who cares about switching"
            " cost",
        ),
        ("How do I begin?", "Wants drafts that are ready to send"),
    ],
)
def test_what_is_remembered_reads_like_a_fact(message: str, fact: str) -> None:
    text = answer(Memory.model_json_schema(), read_message(message), MODEL)

    assert [one.text for one in Memory.model_validate_json(text).facts] == [fact]


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

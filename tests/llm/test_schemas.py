from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from django.test import SimpleTestCase
from pydantic import BaseModel, Field

from agents.llm import schemas


class Mood(StrEnum):
    WARM = "warm"
    COLD = "cold"


class Person(BaseModel):
    name: str = Field(min_length=1, description="As on the card")
    age: int | None = Field(default=None, ge=0, le=150)


class Call(BaseModel):
    kind: Literal["call"]
    minutes: float


class Meeting(BaseModel):
    kind: Literal["meeting"]
    place: Person = Field(description="Where it is")


class Lead(BaseModel):
    people: list[Person] = Field(default_factory=list, max_length=5)
    mood: Mood = Mood.WARM
    default: str = "a property may be called like a keyword"
    properties: Person | None = None
    last: Annotated[Call | Meeting, Field(discriminator="kind")]
    children: list[Lead] = []


class Open(BaseModel):
    scores: dict[str, int]


def objects_of(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield every object schema, wherever it stands."""
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for part in schema.values():
            yield from objects_of(part)
    if isinstance(schema, list):
        for part in schema:
            yield from objects_of(part)


def keywords_of(schema: dict[str, Any]) -> Iterator[str]:
    """Yield every schema's keywords, leaving out the names of properties."""
    yield from schema
    for key, part in schema.items():
        if key in ("properties", "$defs"):
            for named in part.values():
                yield from keywords_of(named)
        elif isinstance(part, dict):
            yield from keywords_of(part)
        elif isinstance(part, list):
            for each in part:
                if isinstance(each, dict):
                    yield from keywords_of(each)


class StrictSchemas(SimpleTestCase):
    def setUp(self):
        self.original = Lead.model_json_schema()
        self.strict = schemas.strict(self.original)

    def test_every_object_is_closed_and_all_its_properties_are_required(self):
        objects = list(objects_of(self.strict))

        assert len(objects) == 4
        for schema in objects:
            assert schema["additionalProperties"] is False
            assert schema["required"] == list(schema["properties"])

    def test_what_vendors_refuse_is_gone_and_nothing_else(self):
        refused = {"default", "oneOf", "discriminator", "minLength", "maxItems", "minimum"}

        assert refused & set(keywords_of(self.original)) == refused
        assert not refused & set(keywords_of(self.strict))
        lead = self.strict["$defs"]["Lead"]["properties"]
        assert set(lead) == set(Lead.model_fields)
        assert lead["last"] == {
            "title": "Last",
            "anyOf": [{"$ref": "#/$defs/Call"}, {"$ref": "#/$defs/Meeting"}],
        }

    def test_constraints_move_to_the_description(self):
        person = self.strict["$defs"]["Person"]["properties"]

        assert person["name"]["description"] == "As on the card (minLength: 1)"
        assert person["age"]["anyOf"] == [
            {"type": "integer", "description": "(minimum: 0, maximum: 150)"},
            {"type": "null"},
        ]

    def test_a_reference_has_no_neighbours(self):
        place = self.strict["$defs"]["Meeting"]["properties"]["place"]

        assert place == {"anyOf": [{"$ref": "#/$defs/Person"}], "description": "Where it is"}

    def test_a_strict_schema_stays_as_it_is_and_the_original_is_untouched(self):
        assert schemas.strict(self.strict) == self.strict
        assert self.original == Lead.model_json_schema()

    def test_free_keys_are_refused_by_name(self):
        with pytest.raises(schemas.SchemaTooOpen, match="'Scores'"):
            schemas.strict(Open.model_json_schema())

    def test_a_name_has_only_what_vendors_allow(self):
        assert schemas.name_of({"title": "Lead"}) == "Lead"
        assert schemas.name_of({"title": "Lead[ключ] x"}) == "Lead_______x"
        assert schemas.name_of({}) == "answer"

"""The team's agents: their prompts, their schemas, and a whole run with a scripted model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import SimpleTestCase

from agents.base import AgentInput, BaseAgent
from agents.llm.errors import AnswerNotJson
from agents.llm.schemas import strict
from agents.registry import default_registry
from pipeline.running.config import load_pipeline, pipeline_names
from tests.team.examples import ANSWERS, FEEDBACK, PLAN
from tests.team.scripted import BareContext, ScriptedModel

PASSAGES = {
    "extraction": {"message", "forwarded", "conversation", "memory"},
    "strategist": {
        *("message", "forwarded", "conversation", "task"),
        *("profile", "playbook", "casebook", "memory"),
    },
    "trainer": {"message", "task", "scenario", "playbook", "memory"},
    "memory": {"message", "memory", "profile"},
}
# Anthropic's structured outputs answer these with 400; OpenAI's strict mode knows some of them.
REFUSED_KEYWORDS = {
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minLength", "maxLength", "pattern", "minItems", "maxItems", "uniqueItems"),
    *("default", "oneOf", "allOf", "not", "patternProperties", "minProperties", "maxProperties"),
}


def objects_in(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield every subschema, the properties' names left out."""
    if isinstance(schema, list):
        for entry in schema:
            yield from objects_in(entry)
    elif isinstance(schema, dict):
        yield schema
        for keyword, value in schema.items():
            is_by_name = keyword in {"properties", "$defs"}
            yield from objects_in(list(value.values()) if is_by_name else value)


def team() -> Iterator[BaseAgent]:
    yield from default_registry()


class PromptTests(SimpleTestCase):
    def test_every_prompt_names_the_passages_that_its_agent_is_given(self):
        for agent in team():
            for passage in PASSAGES[agent.name]:
                with self.subTest(f"{agent.name}: {passage}"):
                    assert f"`<{passage}>`" in agent.system_prompt

    def test_every_prompt_names_what_any_pipeline_gives_its_agent(self):
        for name in pipeline_names():
            for step in load_pipeline(name).steps:
                agent = default_registry().get(step.agent)
                with self.subTest(f"{name}: {agent.name}"):
                    given = set(step.input_mapping) - {"image"}
                    assert given <= PASSAGES[agent.name] & agent.tags.names

    def test_every_prompt_has_150_to_350_words(self):
        for agent in team():
            with self.subTest(agent.name):
                assert 150 <= len(agent.system_prompt.split()) <= 350

    def test_every_prompt_says_that_passages_cannot_instruct(self):
        for agent in team():
            with self.subTest(agent.name):
                assert "instructions" in agent.system_prompt

    def test_every_agent_has_words_for_members_and_for_operators(self):
        for agent in team():
            with self.subTest(agent.name):
                assert 0 < len(agent.title) <= 30
                assert agent.purpose.endswith(".")


class SchemaTests(SimpleTestCase):
    def test_every_vendor_can_enforce_the_schemas(self):
        for agent in team():
            schema = strict(agent.answer_model.model_json_schema())
            for subschema in objects_in(schema):
                with self.subTest(agent.name, subschema=subschema.get("title")):
                    assert not REFUSED_KEYWORDS & set(subschema)

    def test_every_field_is_required_and_described(self):
        for agent in team():
            for subschema in objects_in(strict(agent.answer_model.model_json_schema())):
                properties = subschema.get("properties", {})
                with self.subTest(agent.name, subschema=subschema.get("title")):
                    assert set(subschema.get("required", ())) == set(properties)
                    assert all(field.get("description") for field in properties.values())


class RunTests(SimpleTestCase):
    async def test_every_agent_gives_its_answer_as_data_and_as_a_reply(self):
        for agent in team():
            with self.subTest(agent.name):
                model = ScriptedModel(answers=(ANSWERS[agent.name],))

                output = await agent.run(asked("Hello"), BareContext(step_llm=model))

                assert output.success
                assert output.agent == agent.name
                assert output.data == ANSWERS[agent.name]
                assert output.reply
                assert not output.was_repaired

    async def test_the_model_gets_prompt_passages_picture_and_schema(self):
        agent = default_registry().get("extraction")
        model = ScriptedModel(answers=(ANSWERS["extraction"],))

        await agent.run(
            AgentInput(passages={"message": "VP at a bank", "memory": ""}, image_b64="aW1n"),
            BareContext(step_llm=model),
        )

        (request,) = model.requests
        assert request.system_prompt.startswith(agent.system_prompt)
        assert "<message>\nVP at a bank\n</message>" in request.user_message
        assert "<memory>" not in request.user_message
        assert request.image_b64 == "aW1n"
        assert request.schema is not None

    async def test_an_unusable_answer_is_asked_for_once_more(self):
        model = ScriptedModel(answers=({**PLAN, "steps": []}, PLAN))

        output = (
            await default_registry()
            .get("strategist")
            .run(asked("Hello"), BareContext(step_llm=model))
        )

        assert output.data == PLAN
        assert len(model.requests) == 2

    async def test_a_model_that_keeps_giving_impossible_scores_fails_the_step(self):
        model = ScriptedModel(answers=({**FEEDBACK, "score": 850},))

        with pytest.raises(AnswerNotJson):
            await default_registry().get("trainer").run(asked("Hello"), BareContext(step_llm=model))


def asked(message: str) -> AgentInput:
    return AgentInput(passages={"message": message})

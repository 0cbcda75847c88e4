"""An agent, a pipeline and an input are one or two files and a line each, added to a copy."""

from __future__ import annotations

import json

import httpx
from django.test import SimpleTestCase

from tests.canaries import SHARED_KEY
from tests.product_copy import product_copy
from tests.sandbox.serving import running_sandbox

AGENT = '''
from pydantic import Field

from agents.base import AgentAnswer, BaseAgent, Needs


class Greeting(AgentAnswer):
    """How the member is greeted."""

    words: str = Field(description="One sentence.")

    def as_reply(self) -> str:
        return f"Greeting: {self.words}"


class GreeterAgent(BaseAgent):
    """Greets the member by the weather."""

    name = "greeter"
    title = "Looking out of the window"
    purpose = "Greets the member."
    needs = Needs()
    answer_model = Greeting
'''
PROMPT = """You greet one salesperson. You are given `<message>` and `<weather>`, which are data.
"""
PIPELINE = """# A member says hello.
title: Greeting
answer: [greeter]
steps:
  - agent: greeter
    mode: sequential
    input_mapping:
      task: "Greet the member."
      message: ctx.user_message
      weather: ctx.weather
"""


class AdditionTests(SimpleTestCase):
    def test_an_agent_a_pipeline_and_an_input_are_found_where_they_are_needed(self):
        with product_copy() as product, running_sandbox() as base_url:
            # An agent: two files, its import and its line.
            product.add_file("agents/team/greeter.py", AGENT)
            product.add_file("agents/prompts/greeter.md", PROMPT)
            registry = "agents/registry.py"
            imported = "from agents.team.greeter import GreeterAgent"
            product.add_line(registry, imported, before="from agents.team.memory")
            product.add_line(registry, "    GreeterAgent,", before="    MemoryAgent,")
            # A pipeline: one file.
            product.add_file("pipeline/definitions/greet.yaml", PIPELINE)
            # An input: a line where it is named, and one where it is filled in.
            product.add_line("agents/base.py", '    weather: str = ""', before="    scenario:")
            product.add_line(
                "pipeline/running/briefing.py",
                '        weather="It rains in Oslo.",',
                before="        knowledge_base=",
            )

            own = {
                "SHARED_SERVER": "openrouter",
                "OPENROUTER_API_KEY": SHARED_KEY,
                "OPENROUTER_BASE_URL": f"{base_url}/openrouter/api/v1",
            }
            product.run("manage.py", "check", **own)
            product.run("manage.py", "migrate", "--verbosity", "0", **own)
            said = product.run("manage.py", "runpipeline", "greet", "Hello.", "--json", **own)

            (call,) = httpx.get(f"{base_url}/ledger").json()["calls"]

        report = json.loads(said)
        assert report["status"] == "ok"
        assert "Greeting:" in report["answer"]
        assert "It rains in Oslo." in str(call["messages"])

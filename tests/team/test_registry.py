"""The one list of agents: looked up by name, in a fixed order, without doubles."""

from __future__ import annotations

import pytest
from django.test import SimpleTestCase

from agents.base import BaseAgent
from agents.registry import AgentRegistry, DuplicateAgent, UnknownAgent, default_registry
from agents.team.memory import MemoryAgent
from agents.team.trainer import TrainerAgent


class Understudy(TrainerAgent):
    """Claims a name that is taken."""


class RegistryTests(SimpleTestCase):
    def test_the_team_is_complete_and_in_order(self):
        assert default_registry().names() == ("extraction", "strategist", "trainer", "memory")

    def test_an_agent_is_found_by_its_name(self):
        trainer = TrainerAgent()

        registry = AgentRegistry([MemoryAgent(), trainer])

        assert registry.get("trainer") is trainer
        assert "trainer" in registry
        assert "extraction" not in registry

    def test_iteration_gives_the_agents_in_the_order_given(self):
        agents: list[BaseAgent] = [TrainerAgent(), MemoryAgent()]

        assert list(AgentRegistry(agents)) == agents
        assert len(AgentRegistry(agents)) == 2

    def test_an_unknown_name_is_answered_with_the_known_ones(self):
        registry = AgentRegistry([MemoryAgent(), TrainerAgent()])

        with pytest.raises(UnknownAgent, match=r"'coach'.*memory, trainer") as raised:
            registry.get("coach")

        assert raised.value.name == "coach"
        assert raised.value.known == ("memory", "trainer")

    def test_an_empty_registry_says_that_it_knows_none(self):
        with pytest.raises(UnknownAgent, match="there are: none"):
            AgentRegistry([]).get("coach")

    def test_two_agents_of_one_name_are_refused(self):
        with pytest.raises(DuplicateAgent, match=r"TrainerAgent and Understudy.*'trainer'"):
            AgentRegistry([TrainerAgent(), MemoryAgent(), Understudy()])

    def test_the_same_agent_twice_is_refused(self):
        memory = MemoryAgent()

        with pytest.raises(DuplicateAgent, match="'memory'"):
            AgentRegistry([memory, memory])

    def test_prompts_are_read_once(self):
        assert default_registry() is default_registry()

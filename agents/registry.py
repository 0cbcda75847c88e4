"""Registry of all agents, in the order in which the admin lists them.

To add an agent, add a module in `team/`, a prompt in `prompts/` and an entry in `TEAM`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache, cached_property, reduce
from operator import or_

from agents.base import BaseAgent
from agents.passages import NO_TAGS, Tags
from agents.team.extraction import ExtractionAgent
from agents.team.memory import MemoryAgent
from agents.team.strategist import StrategistAgent
from agents.team.trainer import TrainerAgent

TEAM: tuple[type[BaseAgent], ...] = (
    ExtractionAgent,
    StrategistAgent,
    TrainerAgent,
    MemoryAgent,
)


class UnknownAgent(LookupError):
    """No agent with this name is registered."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"no agent is called {name!r}; there are: {', '.join(known) or 'none'}")
        self.name = name
        self.known = known


class DuplicateAgent(ValueError):
    """Two agents have the same name, so a step or an override would be ambiguous."""

    def __init__(self, first: BaseAgent, second: BaseAgent) -> None:
        super().__init__(
            f"{type(first).__name__} and {type(second).__name__} are both called "
            f"{first.name!r}; rename one of them"
        )
        self.name = first.name


class AgentRegistry:
    """Agents by name, in the order given."""

    def __init__(self, agents: Iterable[BaseAgent]) -> None:
        self._agents: dict[str, BaseAgent] = {}
        for agent in agents:
            if agent.name in self._agents:
                raise DuplicateAgent(self._agents[agent.name], agent)
            self._agents[agent.name] = agent

    def __iter__(self) -> Iterator[BaseAgent]:
        return iter(self._agents.values())

    def __len__(self) -> int:
        return len(self._agents)

    def __contains__(self, name: object) -> bool:
        return name in self._agents

    def get(self, name: str) -> BaseAgent:
        """Return the agent with this name.

        Raises:
            UnknownAgent: no agent has this name.
        """
        try:
            return self._agents[name]
        except KeyError:
            raise UnknownAgent(name, self.names()) from None

    def names(self) -> tuple[str, ...]:
        return tuple(self._agents)

    @cached_property
    def tags(self) -> Tags:
        """The tags of all agents' prompts."""
        return reduce(or_, (agent.tags for agent in self), NO_TAGS)


@cache
def default_registry() -> AgentRegistry:
    """Return the registry of the team's agents; their prompts are read once in each process."""
    return AgentRegistry(agent() for agent in TEAM)

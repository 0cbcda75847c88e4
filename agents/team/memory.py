"""The agent that extracts facts about a member for later conversations.

It only proposes facts. Its caller decides whether a fact is kept, for how long and for whom.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from agents.base import AgentAnswer, BaseAgent, Needs
from agents.team.fields import Part, at_most, cut_to
from agents.team.markdown import bullets, literal, section

FactKind = Literal["role", "market", "goal", "style", "habit", "language"]


class Fact(Part):
    """One thing that a member said about themselves."""

    text: Annotated[str, cut_to(200)] = Field(
        description="One short sentence in the third person, at most 200 characters."
    )
    kind: FactKind = Field(
        description=(
            "role: their job and team; market: what they sell and to whom; goal: what they want "
            "to reach; style: how they want answers and drafts; habit: how and when they work; "
            "language: which languages they use."
        )
    )


class MemoryUpdate(AgentAnswer):
    """What is worth remembering of a message; most often nothing."""

    facts: Annotated[list[Fact], at_most(8)] = Field(
        description="At most 8 new facts about the member; empty when there are none."
    )

    def as_reply(self) -> str:
        noted = bullets(literal(fact.text) for fact in self.facts)
        return section("Noted about you", noted) or "Nothing new to note about you."


class MemoryAgent(BaseAgent):
    """Extracts what members say about themselves and how they like to work."""

    name = "memory"
    title = "Taking notes"
    purpose = "Proposes facts about the member for later conversations; runs in the background."
    needs = Needs(least_output_tokens=200, most_output_tokens=1_500)
    answer_model = MemoryUpdate

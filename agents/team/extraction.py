"""The agent that extracts a prospect's profile from a member's message for the other agents."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from agents.base import AgentAnswer, BaseAgent, Needs
from agents.team.fields import KnownLine, Line, Lines, Part, Prose, at_most
from agents.team.markdown import bullets, literal, page, prose, section


class Signal(Part):
    """Words of the prospect, and what they give away."""

    quote: Line = Field(
        description="Words from the message or the picture, verbatim, at most 200 characters."
    )
    meaning: Line = Field(description="What this tells a seller, one sentence.")


class ProspectProfile(AgentAnswer):
    """What is known about a prospect, and what is not."""

    summary: Prose = Field(
        description=(
            "The prospect and the situation in two to four sentences, at most 600 characters."
        )
    )
    role: KnownLine = Field(description="The prospect's role as stated; null when not stated.")
    company: KnownLine = Field(
        description="The company's name, or its kind and size as stated; null when neither is."
    )
    industry: KnownLine = Field(
        description="The industry, stated or unmistakable; null when neither."
    )
    goals: Lines = Field(
        description=(
            "What the prospect wants to achieve, at most 6, one sentence each; may be empty."
        )
    )
    concerns: Lines = Field(
        description="What holds the prospect back, at most 6, one sentence each; may be empty."
    )
    signals: Annotated[list[Signal], at_most(5)] = Field(
        description="At most 5 telling phrases with their meaning, the most telling first."
    )
    missing: Lines = Field(
        description="Questions to ask the prospect next, at most 6, the most valuable first."
    )

    def as_reply(self) -> str:
        known = {"Role": self.role, "Company": self.company, "Industry": self.industry}
        return page(
            prose(self.summary),
            bullets(f"**{label}:** {literal(value)}" for label, value in known.items() if value),
            section("Goals", bullets(map(literal, self.goals))),
            section("Concerns", bullets(map(literal, self.concerns))),
            section(
                "Signals",
                bullets(f"“{literal(s.quote)}” → {literal(s.meaning)}" for s in self.signals),
            ),
            section("Ask next", bullets(map(literal, self.missing))),
        )


class ExtractionAgent(BaseAgent):
    """Extracts a profile from a member's message or a screenshot of a conversation."""

    name = "extraction"
    title = "Reading your message"
    purpose = "Turns a member's message or screenshot into a profile that the other agents use."
    needs = Needs(vision=True, least_output_tokens=600, most_output_tokens=4_000)
    answer_model = ProspectProfile

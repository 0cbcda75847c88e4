"""The agent that trains members: it explains topics (/learn) and assesses answers (/train)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from agents.base import AgentAnswer, BaseAgent, Needs
from agents.team.fields import Line, Part, Prose, at_most
from agents.team.markdown import bullets, literal, page, prose, section


class Criterion(Part):
    """One thing that a good answer does, and how far this answer did it."""

    name: Line = Field(description="What is judged, two to five words.")
    score: int = Field(ge=0, le=10, description="0 = absent, 5 = half done, 10 = nothing to add.")
    quote: Line = Field(
        description="Words of the member's answer, verbatim; an empty string when none fit."
    )
    advice: Line = Field(description="What to do differently next time, one sentence.")

    def as_line(self) -> str:
        """Return the criterion as Markdown on one line."""
        quote = f" “{literal(self.quote)}”" if self.quote else ""
        return f"**{literal(self.name)}: {self.score}/10**{quote} → {literal(self.advice)}"


class TrainerFeedback(AgentAnswer):
    """A lesson, or a judgement with its reasons; then something to try."""

    feedback: Prose = Field(
        description="The explanation, or the judgement in short, at most 900 characters."
    )
    score: int = Field(
        ge=0,
        le=100,
        description="For the whole answer; 0 when there was no answer to judge.",
    )
    criteria: Annotated[list[Criterion], at_most(5)] = Field(
        description="3 to 5 criteria with evidence; empty when there was no answer to judge."
    )
    next_exercise: Prose = Field(
        description="One exercise or question to answer now, at most 400 characters."
    )

    @property
    def has_judged(self) -> bool:
        """Whether this is an assessment; a lesson has no score to show."""
        return bool(self.criteria)

    def as_reply(self) -> str:
        return page(
            f"**Score: {self.score}/100**" if self.has_judged else "",
            prose(self.feedback),
            section("In detail", bullets(criterion.as_line() for criterion in self.criteria)),
            section("Your turn", prose(self.next_exercise)),
        )


class TrainerAgent(BaseAgent):
    """Explains a topic, or assesses a member's answer to a scenario by the words in it."""

    name = "trainer"
    title = "Preparing your feedback"
    purpose = "Teaches in /learn and judges the answers to scenarios in /train."
    needs = Needs(least_output_tokens=500, most_output_tokens=3_000)
    answer_model = TrainerFeedback

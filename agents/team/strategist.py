"""The agent that plans how a member can move a deal forward."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from agents.base import AgentAnswer, BaseAgent, Needs
from agents.team.fields import Line, Lines, Part, Prose, at_most
from agents.team.markdown import bullets, fenced, literal, page, prose, section


class Step(Part):
    """One thing to do next."""

    action: Line = Field(description="What to do, one imperative sentence.")
    why: Line = Field(description="Why it moves this deal, one sentence.")
    when: Line = Field(description="When or after what, a few words.")

    def as_entry(self, number: int) -> str:
        """Return the step as the Markdown of one entry in a numbered list."""
        when = f" · *{literal(self.when)}*" if self.when else ""
        why = f"\n   {literal(self.why)}" if self.why else ""
        return f"{number}. **{literal(self.action)}**{when}{why}"


class ClosingPlan(AgentAnswer):
    """How to bring this deal to a decision."""

    analysis: Prose = Field(
        description="What holds the deal up and what speaks for it, at most 800 characters."
    )
    strategy: Prose = Field(
        description="The one line of approach and why it fits, at most 600 characters."
    )
    steps: Annotated[list[Step], at_most(6), Field(min_length=1)] = Field(
        description="3 to 5 next steps, in order."
    )
    draft: Prose = Field(
        description=(
            "A message to the prospect, ready to send: plain text without Markdown, in the "
            "prospect's language, at most 900 characters."
        )
    )
    risks: Lines = Field(
        description="What could go wrong or is only assumed, at most 6, one sentence each."
    )

    def as_reply(self) -> str:
        return page(
            prose(self.analysis),
            section("Strategy", prose(self.strategy)),
            section(
                "Next steps",
                "\n".join(step.as_entry(number) for number, step in enumerate(self.steps, 1)),
            ),
            section("Draft to send", fenced(self.draft)),
            section("Risks", bullets(map(literal, self.risks))),
        )


class StrategistAgent(BaseAgent):
    """Plans how to close a deal, from the profile, the playbook and the team's past cases."""

    name = "strategist"
    title = "Working out a plan"
    purpose = "Writes the plan and the draft message that a member gets as the answer."
    # No vision: the profile covers pictures. The playbook makes the prompt long.
    needs = Needs(context_tokens=32_000, least_output_tokens=800, most_output_tokens=4_000)
    answer_model = ClosingPlan

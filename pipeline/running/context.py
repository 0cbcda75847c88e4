"""What a run hands its agents, and how each of them gets its model.

The context's own provider never changes. For a step the runner asks `get_llm_for_agent`, and gives
the agent a view of the context (`with_llm`) bound to that provider; all views share `results`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from agents.base import AgentContext
from agents.llm.base import LLMProvider
from agents.model_config import ModelConfigService
from pipeline.running.decisions import Decision, NoPayer, decided, given


@dataclass(frozen=True, kw_only=True)
class PipelineContext(AgentContext):
    """The inputs of one run and the results so far."""

    default_llm: LLMProvider | None = field(repr=False)
    model_config: ModelConfigService | None = None
    default_reason: str = "no overrides are in use here"  # why it is the default without one
    step_llm: LLMProvider | None = field(default=None, repr=False)  # set in a step's view only

    @property
    def llm(self) -> LLMProvider:
        """The provider of this view; of the whole run when it is no step's view.

        Raises:
            NoPayer: there is none.
        """
        llm = self.step_llm or self.default_llm
        if llm is None:
            raise NoPayer("the run has no default provider")
        return llm

    def with_llm(self, llm: LLMProvider) -> PipelineContext:
        """Return a view of this context bound to one step's provider; `results` are shared."""
        return replace(self, step_llm=llm)

    async def get_llm_for_agent(
        self, agent_name: str, tell: Callable[[Decision], None] | None = None
    ) -> LLMProvider:
        """Return the provider that the agent runs on right now; `tell` is given the reason.

        Raises:
            NoPayer: neither the team nor the member can pay for the call.
            OverridesUnknown: the overrides have never been read.
        """
        decision = await self.decide(agent_name)
        if tell is not None:
            tell(decision)
        return decision.llm

    async def decide(self, agent_name: str) -> Decision:
        """Return the provider for an agent with the reason; raises as `get_llm_for_agent`."""
        if self.model_config is None:
            return given(self.default_llm, self.default_reason)
        return decided(await self.model_config.resolve(agent_name), self.default_llm)

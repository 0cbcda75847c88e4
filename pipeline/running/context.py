"""The context of a run: what its agents may see, and how each agent gets its model.

The context's own provider never changes. For each step the runner calls `get_llm_for_agent` and
gives the agent a view of the context (`with_llm`) bound to that provider; views share `results`.
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
    default_reason: str = "no overrides are in use here"  # if `model_config` is None
    step_llm: LLMProvider | None = field(default=None, repr=False)  # set in a step's view only
    started_by: str = ""  # the operator who started a trial
    has_recorded_texts: bool = False  # a trial whose inputs are those of a recorded step
    # Called in the transaction that opens the run; raises RunRefused if it may not begin.
    admit: Callable[[], None] | None = field(default=None, repr=False)

    @property
    def llm(self) -> LLMProvider:
        """The step's provider if this context is bound to a step, else the run's default.

        Raises:
            NoPayer: the run has no default provider.
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
        """Return the provider for an agent's next step; `tell` receives the decision.

        Raises:
            NoPayer: neither the team nor the member can pay for the call.
            OverridesUnknown: the overrides have never been read.
        """
        decision = await self.decide(agent_name)
        if tell is not None:
            tell(decision)
        return decision.llm

    async def decide(self, agent_name: str) -> Decision:
        """Decide which provider an agent gets, and why; raises as `get_llm_for_agent`."""
        if self.model_config is None:
            return given(self.default_llm, self.default_reason)
        return decided(await self.model_config.resolve(agent_name), self.default_llm)

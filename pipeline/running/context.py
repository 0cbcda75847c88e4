"""What a run hands its agents, and how each of them gets its model.

The context's own provider never changes. For a step the runner asks `decide`, and gives the agent
a view of the context (`with_llm`) bound to that step's provider; all views share `results`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from agents.base import AgentOutput
from agents.llm.base import LLMProvider, Purse
from agents.model_config import Choice, ModelConfigService
from pipeline.journal.facts import ModelChoice
from pipeline.people.refusals import NotRun


class NoPurse(NotRun):
    """Nobody may pay for a call: no override, no key of the member's, no leave for the shared one."""

    member_line = "There is no API key for this. Send /start to add yours."


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Which provider a step runs on, and why: the sentence that the record keeps."""

    llm: LLMProvider
    sentence: str
    override_version: int | None = None
    snapshot_version: str = ""
    snapshot_age_ms: int | None = None
    is_stale: bool = False

    @property
    def choice(self) -> ModelChoice:
        """What the journal keeps of it."""
        return ModelChoice(
            sentence=self.sentence,
            provider=self.llm.name,
            requested_model=self.llm.model_id,
            purse=self.llm.purse,
            override_version=self.override_version,
            snapshot_version=self.snapshot_version,
            snapshot_age_ms=self.snapshot_age_ms,
            is_stale=self.is_stale,
        )

    @property
    def is_override(self) -> bool:
        return self.override_version is not None


@dataclass(frozen=True, kw_only=True)
class PipelineContext:
    """The inputs of one run and the results so far."""

    default_llm: LLMProvider | None = field(repr=False)
    model_config: ModelConfigService | None = None
    default_reason: str = "no overrides are in use here"  # why it is the default without one
    user_message: str = ""
    forwarded: str = field(default="", repr=False)  # what others wrote and the member passed on
    conversation: str = field(default="", repr=False)  # what the message goes on from
    image_b64: str | None = field(default=None, repr=False)
    knowledge_base: str = field(default="", repr=False)
    user_memory: str = field(default="", repr=False)
    casebook_text: str = field(default="", repr=False)
    scenario: str = field(default="", repr=False)
    results: dict[str, AgentOutput] = field(default_factory=dict)
    step_llm: LLMProvider | None = field(default=None, repr=False)  # set in a step's view only

    @property
    def llm(self) -> LLMProvider:
        """The provider of this view; of the whole run when it is no step's view.

        Raises:
            NoPurse: there is none.
        """
        llm = self.step_llm or self.default_llm
        if llm is None:
            raise NoPurse("the run has no default provider")
        return llm

    def with_llm(self, llm: LLMProvider) -> PipelineContext:
        """Return a view of this context bound to one step's provider; `results` are shared."""
        return replace(self, step_llm=llm)

    async def get_llm_for_agent(self, agent_name: str) -> LLMProvider:
        """Return the provider that the agent runs on right now.

        Raises:
            NoPurse: nobody may pay for the call.
            OverridesUnknown: the overrides have never been read.
        """
        return (await self.decide(agent_name)).llm

    async def decide(self, agent_name: str) -> Decision:
        """Return the provider for an agent with the reason; raises as `get_llm_for_agent`."""
        if self.model_config is None:
            llm = self._default(self.default_reason)
            return Decision(
                llm=llm, sentence=f"ran {llm.model_id} because {self.default_reason}; {_payer(llm)}"
            )
        choice = await self.model_config.choose(agent_name)
        if choice.provider is not None and choice.override is not None:
            why, llm = _override_words(choice), choice.provider
        elif choice.override is not None:
            why = f"{_override_words(choice)} is without effect: no shared key is set"
            llm = self._default(why)
        else:
            why = _override_words(choice)
            llm = self._default(why)
        reading = choice.reading
        return Decision(
            llm=llm,
            sentence=(
                f"ran {llm.model_id} because {why}; {_payer(llm)}; "
                f"snapshot {reading.version} {reading.age_s:.1f} s old"
                + (", stale: neither cache nor database answered" if reading.is_stale else "")
            ),
            override_version=choice.override.version
            if choice.override and choice.provider
            else None,
            snapshot_version=reading.version,
            snapshot_age_ms=round(reading.age_s * 1000),
            is_stale=reading.is_stale,
        )

    def _default(self, why: str) -> LLMProvider:
        if self.default_llm is None:
            raise NoPurse(f"{why}, the member has no key, and the shared key is not for members")
        return self.default_llm


def _override_words(choice: Choice) -> str:
    override = choice.override
    if override is None:
        removed = " (it was removed outside the admin)" if choice.was_removed_outside else ""
        return f"no override is set{removed}"
    said = (
        f"v{override.version} by {override.set_by or 'somebody'}"
        f" on {override.set_at:%Y-%m-%d %H:%M} UTC"
    )
    if override.is_outside:
        return f"an override changed outside the admin (its row says {said})"
    return f"override {said}"


def _payer(llm: LLMProvider) -> str:
    if llm.purse is Purse.SHARED:
        return "shared key"
    return f"the member's own {llm.name} key"

"""The comparison that finds whatever went wrong between configuration, records and wire.

Every prompt carries the mark of its run and step, written by the agent itself. So the wire tells
which step really spoke, whatever the headers that came with the provider say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from asgiref.sync import sync_to_async

from agents.llm.base import Payer
from agents.llm.keys import fingerprint
from agents.models import AgentModelConfig, OnFailure, OverrideVersion
from pipeline.models import LLMCall, PipelineRun, StepRun, TextBlob
from pipeline.models.runs import CallStatus, RunStatus, StepStatus
from tests.canaries import SHARED_KEY
from tests.made_up_agents import made_up
from tests.pipeline.scenes import Cast, Change
from tests.pipeline.wire import WireCall

FALLBACK_MODEL = "openai/gpt-4o-mini"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run as it was meant: its cast, and the key that pays by default."""

    cast: Cast
    key: str


# --- what is configured ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What the operator's overrides say of one agent."""

    model_id: str
    on_failure: str
    version: int


class Overrides:
    """Changes the overrides, and remembers what was in force at each version."""

    def __init__(self) -> None:
        self._at: dict[int, dict[str, Chosen]] = {0: {}}
        self._now = 0

    @property
    def version(self) -> int:
        return self._now

    def in_force(self, version: int) -> dict[str, Chosen]:
        return self._at[version]

    async def make(self, change: Change) -> None:
        await sync_to_async(self._make)(change)

    def _make(self, change: Change) -> None:
        chosen = dict(self._at[self._now])
        if change.model_id is None:
            AgentModelConfig.objects.deactivate(change.agent, "olga")
            chosen.pop(change.agent, None)
        else:
            AgentModelConfig.objects.upsert(
                made_up(change.agent), change.model_id, "olga", on_failure=change.on_failure
            )
        counter = OverrideVersion.objects.filter(pk=1).first()
        if counter is None or counter.n == self._now:
            return  # there was nothing to take back
        self._now = counter.n
        if change.model_id is not None:
            chosen[change.agent] = Chosen(
                model_id=change.model_id, on_failure=change.on_failure, version=self._now
            )
        self._at[self._now] = chosen


# --- what was recorded ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Records:
    """All rows of a scene."""

    runs: list[PipelineRun]
    steps: dict[str, StepRun]
    calls: dict[str, LLMCall]

    @classmethod
    def read(cls) -> Records:
        """Return the rows; blocks, so not for an event loop's thread."""
        steps = StepRun.objects.select_related("run")
        return cls(
            runs=list(PipelineRun.objects.all()),
            steps={str(step.id): step for step in steps},
            calls={str(call.id): call for call in LLMCall.objects.all()},
        )

    def has_failed(self, step: StepRun) -> bool:
        """Tell whether a call of the step failed on the model that was chosen for it."""
        return any(
            call.step_id == step.id and call.status == CallStatus.ERROR and not call.is_fallback
            for call in self.calls.values()
        )


def forget_records() -> None:
    PipelineRun.objects.all().delete()
    TextBlob.objects.all().delete()


# --- the comparison -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What was on the wire, what was recorded, and what had been configured, of one scene."""

    seen: list[WireCall]
    records: Records
    plans: Mapping[str, Plan]  # by mark
    overrides: Overrides
    began_with: int  # the overrides' version when the first run started

    def wrongs(self) -> Iterator[str]:
        """Yield every difference."""
        for step in self.records.steps.values():
            yield from self._wrong_in_step(step)
        for wire_call in self.seen:
            yield from self._wrong_on_wire(wire_call)
        yield from self._wrong_in_books()

    def _wrong_in_step(self, step: StepRun) -> Iterator[str]:
        """Compare what a step's row says was requested with what was in force at its version."""
        if step.status == StepStatus.RUNNING:
            yield f"{_name(step)} was left open"
        if not step.decision:
            return  # it never got a provider
        if _counter(step) < self.began_with:
            yield f"{_name(step)}: decided on {step.snapshot_version}, before v{self.began_with}"
        model_id, _, payer, version = self._configured(step)
        if (step.requested_model, step.payer) != (model_id, payer):
            yield (
                f"{_name(step)}: {step.requested_model} on {step.payer}, not {model_id} on {payer}"
            )
        has_called = any(call.step_id == step.id for call in self.records.calls.values())
        told = "ran" if has_called else "was to run"
        if not step.decision.startswith(f"{told} {model_id} because"):
            yield f"{_name(step)}: {step.decision!r} does not name {model_id}"
        if step.override_version != version:
            yield f"{_name(step)}: override v{step.override_version}, not v{version}"

    def _wrong_on_wire(self, seen: WireCall) -> Iterator[str]:
        """Compare a request with the step that wrote its prompt, and with its own record."""
        step = self.records.steps.get(seen.step_id)
        call = self.records.calls.get(seen.call_id)
        if step is None or call is None:
            yield f"request {seen.n} by {seen.user_text}: there is no record of it"
            return
        if _name(step) != seen.user_text:
            yield f"{seen.user_text} spoke through the provider of {_name(step)}"
        if seen.agent != self._author(seen):
            yield f"{seen.user_text} spoke as {seen.agent}"
        model_id, key, payer, _ = self._configured(step)
        if call.is_fallback:
            yield from self._wrong_in_fallback(step)
            model_id = FALLBACK_MODEL
        if seen.model != model_id:
            yield f"{seen.user_text}: {seen.model} on the wire, not {model_id}"
        if seen.key != key:
            yield f"{seen.user_text}: paid by {fingerprint(seen.key)}, not by {fingerprint(key)}"
        recorded = (str(call.step_id), call.requested_model, call.payer, call.key_fingerprint)
        if recorded != (seen.step_id, seen.model, payer, fingerprint(seen.key)):
            yield f"{seen.user_text}: the record says {recorded}"

    def _wrong_in_fallback(self, step: StepRun) -> Iterator[str]:
        chosen = self.overrides.in_force(_counter(step)).get(step.agent)
        if chosen is None or chosen.on_failure != OnFailure.DEFAULT_MODEL:
            yield f"{_name(step)}: fell back without leave"
        if not self.records.has_failed(step):
            yield f"{_name(step)}: fell back before anything failed"

    def _wrong_in_books(self) -> Iterator[str]:
        """Compare which calls there are, and whether anything was left open."""
        arrivals = Counter(wire_call.call_id for wire_call in self.seen)
        for call_id, count in arrivals.items():
            if count != 1:
                yield f"call {call_id} is {count} times on the wire"
        for call in self.records.calls.values():
            if call.status == CallStatus.RUNNING:
                yield f"call {call.id} was left open"
            if call.status == CallStatus.OK and str(call.id) not in arrivals:
                yield f"call {call.id} is recorded as answered, but never arrived"
        for run in self.records.runs:
            if run.status == RunStatus.RUNNING:
                yield f"{run.pipeline} was left open"

    def _configured(self, step: StepRun) -> tuple[str, str, str, int | None]:
        """Return model, key, payer and override version that the step had to run on."""
        chosen = self.overrides.in_force(_counter(step)).get(step.agent)
        if chosen is not None:
            return chosen.model_id, SHARED_KEY, Payer.SHARED, chosen.version
        plan = self.plans[step.run.pipeline]
        return plan.cast.default_model or "nothing", plan.key, plan.cast.payer, None

    def _author(self, seen: WireCall) -> str:
        """Return the agent whose step wrote the prompt."""
        mark, _, position = seen.user_text.rpartition(", step ")
        return self.plans[mark].cast.steps[int(position)][0]


def _counter(step: StepRun) -> int:
    return int(step.snapshot_version.removeprefix("v").partition("·")[0])


def _name(step: StepRun) -> str:
    return f"{step.run.pipeline}, step {step.position}"  # each run's pipeline bears its mark

"""Trials: one step of an agent on a chosen model, given what the agent gets in a run.

The inputs are those of a recorded step, or of a sample: an operator's message with today's
playbook, scenario and the cases that no member saved. The team key pays, the usual runner is used,
and each trial is a run of its own. A trial on recorded inputs belongs to the member whose step it
was, so that an erasure of that member includes it.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from uuid import UUID

from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from pydantic import ValidationError

from agents.base import AgentOutput, Inputs
from agents.llm.retries import Deadline
from agents.llm.router import create_shared_provider
from agents.registry import default_registry
from agents.snapshot import read_snapshot
from pipeline.journal.facts import RunRefused
from pipeline.journal.fencing import Superseded
from pipeline.journal.resumption import read_back
from pipeline.models import Member, StepRun
from pipeline.models.runs import Source, StepMode, StepStatus
from pipeline.models.sources import sources_where
from pipeline.running.briefing import brief_sample
from pipeline.running.config import (
    IMAGE_INPUT,
    PipelineConfig,
    StepConfig,
    load_pipeline,
    pipeline_names,
)
from pipeline.running.context import PipelineContext
from pipeline.running.runner import PipelineRunner

SAMPLE = (
    "VP of Strategy at a mid-size bank. Liked the demo, then went silent. "
    "She worries about what switching costs and has nine people on it by hand."
)
DEADLINE_S = 50.0  # for a trial in all; an operator is waiting, and a proxy may cut at 60 s
MAX_REASON = 200  # characters of a step's `given_because`
RECORDED_SHOWN = 10
SAMPLE_PICTURE = Path(__file__).parent / "sample_screenshot.png"


class TrialRefused(Exception):
    """A trial is not possible; the message says why, for the operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialInput:
    """What a trial gives its agent: a step of a pipeline, and the inputs of a run of it."""

    agent_name: str
    pipeline: PipelineConfig
    inputs: Inputs = field(repr=False)
    about: str  # what the inputs are, for the record: "a sample of support"
    results: Mapping[str, AgentOutput] = field(default_factory=dict, repr=False)
    recorded: StepRun | None = None  # the step whose inputs these are
    member_id: int | None = None  # of the recorded step's run


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The two steps to compare: on the agent's model of today, and on the model to try."""

    live: StepRun
    tried: StepRun


def live_model(agent_name: str) -> str:
    """Return the model that the agent uses on the team key now."""
    override = read_snapshot().overrides.get(agent_name)
    return override.model_id if override is not None else settings.DEFAULT_MODEL


def sample_pipelines(agent_name: str) -> list[PipelineConfig]:
    """Return the pipelines with a step of this agent."""
    pipelines = [load_pipeline(name) for name in pipeline_names()]
    return [one for one in pipelines if _step_of(one, agent_name) is not None]


def recorded_steps(agent_name: str) -> Sequence[StepRun]:
    """Return the agent's latest answered steps of members' runs whose inputs are still stored."""
    steps = StepRun.objects.filter(
        agent=agent_name,
        status=StepStatus.OK,
        inputs__isnull=False,
        run__definition__isnull=False,
        run__source__in=sources_where("is_traffic"),
    )
    latest = steps.order_by("-started_at").select_related("run").prefetch_related("calls")
    return list(latest[:RECORDED_SHOWN])


def recorded_input(step_id: UUID, agent_name: str) -> TrialInput:
    """Return the inputs of a recorded step of this agent.

    Raises:
        TrialRefused: there is no such step, or its inputs are no longer stored as a whole.
    """
    step = StepRun.objects.select_related("run").filter(pk=step_id, agent=agent_name).first()
    if step is None or step.inputs is None or step.run.definition is None:
        raise TrialRefused("this step's inputs are no longer stored. Choose another one.")
    kept = read_back(step.run_id)
    try:
        pipeline = PipelineConfig.model_validate_json(kept.definition)
    except ValidationError:
        raise TrialRefused("an earlier release recorded this step. Choose another one.") from None
    given = TrialInput(
        agent_name=agent_name,
        pipeline=pipeline,
        inputs=kept.inputs,
        about=f"a step of run {step.run}",
        results={one.report.agent: one.output for one in kept.steps},
        recorded=step,
        member_id=step.run.member_id,
    )
    if _takes_picture(given) and kept.inputs.image_b64 is None:
        raise TrialRefused("this step's picture is no longer stored. Choose another one.")
    return given


def sample_input(agent_name: str, pipeline_name: str, message: str) -> TrialInput:
    """Return the inputs that the agent would get in a pipeline if a member wrote this message.

    A step that takes a picture gets a sample of a screenshot.

    Raises:
        TrialRefused: the agent has no step in such a pipeline.
    """
    if pipeline_name not in pipeline_names():
        raise TrialRefused("choose what to give the agent.")
    pipeline = load_pipeline(pipeline_name)
    if _step_of(pipeline, agent_name) is None:
        raise TrialRefused(f"{agent_name} has no step in this pipeline.")
    picture = base64.b64encode(SAMPLE_PICTURE.read_bytes()).decode()
    asked = Inputs(
        user_message=message or SAMPLE, image_b64=picture if pipeline.takes_picture else None
    )
    return TrialInput(
        agent_name=agent_name,
        pipeline=pipeline,
        inputs=brief_sample(pipeline, asked),
        about=f"a sample of {pipeline_name}",
    )


@async_to_sync
async def compare(model_id: str, given: TrialInput, operator: str) -> Trial:
    """Run the agent on a model and on its current model, and return both steps.

    If the inputs were recorded on the current model, the recorded step is compared instead of a
    new call. Other agents whose results the step needs answer first, on their current models.

    Raises:
        TrialRefused: no team key is set, an agent whose result is needed has failed, or the member
            has erased their data meanwhile.
    """
    if not settings.OPENROUTER_API_KEY:
        raise TrialRefused("no team key is set (OPENROUTER_API_KEY).")
    try:
        return await _compared(model_id, given, operator, Deadline.in_seconds(DEADLINE_S))
    except (RunRefused, Superseded):
        raise TrialRefused("the member has just erased their data. Choose another step.") from None


async def _compared(model_id: str, given: TrialInput, operator: str, time: Deadline) -> Trial:
    given = await _with_results(given, operator, time)
    live_id = await sync_to_async(live_model)(given.agent_name)
    recorded, models = given.recorded, [live_id, model_id]
    if recorded is not None and recorded.requested_model == live_id and not recorded.fell_back_to:
        models = [model_id]
    # Both to their ends, so that both are on record whichever fails.
    ends = await asyncio.gather(
        *(_run_in(_context(one, given, operator), given, time) for one in models),
        return_exceptions=True,
    )
    run_ids = []
    for end in ends:
        if isinstance(end, BaseException):
            raise end
        run_ids.append(end)
    steps = [await _step(run_id, given.agent_name) for run_id in run_ids]
    return Trial(
        live=steps[0] if recorded is None or len(steps) == 2 else recorded, tried=steps[-1]
    )


async def _with_results(given: TrialInput, operator: str, time: Deadline) -> TrialInput:
    """Return the inputs with the results of other agents that the step needs."""
    results = dict(given.results)
    for source in _needed_step(given.pipeline, given.agent_name).input_mapping.values():
        kind, _, other = source.partition(".")
        if kind != "result" or other in results:
            continue
        earlier = replace(given, agent_name=other, results=results)
        earlier = await _with_results(earlier, operator, time)
        ctx = _context(await sync_to_async(live_model)(other), earlier, operator)
        await _run_in(ctx, earlier, time)
        result = ctx.results[other]
        if not result.success:
            raise TrialRefused(f"{other}, whose result is needed, failed: {result.error}")
        results |= {**earlier.results, other: result}
    return replace(given, results=results)


def _context(model_id: str, given: TrialInput, operator: str) -> PipelineContext:
    recorded = given.recorded
    return PipelineContext(
        default_llm=create_shared_provider(settings.OPENROUTER_API_KEY, model_id),
        default_reason=f"{operator} tried it out on {given.about}"[:MAX_REASON],
        started_by=operator,
        has_recorded_texts=recorded is not None,
        admit=partial(_still_stored, recorded.pk, given.member_id) if recorded else None,
        results=dict(given.results),
        **given.inputs.by_name(),
    )


def _still_stored(step_id: UUID, member_id: int | None) -> None:
    """Check that no erasure came first, in the transaction that writes the texts anew.

    Raises:
        RunRefused: the recorded step's inputs, or its run's member, are gone.
    """
    steps = StepRun.objects.filter(pk=step_id, inputs__isnull=False)
    if member_id is not None:
        # An erasure locks the member as well: it comes before this transaction, or finds the trial.
        list(Member.objects.select_for_update(no_key=True).filter(pk=member_id))
        steps = steps.filter(run__member_id=member_id)
    if not steps.exists():
        raise RunRefused


async def _run_in(ctx: PipelineContext, given: TrialInput, time: Deadline) -> UUID:
    """Run the step alone, as a run of its own, and return the run's id."""
    step = _needed_step(given.pipeline, given.agent_name)
    step = step.model_copy(update={"mode": StepMode.SEQUENTIAL})
    runner = PipelineRunner(default_registry(), step_deadline_s=max(1.0, time.remaining_s))
    report = await runner.run(
        PipelineConfig(name="trial", title="Trial", answer=(step.agent,), steps=(step,)),
        ctx,
        source=Source.TRIAL,
        member_id=given.member_id,
    )
    return report.run_id


async def _step(run_id: UUID, agent_name: str) -> StepRun:
    steps = StepRun.objects.select_related("run").filter(run=run_id, agent=agent_name)
    return await steps.aget()


def _step_of(pipeline: PipelineConfig, agent_name: str) -> StepConfig | None:
    return next((step for step in pipeline.steps if step.agent == agent_name), None)


def _needed_step(pipeline: PipelineConfig, agent_name: str) -> StepConfig:
    step = _step_of(pipeline, agent_name)
    if step is None:
        raise TrialRefused(f"the pipeline {pipeline.name} has no step of {agent_name}.")
    return step


def _takes_picture(given: TrialInput) -> bool:
    return IMAGE_INPUT in _needed_step(given.pipeline, given.agent_name).input_mapping

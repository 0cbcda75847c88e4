"""Resolve the inputs of a step, and compose the answer of a run from its results."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from agents.base import Inputs
from pipeline.journal.facts import RunOpening
from pipeline.models.runs import Source
from pipeline.running.config import (
    IMAGE_INPUT,
    TASK_INPUT,
    PipelineConfig,
    StepConfig,
)
from pipeline.running.context import PipelineContext


def opening_of(
    pipeline: PipelineConfig,
    ctx: PipelineContext,
    source: Source,
    *,
    member_id: int | None,
) -> RunOpening:
    """Return what the journal records of a new run."""
    return RunOpening(
        pipeline=pipeline.name,
        definition=pipeline.model_dump_json(),
        source=source,
        member_id=member_id,
        started_by=ctx.started_by,
        has_recorded_texts=ctx.has_recorded_texts,
        admit=ctx.admit,
        inputs=Inputs.from_record(ctx.by_name()),
    )


class StepSkipped(Exception):
    """A step is skipped because it needs the result of a step that failed."""

    member_line = ""


@dataclass(kw_only=True)
class StepInputs:
    """The inputs of one step: passages of text as data, its task, and a picture."""

    passages: dict[str, Any] = field(default_factory=dict)
    task: str = ""
    image_b64: str | None = field(default=None, repr=False)

    def as_record(self) -> dict[str, Any]:
        """Return what the step's row stores: all but the picture, which the run's row has."""
        return {**({TASK_INPUT: self.task} if self.task else {}), **self.passages}


def inputs_of(step: StepConfig, ctx: PipelineContext) -> StepInputs:
    """Return the inputs of a step.

    Raises:
        StepSkipped: the step needs the result of a step that failed.
    """
    inputs = StepInputs()
    for name, source in step.input_mapping.items():
        kind, _, rest = source.partition(".")
        if name == IMAGE_INPUT:
            inputs.image_b64 = ctx.image_b64
        elif kind == "ctx":
            inputs.passages[name] = getattr(ctx, rest)
        elif kind == "result":
            result = ctx.results.get(rest)
            if result is None or not result.success:
                raise StepSkipped(f"needs the result of {rest}, which failed")
            inputs.passages[name] = result.data
        elif name == TASK_INPUT:
            inputs.task = source
        else:
            inputs.passages[name] = source
    return inputs


def answer_of(pipeline: PipelineConfig, ctx: PipelineContext) -> str:
    """Return the replies of the answer's agents, joined; "" if the first agent has none."""
    outputs = [ctx.results.get(agent) for agent in pipeline.answer]
    if outputs[0] is None or not outputs[0].success:
        return ""
    return "\n\n".join(output.reply for output in outputs if output and output.success)

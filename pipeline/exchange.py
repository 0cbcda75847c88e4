"""What a step is handed of its run, and which results make the run's answer."""

from __future__ import annotations

from typing import Any

from pipeline.config import IMAGE_INPUT, PipelineConfig, StepConfig
from pipeline.context import PipelineContext


class StepSkipped(Exception):
    """A step's input is the result of a step that failed."""

    member_line = ""


def inputs_of(step: StepConfig, ctx: PipelineContext) -> tuple[dict[str, Any], str | None]:
    """Return the step's passages and its picture.

    Raises:
        StepSkipped: a result that it needs is missing because that step failed.
    """
    passages: dict[str, Any] = {}
    image_b64: str | None = None
    for name, source in step.input_mapping.items():
        kind, _, rest = source.partition(".")
        if name == IMAGE_INPUT:
            image_b64 = ctx.image_b64
        elif kind == "ctx":
            passages[name] = getattr(ctx, rest)
        elif kind == "result":
            result = ctx.results.get(rest)
            if result is None or not result.success:
                raise StepSkipped(f"needs the result of {rest}, which failed")
            passages[name] = result.data
        else:
            passages[name] = source
    return passages, image_b64


def answer_of(pipeline: PipelineConfig, ctx: PipelineContext) -> str:
    """Return the replies that make the answer; empty when the first of them is missing."""
    outputs = [ctx.results.get(agent) for agent in pipeline.answer]
    if outputs[0] is None or not outputs[0].success:
        return ""
    return "\n\n".join(output.reply for output in outputs if output and output.success)

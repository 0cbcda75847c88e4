"""Trial runs: one real run of an agent on a model, before an operator chooses that model.

The shared key pays, the usual runner is used, and the trial is recorded among the runs.
"""

from __future__ import annotations

from uuid import UUID

from asgiref.sync import async_to_sync
from django.conf import settings

from agents.llm.router import create_shared_provider
from agents.registry import default_registry
from pipeline.models.runs import Source, StepMode
from pipeline.running.config import PipelineConfig, StepConfig
from pipeline.running.context import PipelineContext
from pipeline.running.runner import PipelineRunner

SAMPLE = (
    "VP of Strategy at a mid-size bank. Liked the demo, then went silent. "
    "She worries about what switching costs and has nine people on it by hand."
)
TRIAL_S = 60.0  # the deadline; an operator is waiting


@async_to_sync
async def try_out(agent_name: str, model_id: str, message: str, operator: str) -> UUID:
    """Let an agent answer a message on a model, paid by the shared key; return the run's id.

    Raises:
        UnknownAgent: there is no such agent.
        ValueError: no shared key is set.
    """
    if not settings.OPENROUTER_API_KEY:
        raise ValueError("no shared key is set")
    registry = default_registry()
    agent = registry.get(agent_name)
    step = StepConfig(
        agent=agent.name, mode=StepMode.SEQUENTIAL, input_mapping={"message": "ctx.user_message"}
    )
    ctx = PipelineContext(
        default_llm=create_shared_provider(settings.OPENROUTER_API_KEY, model_id),
        default_reason=f"{operator} tried it out",
        user_message=message,
        started_by=operator,
    )
    runner = PipelineRunner(registry, step_deadline_s=TRIAL_S)
    report = await runner.run(
        PipelineConfig(name="trial", title="Trial", answer=(agent.name,), steps=(step,)),
        ctx,
        source=Source.TRIAL,
    )
    return report.run_id

"""Reruns: the inputs of an old run on today's pipeline, models and overrides, on the team key.

An operator requests a rerun, so no member's key pays, it does not count toward a member's limit, no
member's memory learns from it, and nothing is sent to Telegram. A worker runs it, so it survives
restarts like any other run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction

from agents.llm.router import create_shared_provider
from agents.model_config import Freshness, Resolution
from agents.snapshot import read_snapshot
from pipeline.journal.facts import RunOpening
from pipeline.journal.rows import write_rerun
from pipeline.journal.sentences import why
from pipeline.models import PipelineRun
from pipeline.models.runs import Source
from pipeline.queue.backends import add_tasks
from pipeline.running.config import PipelineConfig, PipelineInvalid, UnknownPipeline, load_pipeline
from pipeline.running.decisions import decided


class RerunRefused(Exception):
    """A run cannot be rerun; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RerunPlan:
    """The model that one step would run on today, and why."""

    agent: str
    mode: str
    model_id: str
    why: str


def rerun_plan(run: PipelineRun) -> Sequence[RerunPlan]:
    """Return the models that a run's pipeline would use now; the shared key pays for all steps.

    Raises:
        RerunRefused: the run cannot be rerun.
    """
    pipeline, snapshot, key = _todays_pipeline(run), read_snapshot(), settings.OPENROUTER_API_KEY
    default = create_shared_provider(key, settings.DEFAULT_MODEL)
    steps = []
    for step in pipeline.steps:
        override = snapshot.overrides.get(step.agent)
        seen = Resolution(
            override=override,
            provider=create_shared_provider(key, override.model_id) if override else None,
            freshness=Freshness(version=snapshot.version, age_s=0.0, is_stale=False),
            was_removed_outside=step.agent in snapshot.removed_outside,
        )
        choice = decided(seen, default).choice
        steps.append(
            RerunPlan(
                agent=step.agent,
                mode=step.mode.value,
                model_id=choice.requested_model,
                why=why(choice),
            )
        )
    return steps


def request_rerun(old: PipelineRun, new_id: UUID, operator: str) -> PipelineRun:
    """Queue an operator's rerun under `new_id`; a second request for that id changes nothing.

    Raises:
        RerunRefused: the run cannot be rerun, or the id belongs to another run.
    """
    pipeline = _todays_pipeline(old)
    try:
        with transaction.atomic():
            opening = RunOpening(
                pipeline=pipeline.name,
                definition=pipeline.model_dump_json(),
                source=Source.RERUN,
                started_by=operator,
            )
            write_rerun(new_id, old, opening, add_tasks)
    except IntegrityError:
        known = PipelineRun.objects.filter(pk=new_id, rerun_of=old)
        if not known.exists():
            raise RerunRefused("That ID belongs to another run. Reload the page.") from None
    return PipelineRun.objects.get(pk=new_id)


def _todays_pipeline(run: PipelineRun) -> PipelineConfig:
    if not settings.OPENROUTER_API_KEY:
        raise RerunRefused(
            "No team key is set (OPENROUTER_API_KEY), and a re-run never uses a member's key."
        )
    if not (run.user_message_id or run.background_id or run.image_id):
        raise RerunRefused("The inputs of this run are no longer stored, so it can't be re-run.")
    try:
        return load_pipeline(run.pipeline)
    except (UnknownPipeline, PipelineInvalid):
        raise RerunRefused(f"The pipeline {run.pipeline!r} no longer exists.") from None

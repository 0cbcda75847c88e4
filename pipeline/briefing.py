"""Builds what the agents get to see for a member's message, and who pays when no override does."""

from __future__ import annotations

from django.conf import settings

from agents.llm.base import LLMProvider, Purse
from agents.llm.router import create_provider
from agents.model_config import ModelConfigService
from pipeline.config import PipelineConfig
from pipeline.context import PipelineContext
from pipeline.models import Member, PlaybookPage, Scenario
from pipeline.reports import KeptRun


def brief(
    pipeline: PipelineConfig,
    member: Member | None,
    message: str,
    *,
    image_b64: str | None = None,
    model_config: ModelConfigService | None,
) -> PipelineContext:
    """Return the context of a run; without a member it is the team's own, on the shared key.

    Reads the database, so not for an event loop's thread.
    """
    needs_scenario = any("ctx.scenario" in step.input_mapping.values() for step in pipeline.steps)
    return PipelineContext(
        default_llm=default_provider(member),
        model_config=model_config,
        user_message=message,
        image_b64=image_b64,
        knowledge_base=_playbook(),
        user_memory=member.memory if member else "",
        scenario=_scenario() if needs_scenario else "",
    )


def brief_again(
    kept: KeptRun, member: Member | None, *, model_config: ModelConfigService | None
) -> PipelineContext:
    """Return the context of a run that is gone on with: what its agents saw before, today's key."""
    seen = kept.inputs
    return PipelineContext(
        default_llm=default_provider(member),
        model_config=model_config,
        user_message=seen["user_message"],
        image_b64=seen["image_b64"] or None,
        knowledge_base=seen.get("knowledge_base", ""),
        user_memory=seen.get("user_memory", ""),
        casebook_text=seen.get("casebook_text", ""),
        scenario=seen.get("scenario", ""),
    )


def default_provider(member: Member | None) -> LLMProvider | None:
    """Return what a step uses without an override; None when nobody may pay for it."""
    if member is not None and (key := member.api_key) is not None:
        model_id = member.model_id or settings.DEFAULT_MODELS[member.provider]
        return create_provider(member.provider, key, model_id, purse=Purse.MEMBER)
    if settings.OPENROUTER_API_KEY and (member is None or settings.SHARED_KEY_FOR_MEMBERS):
        return create_provider(
            "openrouter", settings.OPENROUTER_API_KEY, settings.DEFAULT_MODEL, purse=Purse.SHARED
        )
    return None


def _playbook() -> str:
    pages = PlaybookPage.objects.filter(is_active=True)
    return "\n\n".join(f"# {page.title}\n\n{page.text.strip()}" for page in pages)


def _scenario() -> str:
    scenario = Scenario.objects.filter(is_active=True).first()
    if scenario is None:
        return ""
    hints = f"\n\nA good answer: {scenario.good_answer}" if scenario.good_answer else ""
    return f"{scenario.title}\n\n{scenario.text}{hints}"

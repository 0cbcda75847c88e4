"""Build the context of a run: what its agents may see, and who pays where no override applies."""

from __future__ import annotations

from dataclasses import replace

from django.conf import settings
from django.db.models import Q, QuerySet

from agents.base import Inputs
from agents.llm.base import LLMProvider, Payer
from agents.llm.router import create_provider, create_shared_provider, default_model
from agents.model_config import ModelConfigService
from pipeline.journal.reports import KeptRun
from pipeline.models import CasebookEntry, Member, PlaybookPage, Scenario
from pipeline.people.memory import profile_of
from pipeline.running.config import PipelineConfig
from pipeline.running.context import PipelineContext

MAX_CASES = 10  # the newest ones: older deals are less relevant


def brief(
    pipeline: PipelineConfig,
    member: Member | None,
    question: Inputs,
    *,
    model_config: ModelConfigService | None,
) -> PipelineContext:
    """Return the context of a run; without a member the run is the team's, on the shared key.

    `question` has what the member sent. Reads the database: do not call it in an event loop.
    """
    needs_scenario = any("ctx.scenario" in step.input_mapping.values() for step in pipeline.steps)
    given = replace(
        question,
        knowledge_base=_playbook(),
        user_memory=profile_of(member) if member else "",
        casebook_text=_casebook(member),
        scenario=question.scenario or (_scenario() if needs_scenario else ""),
    )
    return PipelineContext(
        default_llm=default_provider(member), model_config=model_config, **given.by_name()
    )


def brief_kept(
    kept: KeptRun, member: Member | None, *, model_config: ModelConfigService | None
) -> PipelineContext:
    """Return the context of a stored run: its stored inputs with today's key."""
    return PipelineContext(
        default_llm=default_provider(member), model_config=model_config, **kept.inputs.by_name()
    )


def default_provider(member: Member | None) -> LLMProvider | None:
    """Return the provider for steps without an override; None if they have no payer."""
    if member is not None and (key := member.api_key) is not None:
        model_id = member.model_id or default_model(member.provider)
        return create_provider(member.provider, key, model_id, payer=Payer.MEMBER)
    if settings.OPENROUTER_API_KEY and (member is None or settings.SHARED_KEY_FOR_MEMBERS):
        return create_shared_provider(settings.OPENROUTER_API_KEY, settings.DEFAULT_MODEL)
    return None


def brief_sample(pipeline: PipelineConfig, question: Inputs) -> Inputs:
    """Return what the team's run of this question would be given, without any member's text.

    Cases that a member saved are left out, even approved ones: a trial on a sample may be read
    without the permission to read texts, and no member's erasure would find it.
    """
    inputs = Inputs.from_record(brief(pipeline, None, question, model_config=None).by_name())
    own = CasebookEntry.objects.filter(is_approved=True, is_active=True, member=None)
    return replace(inputs, casebook_text=_written(own))


def _playbook() -> str:
    pages = PlaybookPage.objects.filter(is_active=True)
    return "\n\n".join(f"# {page.title}\n\n{page.text.strip()}" for page in pages)


def _casebook(member: Member | None) -> str:
    """Return the newest cases that an operator has approved, or the member has saved."""
    may_be_read = Q(is_approved=True)
    if member is not None:
        may_be_read |= Q(member=member)
    return _written(CasebookEntry.objects.filter(may_be_read, is_active=True))


def _written(cases: QuerySet[CasebookEntry]) -> str:
    latest = cases.order_by("-created_at")[:MAX_CASES]
    return "\n\n".join(f"## {case.title}\n{case.text.strip()}" for case in latest)


def _scenario() -> str:
    scenario = Scenario.objects.filter(is_active=True).first()
    if scenario is None:
        return ""
    hints = f"\n\nA good answer: {scenario.good_answer}" if scenario.good_answer else ""
    return f"{scenario.title}\n\n{scenario.text}{hints}"

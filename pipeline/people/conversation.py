"""Texts from the records of past runs: a conversation, the reasons for models, a saved case.

The records themselves are only read, never changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from django.db import transaction

from agents.catalog.lookup import find_all
from agents.display import dollars
from agents.llm.openrouter import OpenRouterProvider
from pipeline.journal.old_sentences import columns_of
from pipeline.journal.resumption import read_back
from pipeline.journal.sentences import DecisionFacts, member_account, member_sentence
from pipeline.models import CasebookEntry, Member, PipelineRun
from pipeline.models.runs import RunStatus, StepMode, StepRun, StepStatus

MAX_CHARACTERS = 12_000  # per conversation: about three exchanges
MAX_OF_A_CASE = 4_000
TITLE_LENGTH = 80


def conversation_of(run: PipelineRun) -> str:
    """Return the conversation up to the end of a run, limited to its last 12,000 characters."""
    seen = read_back(run.pk)
    said = {
        "The salesperson": seen.inputs.user_message,
        "Forwarded by the salesperson": seen.inputs.forwarded,
        "You": seen.report.answer,
    }
    exchange = "\n\n".join(f"{who}: {text.strip()}" for who, text in said.items() if text.strip())
    before = seen.inputs.conversation
    whole = f"{before}\n\n{exchange}".strip()
    return whole if len(whole) <= MAX_CHARACTERS else f"…{whole[-MAX_CHARACTERS:]}"


def run_behind(chat_id: int, user_id: int, message_id: int) -> PipelineRun | None:
    """Return the run whose answer is this message; None unless it was made for that person."""
    return (
        PipelineRun.objects.filter(
            status=RunStatus.OK,
            member__telegram_id=user_id,
            update__chat_id=chat_id,
            update__replies__message_id=message_id,
        )
        .order_by("-started_at")
        .first()
    )


def last_run(chat_id: int, member: Member) -> PipelineRun | None:
    """Return the run of the last answer to a member in a chat; None if there is none."""
    runs = PipelineRun.objects.filter(status=RunStatus.OK, member=member, update__chat_id=chat_id)
    return runs.order_by("-started_at").first()


def reasons(run: PipelineRun, *, today: date) -> str:
    """Return a text that says for each step which model ran, why, and who paid."""
    ended = StepRun.objects.filter(run=run, status__in=(StepStatus.OK, StepStatus.FAILED))
    steps = list(
        ended.exclude(mode=StepMode.BACKGROUND)
        .order_by("position", "attempt")
        .prefetch_related("calls")
    )
    for step in steps:
        if not step.decision_source:  # a row older than these columns has only a sentence
            for name, value in columns_of(step).items():
                setattr(step, name, value)
    names = _names_of(
        (step.provider, model_id)
        for step in steps
        for model_id in (step.requested_model, step.fell_back_to)
    )
    lines = [f"• {_account(step, names, today)}" for step in steps]
    return "\n".join([f"Which models answered, and why (ref {str(run.pk)[:8]}):", *lines])


def todays_models(decisions: Mapping[str, DecisionFacts], *, today: date) -> dict[str, str]:
    """Return, by agent, a line that says which model it would use now, why, and who would pay."""
    names = _names_of((facts.provider, facts.requested_model) for facts in decisions.values())
    return {
        agent: member_sentence(facts, agent, today=today, names=names)
        for agent, facts in decisions.items()
    }


@transaction.atomic
def save_case(run: PipelineRun, member: Member) -> CasebookEntry:
    """Save a run's question and plan in the casebook, once; return the entry."""
    seen = read_back(run.pk)
    asked = seen.inputs.user_message or seen.inputs.forwarded or "A picture"
    plan: dict[str, Any] = {}
    for step in seen.steps:
        plan |= step.output.data
    parts = {
        "Situation": plan.get("summary") or asked,
        "What held it up": plan.get("analysis", ""),
        "Approach": plan.get("strategy", ""),
    }
    text = "\n\n".join(f"{name}: {said}" for name, said in parts.items() if said)
    case, _ = CasebookEntry.objects.get_or_create(
        run=run,
        defaults={
            "member": member,
            "title": " ".join(asked.split())[:TITLE_LENGTH],
            "text": text[:MAX_OF_A_CASE],
        },
    )
    return case


def _account(step: StepRun, names: Mapping[str, str], today: date) -> str:
    costs = [call.cost_usd for call in step.calls.all() if call.cost_usd is not None]
    if not step.decision_source:  # its sentence could not be parsed into columns
        cost = f"; {dollars(sum(costs, Decimal(0)))}" if costs else ""
        return f"{step.agent} {step.decision}{cost}"
    cost_usd = sum(costs, Decimal(0)) if costs else None
    return member_account(step, today=today, names=names, cost_usd=cost_usd)


def _names_of(models: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return display names by model id, for the OpenRouter models among (provider, id) pairs."""
    ids = {model_id for provider, model_id in models if provider == OpenRouterProvider.name}
    return {
        model_id: row.name.partition(": ")[2] or row.name  # without the vendor's name
        for model_id, row in find_all(ids - {""}).items()
        if row.model_id == model_id  # not another variant of the model
    }

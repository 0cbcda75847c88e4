"""What was said before, in words for agents and members: the answer replied to, reasons, a case.

Read from the records of runs, which nothing here changes.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction

from agents.llm.base import Purse
from agents.llm.router import PROVIDERS
from pipeline.journal.old_sentences import columns_of
from pipeline.journal.resumption import read_back
from pipeline.journal.sentences import DecisionFacts, what, why
from pipeline.models import CasebookEntry, Member, PipelineRun
from pipeline.models.runs import RunStatus, StepMode, StepRun, StepStatus

MOST_CHARACTERS = 12_000  # of a conversation: about three exchanges
MOST_OF_A_CASE = 4_000
TITLE_LENGTH = 80


def conversation_of(run: PipelineRun) -> str:
    """Return what was said up to the end of a run, the newest whole and the oldest cut off."""
    seen = read_back(run.pk)
    said = {
        "The salesperson": seen.inputs.user_message,
        "Forwarded by the salesperson": seen.inputs.forwarded,
        "You": seen.report.answer,
    }
    exchange = "\n\n".join(f"{who}: {text.strip()}" for who, text in said.items() if text.strip())
    before = seen.inputs.conversation
    whole = f"{before}\n\n{exchange}".strip()
    return whole if len(whole) <= MOST_CHARACTERS else f"…{whole[-MOST_CHARACTERS:]}"


def run_behind(chat_id: int, user_id: int, message_id: int) -> PipelineRun | None:
    """Return the run whose answer is this message, if it was made for that person."""
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
    """Return the run of a member's last answer in a chat."""
    runs = PipelineRun.objects.filter(status=RunStatus.OK, member=member, update__chat_id=chat_id)
    return runs.order_by("-started_at").first()


def reasons(run: PipelineRun) -> str:
    """Return for each step which model ran, why, and who paid."""
    steps = StepRun.objects.filter(run=run, status__in=(StepStatus.OK, StepStatus.FAILED))
    lines = [
        f"• {step.agent} {_why(step)}"
        for step in steps.exclude(mode=StepMode.BACKGROUND)
        .order_by("position", "attempt")
        .prefetch_related("calls")
    ]
    return "\n".join([f"Why these models answered (run {str(run.pk)[:8]}):", *lines])


@transaction.atomic
def save_case(run: PipelineRun, member: Member) -> CasebookEntry:
    """Keep a run's question and plan for the team, once."""
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
            "text": text[:MOST_OF_A_CASE],
        },
    )
    return case


def for_member(facts: DecisionFacts, *, has_called: bool = True) -> str:
    """Return a decision in words for the member: without the snapshot, and with whose key it is."""
    return f"{what(facts, has_called=has_called)}; {_payer(facts)}"


def todays_model(facts: DecisionFacts) -> str:
    """Return in words for the member what an agent would run on."""
    return f"{facts.requested_model} because {why(facts)}; {_payer(facts)}"


def _payer(facts: DecisionFacts) -> str:
    if facts.purse == Purse.SHARED:
        return "the team's key"
    return f"your own {PROVIDERS[facts.provider].title} key"


def _why(step: StepRun) -> str:
    if not step.decision_source:  # a row from before the columns has only the sentence
        for name, value in columns_of(step).items():
            setattr(step, name, value)
    decision = step.decision
    if step.decision_source:
        decision = for_member(step, has_called=step.has_called is not False)
    costs = [call.cost_usd for call in step.calls.all() if call.cost_usd is not None]
    return f"{decision}; ${sum(costs):.4f}" if costs else decision

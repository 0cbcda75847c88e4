"""Alerts that need an operator's attention now, for the overview and for the operators' chat.

An alert keeps its key for as long as it lasts, so it is sent to the chat once. Events that other
code reports to the chat when they happen (a wrong model, a failed task, a waiting member) are only
shown on the overview.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from agents.catalog import cannot, find_all
from agents.llm.base import Payer
from agents.llm.causes import UNFIT, Cause
from agents.models import ResolverProcess
from agents.override_changes import UNDONE_WITHIN, undo_press
from agents.process_report import living
from agents.retirement import Use, retirements, uses_by_agents, uses_by_overrides
from agents.snapshot import Snapshot, read_snapshot
from pipeline.budgets import queries
from pipeline.models import (
    AlertNotification,
    CasebookEntry,
    LLMCall,
    Member,
    MovedChat,
    PeriodicJob,
    StepRun,
    Task,
)
from pipeline.models.inbox import Buttons, TaskStatus
from pipeline.models.members import Access
from pipeline.models.runs import Source, StepStatus
from pipeline.models.sources import sources_where
from pipeline.operations import change_webhook, usage

COMPARED_STEPS = 20
# A budget that is used up is no fault of the model: its call has no row.
_ASKED = Exists(LLMCall.objects.filter(step=OuterRef("pk"), is_fallback=False))
FAILED = Q(status=StepStatus.FAILED) & ~Q(error_type="OverBudget") | ~Q(fell_back_to="") & Q(_ASKED)
MAX_COUNTED = 1000  # higher counts are shown as "1000+"
CREDIT_FOR_DAYS = 3  # at last week's spending; less credit is low
LOW_CREDIT_USD = Decimal(1)
CREDIT = "credit"  # the periodic job that fetches it
CATALOGUE = "catalogue"  # the periodic job that syncs it
CREDIT_LOW = "credit-low"  # the key of the alert


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something operators must know, and the admin page where they can act on it."""

    key: str
    text: str
    page: str = ""  # name of an admin page, e.g. "pipeline_task_changelist"
    query: str = ""
    is_for_chat: bool = False  # sent once while it lasts; the others are sent when they happen
    buttons: Buttons = ()  # beneath it in the chat


class Send(Protocol):
    """Sends a text to the operators' chat; the result is False if it did not arrive.

    With `is_news`, nothing is wrong: the log has it as information, not as an error.
    """

    def __call__(
        self, text: str, buttons: Buttons = (), *, is_news: bool = False
    ) -> Awaitable[bool]: ...


def undo_buttons(changes: Iterable[tuple[str, int]]) -> Buttons:
    """Return an Undo button for each agent's last change, given (agent, version), oldest first."""
    last = dict(changes)
    return [
        [(f"Undo {agent_name} v{version}", press)]
        for agent_name, version in last.items()
        if (press := undo_press(agent_name, version))
    ]


def alerts(
    now: datetime, snapshot: Snapshot | None = None, day: usage.UsageTotals | None = None
) -> list[Alert]:
    """Return the current alerts, those that endanger answers first.

    `snapshot` is that of the overrides and `day` the usage of this hour and the 23 before it, if
    the caller has read them already.
    """
    by_agents = uses_by_agents()
    return [
        *_failing_since_a_change(now, snapshot or read_snapshot()),
        *_key(),
        *_operators_chat(),
        *_processes(),
        *_spending(now),
        *_budgets(now),
        *_retiring(now, by_agents),
        *_unfit(now, by_agents),
        *_webhook(now),
        *_answers(day or usage.total(usage.rollups(now - timedelta(hours=23), now=now))),
        *_people(),
        *_cases(),
    ]


def uses() -> list[Use]:
    """Return every OpenRouter model in use: by overrides, by default and by members' choice."""
    return [*uses_by_agents(), *_uses_by_members()]


def _uses_by_members() -> list[Use]:
    chosen = Member.objects.filter(provider="openrouter", access=Access.APPROVED)
    ids = chosen.exclude(model_id="").values_list("model_id", flat=True).distinct()
    return [Use(model_id=model_id, who="members' own choice") for model_id in ids[:MAX_COUNTED]]


@transaction.atomic
def unsent(found: Iterable[Alert]) -> list[Alert]:
    """Return the alerts not yet sent to the chat; delete the notifications of past alerts."""
    to_send = {alert.key: alert for alert in found if alert.is_for_chat}
    AlertNotification.objects.exclude(key__in=to_send).delete()
    known = set(AlertNotification.objects.values_list("key", flat=True))
    return [alert for key, alert in to_send.items() if key not in known]


def mark_sent(alert: Alert) -> None:
    """Record that an alert was sent."""
    AlertNotification.objects.bulk_create([AlertNotification(key=alert.key)], ignore_conflicts=True)


def _failing_since_a_change(now: datetime, snapshot: Snapshot) -> Iterator[Alert]:
    """Tell of agents that fail since their override was set, a few minutes ago."""
    for override in snapshot.overrides.values():
        if override.set_at <= now - UNDONE_WITHIN:
            continue
        traffic = sources_where("is_traffic")
        steps = StepRun.objects.filter(agent=override.agent_name, run__source__in=traffic)
        steps = steps.exclude(ended_at=None)
        since = steps.filter(override_version=override.version)
        failed, count = since.filter(FAILED).count(), since.count()
        earlier = steps.filter(started_at__lt=override.set_at).order_by("-started_at")
        latest = earlier.values_list("pk", flat=True)[:COMPARED_STEPS]
        if not failed or steps.filter(FAILED, pk__in=list(latest)).exists():
            continue
        yield Alert(
            key=f"failing {override.agent_name} v{override.version}",
            text=f"{override.agent_name} fails since v{override.version}: {failed} of {count} steps"
            f" on {override.model_id}, set by {override.set_by or 'an unknown operator'}. "
            "It did not fail before. You can undo this change.",
            page="agents_agentmodelconfig_changelist",
            is_for_chat=True,
            buttons=undo_buttons([(override.agent_name, override.version)]),
        )


def _key() -> Iterator[Alert]:
    if not settings.OPENROUTER_API_KEY:
        yield Alert(
            key="no-shared-key",
            text="No team key: overrides are inactive, and every agent uses the member's own "
            "model. Set OPENROUTER_API_KEY.",
            page="agents_agentmodelconfig_changelist",
        )


def _operators_chat() -> Iterator[Alert]:
    chat_id = str(settings.OPERATOR_CHAT_ID or "")
    if not chat_id.removeprefix("-").isdecimal():
        return
    moved = MovedChat.objects.filter(old_id=int(chat_id)).first()
    if moved is not None:
        yield Alert(
            key="operators-chat-moved",
            text=f"The operators' group is now a supergroup. Alerts still arrive, but change "
            f"OPERATOR_CHAT_ID from {moved.old_id} to {moved.new_id}.",
            is_for_chat=True,
        )


def _processes() -> Iterator[Alert]:
    processes = living()
    for process in processes:
        if process.is_stale:
            yield Alert(
                key=f"stale {process.process_id}",
                text=f"{process} can't reach the cache or the database, so it still uses "
                f"version {process.version} of the overrides.",
                is_for_chat=True,
            )
    if not workers(processes):
        yield Alert(
            key="no-process",
            text="The bot isn't running, so messages are waiting. Start runbot or runworker.",
        )


def workers(processes: Iterable[ResolverProcess]) -> list[ResolverProcess]:
    """Return the processes that answer messages: all but those of `manage.py runpipeline`."""
    return [process for process in processes if process.role != Source.SHELL]


def credit() -> dict[str, str | None] | None:
    """Return the shared key's last known credit: `remaining_usd`, `problem`, `asked_at`.

    {} if it has not been asked for yet; None if it never is: there is no key, or the team has a
    server of its own.
    """
    if not settings.OPENROUTER_API_KEY or settings.SHARED_SERVER != "openrouter":
        return None
    job = PeriodicJob.objects.filter(name=CREDIT).first()
    return job.last_result if job is not None else {}


def _spending(now: datetime) -> Iterator[Alert]:
    heard = credit() or {}
    if problem := heard.get("problem"):
        yield Alert(key="credit-unknown", text=f"Team key: {problem}.", is_for_chat=True)
    if (remaining := heard.get("remaining_usd")) is None:
        return
    week = usage.rollups(now - timedelta(days=7), now=now, in_days=True)
    spent = sum((t.cost_usd for key, t in week if key.payer == Payer.SHARED), Decimal(0))
    if Decimal(remaining) < max(LOW_CREDIT_USD, spent / 7 * CREDIT_FOR_DAYS):
        yield Alert(
            key=CREDIT_LOW,
            text=f"The team key has ${Decimal(remaining):.2f} left and paid ${spent:.2f} last "
            "week. Add credit or raise its limit.",
            is_for_chat=True,
        )


def _budgets(now: datetime) -> Iterator[Alert]:
    """Tell once a period that a budget is nearly used up, is used up, or was exceeded."""
    for standing in queries.in_need(now):
        yield Alert(
            key=f"budget {standing.key}",
            text=standing.sentence,
            page="pipeline_budget_changelist",
            is_for_chat=True,
        )


def _retiring(now: datetime, by_agents: Sequence[Use]) -> Iterator[Alert]:
    job = PeriodicJob.objects.filter(name=CATALOGUE).first()
    if job is not None and (problem := job.last_result.get("problem")):
        yield Alert(
            key="catalogue", text=f"{problem}. Prices and retirement dates may be out of date."
        )
    for warning in retirements([*by_agents, *_uses_by_members()], today=now.date()):
        yield Alert(
            key=warning.event_key,
            text=f"{warning.sentence} Used by {', '.join(warning.used_by)}. {warning.advice}",
            page="agents_agentmodelconfig_changelist",
            is_for_chat=True,
        )


def _unfit(now: datetime, by_agents: Sequence[Use]) -> Iterator[Alert]:
    """Yield the overrides whose model cannot do what its agent needs.

    The catalog decides; where it says nothing, the requests that providers refused in the last 24
    hours.
    """
    in_force = {(use.who, use.model_id): use for use in uses_by_overrides(by_agents)}
    if not in_force:
        return
    is_listed = settings.SHARED_SERVER == "openrouter"
    listed = find_all(model_id for _, model_id in in_force) if is_listed else {}
    refused = _refused_as_unfit(now - timedelta(hours=24))
    for (agent, model_id), use in in_force.items():
        model = listed.get(model_id)
        why = cannot(model, use.needs) if model is not None else []
        why = why or [_UNFIT_WORDS[cause] for cause in refused.get((agent, model_id), ())]
        if why:
            yield Alert(
                key=f"unfit {agent} {model_id}",
                text=f"{model_id} isn't suitable for {agent}: {', '.join(why)}. "
                "Choose another model.",
                page="agents_agentmodelconfig_changelist",
                is_for_chat=True,
            )


def _webhook(now: datetime) -> Iterator[Alert]:
    if problem := change_webhook.problem(now):
        yield Alert(
            key="change-webhook",
            text=problem,
            page="agents_agentmodelconfig_changelist",
            is_for_chat=True,
        )


_UNFIT_WORDS = {
    Cause.SCHEMA: "no JSON schema support (the prompt describes the schema instead)",
    Cause.PICTURE: "no picture support",
    Cause.LIMIT: "output limit too low",
}


def _refused_as_unfit(since: datetime) -> dict[tuple[str, str], list[Cause]]:
    """Return why models were refused for agents; a limit counts only if the step failed."""
    calls = LLMCall.objects.filter(cause__in=UNFIT, started_at__gte=since, is_fallback=False)
    told = calls.exclude(~Q(step__status=StepStatus.FAILED), cause=Cause.LIMIT)
    rows = told.values_list("step__agent", "requested_model", "cause").order_by().distinct()
    found: dict[tuple[str, str], list[Cause]] = {}
    for agent, model_id, cause in rows[:MAX_COUNTED]:
        found.setdefault((agent, model_id), []).append(Cause(cause))
    return found


def _answers(day: usage.UsageTotals) -> Iterator[Alert]:
    if day.mismatches:
        yield Alert(
            key="mismatch",
            text="Wrong model: in the last 24 hours, "
            f"{_times(day.mismatches, 'call was', 'calls were')} answered by a model other than "
            "the one requested.",
            page="pipeline_pipelinerun_changelist",
            query="look=mismatch",
        )
    dead = Task.objects.filter(status=TaskStatus.DEAD_LETTER).values("pk")[:MAX_COUNTED].count()
    if dead:
        yield Alert(
            key="dead",
            text=f"{_times(dead, 'failed task', 'failed tasks')}. See why, or try again.",
            page="pipeline_task_changelist",
        )


def _people() -> Iterator[Alert]:
    waiting = Member.objects.filter(access=Access.WAITING).values("pk")[:MAX_COUNTED].count()
    if waiting:
        yield Alert(
            key="waiting",
            text=f"{_times(waiting, 'person is', 'people are')} waiting for approval.",
            page="pipeline_member_changelist",
            query=f"access__exact={Access.WAITING}",
        )


def _cases() -> Iterator[Alert]:
    unread = CasebookEntry.objects.filter(is_approved=False, is_active=True)
    waiting = unread.values("pk")[:MAX_COUNTED].count()
    if waiting:
        yield Alert(
            key="cases",
            text=f"{_times(waiting, 'saved case is', 'saved cases are')} waiting for approval. "
            "Until then, only the member who saved a case gets answers that use it.",
            page="pipeline_casebookentry_changelist",
            query="approval=waiting",
        )


def _times(count: int, one: str, many: str) -> str:
    return f"{count}{'+' if count == MAX_COUNTED else ''} {one if count == 1 else many}"

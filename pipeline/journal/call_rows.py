"""The rows of LLM calls, written in the ORM's thread for `pipeline.journal.records`.

Each function is one transaction. A call is written before it is sent, under the step's lease; its
cost is recorded whether or not the lease is still held.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID

from django.utils import timezone

from agents.llm.base import Attempt, Outcome, Payer
from agents.llm.completion import Completion
from agents.llm.errors import AnswerCut
from pipeline.budgets import ledger
from pipeline.budgets.ledger import Need
from pipeline.journal import hooks, text_store, traces
from pipeline.journal.fencing import Superseded
from pipeline.journal.sentences import sentence
from pipeline.journal.statements import Lock, insert, read, update
from pipeline.journal.text_store import clean, grouped
from pipeline.models.budgets import ReservationState
from pipeline.models.runs import CallStatus, LLMCall, PipelineRun, StepRun
from pipeline.models.sources import rules_of

text_store.gather_also(ledger.gathering)


@grouped
def write_call(step_id: UUID, token: UUID, attempt: Attempt) -> ledger.Admission:
    """Write the row of a call that is about to be sent, if the team's budgets have room for it.

    Raises:
        Superseded: another worker has taken the step over, so the call must not be sent.
    """
    step = read(StepRun, ("run", "agent"), lock=Lock.CHANGE, id=step_id, attempt_token=token)
    if not step:
        raise Superseded(f"step run {step_id} is in other hands")
    ((run_id, agent),) = step
    row = {
        "id": attempt.call_id,
        "step_id": step_id,
        "number": attempt.number,
        "provider": attempt.provider,
        "requested_model": attempt.requested_model,
        "is_fallback": attempt.is_fallback,
        "payer": attempt.payer,
        "key_fingerprint": attempt.key_fingerprint,
        "has_image": attempt.has_image,
        "started_at": timezone.now(),
    }

    def write() -> None:  # not before it is admitted: a refused call leaves no text behind
        texts = {
            "system_prompt_id": text_store.put(attempt.system_prompt),
            "user_message_id": text_store.put(attempt.user_message),
        }
        insert(LLMCall, row | texts)

    if attempt.payer is not Payer.SHARED:
        write()
        return ledger.Admission()
    ((source, member_id, operator),) = read(
        PipelineRun, ("source", "member", "started_by"), id=run_id
    )
    rules = rules_of(source)
    need = Need(
        call_id=attempt.call_id,
        agent=agent,
        model_id=attempt.requested_model,
        member_id=member_id if rules.counts_for_limits else None,
        operator=operator if rules.counts_for_trials else None,
        most_usd=attempt.most_usd,
        likely_usd=attempt.likely_usd,
    )
    return ledger.reserve(need, write)


@grouped
def retell_decision(step_id: UUID) -> None:
    """Correct a closed step that was recorded as having made no call."""
    for step in StepRun.objects.filter(id=step_id, has_called=False):
        said = sentence(step, fell_back_to=step.fell_back_to)
        StepRun.objects.filter(id=step_id).update(has_called=True, decision=said)


@grouped
def withdraw_call(call_id: UUID, why: str) -> None:
    """Close a call that was never sent, with the reason as its error."""
    ledger.settle(call_id, ReservationState.RELEASED)
    LLMCall.objects.filter(id=call_id).update(status=CallStatus.ERROR, error=why)


@grouped
def complete_call(run_id: UUID, call_id: UUID, outcome: Outcome, mismatch: bool) -> None:
    """Record how a call ended and what it cost, even if another worker has taken its step over.

    Recording the same end twice counts its cost once.
    """
    # Lock the run first: if two calls end at once, the second adds its cost to the first's total.
    run = read(PipelineRun, ("cost_usd",), lock=Lock.CHANGE, id=run_id)
    # Always lock the call: an erasure in progress must end before this reads the row.
    known = ("user_message_id", "started_at", "is_fallback", "cost_usd", "payer")
    call = read(LLMCall, known, lock=Lock.CHANGE, id=call_id)
    if not (run and call):  # the rows have been deleted
        return
    ((run_cost_usd,),) = run
    ((user_message, started_at, is_fallback, known_cost_usd, payer),) = call
    changes = {
        "status": _call_status(outcome),
        "http_status": outcome.http_status,
        "latency_ms": outcome.latency_ms,
        "is_mismatch": mismatch,
        **_learnt(outcome, is_erased=user_message is None),
    }
    hooks.changed(started_at)
    update(LLMCall, changes, id=call_id)
    if payer == Payer.SHARED:
        ledger.settle(call_id, *_charged(outcome))
    summary: dict[str, Any] = {}  # columns of the run; flags are set and never cleared
    if (cost_usd := changes.get("cost_usd")) != known_cost_usd and cost_usd is not None:
        summary["cost_usd"] = (run_cost_usd or 0) + cost_usd - (known_cost_usd or 0)
    if mismatch:
        summary["has_mismatch"] = True
    if is_fallback:
        summary["has_fallback"] = True
    if summary:
        update(PipelineRun, summary, id=run_id)
    traces.call_ended(call_id)


@grouped
def cost_found(run_id: UUID, call_id: UUID, found: Completion) -> None:
    """Record what a call has cost, learnt from its provider after the call had ended."""
    run = read(PipelineRun, ("cost_usd",), lock=Lock.CHANGE, id=run_id)
    call = read(LLMCall, ("started_at", "cost_usd"), lock=Lock.CHANGE, id=call_id)
    if not (run and call) or call[0][1] is not None or found.cost_usd is None:
        return
    ((run_cost_usd,),), ((started_at, _),) = run, call
    hooks.changed(started_at)
    update(LLMCall, _completion_fields(found), id=call_id)
    update(PipelineRun, {"cost_usd": (run_cost_usd or 0) + found.cost_usd}, id=run_id)
    ledger.settle(call_id, ReservationState.BOOKED, found.cost_usd)


def _learnt(outcome: Outcome, *, is_erased: bool) -> dict[str, Any]:
    """Return the columns that record the response or the error.

    Error and output texts are left out if the member's data was erased or the call was pruned.
    """
    fields: dict[str, Any] = {}
    if outcome.error is not None:
        error = "" if is_erased else f"{type(outcome.error).__name__}: {outcome.error}"
        fields["error"] = clean(error)
        fields["error_type"] = type(outcome.error).__name__
        fields["generation_id"] = clean(outcome.error.generation_id)[:200]
        fields["cause"] = outcome.error.cause.value
        fields["is_cut"] = isinstance(outcome.error, AnswerCut)
    if (completion := outcome.learnt) is not None:
        fields |= _completion_fields(completion)
        fields["output_id"] = None if is_erased else text_store.put(completion.text)
    fields["upstream"] = outcome.upstream
    return fields


def _charged(outcome: Outcome) -> tuple[ReservationState, Decimal | None]:
    """Return what becomes of the amount that was set aside for a call, and its cost if known."""
    cost_usd = outcome.learnt.cost_usd if outcome.learnt else None
    if cost_usd is not None:
        return ReservationState.BOOKED, cost_usd
    if _call_status(outcome) is CallStatus.ERROR:
        return ReservationState.RELEASED, None
    return ReservationState.UNKNOWN, None


def _call_status(outcome: Outcome) -> CallStatus:
    if outcome.completion is not None:
        return CallStatus.OK
    if outcome.cancelled or (outcome.error is not None and outcome.error.maybe_charged):
        return CallStatus.UNKNOWN
    return CallStatus.ERROR


def _completion_fields(completion: Completion) -> dict[str, Any]:
    usage = completion.usage
    return {
        "served_model": clean(completion.served_model)[:200],
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cached_input_tokens": usage.cached_input_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "cost_usd": completion.cost_usd,
        "cost_source": completion.cost_source,
        "finish_reason": clean(completion.finish_reason)[:40],
        "generation_id": clean(completion.generation_id)[:200],
    }

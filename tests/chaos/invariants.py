"""What must hold after every fault, by the reliability plan's names; the sandbox is the oracle.

N1 every acknowledged update is stored once and has ended · N2 every run, step and call has ended ·
N3 a step has one outcome, and each request on the wire one row · N4 what was charged is booked ·
N6 calls, runs and usage add up to the same dollars ·
N7 budgets have booked what the team's calls cost, and nothing stays set aside ·
N5 every reply was sent, none is seen twice, no placeholder is left, and nobody is told that what
they see was cut off · W1 each step ran the model that was chosen for it, and
its requests carried it · W2 no other model answered · W4 a member's key paid for that member only ·
L1 strangers got the refusal and nothing else · L2 no secret is in the database.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

from django.apps import apps
from django.utils import timezone

from agents.llm.base import Payer
from pipeline.bot import texts
from pipeline.budgets import upkeep
from pipeline.budgets.money import dollars
from pipeline.models import (
    LLMCall,
    Member,
    OutgoingMessage,
    PipelineRun,
    Reservation,
    StepRun,
    Task,
    TelegramUpdate,
)
from pipeline.models.budgets import ReservationState, Scope
from pipeline.models.inbox import OPEN, SendStatus, TaskKind
from pipeline.models.members import Access
from pipeline.models.runs import CallStatus, RunStatus, StepStatus
from pipeline.operations import usage
from tests.canaries import BOT_TOKEN, MEMBER_KEY, SHARED_KEY
from tests.chaos.fleet import People
from tests.pipeline.budgets.accounts import wrong_periods

LONGEST_STAGE = 60  # characters of a line that names what is being done
UNSETTLED = {CallStatus.UNKNOWN, CallStatus.INTERRUPTED, CallStatus.ERROR}
ENDED_SENDING = {SendStatus.SENT, SendStatus.REFUSED, SendStatus.AMBIGUOUS}
Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What was set up: the models by override version, and who brought a key."""

    default_model: str
    models: Mapping[tuple[str, int], str] = field(default_factory=dict)  # of (agent, version)
    may_die: int = 0  # dead letters that a test expects
    is_clock_steady: bool = True  # False: times in the rows tell no order
    has_old_code: bool = False  # 3315b11 leaves lines hanging where it is stopped


def assert_invariants(people: People, world: World) -> None:
    """Compare the database with what the sandbox saw; every wrong is listed."""
    calls, sent = people.calls(), people.sent()
    wrongs = [
        *_updates(people, world),
        *_ends(),
        *_outcomes(calls),
        *_charges(calls),
        *([] if world.has_old_code else [*_sums(), *_budgets()]),
        *_replies(people, sent, world),
        *(_order() if world.is_clock_steady else _order_of_calls(calls)),
        *_models(calls, world),
        *_keys(calls),
        *_strangers(sent),
        *_secrets(),
    ]
    assert wrongs == [], "\n".join(wrongs[:40])


def _updates(people: People, world: World) -> Iterator[str]:
    stored = Counter(TelegramUpdate.objects.values_list("update_id", flat=True))
    for update_id in people.acknowledged():
        if stored[update_id] != 1:
            yield f"N1 update {update_id} was acknowledged and is stored {stored[update_id]} times"
    for task in Task.objects.filter(status__in=OPEN):
        yield f"N1 {task} is {task.status}"
    dead = list(Task.objects.filter(status="dead").values_list("pk", "error"))
    if len(dead) != world.may_die:
        yield f"N1 given up, against {world.may_die} expected: {dead[:5]}"
    for person, said in people.said.items():
        kept = TelegramUpdate.objects.filter(chat_id=person, kind="message").count()
        if kept < len(said):
            yield f"N1 {person} said {len(said)} things, {kept} are stored"


def _ends() -> Iterator[str]:
    open_steps = StepRun.objects.filter(status__in=[StepStatus.RUNNING, StepStatus.WAITING])
    for run in PipelineRun.objects.filter(status=RunStatus.RUNNING):
        yield f"N2 run {run.pk} is open"
    for step in open_steps:
        yield f"N2 step {step.pk} of run {step.run_id} is {step.status}"
    for call in LLMCall.objects.filter(status=CallStatus.RUNNING):
        yield f"N2 call {call.pk} is open"


def _outcomes(calls: list[Json]) -> Iterator[str]:
    attempts: dict[Any, list[StepRun]] = {}
    for step in StepRun.objects.order_by("attempt"):
        attempts.setdefault((step.run_id, step.position), []).append(step)
    for place, steps in attempts.items():
        ended = [s.attempt for s in steps if s.status in (StepStatus.OK, StepStatus.FAILED)]
        if len(ended) > 1 or (ended and ended[0] != steps[-1].attempt):
            yield f"N3 step {place} was run again after it had ended: {ended} of {len(steps)}"
    rows = Counter(str(pk) for pk in LLMCall.objects.values_list("pk", flat=True))
    wire = Counter(call["call_id"] for call in calls)
    for call_id, count in wire.items():
        if rows[call_id] != 1 or count != 1:
            yield f"N3 call {call_id}: {count} requests, {rows[call_id]} rows"


def _budgets() -> Iterator[str]:
    later = timezone.now() + timedelta(days=3)  # a clock may have been ahead
    upkeep.settle_abandoned(later, longest_step=timedelta(minutes=15))
    for wrong in wrong_periods():
        yield f"N7 {wrong}"
    held = Reservation.objects.filter(state=ReservationState.HELD).count()
    if held:
        yield f"N7 {held} amounts are still set aside"
    of_budgets = Reservation.objects.filter(period__budget__scope=Scope.SHARED_KEY)
    booked = of_budgets.filter(state=ReservationState.BOOKED).values_list("picousd", flat=True)
    calls = LLMCall.objects.filter(payer=Payer.SHARED).values_list("cost_usd", flat=True)
    cost = sum((cost for cost in calls if cost is not None), Decimal(0))
    if dollars(sum(booked)) != cost:
        yield f"N7 budgets have booked ${dollars(sum(booked))}, the team's calls cost ${cost}"


def _sums() -> Iterator[str]:
    now = timezone.now()
    of_calls = sum(cost or 0 for cost in LLMCall.objects.values_list("cost_usd", flat=True))
    of_runs = sum(cost or 0 for cost in PipelineRun.objects.values_list("cost_usd", flat=True))
    # Some runs may be dated days ahead, by a clock that was.
    reach = timedelta(days=2)
    of_usage = usage.total(usage.rollups(now - reach, now=now + reach)).cost_usd
    if not of_calls == of_runs == of_usage:
        yield f"N6 calls cost ${of_calls}, runs ${of_runs}, usage ${of_usage}"


def _charges(calls: list[Json]) -> Iterator[str]:
    charged = {call["call_id"]: Decimal(call["cost_usd"]) for call in calls}
    for row in LLMCall.objects.all():
        cost = charged.get(str(row.pk))
        if row.status in UNSETTLED:
            continue
        if cost is None or row.cost_usd != cost:
            yield f"N4 call {row.pk}: charged {cost}, booked {row.cost_usd}"


def _replies(people: People, sent: list[Json], world: World) -> Iterator[str]:
    for row in OutgoingMessage.objects.exclude(text=""):
        if row.status not in ENDED_SENDING:
            yield f"N5 reply {row.pk} is {row.status}"
    shown: Counter[tuple[int, str]] = Counter()
    for message in sent:
        text = message["history"][-1].get("text", "")
        if "Draft to send" in text and (asked := _asked(text)):
            shown[message["chat_id"], asked] += 1
    for (person, asked), count in shown.items():
        if count > 1:
            yield f"N5 {person} sees {count} answers to {asked!r}"
    yield from _unanswered(people, shown)
    if not world.has_old_code:
        yield from _hanging(sent)
    yield from _falsely_cut_off(shown)


def _hanging(sent: list[Json]) -> Iterator[str]:
    for message in sent:
        text = message["history"][-1].get("text", "")
        if text == texts.STOPPING:  # all that is said to /cancel
            continue
        if text == texts.IN_LINE or (text.endswith("…") and len(text) < LONGEST_STAGE):
            yield f"N5 {message['chat_id']} is left with {text!r}"


def _falsely_cut_off(shown: Counter[tuple[int, str]]) -> Iterator[str]:
    unsure = OutgoingMessage.objects.filter(status=SendStatus.AMBIGUOUS)
    for row in unsure.select_related("update"):
        asked = _asked(row.text)
        if asked and shown[row.update.chat_id or 0, asked]:
            yield f"N5 {row.update.chat_id} sees the answer to {asked!r}, said to be cut off"


def _unanswered(people: People, shown: Counter[tuple[int, str]]) -> Iterator[str]:
    unsure = OutgoingMessage.objects.filter(status=SendStatus.AMBIGUOUS).select_related("update")
    offered = {(row.update.chat_id, _asked(row.text)) for row in unsure}
    for person, said in people.said.items():
        for text in said:
            is_there = not text.startswith("prospect ") or shown[person, text]
            if is_there or (person, text) in offered or _was_told_of_a_failure(person, text):
                continue
            yield f"N5 {person} has no answer to {text!r}"


def _was_told_of_a_failure(person: int, asked: str) -> bool:
    replies = OutgoingMessage.objects.filter(
        update__chat_id=person,
        update__run__status=RunStatus.FAILED,
        update__run__user_message__text=asked,
    )
    return replies.filter(status=SendStatus.SENT, text__startswith="⚠️").exists()


def _asked(answer: str) -> str:
    """Return the question that an answer quotes, if it is one of `prospect … end`."""
    found = re.search(r"prospect .*? end", answer)
    return found[0] if found else ""


def _order() -> Iterator[str]:
    for lane, runs in _lanes().items():
        for earlier, later in pairwise(runs):
            if earlier.ended_at is None or earlier.ended_at > later.started_at:
                yield f"order of {lane}: {later.pk} began before {earlier.pk} had ended"


def _order_of_calls(calls: list[Json]) -> Iterator[str]:
    """Compare the order of messages with the order of their first requests at the sandbox."""
    first: dict[str, int] = {}  # later on it may be remembered of the member
    for number, call in enumerate(calls):
        if call["agent"] == "extraction":
            for asked in set(
                re.findall(r"prospect (?:(?!prospect).)*? end", str(call["messages"]))
            ):
                first.setdefault(asked, number)
    for lane, runs in _lanes().items():
        asked = [run.user_message.text for run in runs if run.user_message is not None]
        for earlier, later in pairwise(asked):
            if first[earlier] > first[later]:
                yield f"order of {lane}: {later!r} was worked on before {earlier!r}"


def _lanes() -> dict[str, list[PipelineRun]]:
    """Return the runs of each lane in the order of their messages."""
    lanes: dict[str, list[PipelineRun]] = {}
    tasks = Task.objects.filter(kind=TaskKind.MESSAGE, update__run__isnull=False)
    for task in tasks.select_related("update__run__user_message").order_by("pk"):
        assert task.update is not None
        lanes.setdefault(task.lane, []).append(task.update.run)
    return lanes


def _models(calls: list[Json], world: World) -> Iterator[str]:
    steps = {str(step.pk): step for step in StepRun.objects.all()}
    for step in steps.values():
        chosen = world.default_model
        if step.override_version is not None:
            chosen = world.models.get((step.agent, step.override_version), "nobody's choice")
        if step.requested_model and step.requested_model != chosen:
            yield f"W1 {step.agent} ran {step.requested_model}, chosen was {chosen}"
    agents_and_models = {pk: (step.agent, step.requested_model) for pk, step in steps.items()}
    for call in calls:
        if agents_and_models.get(call["step_id"]) != (call["agent"], call["model"]):
            yield f"W1 call {call['call_id']} of {call['agent']} asked for {call['model']}"
    for row in LLMCall.objects.filter(is_mismatch=True):
        yield f"W2 call {row.pk} was answered by {row.served_model}"


def _keys(calls: list[Json]) -> Iterator[str]:
    rows = LLMCall.objects.select_related("step__run__member")
    by_id = {str(row.pk): row for row in rows}
    for call in calls:
        row = by_id.get(call["call_id"])
        if row is None:
            continue
        member = row.step.run.member
        is_own = row.step.override_version is None and member and member.key_ciphertext
        if call["key"] != (MEMBER_KEY if is_own else SHARED_KEY):
            yield f"W4 call {call['call_id']} of {member} was paid by the wrong key"


def _strangers(sent: list[Json]) -> Iterator[str]:
    blocked = set(
        Member.objects.filter(access=Access.BLOCKED).values_list("telegram_id", flat=True)
    )
    for message in sent:
        text = message["history"][-1].get("text", "")
        if message["chat_id"] in blocked and text != texts.BLOCKED:
            yield f"L1 a stranger was told {text!r}"
    for run in PipelineRun.objects.filter(member__telegram_id__in=blocked):
        yield f"L1 run {run.pk} is a stranger's"


def _secrets() -> Iterator[str]:
    for model in apps.get_models():
        for row in model._default_manager.values_list():
            if any(secret in str(row) for secret in (SHARED_KEY, MEMBER_KEY, BOT_TOKEN)):
                yield f"L2 a row of {model.__name__} holds a secret"

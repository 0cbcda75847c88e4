"""Buttons beneath an answer; each works once, for the member who got the answer.

The callback data contains only an action and a run id; permission is checked against the database.
A press that needs another run is queued in its chat like a message, so that two answers never mix.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from uuid import UUID

from asgiref.sync import sync_to_async
from django.db import transaction
from telegram import CallbackQuery

from agents.base import Inputs
from pipeline.bot import texts
from pipeline.bot.handlers.requests import Ask
from pipeline.bot.intake import lane_of
from pipeline.bot.static_reply import Buttons
from pipeline.bot.update_context import UpdateContext
from pipeline.journal.resumption import read_back
from pipeline.models import Action, Exercise, Member, PipelineRun, Press, Task, TelegramUpdate
from pipeline.models.inbox import TaskKind
from pipeline.models.runs import RunStatus
from pipeline.people.conversation import conversation_of
from pipeline.queue.base import AddTasks
from pipeline.running.config import PipelineInvalid, UnknownPipeline, load_pipeline

RUN = "run:"  # prefix of the callback data of these buttons
FAILED = (RunStatus.FAILED, RunStatus.GIVEN_UP)
WANTS_A_RUN = {Action.REGENERATE, Action.SHORTER}


@dataclass(frozen=True, slots=True)
class Pressed:
    """A permitted press: its run and action, and whether it is the first press for them."""

    run: PipelineRun
    action: Action
    is_first: bool


def buttons_of(run_id: UUID, pipeline: str) -> Buttons:
    """Return the buttons that a pipeline's definition lists, for the answer of a run."""
    try:
        rows = load_pipeline(pipeline).buttons
    except (UnknownPipeline, PipelineInvalid):  # removed or broken while the run was in progress
        return ()
    return [[(action.label, f"{RUN}{action}:{run_id.hex}") for action in row] for row in rows]


def retry_of(run_id: UUID) -> Buttons:
    """Return the "Try again" button, shown beneath an error in place of an answer."""
    return [[(texts.TRY_AGAIN, f"{RUN}{Action.REGENERATE}:{run_id.hex}")]]


async def noted(
    row: TelegramUpdate, member: Member, data: str, add_tasks: AddTasks
) -> Pressed | None:
    """Record a press, and queue a task if it needs a run; None if the member may not press it."""
    return await sync_to_async(_note)(row, member, data, add_tasks)


async def wanted(context: UpdateContext, member: Member, query: CallbackQuery) -> Ask | None:
    """Return the run requested by a queued press; None if the press was not recorded."""
    press = await Press.objects.select_related("run").filter(update=context.row).afirst()
    return await sync_to_async(_ask)(press) if press is not None else None


@transaction.atomic
def _note(row: TelegramUpdate, member: Member, data: str, add_tasks: AddTasks) -> Pressed | None:
    name, _, run_id = data.removeprefix(RUN).partition(":")
    if name not in Action.values or len(run_id) != 32 or not run_id.isalnum():
        return None
    try:
        wanted_id = UUID(run_id)
    except ValueError:
        return None
    # A failed run has no answer to shorten, save or explain.
    endings = (RunStatus.OK, *FAILED) if name == Action.REGENERATE else (RunStatus.OK,)
    run = PipelineRun.objects.filter(
        pk=wanted_id, member=member, update__chat_id=row.chat_id, status__in=endings
    ).first()
    if run is None:
        return None
    action = Action(name)
    if action is not Action.WHY and _is_pruned(run):
        return None
    press, is_new = Press.objects.get_or_create(run=run, action=action, defaults={"update": row})
    if is_new and action in WANTS_A_RUN:
        message = json.loads(row.raw)["callback_query"]["message"]
        lane = lane_of({"message": {**message, "entities": []}})
        # If the exercise's answer could not be judged, the new run judges it.
        Exercise.objects.filter(answer__run=run, score=None).update(answer=row)
        add_tasks([Task(kind=TaskKind.MESSAGE, lane=lane, update=row)])
    return Pressed(run, action, is_first=press.update_id == row.pk)


def _is_pruned(run: PipelineRun) -> bool:
    """Tell whether the run's inputs have been deleted, so that it cannot be continued."""
    return run.user_message_id is run.background_id is run.image_id is None


def _ask(press: Press) -> Ask:
    seen = read_back(press.run_id)
    pipeline = press.run.pipeline
    question = seen.inputs
    if press.action == Action.SHORTER:
        pipeline = "support_shorter"
        question = Inputs(
            user_message=texts.SHORTER_WANTED, conversation=conversation_of(press.run)
        )
    return Ask(pipeline=pipeline, question=question)

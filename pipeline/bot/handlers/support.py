"""Answers members' messages and button presses, with a static reply or with a pipeline's run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from asgiref.sync import sync_to_async
from django.utils import timezone
from telegram import CallbackQuery, Chat, Message, Update
from telegram.constants import ChatType

from agents.cancelling import end
from pipeline.bot import texts
from pipeline.bot.access import visitor
from pipeline.bot.handlers.access_gate import admitted, notify_operators
from pipeline.bot.handlers.buttons import (
    WANTS_A_RUN,
    buttons_of,
    noted,
    retry_of,
    wanted,
)
from pipeline.bot.handlers.requests import Ask, Gathering
from pipeline.bot.handlers.training import press_which, verdict_of, wanted_by_press
from pipeline.bot.messages import Chunk, formatted
from pipeline.bot.presses import answer
from pipeline.bot.reply import (
    GROUP_EDIT_EVERY_S,
    PRIVATE_EDIT_EVERY_S,
    LiveReply,
    is_placeholder_due,
)
from pipeline.bot.static_reply import Buttons, StaticReply
from pipeline.bot.update_context import Callback, UpdateContext
from pipeline.journal.records import NotifyOperators
from pipeline.journal.reports import RunReport
from pipeline.models import Action, Member
from pipeline.models.inbox import TaskKind
from pipeline.models.runs import RunStatus, StepStatus
from pipeline.people import limits
from pipeline.people.conversation import reasons, save_case
from pipeline.people.pictures import PictureRefused
from pipeline.people.refusals import NotRun
from pipeline.queue.base import AddTasks
from pipeline.running.run_service import RunService
from pipeline.running.runner import Origin
from pipeline.school import training

Words: TypeAlias = Callable[[UpdateContext, Member], Awaitable[StaticReply]]
Press: TypeAlias = Callable[[UpdateContext, Member, CallbackQuery], Awaitable[StaticReply | None]]
Request: TypeAlias = Ask | Gathering
Wanted: TypeAlias = Callable[
    [UpdateContext, Member, CallbackQuery], Awaitable[Request | str | None]
]
Reader: TypeAlias = Callable[
    [UpdateContext, Message, Member], Awaitable[Request | StaticReply | str]
]


@dataclass(frozen=True, slots=True)
class Answer:
    """A run's result as message chunks, and the buttons beneath the last chunk."""

    chunks: list[Chunk]
    buttons: Buttons = ()


class Support:
    """Answers members with a static reply or a pipeline.

    Unexpected errors are not caught here: the queue retries, and the member is told once all
    attempts have failed.
    """

    def __init__(self, service: RunService, alert: NotifyOperators, add_tasks: AddTasks) -> None:
        self._service = service
        self._alert = alert
        self._add_tasks = add_tasks

    def reply_with(self, words: Words) -> Callback:
        """Return a handler callback that answers members' messages with a static reply."""
        return partial(self._handle, partial(self._say, words))

    def reply_privately_with(self, words: Words) -> Callback:
        """Return a callback like `reply_with`, which in a group only refers to the private chat."""
        return partial(self._handle, partial(self._say_in_private, words))

    def run(self, read: Reader) -> Callback:
        """Return a handler callback that answers members' messages with a pipeline."""
        return partial(self._handle, partial(self._read_and_answer, read))

    def press(self, words: Press) -> Callback:
        """Return a handler callback that answers members' button presses with a static reply."""
        return partial(self._pressed, words)

    async def press_of_answer(self, update: Update, context: UpdateContext) -> None:
        """Handle a press of a button beneath an answer.

        The first task records the press and does what needs no run; a press that needs a run is
        queued as a message, and that task answers it.
        """
        if context.claim.kind is TaskKind.MESSAGE:
            await self._answer_press(wanted, update, context)
        else:
            await self._pressed(self._act, update, context)

    async def press_which(self, update: Update, context: UpdateContext) -> None:
        """Handle a press that says whether a message is an exercise's answer or a question.

        The first task queues the message again, and the second one answers it.
        """
        if context.claim.kind is TaskKind.MESSAGE:
            await self._answer_press(wanted_by_press, update, context)
        else:
            await self._pressed(partial(press_which, add_tasks=self._add_tasks), update, context)

    # --- messages -----------------------------------------------------------------------------

    async def _handle(
        self,
        reply: Callable[[UpdateContext, Message, Member], Awaitable[None]],
        update: Update,
        context: UpdateContext,
    ) -> None:
        message, user = update.effective_message, update.effective_user
        if message is None or message.is_automatic_forward:
            return  # a channel's post, forwarded to its discussion group
        if message.sender_chat is not None:  # an anonymous admin, or a person as their channel
            context.was_handled = True
            await context.outbox.say(texts.ANONYMOUS)
            return
        if user is None or user.is_bot:
            return
        context.was_handled = True
        member = await admitted(context, message, user, self._alert)
        if member is None:
            # The run may have begun before the member was blocked.
            await self._service.stop(context.lease, context.row.pk)
            return
        await reply(context, message, member)

    async def _say(
        self, words: Words, context: UpdateContext, message: Message, member: Member
    ) -> None:
        await context.outbox.say(await words(context, member))

    async def _say_in_private(
        self, words: Words, context: UpdateContext, message: Message, member: Member
    ) -> None:
        if message.chat.type == ChatType.PRIVATE:
            await self._say(words, context, message, member)
        else:
            await context.outbox.say(texts.ONLY_IN_PRIVATE)

    async def _read_and_answer(
        self, read: Reader, context: UpdateContext, message: Message, member: Member
    ) -> None:
        ask = await read(context, message, member)
        if isinstance(ask, Request):
            await self._answer(ask, context, member, message.chat)
        elif ask:
            await context.outbox.say(ask)
        else:
            await context.outbox.take_back_placeholder(texts.PLACEHOLDER)

    # --- presses ------------------------------------------------------------------------------

    async def _pressed(self, words: Press, update: Update, context: UpdateContext) -> None:
        query = update.callback_query
        if query is None:
            return
        context.was_handled = True
        who = await visitor(query.from_user)
        if who.refusal:
            notify_operators(who, self._alert)
            await answer(query, who.refusal)
            return
        line = await words(context, who.member, query)
        if line is not None:
            await context.outbox.say(line)

    async def _act(
        self, context: UpdateContext, member: Member, query: CallbackQuery
    ) -> StaticReply | None:
        """Record a press, acknowledge it to Telegram, and return the reply if it needs no run."""
        pressed = await noted(context.row, member, query.data or "", self._add_tasks)
        if pressed is None or not pressed.is_first:
            await answer(query, texts.NOT_YOURS if pressed is None else texts.DONE_BEFORE)
            return None
        await answer(query, texts.ON_IT if pressed.action in WANTS_A_RUN else "")
        if pressed.action is Action.SAVE:
            return StaticReply(texts.SAVED, also=partial(save_case, pressed.run, member))
        if pressed.action is Action.WHY:
            return StaticReply(
                await sync_to_async(reasons)(pressed.run, today=timezone.localdate())
            )
        return None

    async def _answer_press(self, wanted: Wanted, update: Update, context: UpdateContext) -> None:
        query = update.callback_query
        if query is None or query.message is None:
            return
        context.was_handled = True
        who = await visitor(query.from_user)
        ask = await wanted(context, who.member, query)
        if who.refusal or ask is None:
            await self._service.stop(context.lease, context.row.pk)
            return
        if isinstance(ask, str):
            await context.outbox.say(ask)
            return
        await self._answer(ask, context, who.member, query.message.chat)

    # --- runs ---------------------------------------------------------------------------------

    async def _answer(
        self, ask: Request, context: UpdateContext, member: Member, chat: Chat
    ) -> None:
        """Show a placeholder with the run's stages, run the pipeline, and send the answer."""
        is_due = is_placeholder_due(
            timezone.now() - context.row.received_at, is_rush=context.claim.is_rush
        )
        is_private = chat.type == ChatType.PRIVATE
        reply = LiveReply(
            context.outbox,
            edit_every_s=PRIVATE_EDIT_EVERY_S if is_private else GROUP_EDIT_EVERY_S,
            has_placeholder=is_due,
        )
        async with reply.shown():
            answer = await self._unless_stopped(context, self._run(context, member, ask, reply))
        if isinstance(answer, str):
            await context.outbox.say(answer)
        else:
            await reply.close(answer.chunks, answer.buttons)

    async def _unless_stopped(
        self, context: UpdateContext, work: Coroutine[Any, Any, Answer | str]
    ) -> Answer | str:
        """Return the result of `work`, or a line that it was stopped if the member cancelled it."""
        working = asyncio.create_task(work, name="run of a message")
        stopped = asyncio.create_task(context.claim.stop.wait(), name="told to stop")
        try:
            await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
        finally:
            await end([working, stopped])
        await self._service.stop(context.lease, context.row.pk)
        return Answer(formatted(texts.NO_ANSWER_STOPPED))

    async def _run(
        self, context: UpdateContext, member: Member, ask: Request, reply: LiveReply
    ) -> Answer | str:
        """Resume the run of an earlier attempt, or start a new one; return its answer.

        A text is returned if the message turns out to need no run.
        """
        update_id = context.row.pk
        report = await self._service.resume(context.lease, update_id, member, on_stage=reply.stage)
        if report is not None:
            return await self._told(report, update_id, member)
        if isinstance(ask, Gathering):  # after the placeholder, since it takes a moment
            found = await ask.read()
            if isinstance(found, str):
                return found
            ask = found
        try:
            report = await self._service.answer(
                ask.pipeline,
                member,
                await ask.whole_question(),
                origin=Origin(update_id=update_id, token=context.claim.token),
                on_stage=reply.stage,
            )
        except PictureRefused as refusal:
            return Answer(formatted(str(refusal)))
        except NotRun as error:
            await sync_to_async(training.reopen)(update_id)
            return Answer(formatted(f"⚠️ {error.member_line}"))
        return await self._told(report, update_id, member)

    async def _told(self, report: RunReport, update_id: int, member: Member) -> Answer:
        """Return a run's answer, for a judged exercise with its score and what comes next."""
        if report.status is not RunStatus.OK:
            return _told(report)
        note = await sync_to_async(limits.note_on_spending)(member.pk, now=timezone.now())
        verdict = await sync_to_async(verdict_of)(update_id)
        if verdict is None:
            return _told(report, note)
        parts = [report.answer, verdict.text, *([note] if note else [])]
        return Answer(formatted("\n\n".join(parts)), verdict.buttons)


def _told(report: RunReport, note: str = "") -> Answer:
    """Return the answer with a note on each fallback model, or a line why there is no answer.

    `note` is one more, at the end.
    """
    if report.status is RunStatus.CANCELLED:
        return Answer(formatted(texts.NO_ANSWER_STOPPED))
    if report.status is not RunStatus.OK:
        line = next((s.member_line for s in report.steps if s.status is StepStatus.FAILED), "")
        failed = texts.NO_ANSWER.format(line=line, incident=str(report.run_id)[:8])
        return Answer(formatted(failed), retry_of(report.run_id))
    notes = [
        texts.FELL_BACK.format(agent=step.agent, model=step.fell_back_to)
        for step in report.steps
        if step.fell_back_to
    ]
    notes += [note] if note else []
    buttons = buttons_of(report.run_id, report.pipeline)
    return Answer(formatted("\n\n".join([report.answer, *notes])), buttons)

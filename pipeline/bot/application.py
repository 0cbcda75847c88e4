"""The part of a process that talks to Telegram: connects, polls, and handles claimed updates.

The library parses updates, finds the handler and makes requests. It neither fetches nor queues
updates: they come from the database (`pipeline.bot.intake`), and the queue decides their order.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from datetime import timedelta
from typing import cast
from uuid import uuid4

import stamina
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import reset_queries
from django.db.models import QuerySet
from django.utils import timezone
from telegram import BotCommand, LinkPreviewOptions, Message, Update
from telegram.error import BadRequest, InvalidToken, TelegramError
from telegram.ext import ApplicationBuilder, ContextTypes, Defaults
from telegram.request import HTTPXRequest

from agents.log_fields import log_as
from pipeline.bot import texts
from pipeline.bot.alerts import Alerts
from pipeline.bot.handlers import COMMANDS, add_handlers
from pipeline.bot.handlers.account import Mine
from pipeline.bot.handlers.addressed import is_addressed
from pipeline.bot.handlers.buttons import retry_of
from pipeline.bot.handlers.keys import forget_pasted
from pipeline.bot.handlers.start import show_start
from pipeline.bot.handlers.support import Support
from pipeline.bot.limiter import ChatRateLimiter, Rank
from pipeline.bot.moved_chats import FollowsMovedChats
from pipeline.bot.outbox import LAST_WORD, Outbox
from pipeline.bot.parsing import Unreadable, parse, query_id_of, reply_target_of
from pipeline.bot.patience import patiently, wait_before_next
from pipeline.bot.placeholders import Found
from pipeline.bot.polling import Poller
from pipeline.bot.rate_slots import RateSlots
from pipeline.bot.refusals import (
    ODD_ANSWERS,
    not_the_bot_api,
    takes_no_messages,
    where_it_can,
)
from pipeline.bot.static_reply import StaticReply, keyboard
from pipeline.bot.transport import PersistingRequest, tls_context
from pipeline.bot.update_context import UpdateApplication, UpdateContext
from pipeline.journal import rows
from pipeline.journal.fencing import TaskLease
from pipeline.models import Member, OutgoingMessage, PipelineRun, Task, TelegramUpdate
from pipeline.models.inbox import (
    OPEN,
    PermanentFailureKind,
    ReplyKind,
    SendStatus,
    TaskKind,
    TaskStatus,
)
from pipeline.models.members import Access
from pipeline.models.runs import RunStatus
from pipeline.queue.base import COURTESY_LASTS, MAX_ATTEMPTS, AddTasks, Claim, PermanentFailure
from pipeline.running.run_service import RunService

logger = logging.getLogger(__name__)

SHOWN_WITHIN_S, FIRST_LOOK_S, POLL_INTERVAL_S = 10.0, 0.1, 1.0
POOL_SIZE = 256
UPDATES_POOL_SIZE = 4  # with a single connection, a broken one could block the pool forever


class BotRefused(Exception):
    """The bot cannot start or continue; the message says why and what to do."""


class TokenRefused(BotRefused):
    """Telegram does not accept the bot's token."""

    def __init__(self) -> None:
        super().__init__("Telegram refused TELEGRAM_BOT_TOKEN: check it.")


class BotSide:
    """Telegram side of a process: application, rate limiter, poller and update handling."""

    def __init__(self, service: RunService, alerts: Alerts, add_tasks: AddTasks) -> None:
        self.bot_id = int(settings.TELEGRAM_BOT_TOKEN.partition(":")[0])
        self._alerts = alerts
        is_shared = settings.CACHE_URL.startswith(("redis", "unix"))
        shared = RateSlots(settings.CACHE_URL, self.bot_id) if is_shared else None
        self._limiter = ChatRateLimiter(shared=shared)
        self._found: Found = {}  # messages found again whose ids were lost when a process died
        self._application = _application(self.bot_id, add_tasks, self._limiter)
        support = Support(service, alerts.send_soon, add_tasks)
        add_handlers(self._application, support, Mine(service), alerts.send_soon)
        self._poller = Poller(self._application.bot, self.bot_id)

    async def connect(self, *, polls: bool, take_over: bool) -> None:
        """Connect to Telegram, however long it takes; with `polls`, also fetch updates once.

        `take_over` allows removing a webhook that is set, which polling requires.

        Raises:
            BotRefused: another installation's webhook is set, the token is refused, or the server
                does not answer like the Bot API.
        """
        try:
            await self._connect(polls=polls, take_over=take_over)
        except InvalidToken:
            raise TokenRefused from None
        except (TelegramError, *ODD_ANSWERS) as error:
            raise BotRefused(not_the_bot_api(error)) from error

    async def poll(self) -> None:
        """Fetch updates until cancelled; raises TokenRefused if Telegram refuses the token."""
        try:
            await self._poller.poll()
        except InvalidToken:
            raise TokenRefused from None

    async def _connect(self, *, polls: bool, take_over: bool) -> None:
        bot = self._application.bot
        async for attempt in stamina.retry_context(
            on=wait_before_next, attempts=None, timeout=None, wait_initial=0.2, wait_max=5.0
        ):
            with attempt:
                if attempt.num == 2:
                    logger.warning(
                        "Telegram does not answer at %s yet", settings.TELEGRAM_API_BASE_URL
                    )
                await self._application.initialize()
                await bot.set_my_commands([BotCommand(*command) for command in COMMANDS])
                if polls:
                    if (await bot.get_webhook_info()).url:
                        await self._remove_webhook(take_over)
                    await self._poller.fetch(0)
        self._alerts.use(bot)
        self._limiter.note(await sync_to_async(_newest_id)())
        logger.info("%s as @%s", "polling" if polls else "working", bot.username)

    async def handle(self, claim: Claim) -> TaskStatus:
        """Handle an update: send the reply stored by an earlier attempt, or run the handler.

        Returns:
            SUCCESSFUL if the update was handled; IGNORED if no handler took it, or if Telegram
            refuses the bot's messages in this chat.

        Raises:
            PermanentFailure: the update cannot be handled, however often it is tried.
            NotForUs: the update has nothing to answer.
            Superseded: another worker holds the task by now.
        """
        await sync_to_async(reset_queries)()
        context, update = await self._context_of(claim)
        if await context.outbox.has_text():
            await context.outbox.deliver()
            return TaskStatus.SUCCESSFUL
        try:
            await self._application.handle(update, context)
        except TelegramError as error:
            if not takes_no_messages(error):
                raise
            logger.warning(
                "chat=%s: it takes no messages of the bot: %s", context.row.chat_id, error
            )
            return TaskStatus.IGNORED
        return TaskStatus.SUCCESSFUL if context.was_handled else TaskStatus.IGNORED

    async def announce(self, claim: Claim) -> TaskStatus:
        """Tell a member that their message is queued, if it still is.

        This is a courtesy: it is skipped if it comes too late, or if earlier messages of the chat
        have no placeholder yet. If no earlier message is open (a paste that waits only for its next
        part), the member sees the usual placeholder instead.
        """
        context, _ = await self._context_of(claim)
        left = COURTESY_LASTS - (timezone.now() - context.row.received_at)
        if context.row.holds_key or left <= timedelta():
            return TaskStatus.IGNORED
        is_first = not await _before(context.row).aexists()
        # A person becomes a member only when their first message is handled.
        if not await _are_shown(context.row) or not await _is_member(context.row):
            return TaskStatus.IGNORED
        await context.row.arefresh_from_db(fields=["joined_to"])
        if context.row.joined_to_id is not None:
            return TaskStatus.IGNORED  # an earlier message is answered together with this one
        is_told = await context.outbox.announce(
            texts.PLACEHOLDER if is_first else texts.IN_LINE,
            rank=Rank.PROGRESS if is_first else Rank.NOTICE,
            within_s=left.total_seconds(),
        )
        return TaskStatus.SUCCESSFUL if is_told else TaskStatus.IGNORED

    async def greet(self, claim: Claim) -> TaskStatus:
        """Tell a member that an operator approved them, unless the approval was withdrawn since."""
        context, _ = await self._context_of(claim)
        greeted = Member.objects.filter(
            telegram_id=context.row.user_id or 0, access=Access.APPROVED
        )
        member = await greeted.afirst()
        if member is None:
            return TaskStatus.IGNORED
        welcome = await show_start(context, member)
        said = texts.LET_IN.format(welcome=welcome.text)
        await context.outbox.say_later(StaticReply(said, welcome.buttons))
        return TaskStatus.SUCCESSFUL

    async def dead_letter(self, claim: Claim, why: str) -> None:
        """Close the run of an update that failed for good; tell the member and the operators."""
        if claim.update_id is None:
            return
        await sync_to_async(rows.close_run_of)(claim.update_id, RunStatus.GIVEN_UP)
        row = await TelegramUpdate.objects.aget(pk=claim.update_id)
        await sync_to_async(forget_pasted)(row)
        incident = uuid4().hex[:8]
        logger.error("incident=%s task=%s was given up: %s", incident, claim.task_id, why)
        self._alerts.send_soon(f"Update {row.update_id} was given up (incident {incident}): {why}")
        if claim.kind not in (TaskKind.MESSAGE, TaskKind.CONTROL):
            return
        # A task that killed its workers is handed out once more only to be given up, without a try.
        attempts = min(claim.delivery_count, MAX_ATTEMPTS)
        line = texts.GIVEN_UP.format(attempts=attempts, incident=incident)
        if claim.delivery_count == 1:
            line = texts.UNREADABLE.format(incident=incident)
        query_id = query_id_of(row)
        try:
            if query_id:
                await self._application.bot.answer_callback_query(query_id, texts.PRESS_FAILED)
        except TelegramError as error:
            logger.info("chat=%s: a press could not be answered: %s", row.chat_id, error)
        try:
            if claim.kind is TaskKind.MESSAGE or not query_id:
                await self._show_last(row, line)
        except TelegramError as error:
            logger.warning("chat=%s: no line could be shown: %s", row.chat_id, error)
        except Exception:  # give up anyway; otherwise the task would come back forever
            logger.exception("chat=%s: no line could be shown", row.chat_id)

    async def close(self) -> None:
        """Close every connection."""
        await self._application.shutdown()
        # `shutdown` does nothing if the start failed half-way, and leaves the connections open.
        await self._application.bot.shutdown()

    async def _context_of(self, claim: Claim) -> tuple[UpdateContext, Update]:
        """Return the context of a claim's update, and the parsed update.

        Raises:
            PermanentFailure: the update cannot be read, or was sent to another bot.
            NotForUs: the update has nothing to answer.
        """
        if claim.update_id is None:
            raise PermanentFailure("it is about no update", PermanentFailureKind.UNREADABLE)
        row = await TelegramUpdate.objects.aget(pk=claim.update_id)
        log_as(chat=row.chat_id)
        if row.bot_id != self.bot_id:
            raise PermanentFailure(
                "it came to another bot, whose token is not in use any more",
                PermanentFailureKind.OTHER_BOT,
            )
        if not row.kind:
            raise PermanentFailure(
                "it cannot be read: it was of no shape that can be kept",
                PermanentFailureKind.UNREADABLE,
            )
        try:
            update = parse(json.loads(row.raw), self._application.bot)
        except Unreadable as error:
            raise PermanentFailure(
                f"it cannot be read: {error}", PermanentFailureKind.UNREADABLE
            ) from error
        message = update.effective_message
        # A press may be on a message that Telegram no longer provides.
        message = message if isinstance(message, Message) else None
        if message is not None and row.chat_id == message.chat.id and row.chat_id > 0:
            self._limiter.note(message.message_id)
        lease = TaskLease(claim.task_id, claim.token)
        outbox = Outbox(self._application.bot, row, reply_target_of(row), lease, found=self._found)
        original = message.reply_to_message if message else None
        replied_to = original.message_id if original else None
        context = UpdateContext(
            self._application, claim=claim, row=row, outbox=outbox, replied_to=replied_to
        )
        return context, update

    async def _show_last(self, row: TelegramUpdate, line: str) -> None:
        """Show the final line about a failed message in its placeholder, else as a new message."""
        bot, chat_id = self._application.bot, row.chat_id
        if chat_id is None or not await self._may_hear(row):
            return
        placeholder = await OutgoingMessage.objects.filter(
            update=row, number=0, text="", message_id__isnull=False
        ).afirst()
        run = await PipelineRun.objects.filter(update=row).afirst()
        button = keyboard(retry_of(run.pk)) if run is not None else None
        if placeholder is not None:
            shown = placeholder.message_id
            try:
                await patiently(
                    lambda: bot.edit_message_text(line, chat_id, shown, reply_markup=button)
                )
            except BadRequest as error:
                if "not modified" in str(error).lower():
                    return  # an earlier try arrived
                logger.info("chat=%s: the placeholder takes no text: %s", chat_id, error)
            else:
                return
        sent = await patiently(
            lambda: where_it_can(
                reply_target_of(row),
                lambda **target: bot.send_message(chat_id, line, reply_markup=button, **target),
            )
        )
        # Without a row, a later search in this chat would mistake it for a lost message.
        said = {"text": line, "status": SendStatus.SENT, "message_id": sent.message_id}
        await OutgoingMessage.objects.aupdate_or_create(
            update=row, number=LAST_WORD, defaults={**said, "kind": ReplyKind.REFUSAL}
        )

    async def _may_hear(self, row: TelegramUpdate) -> bool:
        """Tell whether the sender of a failed message may be told about it in its chat.

        True for anyone who addressed the bot, newcomers included, unless they are blocked.
        """
        blocked = Member.objects.filter(telegram_id=row.user_id or 0, access=Access.BLOCKED)
        is_known = row.user_id is not None and not await blocked.aexists()
        return is_known and is_addressed(row, self._application.bot)

    async def _remove_webhook(self, take_over: bool) -> None:
        if not take_over:
            raise BotRefused(
                "This token has a webhook, so another installation answers this bot. "
                "Polling would remove it: start with --take-over if that is what you want."
            )
        await self._application.bot.delete_webhook()


def _before(row: TelegramUpdate) -> QuerySet[Task]:
    """Return the open tasks of earlier messages in this chat."""
    is_open = Task.objects.filter(kind=TaskKind.MESSAGE, status__in=OPEN)
    return is_open.filter(update__chat_id=row.chat_id, update_id__lt=row.pk)


async def _are_shown(row: TelegramUpdate) -> bool:
    """Wait up to 10 s until earlier messages have replies or placeholders; False if they do not."""
    unshown = _before(row).exclude(update__replies__message_id__isnull=False)
    ends_at, pause_s = time.monotonic() + SHOWN_WITHIN_S, FIRST_LOOK_S
    while await unshown.aexists():
        if time.monotonic() > ends_at:
            return False
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, POLL_INTERVAL_S)
    return True


def _newest_id() -> int:
    """Return the newest known message id in the bot's private chats; 0 if none is known."""
    sent = OutgoingMessage.objects.filter(update__chat_id__gt=0, message_id__isnull=False)
    ids = list(sent.order_by("-message_id").values_list("message_id", flat=True)[:1])
    came = TelegramUpdate.objects.filter(kind="message", chat_id__gt=0).order_by("-pk")
    for raw in came.values_list("raw", flat=True)[:1]:
        message = json.loads(raw).get("message")
        ids.append(message.get("message_id") if isinstance(message, dict) else None)
    return max([number for number in ids if isinstance(number, int)], default=0)


async def _is_member(row: TelegramUpdate) -> bool:
    if row.user_id is None:
        return False
    members = Member.objects.filter(telegram_id=row.user_id, access=Access.APPROVED)
    return await members.aexists()


def _application(bot_id: int, add_tasks: AddTasks, limiter: ChatRateLimiter) -> UpdateApplication:
    tls = {"verify": tls_context()}
    application = (
        ApplicationBuilder()
        .application_class(UpdateApplication)
        .context_types(ContextTypes(context=UpdateContext))
        .token(settings.TELEGRAM_BOT_TOKEN)
        .base_url(f"{settings.TELEGRAM_API_BASE_URL}/bot")
        .base_file_url(f"{settings.TELEGRAM_FILE_BASE_URL}/bot")
        .defaults(Defaults(link_preview_options=LinkPreviewOptions(is_disabled=True)))
        .rate_limiter(FollowsMovedChats(limiter))
        .get_updates_request(
            PersistingRequest(
                bot_id, add_tasks, connection_pool_size=UPDATES_POOL_SIZE, httpx_kwargs=tls
            )
        )
        .request(HTTPXRequest(connection_pool_size=POOL_SIZE, httpx_kwargs=tls))
        .updater(None)
        .build()
    )
    return cast(UpdateApplication, application)

"""Commands about a member's own account: /model, /why, /settings, /memory and /forget."""

from __future__ import annotations

from functools import partial

from asgiref.sync import sync_to_async
from django.utils import timezone
from telegram import CallbackQuery

from agents.llm.router import PROVIDERS
from pipeline.bot import texts
from pipeline.bot.handlers.keys import payer_of, payers
from pipeline.bot.presses import answer
from pipeline.bot.static_reply import StaticReply
from pipeline.bot.update_context import UpdateContext
from pipeline.models import Member
from pipeline.people import erasure, memory
from pipeline.people.conversation import last_run, reasons, run_behind, todays_models
from pipeline.running.decisions import NoPayer
from pipeline.running.run_service import RunService

MINE = "mine:"  # prefix of the callback data of these buttons
FORGET_KEY, FORGET_MEMORY, FORGET_ALL = f"{MINE}key", f"{MINE}memory", f"{MINE}all"


class Mine:
    """Account commands that need the run service."""

    def __init__(self, service: RunService) -> None:
        self._service = service

    async def show_models(self, context: UpdateContext, member: Member) -> StaticReply:
        """Return for each agent which model would run now, why, and who would pay."""
        decisions = await self._service.decisions(member)
        choices = {a: found for a, found in decisions.items() if not isinstance(found, NoPayer)}
        said = await sync_to_async(todays_models)(choices, today=timezone.localdate())
        lines = [
            f"• {agent}: {found.member_line}" if isinstance(found, NoPayer) else f"• {said[agent]}"
            for agent, found in decisions.items()
        ]
        return StaticReply("\n".join([texts.MODELS_NOW, *lines]))


async def show_why(context: UpdateContext, member: Member) -> StaticReply:
    """Return which models wrote an answer, and why: the answer replied to, else the last one."""
    row = context.row
    run = None
    if context.replied_to is not None and row.chat_id is not None:
        run = await sync_to_async(run_behind)(row.chat_id, member.telegram_id, context.replied_to)
    elif row.chat_id is not None:
        run = await sync_to_async(last_run)(row.chat_id, member)
    if run is None:
        return StaticReply(texts.NO_ANSWER_TO_EXPLAIN)
    return StaticReply(await sync_to_async(reasons)(run, today=timezone.localdate()))


async def show_settings(context: UpdateContext, member: Member) -> StaticReply:
    """Return who pays and the member's own model, with buttons to change the payer."""
    own_model = member.model_id or texts.DEFAULT_MODEL
    text = texts.SETTINGS.format(payer=payer_of(member), model=own_model)
    if member.key_ciphertext:
        title = PROVIDERS[member.provider].title
        return StaticReply(text, [[(texts.FORGET_KEY.format(provider=title), FORGET_KEY)]])
    return StaticReply(text, payers(member))


async def show_memory(context: UpdateContext, member: Member) -> StaticReply:
    """Return all facts remembered about a member, with a button to erase them."""
    facts = await sync_to_async(memory.holding)(member)
    if not facts:
        return StaticReply(texts.NOTHING_REMEMBERED)
    lines = [f"• {fact.text} ({fact.kind}, {fact.noted_at:%Y-%m-%d})" for fact in facts]
    text = "\n".join([texts.REMEMBERED.format(version=member.memory_version), *lines])
    return StaticReply(text, [[(texts.FORGET_MEMORY, FORGET_MEMORY)]])


async def offer_to_forget(context: UpdateContext, member: Member) -> StaticReply:
    """Return what /forget erases, with a button; only the button erases it."""
    return StaticReply(texts.FORGET, [[(texts.FORGET_ALL, FORGET_ALL)]])


async def forget(context: UpdateContext, member: Member, query: CallbackQuery) -> StaticReply:
    """Erase the member's key, memory or all data, depending on the button that was pressed."""
    await answer(query)
    if query.data == FORGET_KEY:
        return StaticReply(texts.KEY_FORGOTTEN, also=partial(_forget_key, member))
    if query.data == FORGET_MEMORY:
        return StaticReply(texts.MEMORY_FORGOTTEN, also=partial(memory.erase, member))
    if query.data == FORGET_ALL:
        erase = partial(erasure.erase, member, now=timezone.now(), but=context.claim.task_id)
        return StaticReply(texts.ALL_FORGOTTEN, also=erase)
    return StaticReply(texts.NOT_YOURS)


def _forget_key(member: Member) -> None:
    member.forget_key()
    member.model_id = ""  # the model was that provider's
    fields = ["provider", "key_ciphertext", "key_fingerprint", "model_id"]
    member.save(update_fields=fields)

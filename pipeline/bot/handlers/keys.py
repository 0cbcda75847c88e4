"""Chooses the payer for a member: the buttons of /start, and a key that the member pastes.

A pasted key was encrypted when its update was stored (`pipeline.bot.intake`), and nothing else has
seen it. Here the vendor checks it, the member's message is deleted, and the key moves to the
member's row.
"""

from __future__ import annotations

import json
import logging
from functools import partial

from django.conf import settings
from telegram import CallbackQuery, Message
from telegram.constants import ChatType
from telegram.error import TelegramError

from agents.llm.base import Payer
from agents.llm.errors import KeyRejected, ProviderUnavailable
from agents.llm.router import PROVIDERS, create_provider, default_model
from pipeline.bot import texts
from pipeline.bot.presses import answer
from pipeline.bot.static_reply import Buttons, StaticReply
from pipeline.bot.update_context import UpdateContext
from pipeline.models import Member, PastedKey, TelegramUpdate
from pipeline.models.inbox import TaskStatus

logger = logging.getLogger(__name__)

PAYER = "payer:"  # prefix of the callback data of the buttons that choose a payer
TEAM = "team"


def payer_of(member: Member) -> str:
    """Return one line that says who pays for a member's answers."""
    if member.key_ciphertext:
        return texts.PAYS_OWN.format(
            provider=PROVIDERS[member.provider].title, fingerprint=member.key_fingerprint
        )
    return texts.PAYS_SHARED if _may_use_shared() else texts.NO_PAYER


def payers(member: Member) -> Buttons:
    """Return the buttons with which a member chooses a payer; none if they have their own key."""
    if member.key_ciphertext:
        return []
    own = [
        [(texts.OWN_KEY.format(provider=provider.title), f"{PAYER}{name}")]
        for name, provider in PROVIDERS.items()
    ]
    return [*own, [(texts.TEAM_KEY, f"{PAYER}{TEAM}")]] if _may_use_shared() else own


async def choose_payer(context: UpdateContext, member: Member, query: CallbackQuery) -> StaticReply:
    """Return what the member has to do next for the payer whose button they pressed."""
    await answer(query)  # first, because the button shows a loading state until then
    chosen = (query.data or "").removeprefix(PAYER)
    provider = PROVIDERS.get(chosen)
    if provider is not None:
        return StaticReply(texts.SEND_KEY.format(provider=provider.title, page=provider.keys_page))
    if member.key_ciphertext:
        return StaticReply(
            texts.STILL_OWN_KEY.format(
                provider=PROVIDERS[member.provider].title, fingerprint=member.key_fingerprint
            )
        )
    return StaticReply(texts.ON_TEAM_KEY if _may_use_shared() else texts.TEAM_KEY_CLOSED)


async def take_key(context: UpdateContext, message: Message, member: Member) -> None:
    """Delete the message with a key, have the vendor check the key, store it if valid, and reply.

    If the message is not a key only, nothing is stored, and the reply says how to send one.
    """
    deleted = await _put_away(context.row, message)
    pasted = await PastedKey.objects.filter(update=context.row).afirst()
    if pasted is None:
        titles = " or ".join(provider.title for provider in PROVIDERS.values())
        await context.outbox.say(texts.LOOKS_LIKE_A_KEY.format(deleted=deleted, providers=titles))
        return
    provider = PROVIDERS[pasted.provider]
    words, settle = texts.KEY_KEPT, partial(_keep, member, pasted)
    try:
        # The check does not depend on the model, so any model will do.
        await create_provider(
            pasted.provider,
            pasted.sealed,
            default_model(pasted.provider),
            payer=Payer.MEMBER,
        ).validate_key()
    except KeyRejected:
        words, settle = texts.KEY_REFUSED, partial(forget_pasted, context.row)
    except ProviderUnavailable as error:
        logger.warning("a pasted key could not be checked: %s", error)
        words, settle = texts.KEY_UNCHECKED, partial(forget_pasted, context.row)
    line = words.format(
        provider=provider.title,
        fingerprint=pasted.fingerprint,
        page=provider.keys_page,
        deleted=deleted,
    )
    await context.outbox.say(StaticReply(line, also=settle))


def forget_pasted(row: TelegramUpdate) -> None:
    """Erase the pasted key that came with an update, if there is one."""
    PastedKey.objects.filter(update=row).delete()


def _keep(member: Member, pasted: PastedKey) -> None:
    # Read again: an operator may have changed the row during the vendor's check.
    owner = Member.objects.select_for_update().get(pk=member.pk)
    fields = ["provider", "key_ciphertext", "key_fingerprint"]
    if owner.provider != pasted.provider:
        owner.model_id = ""  # the model was another provider's
        fields.append("model_id")
    owner.keep_sealed(pasted.sealed)
    owner.save(update_fields=fields)
    pasted.delete()


async def _put_away(row: TelegramUpdate, message: Message) -> str:
    """Delete a message that held a key, with all its parts; return a line that says whether it did.

    The bot deletes messages in private chats only.
    """
    if message.chat.type != ChatType.PRIVATE:
        return texts.NOT_DELETED
    parts = row.joined.filter(tasks__status=TaskStatus.MERGED).order_by("pk")
    try:
        await message.delete()
        async for raw in parts.values_list("raw", flat=True):
            part = json.loads(raw)["message"]["message_id"]
            await message.get_bot().delete_message(message.chat.id, part)
    except TelegramError:
        logger.warning("chat=%s: a message with a key could not be deleted", message.chat_id)
        return texts.NOT_DELETED
    return texts.DELETED


def _may_use_shared() -> bool:
    return bool(settings.SHARED_KEY_FOR_MEMBERS and settings.OPENROUTER_API_KEY)

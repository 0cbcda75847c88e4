"""A superseded writer changes nothing; one table names every function that writes."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from asgiref.sync import sync_to_async
from django.db import connection
from django.test import TransactionTestCase
from django.utils import timezone
from telegram.ext import ExtBot

from agents.base import AgentOutput
from agents.llm.base import Attempt, Payer
from pipeline.bot.handlers import message_grouping
from pipeline.bot.limiter import ChatRateLimiter, Rank
from pipeline.bot.outbox import Outbox
from pipeline.bot.static_reply import ReplyTarget, StaticReply
from pipeline.journal import call_rows, resumption, rows
from pipeline.journal.facts import StepEnd, StepRow
from pipeline.journal.fencing import RunLease, Superseded, TaskLease
from pipeline.models import LLMCall, Member, OutgoingMessage, PipelineRun, StepRun, Task
from pipeline.models.inbox import SendStatus, TaskKind, TaskStatus, TelegramUpdate
from pipeline.models.runs import CallStatus, RunStatus, StepMode, StepStatus
from pipeline.queue.base import Claim, Failure
from pipeline.queue.task_store import TaskStore
from pipeline.running.config import StepConfig
from tests.architecture.source import functions, product_modules
from tests.canaries import BOT_TOKEN
from tests.pipeline.bot.chatting import MAYA, Chat
from tests.sandbox.serving import running_sandbox

STEP = StepConfig(
    agent="memory", mode=StepMode.BACKGROUND, input_mapping={"message": "ctx.user_message"}
)
LEASES = {"lease", "token", "held", "tokens"}
# These have a lease and write by the functions of the table, or by none.
PASSED_ON = {
    *(
        "pipeline.journal.records",
        "pipeline.running.run_service",
        "pipeline.running.runner",
        "pipeline.queue.procrastinate",
    ),
    *("pipeline.bot.placeholders",),
}
# What writes only rows whose token is the one that is given, or rows that are new.
NEEDS_NO_CHECK = {
    "pipeline.journal.fencing.progressed": (
        "counts the attempts of the tasks that have this very token"
    ),
    "pipeline.queue.task_store.renew": "renews the leases that have one of these tokens",
    "pipeline.queue.task_store.free_expired": "frees others' tasks, and none of these",
    "pipeline.queue.task_store.delivery_count_of": "reads",
    "pipeline.bot.handlers.message_grouping.joined": "has `_join` write, which is in the table",
    "pipeline.journal.rows.write_run": "opens a run: one of another attempt has the update already",
}


def everything() -> dict[str, list[tuple[Any, ...]]]:
    """Return each row of the product's own tables."""
    with connection.cursor() as cursor:
        found = {}
        for table in connection.introspection.table_names(cursor):
            if table.startswith(("agent", "pipeline_")):
                cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
                found[table] = sorted(cursor.fetchall(), key=str)
    return found


class SupersededTests(TransactionTestCase):
    """A late worker writes to rows that another worker has taken over."""

    def setUp(self) -> None:
        now, theirs = timezone.now(), uuid4()
        self.late = uuid4()
        member = Member.objects.create(telegram_id=MAYA, name="Maya", access="approved")
        raw = '{"message": {"text": "A question", "from": {"id": 1001}}}'
        usual = {"bot_id": 1, "kind": "message", "raw": raw, "chat_id": MAYA, "user_id": MAYA}
        self.update = TelegramUpdate.objects.create(update_id=1, **usual)
        self.follower = TelegramUpdate.objects.create(update_id=2, **usual)
        Task.objects.create(kind=TaskKind.MESSAGE, update=self.follower)
        self.task = Task.objects.create(
            kind=TaskKind.MESSAGE, update=self.update, status=TaskStatus.RUNNING, token=theirs
        )
        self.of_run = PipelineRun.objects.create(
            pipeline="support",
            source="telegram",
            member=member,
            update=self.update,
            status=RunStatus.RUNNING,
            attempt_token=theirs,
            started_at=now,
        )
        self.step = StepRun.objects.create(
            run=self.of_run,
            position=0,
            agent="memory",
            mode="background",
            status=StepStatus.RUNNING,
            attempt_token=theirs,
            started_at=now,
        )
        LLMCall.objects.create(
            step=self.step,
            number=1,
            provider="openrouter",
            status=CallStatus.RUNNING,
            started_at=now,
        )
        OutgoingMessage.objects.create(
            update=self.update, number=0, status=SendStatus.SENDING, sent_after=1
        )

    def late_writers(self) -> dict[str, Callable[[], Any]]:
        """Return what a late worker might still do, by the name of the function that writes."""
        run, task = RunLease(self.of_run.pk, self.late), TaskLease(self.task.pk, self.late)
        output = AgentOutput(
            agent="memory", success=True, data={"facts": ["Sells to banks."]}, reply="late"
        )
        held = Claim(
            task_id=self.task.pk,
            kind=TaskKind.MESSAGE,
            update_id=self.update.pk,
            step_id=None,
            token=self.late,
            delivery_count=1,
        )
        store = TaskStore("late", timezone.now)
        ended = StepEnd(status=StepStatus.OK, output=output)
        new = StepRow(agent="memory", started_at=timezone.now())
        theirs = StepRow(id=self.step.pk, agent="memory", started_at=self.step.started_at)
        return {
            "pipeline.journal.rows.close_run": lambda: rows.close_run(
                run, RunStatus.OK, "late", timezone.now()
            ),
            "pipeline.journal.rows.queue_step": lambda: rows.queue_step(run, STEP.at(5), store.add),
            "pipeline.journal.rows.write_step": lambda: rows.write_step(
                run, self.of_run.pk, new, STEP.at(1), {"message": "late"}, None
            ),
            "pipeline.journal.rows.close_step": lambda: rows.close_step(
                theirs, self.late, ended, timezone.now()
            ),
            "pipeline.journal.call_rows.write_call": lambda: call_rows.write_call(
                self.step.pk, self.late, _attempt()
            ),
            "pipeline.journal.resumption.take_over": lambda: resumption.take_over(
                self.update.pk, task
            ),
            "pipeline.journal.resumption.take_over_rerun": lambda: resumption.take_over_rerun(
                self.of_run.pk, task
            ),
            "pipeline.bot.handlers.message_grouping._join": lambda: message_grouping._join(
                self.update, task
            ),
            "pipeline.queue.task_store.end": lambda: store.end(held, TaskStatus.SUCCESSFUL),
            "pipeline.queue.task_store.put_back": lambda: store.put_back(
                held, Failure("late"), timedelta()
            ),
            "pipeline.queue.task_store.hand_back": lambda: store.hand_back(held),
        }

    def test_none_of_them_changes_anything(self):
        for name, write in self.late_writers().items():
            with self.subTest(name):
                before = everything()
                try:
                    was_done = write()
                except Superseded:
                    was_done = False

                assert not was_done
                assert everything() == before

    def test_every_function_that_takes_a_lease_is_in_the_table(self):
        found = {
            f"{module.name}.{function.name}"
            for module in product_modules()
            if module.app == "pipeline" and not module.is_in(*PASSED_ON)
            for function in functions(module)
            if LEASES & {argument.arg for argument in _arguments(function)}
            and not function.name.startswith("__")
        }
        helpers = {"pipeline.queue.task_store._held", "pipeline.queue.task_store._change"}
        helpers |= {"pipeline.journal.resumption._taken"}

        assert found - helpers == {*self.late_writers(), *NEEDS_NO_CHECK}

    async def test_nor_does_the_outbox_say_anything(self):
        with running_sandbox() as base_url:
            chat = Chat(base_url)
            await chat.say(MAYA, "hello")
            address, limiter = f"{base_url}/telegram/bot", ChatRateLimiter()
            async with ExtBot(BOT_TOKEN, base_url=address, rate_limiter=limiter) as bot:
                lease = TaskLease(self.task.pk, self.late)
                outbox = Outbox(bot, self.update, ReplyTarget(), lease)
                speaks: dict[str, Callable[[], Any]] = {
                    "say": lambda: outbox.say("late"),
                    "say_later": lambda: outbox.say_later(StaticReply("late")),
                    "keep": lambda: outbox.keep([("late", [])]),
                    "show_placeholder": lambda: outbox.show_placeholder("late"),
                    "edit_placeholder": lambda: outbox.edit_placeholder("late"),
                    "take_back_placeholder": lambda: outbox.take_back_placeholder("late"),
                    "announce": lambda: outbox.announce("late", rank=Rank.NOTICE, within_s=5),
                }
                row = await OutgoingMessage.objects.aget(update=self.update)
                # What they come to after a first check: the lease may be lost in between.
                inner: dict[str, Callable[[], Any]] = {
                    "_write_mark": lambda: outbox._write_mark(row, SendStatus.SENT, 7),
                    "_make_a_file": lambda: outbox._make_a_file(row),
                    "_leave": lambda: outbox._leave(row, 7),
                    "_show": lambda: outbox._show(7),
                    "_leave_as_placeholder": lambda: outbox._leave_as_placeholder(row, 7),
                    "_leave_as_notice": lambda: outbox._leave_as_notice(7),
                }
                speaks |= {name: sync_to_async(write) for name, write in inner.items()}
                for name, speak in speaks.items():
                    with self.subTest(name):
                        before = await sync_to_async(everything)()
                        try:
                            was_said = await asyncio.wait_for(speak(), 15)
                        except Superseded:
                            was_said = False

                        assert not was_said
                        assert await sync_to_async(everything)() == before
            assert await chat.replies(MAYA) == []
            await chat.aclose()


def _attempt() -> Attempt:
    return Attempt(
        call_id=UUID(int=7),
        number=2,
        provider="openrouter",
        requested_model="a/b",
        payer=Payer.SHARED,
        key_fingerprint="",
        system_prompt="late",
        user_message="late",
        has_image=False,
        is_fallback=False,
    )


def _arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    return [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]

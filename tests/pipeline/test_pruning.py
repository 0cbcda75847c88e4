"""Pruning: what is old loses its texts and keeps its figures, whoever writes at the same moment."""

from __future__ import annotations

import io
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import TestCase, TransactionTestCase
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agents.llm.base import Outcome
from agents.llm.completion import Completion, Usage
from pipeline.journal import call_rows, text_store
from pipeline.journal.text_store import drop_unused
from pipeline.models import (
    CasebookEntry,
    Fact,
    LLMCall,
    Member,
    OutgoingMessage,
    PipelineRun,
    PlaybookPage,
    StepRun,
    Task,
    TelegramUpdate,
    TextBlob,
)
from pipeline.models.inbox import TaskKind, TaskStatus
from pipeline.models.runs import RunStatus, StepStatus
from pipeline.operations import pruning
from pipeline.operations.pruning import Pruned, prune
from tests.agents.doubles import in_other_thread

NOW = timezone.now()
OLD, NEW = NOW - timedelta(days=100), NOW - timedelta(days=10)
BEFORE = NOW - timedelta(days=90)
WAIT_S = 30.0
SECRET = "Quillfeather"


def rest(_: float) -> None:
    """Take no rest: nobody else is there."""


def stored(at: datetime, number: int = 1, **fields: Any) -> TelegramUpdate:
    update = TelegramUpdate.objects.create(
        bot_id=7, update_id=number, chat_id=1, user_id=1, raw=f'{{"text": "{SECRET}"}}', **fields
    )
    TelegramUpdate.objects.filter(pk=update.pk).update(received_at=at)
    OutgoingMessage.objects.create(update=update, number=0, text=f"To {SECRET}", status="sent")
    return update


def task_of(update: TelegramUpdate, status: TaskStatus, at: datetime | None) -> Task:
    return Task.objects.create(
        kind=TaskKind.MESSAGE,
        update=update,
        status=status,
        ended_at=at,
        error=f"ValueError: {SECRET}",
    )


def ran(at: datetime, text: str = SECRET, **fields: Any) -> PipelineRun:
    """Write a run with all that one can have, at that time."""
    with transaction.atomic():
        kept = text_store.put(text)
        run = PipelineRun.objects.create(
            pipeline="support",
            source="telegram",
            **{"status": RunStatus.OK, "ended_at": at, **fields},
            started_at=at,
            definition_id=text_store.put("the definition"),
            user_message_id=kept,
            background_id=kept,
            image_id=text_store.put(f"{text} picture"),
            answer_id=text_store.put(f"{text} answer"),
        )
        step = StepRun.objects.create(
            run=run,
            position=0,
            agent="strategist",
            mode="sequential",
            status=StepStatus.FAILED,
            decision="ran openai/gpt-5-mini because no override is set",
            inputs_id=kept,
            output_id=kept,
            reply_id=kept,
            error=f"RequestForbidden: refused: {text}",
            error_type="RequestForbidden",
            member_line=f"It refused {text}",
            started_at=at,
            ended_at=at,
        )
        LLMCall.objects.create(
            step=step,
            number=1,
            provider="openrouter",
            requested_model="openai/gpt-5-mini",
            payer="shared",
            system_prompt_id=text_store.put("the system prompt"),
            user_message_id=kept,
            output_id=text_store.put(f"{text} output"),
            error=f"RequestForbidden: refused: {text}",
            error_type="RequestForbidden",
            input_tokens=12,
            cost_usd="0.001",
            started_at=at,
        )
    TextBlob.objects.filter(created_at__gt=at).update(created_at=at)
    return run


def told() -> str:
    """Return all that is kept of what was said."""
    tables = (PipelineRun, StepRun, LLMCall, TextBlob, Task, TelegramUpdate, OutgoingMessage)
    return "\n".join(str(row) for table in tables for row in table._default_manager.values_list())


class PruneTests(TestCase):
    def test_of_what_is_old_no_text_is_left_and_every_figure_is(self):
        update = stored(OLD)
        task_of(update, TaskStatus.SUCCESSFUL, OLD)
        run = ran(OLD, update=update)

        assert prune(BEFORE, rest=rest) == Pruned(runs=1, updates=1, texts=4)

        assert SECRET not in told()
        step, call = StepRun.objects.get(run=run), LLMCall.objects.get(step__run=run)
        assert (step.decision, step.error) == (
            "ran openai/gpt-5-mini because no override is set",
            "RequestForbidden",
        )
        assert (call.input_tokens, str(call.cost_usd), call.error) == (
            12,
            "0.001000000000",
            "RequestForbidden",
        )
        assert call.system_prompt is not None
        assert PipelineRun.objects.get().definition is not None
        assert TelegramUpdate.objects.get().raw == "{}"
        assert Task.objects.get().error == "ValueError"

    def test_a_text_that_something_newer_uses_stays_with_it(self):
        ran(OLD)
        newer = ran(NEW)

        assert prune(BEFORE, rest=rest) == Pruned(runs=1, updates=0, texts=0)

        newer.refresh_from_db()
        assert newer.user_message is not None
        assert newer.user_message.text == SECRET
        assert LLMCall.objects.get(step__run=newer).error.endswith(SECRET)

    def test_a_second_prune_finds_nothing_to_do(self):
        ran(OLD)
        stored(OLD)
        prune(BEFORE, rest=rest)

        assert prune(BEFORE, rest=rest) == Pruned()
        assert StepRun.objects.get().error == "RequestForbidden"

    def test_what_is_open_or_ended_since_is_left_alone(self):
        ran(OLD, status=RunStatus.RUNNING, ended_at=None)
        for status, ended_at in ((StepStatus.WAITING, None), (StepStatus.OK, NEW)):
            waiting = StepRun.objects.get(run=ran(OLD))
            StepRun.objects.filter(pk=waiting.pk).update(status=status, ended_at=ended_at)
        retried = StepRun.objects.get(run=ran(OLD))
        Task.objects.create(kind=TaskKind.STEP, step=retried, status=TaskStatus.READY)
        gone_on = stored(OLD)
        task_of(gone_on, TaskStatus.READY, None)
        ran(OLD, update=gone_on)
        before = told()

        assert prune(BEFORE, rest=rest) == Pruned()

        assert told() == before

    def test_a_raw_update_stays_as_long_as_something_reads_it(self):
        for number, (status, at) in enumerate(
            [(TaskStatus.READY, None), (TaskStatus.DEAD_LETTER, NEW)]
        ):
            task_of(stored(OLD, number), status, at)
        leader = stored(OLD, 10)
        task_of(leader, TaskStatus.RUNNING, None)
        task_of(stored(OLD, 11, joined_to=leader), TaskStatus.IGNORED, OLD)
        task_of(stored(OLD, 20, album="a"), TaskStatus.RUNNING, None)
        task_of(stored(OLD, 21, album="a"), TaskStatus.IGNORED, OLD)
        task_of(stored(OLD, 30, album="b"), TaskStatus.SUCCESSFUL, OLD)
        ran(NEW, update=stored(OLD, 40))
        told_before = dict(TelegramUpdate.objects.values_list("update_id", "raw"))

        prune(BEFORE, rest=rest)

        after = dict(TelegramUpdate.objects.values_list("update_id", "raw"))
        assert after == {**told_before, 30: "{}"}
        assert OutgoingMessage.objects.count() == len(after) - 1

    def test_memory_casebook_and_playbook_are_nobody_s_old_records(self):
        dana = Member.objects.create(telegram_id=42, name="Dana", memory_version=1)
        Fact.objects.create(
            member=dana, kind="goal", text=SECRET, since_version=1, noted_at=OLD, run=ran(OLD)
        )
        CasebookEntry.objects.create(title=SECRET, text=SECRET, created_at=OLD, member=dana)
        PlaybookPage.objects.create(title=SECRET, text=SECRET)

        prune(BEFORE, rest=rest)

        for table in (Fact, CasebookEntry, PlaybookPage):
            assert table._default_manager.get().text == SECRET

    def test_a_dry_run_counts_and_changes_nothing(self):
        ran(OLD)
        stored(OLD)
        before = told()

        assert prune(BEFORE, dry_run=True, rest=rest) == Pruned(runs=1, updates=1, texts=0)

        assert told() == before

    def test_many_runs_go_in_batches_and_one_that_is_cut_off_is_gone_on_with(self):
        for number in range(7):
            ran(OLD + timedelta(minutes=number), text=f"{SECRET} {number}")
        self.enterContext(patch.object(pruning, "BATCH", 3))
        rests: list[float] = []

        def die_at_the_second(seconds: float) -> None:
            rests.append(seconds)
            if len(rests) == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            prune(BEFORE, rest=die_at_the_second)
        assert PipelineRun.objects.exclude(user_message=None).count() == 1

        assert prune(BEFORE, rest=rest) == Pruned(runs=1, updates=0, texts=28)
        assert SECRET not in told()

    def test_a_batch_costs_as_many_queries_however_much_is_in_it(self):
        def queries(count: int) -> int:
            for number in range(count):
                ran(OLD, text=f"{SECRET} {number}")
            with CaptureQueriesContext(connection) as captured:
                prune(BEFORE, rest=rest)
            return len(captured)

        assert queries(3) == queries(40)

    def test_a_late_end_of_a_call_brings_no_text_back(self):
        run = ran(OLD)
        call = LLMCall.objects.get(step__run=run)
        prune(BEFORE, rest=rest)
        said = replace(Completion.lost("gen-1"), text=f"{SECRET} late", usage=Usage(input_tokens=5))

        call_rows.complete_call(run.pk, call.pk, Outcome(completion=said), mismatch=False)

        call.refresh_from_db()
        assert (call.input_tokens, call.output) == (5, None)
        assert SECRET not in told()


class CommandTests(TestCase):
    def test_it_says_in_one_line_what_it_did(self):
        ran(OLD)
        out = io.StringIO()

        call_command("prunerecords", "--older-than", "90d", stdout=out)

        said = out.getvalue()
        assert said.startswith("Took the texts out of 1 runs and 0 updates from before ")
        assert said.endswith(" UTC; 4 texts deleted, figures kept.\n")

    def test_a_dry_run_says_so(self):
        ran(OLD)
        out = io.StringIO()

        call_command("prunerecords", "--older-than", "12w", "--dry-run", stdout=out)

        assert out.getvalue().startswith("Would take the texts out of 1 runs")
        assert SECRET in told()

    def test_what_is_no_duration_is_refused_before_anything_happens(self):
        ran(OLD)
        for wrong in ("90", "0d", "-5d", "d", "90 d", "9e9d", "999999d", "1y", "", "٩d"):
            with self.subTest(wrong), pytest.raises(CommandError, match="is no time such as"):
                call_command("prunerecords", f"--older-than={wrong}")
        with pytest.raises(CommandError, match="required"):
            call_command("prunerecords")

        assert SECRET in told()


class SharedTextTests(TransactionTestCase):
    """A text that is used again at the very moment in which it is dropped."""

    def test_writers_that_use_the_same_texts_again_and_again_lose_none(self):
        texts = [f"{SECRET} {number}" for number in range(4)]
        stopped = threading.Event()

        def write(seed: int) -> set[str | None]:
            """Write runs, and return the texts of those that are still there right after."""
            chance = random.Random(seed)
            runs = [ran(NEW, text=chance.choice(texts)).pk for _ in range(40)]
            found = PipelineRun.objects.filter(pk__in=runs)
            return set(found.values_list("user_message__text", flat=True))

        def drop() -> int:
            dropped, is_last = 0, False
            while not is_last:
                is_last = stopped.is_set()
                PipelineRun.objects.all().delete()
                dropped += drop_unused(list(TextBlob.objects.values_list("pk", flat=True)))
            return dropped

        with ThreadPoolExecutor(3) as pool:
            dropping = pool.submit(_closing(drop))
            writing = [pool.submit(_closing(write), seed) for seed in (1, 2)]
            try:
                written = [future.result(WAIT_S * 2) for future in writing]
            finally:
                stopped.set()
            assert dropping.result(WAIT_S) > 0

        assert set().union(*written) <= set(texts)

    @pytest.mark.postgresql
    def test_a_text_that_a_writer_holds_is_not_dropped(self):
        self._keep_unused()
        with transaction.atomic():
            kept = text_store.put(SECRET)

            assert in_other_thread(lambda: drop_unused([str(kept)])) == 0

            run = _run(kept)
        assert PipelineRun.objects.get(pk=run.pk).user_message_id == kept

    @pytest.mark.postgresql
    def test_a_writer_that_comes_while_its_text_is_dropped_keeps_it_anew(self):
        kept = self._keep_unused()
        with ThreadPoolExecutor(1) as pool:
            with transaction.atomic():
                assert drop_unused([kept]) == 1
                writing = pool.submit(_closing(_write_run))
                _wait_until(_somebody_waits_for_a_lock)
            run_id = writing.result(WAIT_S)

        run = PipelineRun.objects.select_related("user_message").get(pk=run_id)
        assert run.user_message is not None
        assert run.user_message.text == SECRET

    @pytest.mark.postgresql
    def test_a_reference_that_comes_in_between_look_and_lock_is_seen(self):
        kept = self._keep_unused()
        candidates = [kept]  # as they were before the writer
        in_other_thread(_write_run)

        assert drop_unused(candidates) == 0
        assert PipelineRun.objects.get().user_message_id == kept

    def test_what_an_earlier_prune_left_behind_is_dropped_by_the_next(self):
        TextBlob.objects.filter(pk=self._keep_unused()).update(created_at=OLD)

        assert prune(BEFORE, rest=rest) == Pruned(texts=1)

    @staticmethod
    def _keep_unused() -> str:
        with transaction.atomic():
            return str(text_store.put(SECRET))


def _run(kept: str | None) -> PipelineRun:
    return PipelineRun.objects.create(
        pipeline="support", source="shell", user_message_id=kept, started_at=NEW, ended_at=NEW
    )


def _write_run() -> UUID:
    with transaction.atomic():
        return _run(text_store.put(SECRET)).pk


def _closing(act: Callable[..., Any]) -> Callable[..., Any]:
    def act_and_close(*arguments: Any) -> Any:
        try:
            return act(*arguments)
        finally:
            connection.close()

    return act_and_close


def _somebody_waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "what was waited for never came"
        time.sleep(0.01)

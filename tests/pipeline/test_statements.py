"""Statements made once write what the ORM reads, and read what the ORM wrote."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction
from django.db.models import Model
from django.test import TestCase, TransactionTestCase

from pipeline.journal.statements import Lock, insert, insert_missing, read, update
from pipeline.models import LLMCall, PipelineRun, StepRun, TextBlob
from pipeline.models.runs import CallStatus, RunStatus, StepStatus

NOON = datetime(2026, 11, 27, 12, 0, 0, 123456, tzinfo=UTC)
TEXT = {"sha256": "a" * 64, "text": "Ünïcode, 'quoted', 100 %s, and 🙂", "created_at": NOON}


def a_run(**fields: Any) -> UUID:
    run_id = uuid4()
    row = {"id": run_id, "pipeline": "play", "source": "shell", "started_at": NOON, **fields}
    insert(PipelineRun, row)
    return run_id


def a_step(run_id: UUID, **fields: Any) -> UUID:
    step_id = uuid4()
    place = {"id": step_id, "run_id": run_id, "position": 0, "agent": "one"}
    insert(StepRun, {**place, "mode": "sequential", "started_at": NOON, **fields})
    return step_id


class RoundTripTests(TestCase):
    def test_the_orm_reads_what_was_inserted(self):
        insert(TextBlob, TEXT)
        token = uuid4()
        run_id = a_run(definition_id=TEXT["sha256"], attempt_token=token)
        step_id = a_step(run_id, snapshot_age_ms=7, is_stale=True, status=StepStatus.OK)
        call = {"id": uuid4(), "step_id": step_id, "number": 1, "provider": "openrouter"}
        cost = Decimal("0.000000000001")
        paid = {"requested_model": "m", "payer": "shared", "cost_usd": cost, "started_at": NOON}
        insert(LLMCall, {**call, **paid})

        kept = LLMCall.objects.select_related("step__run__definition").get()
        step, run = kept.step, kept.step.run
        assert (kept.cost_usd, kept.started_at, kept.status) == (cost, NOON, CallStatus.RUNNING)
        assert (step.snapshot_age_ms, step.is_stale, step.status) == (7, True, StepStatus.OK)
        assert (run.pk, run.attempt_token, run.ended_at) == (run_id, token, None)
        assert run.definition is not None
        assert run.definition.text == TEXT["text"]

    def test_what_a_row_does_not_name_is_as_the_orm_would_have_it(self):
        def defaults(model: type[Model], row: Model) -> dict[str, Any]:
            own = {"id", "started_at", "pipeline", "source"}
            names = {field.attname for field in model._meta.concrete_fields} - own
            return {name: getattr(row, name) for name in names}

        by_orm = PipelineRun.objects.create(pipeline="x", source="shell", started_at=NOON)
        by_us = PipelineRun.objects.get(pk=a_run())

        assert defaults(PipelineRun, by_us) == defaults(PipelineRun, by_orm)

    def test_what_is_read_is_as_the_orm_has_it(self):
        run = PipelineRun.objects.create(
            pipeline="x",
            source="shell",
            started_at=NOON,
            cost_usd=Decimal("1.5"),
            has_mismatch=True,
        )
        names = ("id", "started_at", "cost_usd", "has_mismatch", "ended_at", "definition_id")

        for lock in Lock:
            assert read(PipelineRun, names, lock=lock, id=run.pk) == list(
                PipelineRun.objects.values_list(*names)
            )

    def test_a_reference_is_read_as_what_it_refers_to(self):
        run_id = a_run()
        step_id = a_step(run_id)

        assert read(StepRun, ("run_id", "output_id"), id=step_id) == [(run_id, None)]

    def test_only_those_that_are_missing_are_added_and_counted(self):
        another = {**TEXT, "sha256": "another"}

        assert insert_missing(TextBlob, [TEXT]) == 1
        assert insert_missing(TextBlob, [TEXT, another]) == 1
        assert insert_missing(TextBlob, [TEXT, another]) == 0

        assert TextBlob.objects.count() == 2


class ConditionTests(TestCase):
    def test_only_rows_that_meet_every_condition_are_changed_and_counted(self):
        mine, token = a_run(), uuid4()
        a_run(attempt_token=token)
        update(PipelineRun, {"attempt_token": token}, id=mine)

        assert update(PipelineRun, {"status": RunStatus.OK}, id=mine, attempt_token=uuid4()) == 0
        assert update(PipelineRun, {"status": RunStatus.OK}, id=mine, attempt_token=token) == 1
        assert update(PipelineRun, {"ended_at": NOON}, attempt_token=token) == 2

        rows = {run.pk: (run.status, run.ended_at) for run in PipelineRun.objects.all()}
        assert rows.pop(mine) == (RunStatus.OK, NOON)
        assert list(rows.values()) == [(RunStatus.RUNNING, NOON)]

    def test_all_rows_that_meet_them_are_read(self):
        run_id = a_run()
        steps = {a_step(run_id, attempt=attempt) for attempt in (1, 2)}
        a_step(a_run())

        assert {step for (step,) in read(StepRun, ("id",), run_id=run_id)} == steps


@pytest.mark.postgresql
class LockTests(TransactionTestCase):
    def tries(self, lock: Lock, statement: str) -> str:
        """Return what another connection is told that does not wait, while we have this lock."""
        run_id = a_run()
        told: list[str] = []

        def other() -> None:
            try:
                with transaction.atomic(), connection.cursor() as cursor:
                    cursor.execute("SET LOCAL lock_timeout = '50ms'")
                    cursor.execute(statement, [run_id])
                told.append("done")
            except Exception as error:  # noqa: BLE001 - what it is told is the result
                told.append(type(error).__name__)
            finally:
                connection.close()

        with transaction.atomic():
            read(PipelineRun, ("id",), lock=lock, id=run_id)
            trying = threading.Thread(target=other)
            trying.start()
            trying.join()
        return told[0]

    def test_a_row_is_locked_against_just_what_the_lock_says(self):
        change = "UPDATE pipeline_pipelinerun SET pipeline = 'other' WHERE id = %s"
        delete = "DELETE FROM pipeline_pipelinerun WHERE id = %s"
        outcomes = {lock: (self.tries(lock, change), self.tries(lock, delete)) for lock in Lock}

        assert outcomes == {
            Lock.NONE: ("done", "done"),
            Lock.CHANGE: ("OperationalError", "OperationalError"),
            Lock.DELETE: ("done", "OperationalError"),
        }

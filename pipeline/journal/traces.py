"""The hook for a tracer of runs, steps and calls; without a tracer it does nothing.

The tracer gets rows after their commit, in the thread that wrote them, so a trace never differs
from the record. It comes from `observatory.telemetry`; its errors are logged here and reach no run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from pipeline.models.runs import CallStatus, LLMCall, PipelineRun, StepRun

logger = logging.getLogger(__name__)


class Tracer(Protocol):
    """Exports ended runs, steps and calls; its methods must not block, except `close`."""

    def run_ended(self, run: PipelineRun) -> None: ...

    def step_ended(self, step: StepRun) -> None: ...

    def call_ended(self, call: LLMCall) -> None: ...

    def close(self, within_s: float) -> None:
        """Send the remaining traces, taking at most `within_s` seconds."""
        ...


_tracer: Tracer | None = None
_has_failed = False


def use(tracer: Tracer | None) -> None:
    """Use this tracer from now on; None turns tracing off."""
    global _tracer, _has_failed
    _tracer, _has_failed = tracer, False


def close(within_s: float) -> None:
    """Have the tracer send its remaining traces; blocks for at most `within_s` seconds."""
    tracer = _tracer
    if tracer is not None:
        _safely(lambda: tracer.close(within_s))


def run_ended(run_id: UUID) -> None:
    """Trace an ended run once this transaction is committed.

    `step_ended` and `call_ended` do the same for a step and a call.
    """
    _after_commit(lambda tracer: tracer.run_ended(_runs().get(pk=run_id)))


def step_ended(step_id: UUID) -> None:
    _after_commit(lambda tracer: tracer.step_ended(_steps().get(pk=step_id)))


def call_ended(call_id: UUID) -> None:
    _after_commit(lambda tracer: tracer.call_ended(_calls().get(pk=call_id)))


def interrupted(step_ids: Sequence[UUID]) -> None:
    """Trace the steps of a worker that is gone, and the calls it left open."""

    def tell(tracer: Tracer) -> None:
        for call in _calls().filter(step__in=step_ids, status=CallStatus.INTERRUPTED):
            tracer.call_ended(call)
        for step in _steps().filter(pk__in=step_ids):
            tracer.step_ended(step)

    _after_commit(tell)


def _runs() -> QuerySet[PipelineRun]:
    return PipelineRun.objects.select_related("update").defer("update__raw")


def _steps() -> QuerySet[StepRun]:
    return StepRun.objects.select_related("run__update").defer("run__update__raw")


def _calls() -> QuerySet[LLMCall]:
    return LLMCall.objects.select_related("step__run__update").defer("step__run__update__raw")


def _after_commit(tell: Callable[[Tracer], None]) -> None:
    tracer = _tracer
    if tracer is not None:
        transaction.on_commit(lambda: _safely(lambda: tell(tracer)))


def _safely(tell: Callable[[], None]) -> None:
    global _has_failed
    try:
        tell()
    except Exception as error:  # whatever it is: tracing must not fail a run
        if not _has_failed:
            logger.exception("telemetry: something could not be told; said once")
        _has_failed = True
        logger.debug("telemetry: %s", type(error).__name__)

"""Every misbehaviour of OpenRouter's, met by an overridden step: record, payer, words and alert."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from itertools import groupby
from unittest.mock import patch

from agents.llm import calls as llm_calls
from agents.llm.base import Payer
from agents.llm.causes import Operators
from agents.llm.keys import fingerprint
from pipeline.journal.reports import StepReport
from pipeline.models import LLMCall
from pipeline.models.runs import CallStatus, StepMode, StepStatus
from tests.canaries import SHARED_KEY
from tests.llm.misbehaving import LONG_S, OPENROUTER, Row
from tests.pipeline.cases import PipelineCase, override
from tests.pipeline.players import asking, pipeline, step
from tests.pipeline.wire import WireCall

MISMATCHED = {"other-model"}  # answered, but not by whom we asked


class MisbehaviourTests(PipelineCase):
    def setUp(self) -> None:
        super().setUp()
        # All play at once, so that none is answered quickly.
        self.enterContext(patch.object(llm_calls, "SETTLING_S", LONG_S))

    async def test_each_is_on_record_on_the_shared_key_and_told_to_member_and_operator(self):
        for row in OPENROUTER:
            await override(row.name, f"sandbox/{row.name}")

        await self._play_all()

        calls = await self._calls()
        wire: dict[str, list[WireCall]] = {}
        for seen in self.wire.calls():
            wire.setdefault(seen.agent, []).append(seen)
        for row in OPENROUTER:
            with self.subTest(row.name):
                self._assert_told(row, self.reports[row.name])
                self._assert_on_record(row, calls[row.name], wire[row.name])

    async def _play_all(self) -> None:
        """Play all rows of a deadline as the parallel steps of one run; they wait together."""
        self.reports: dict[str, StepReport] = {}

        def deadline_of(row: Row) -> float:
            return row.deadline_s

        for deadline_s, group in groupby(sorted(OPENROUTER, key=deadline_of), deadline_of):
            names = [row.name for row in group]
            report = await self.play(
                pipeline(*(step(name, StepMode.PARALLEL) for name in names)),
                [asking(name) for name in names],
                step_deadline_s=deadline_s,
            )
            self.reports |= {step.agent: step for step in report.steps}

    async def _calls(self) -> dict[str, list[LLMCall]]:
        calls: dict[str, list[LLMCall]] = {}
        async for call in LLMCall.objects.select_related("step").order_by("step", "number"):
            calls.setdefault(call.step.agent, []).append(call)
        return calls

    def _assert_told(self, row: Row, report: StepReport) -> None:
        alerts = [alert for alert in self.alerts if alert.startswith(f"{row.name}: ")]
        if row.error is None:
            assert report.status is StepStatus.OK, report.error
            assert report.member_line == ""
            assert len(alerts) == (1 if row.name in MISMATCHED else 0)
            return
        assert report.status is StepStatus.FAILED
        assert str(report.error).startswith(f"{row.error.__name__}: ")
        assert report.member_line == row.error.member_line
        is_the_members = row.error.handling.operators is Operators.NOTHING
        assert len(alerts) == (0 if is_the_members else 1)
        assert all(f"sandbox/{row.name}" in alert for alert in alerts)

    def _assert_on_record(self, row: Row, calls: list[LLMCall], wire: list[WireCall]) -> None:
        assert len(calls) == len(wire) == row.requests
        assert {call.payer for call in calls} == {Payer.SHARED}
        assert {call.key_fingerprint for call in calls} == {fingerprint(SHARED_KEY)}
        assert {(seen.key, seen.model) for seen in wire} == {(SHARED_KEY, f"sandbox/{row.name}")}
        assert Counter(str(call.id) for call in calls) == Counter(str(s.call_id) for s in wire)
        assert calls[-1].is_mismatch == (row.name in MISMATCHED)
        billed = sum((Decimal(seen.cost_usd) for seen in wire), Decimal(0))
        told = sum((call.cost_usd or Decimal(0) for call in calls), Decimal(0))
        if row.is_cost_told:
            assert told == billed
        else:
            assert calls[-1].cost_usd is None
            assert calls[-1].status in (CallStatus.UNKNOWN, CallStatus.ERROR)

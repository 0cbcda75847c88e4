"""What is counted of calls and steps."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.models.runs import StepMode
from tests.observatory.telemetry.cases import TelemetryCase
from tests.observatory.telemetry.receiver import Point
from tests.pipeline.cases import MEMBER_MODEL, call_rows, member_llm, override
from tests.pipeline.players import asking, pipeline, step

FEW = {  # whose values are few, however long a process lives
    *("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model"),
    *("gen_ai.response.model", "gen_ai.agent.name", "gen_ai.token.type", "error.type"),
    *("server.address", "server.port"),
    *("observatory.purse", "observatory.step.status", "observatory.step.mode"),
}


class MeterTests(TelemetryCase):
    async def test_duration_and_tokens_of_calls_are_what_the_records_say(self):
        await self.play(pipeline(step("one")), [asking("one", times=2)])
        await self.told()

        rows = await call_rows()
        (duration,) = self.receiver.metric("gen_ai.client.operation.duration")
        assert duration.count == 2
        assert duration.value == pytest.approx(sum(row.latency_ms or 0 for row in rows) / 1000)
        assert duration.attributes["gen_ai.request.model"] == MEMBER_MODEL
        assert duration.attributes["gen_ai.provider.name"] == "openrouter"
        tokens = self.receiver.metric("gen_ai.client.token.usage")
        assert {(p.attributes["gen_ai.token.type"], p.value) for p in tokens} == {
            ("input", sum(row.input_tokens or 0 for row in rows)),
            ("output", sum(row.output_tokens or 0 for row in rows)),
        }

    async def test_cost_is_counted_by_payer(self):
        await override("one", "anthropic/claude-sonnet-4.5")

        await self.play(pipeline(step("one"), step("two")), [asking("one"), asking("two")])
        await self.told()

        points = self.receiver.metric("observatory.call.cost")
        counted = {point.attributes["observatory.purse"]: point.value for point in points}
        assert set(counted) == {"shared", "member"}
        for row in await call_rows():
            assert counted[row.payer] == pytest.approx(float(row.cost_usd or 0))

    async def test_mismatches_are_counted(self):
        await override("one", "sandbox/other-model")

        await self.play(pipeline(step("one")), [asking("one")])
        await self.told()

        (point,) = self.receiver.metric("observatory.call.mismatches")
        assert point.value == 1
        assert point.attributes["gen_ai.agent.name"] == "one"

    async def test_steps_are_counted_by_how_they_ended(self):
        await override("two", "sandbox/no-credit")

        await self.play(
            pipeline(step("one"), step("two"), step("notes", StepMode.BACKGROUND)),
            [asking("one"), asking("two"), asking("notes")],
        )
        await self.told()

        ended = self.receiver.metric("observatory.step.ended")
        assert {(agent(point), status(point), point.value) for point in ended} == {
            *(("one", "ok", 1), ("two", "failed", 1), ("notes", "ok", 1))
        }

    async def test_what_fails_is_counted_with_its_kind(self):
        ctx = self.context(default_llm=member_llm("sandbox/flaky-429"))

        await self.play(pipeline(step("one")), [asking("one")], ctx)
        await self.told()

        points = self.receiver.metric("gen_ai.client.operation.duration")
        assert {point.attributes.get("error.type") for point in points} == {None, "RateLimited"}

    async def test_no_attribute_tells_runs_or_members_apart(self):
        await self.play(pipeline(step("one")), [asking("one")])
        await self.told()

        for name in (
            *("gen_ai.client.operation.duration", "gen_ai.client.token.usage"),
            *("observatory.call.cost", "observatory.step.ended"),
        ):
            points = self.receiver.metric(name)
            assert points, name
            for point in points:
                assert set(point.attributes) <= FEW


def agent(point: Point) -> Any:
    return point.attributes["gen_ai.agent.name"]


def status(point: Point) -> Any:
    return point.attributes["observatory.step.status"]

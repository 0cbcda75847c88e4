"""The timeline of a run: to scale, with all that overlapped seen to overlap."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.test import TestCase

from pipeline.admin.run_rows import steps_of
from pipeline.admin.waterfall import Row, Waterfall, waterfall
from pipeline.models import PipelineRun
from tests.pipeline.recorded import a_call, a_run, a_step


def drawn(run: PipelineRun, **seconds_later: float) -> Waterfall:
    now = run.started_at + timedelta(**seconds_later or {"seconds": 60})
    return waterfall(run, steps_of(run, with_texts=False), now=now)


def span(row: Row) -> tuple[float, float]:
    """Return where a bar begins and ends, in percent."""
    x, width = (float(value.removesuffix("%")) for value in (row.x, row.width))
    return x, x + width


class WaterfallTests(TestCase):
    def step(self, run: PipelineRun, position: int, start: float, end: float | None, **more: Any):
        at = [
            run.started_at + timedelta(seconds=s) if s is not None else None for s in (start, end)
        ]
        return a_step(run, position, calls=0, **({"started_at": at[0], "ended_at": at[1]} | more))

    def a_run(self) -> PipelineRun:
        run = a_run()
        run.steps.all().delete()
        return run

    def test_bars_stand_where_and_as_long_as_things_happened(self):
        run = self.a_run()
        self.step(run, 0, 0, 1, mode="parallel")
        self.step(run, 1, 0.5, 2, mode="parallel")
        self.step(run, 2, 3, 4)

        first, second, background = drawn(run).rows

        assert (span(first), span(second), span(background)) == ((0, 25), (12.5, 50), (75, 100))
        assert span(second)[0] < span(first)[1]
        assert (background.took, background.began) == ("1,000 ms", "3 s")

    def test_calls_follow_their_step_and_retries_are_bars_of_their_own(self):
        run = self.a_run()
        step = self.step(run, 0, 0, 10)
        a_call(step, 1, latency_ms=2000, status="error", requested_model="a/b", served_model="")
        a_call(step, 2, latency_ms=5000, started_at=step.started_at + timedelta(seconds=4))

        _, refused, answered = drawn(run).rows

        assert (span(refused), span(answered)) == ((0, 20), (40, 90))
        assert (refused.name, refused.status, refused.model) == ("request 1", "error", "a/b")
        assert refused.is_call

    def test_what_has_not_ended_goes_on_until_now_and_what_waits_has_no_bar(self):
        run = self.a_run()
        step = self.step(run, 0, 0, None, status="running")
        a_call(step, latency_ms=None, status="running")
        self.step(run, 2, 0, None, status="waiting")

        running, call, waiting = drawn(run, seconds=8).rows

        assert span(running) == span(call) == (0, 100)
        assert not waiting.has_bar
        assert waiting.status_label == "Queued"

    def test_the_axis_is_marked_at_round_times_and_stays_on_the_page(self):
        for seconds, labels in [
            (0.0009, ["0 ms", "1 ms"]),
            (0.9, ["0 ms", "200 ms", "400 ms", "600 ms", "800 ms"]),
            (4, ["0 s", "1 s", "2 s", "3 s", "4 s"]),
            (130, ["0 s", "50 s", "100 s"]),
            (86_400, ["0 s", "20000 s", "40000 s", "60000 s", "80000 s"]),
        ]:
            with self.subTest(seconds):
                run = self.a_run()
                self.step(run, 0, 0, seconds)

                ticks = drawn(run).ticks

                assert [tick.label for tick in ticks] == labels
                assert (ticks[0].anchor, ticks[-1].anchor) == ("start", "end")

    def test_a_moment_can_be_seen_beside_an_hour_and_clocks_may_differ(self):
        run = self.a_run()
        self.step(run, 0, -5, -5)
        self.step(run, 1, 3600, 3600)

        for row in drawn(run).rows:
            start, end = span(row)
            assert 0 <= start < end <= 100.001

    def test_a_run_without_steps_has_an_empty_axis(self):
        assert drawn(self.a_run()).rows == []

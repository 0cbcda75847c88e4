"""The waterfall chart of a run: one bar per step and call on a time axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline.admin.labels import status_label
from pipeline.models import LLMCall, PipelineRun, StepRun
from pipeline.models.runs import CallStatus, StepStatus

MAX_TICKS = 5
SHORTEST = 0.35  # percent of the axis: a shorter bar is invisible
MILLISECONDS_BELOW = 2000  # length of the axis; longer ones are labeled in seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A mark on the axis."""

    x: str
    label: str
    anchor: str  # text anchor of the label: keeps the last one on the page


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One step, or one call of a step."""

    target: str  # the id of the step's section
    name: str
    model: str
    status: str
    status_label: str
    mode: str  # "" for a call
    took: str
    began: str
    x: str
    width: str

    @property
    def is_call(self) -> bool:
        return not self.mode

    @property
    def has_bar(self) -> bool:
        return bool(self.width)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waterfall:
    """The rows of a run in order, below one axis."""

    ticks: Sequence[Tick]
    rows: Sequence[Row]
    total: str


def waterfall(run: PipelineRun, steps: Sequence[StepRun], *, now: datetime) -> Waterfall:
    """Return a run's steps and calls to scale; the bars of unfinished ones extend to `now`."""
    begun = [step for step in steps if step.status != StepStatus.WAITING]
    ends = [_end_of_step(step, now) for step in begun]
    ends += [_end_of_call(call, step, now) for step in begun for call in step.calls.all()]
    axis = _Axis(min([run.started_at, *(step.started_at for step in begun)]), ends)
    rows = []
    for step in steps:
        rows.append(_row_of_step(step, axis, now))
        rows += [
            _row_of_call(number, call, step, axis, now)
            for number, call in enumerate(step.calls.all(), 1)
        ]
    return Waterfall(ticks=axis.ticks(), rows=rows, total=axis.words(axis.total_ms))


def section_of(step: StepRun) -> str:
    """Return the id of a step's section on the page."""
    return f"step-{step.position + 1}-{step.attempt}"


class _Axis:
    """The time axis, from the start of a run to the last end of a step or call."""

    def __init__(self, begins_at: datetime, ends: Sequence[datetime]) -> None:
        self._begins_at = begins_at
        self.total_ms = max(1.0, *(self._ms(end) for end in ends)) if ends else 1.0

    def span(self, start: datetime, end: datetime) -> tuple[str, str]:
        """Return x and width of a bar, in percent of the axis."""
        width = max(SHORTEST, 100 * (self._ms(end) - self._ms(start)) / self.total_ms)
        x = min(100 * self._ms(start) / self.total_ms, 100 - width)
        return f"{max(0.0, x):.3f}%", f"{min(100.0, width):.3f}%"

    def began(self, at: datetime) -> str:
        return self.words(self._ms(at))

    def words(self, ms: float) -> str:
        """Format a time in the unit of the whole axis."""
        if self.total_ms < MILLISECONDS_BELOW:
            return f"{ms:.0f} ms"
        return f"{ms / 1000:.2f}".rstrip("0").rstrip(".") + " s"

    def ticks(self) -> list[Tick]:
        step_ms = _round_step(self.total_ms / MAX_TICKS)
        count = int(self.total_ms // step_ms)
        return [
            Tick(
                x=f"{100 * number * step_ms / self.total_ms:.3f}%",
                label=self.words(number * step_ms),
                anchor="start" if not number else "middle" if number < count else "end",
            )
            for number in range(count + 1)
        ]

    def _ms(self, at: datetime) -> float:
        return max(0.0, (at - self._begins_at) / timedelta(milliseconds=1))


def _round_step(least: float) -> float:
    """Return the lowest of 1, 2, 5, 10, 20, … that is at least `least`."""
    step = 1.0
    while True:
        for factor in (1, 2, 5):
            if step * factor >= least:
                return step * factor
        step *= 10


def _row_of_step(step: StepRun, axis: _Axis, now: datetime) -> Row:
    is_begun = step.status != StepStatus.WAITING
    end = _end_of_step(step, now)
    x, width = axis.span(step.started_at, end) if is_begun else ("", "")
    return Row(
        target=section_of(step),
        name=step.agent + (f", attempt {step.attempt}" if step.attempt > 1 else ""),
        model=step.requested_model,
        status=step.status,
        status_label=status_label(step),
        mode=step.mode,
        took=_milliseconds(step.started_at, end) if is_begun else "",
        began=axis.began(step.started_at) if is_begun else "",
        x=x,
        width=width,
    )


def _row_of_call(number: int, call: LLMCall, step: StepRun, axis: _Axis, now: datetime) -> Row:
    end = _end_of_call(call, step, now)
    x, width = axis.span(call.started_at, end)
    return Row(
        target=section_of(step),
        name=f"request {number}",
        model=call.served_model or call.requested_model,
        status=call.status,
        status_label=status_label(call),
        mode="",
        took=_milliseconds(call.started_at, end),
        began=axis.began(call.started_at),
        x=x,
        width=width,
    )


def _end_of_step(step: StepRun, now: datetime) -> datetime:
    return step.ended_at or now


def _end_of_call(call: LLMCall, step: StepRun, now: datetime) -> datetime:
    if call.latency_ms is not None:
        return call.started_at + timedelta(milliseconds=call.latency_ms)
    # For an interrupted call, only the end of its step is known.
    return now if call.status == CallStatus.RUNNING else _end_of_step(step, now)


def _milliseconds(start: datetime, end: datetime) -> str:
    return f"{max(0, round((end - start) / timedelta(milliseconds=1))):,} ms"

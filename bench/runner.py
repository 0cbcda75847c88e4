"""What running a step costs by itself: three steps a run, no model, no record, beside others."""

from __future__ import annotations

from bench.contest import ours, peer, results_of
from bench.table import Column, show

OURS = "the runner, isolation and resolver included"


def main() -> None:
    """Measure and print."""
    contenders = [
        ours(OURS, "silent_runs"),
        peer("LangGraph", "with_langgraph", "bare"),
        peer("LangGraph, checkpoints in memory", "with_langgraph", "checkpoints"),
        peer("pydantic-ai", "with_pydantic_ai_silent"),
    ]
    columns = [Column(kind="us", heading="a step, µs", digits=1, ratio_to=OURS)]
    show("A step without model and record", results_of(contenders), columns)

"""LangGraph: a graph of three nodes that answer by themselves, without checkpoints or in memory."""

from __future__ import annotations

import asyncio
import itertools
import sys
from typing import TypedDict

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from laps import serve_runs

numbers = itertools.count()


class State(TypedDict, total=False):
    """What the nodes share."""

    message: str
    profile: str
    plan: str
    review: str


def answering(key: str):
    async def node(state: State) -> State:
        return {key: "done"}

    return node


graph = StateGraph(State)
names = {"extraction": "profile", "strategist": "plan", "trainer": "review"}
for name, key in names.items():
    graph.add_node(name, answering(key))
for before, after in itertools.pairwise([START, *names, END]):
    graph.add_edge(before, after)
has_checkpoints = sys.argv[1] == "checkpoints"
compiled = graph.compile(checkpointer=InMemorySaver() if has_checkpoints else None)


async def run() -> None:
    thread = {"configurable": {"thread_id": str(next(numbers))}} if has_checkpoints else None
    state = await compiled.ainvoke({"message": "hello"}, thread)
    assert state["review"] == "done"


with asyncio.Runner() as loop:
    serve_runs(loop, run, "langgraph")

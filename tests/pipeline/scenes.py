"""Random plays for the proof of isolation: who plays, what is chosen for them, and when.

Agents' scripts are words; what each word does is in `tests.pipeline.isolation`.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from agents.llm.base import Payer
from agents.models import OnFailure
from pipeline.models.runs import StepMode

AGENTS = tuple(f"agent-{letter}" for letter in "abcdefgh")
CALLS = ("call", "hold", "child", "both")
PAUSES_S = {"yield": 0.0, "nap": 0.003, "long-nap": 0.03}  # at most
MISCHIEF = ("keep", "drop", "raise", "refuse", "cancel-child")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An operator's change; without a model it takes the override back."""

    agent: str
    model_id: str | None
    on_failure: str = OnFailure.FAIL
    after_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """One run: its steps as (agent, mode, script), who pays, and when it is cancelled."""

    steps: tuple[tuple[str, StepMode, str], ...]
    default_model: str | None
    payer: Payer = Payer.MEMBER
    cancelled_after_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Runs that go on at the same time, beneath overrides that change meanwhile."""

    before: tuple[Change, ...]
    casts: tuple[Cast, ...]
    during: tuple[Change, ...] = ()
    late_ms: int = 5  # when what agents kept is used again
    closing_ms: int = 5000  # how long background steps may go on


_latency = st.builds(
    lambda ms, width: f"sandbox/latency-{ms:0{width}d}", st.integers(1, 9), st.integers(1, 6)
)
_models = st.one_of(
    _latency,
    st.sampled_from(
        ["anthropic/claude-sonnet-4.5", "google/gemini-2.5-flash", "openai/gpt-5-mini:nitro"]
    ),
)
# Models that fail at once; retries would only take time.
_failing = st.sampled_from(["sandbox/no-credit", "sandbox/retired", "sandbox/other-model"])
_scripts = st.lists(
    st.sampled_from((*CALLS * 3, *PAUSES_S, *PAUSES_S, *PAUSES_S, *MISCHIEF)),
    min_size=1,
    max_size=6,
).map(" ".join)
_changes = st.builds(
    Change,
    agent=st.sampled_from(AGENTS),
    model_id=st.one_of(_models, _models, _failing, st.none()),
    on_failure=st.sampled_from(OnFailure.values),
    after_ms=st.integers(0, 15),
)
_steps = st.tuples(
    st.permutations(AGENTS),
    st.lists(st.tuples(st.sampled_from(StepMode), _scripts), min_size=1, max_size=len(AGENTS)),
).map(lambda drawn: tuple((agent, *rest) for agent, rest in zip(*drawn, strict=False)))
_casts = st.builds(
    Cast,
    steps=_steps,
    default_model=st.one_of(_models, _models, _models, st.none()),
    payer=st.sampled_from(Payer),
    cancelled_after_ms=st.one_of(st.none(), st.none(), st.none(), st.integers(0, 60)),
)
SCENES = st.builds(
    Scene,
    before=st.lists(_changes, max_size=6).map(tuple),
    casts=st.lists(_casts, min_size=2, max_size=8).map(tuple),
    during=st.lists(_changes, max_size=8).map(tuple),
    late_ms=st.integers(0, 60),
    closing_ms=st.sampled_from([0, 20, 5000]),
)

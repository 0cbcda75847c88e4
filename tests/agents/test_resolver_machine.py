"""Any order of changes, losses and ticks: every answer was in force a permitted time ago.

OBSERVATORY_PROVE=1 runs the full number of machines.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from django.core.cache import caches
from django.db import connection
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from agents import revision
from agents.llm.base import Payer
from agents.model_config import OverridesUnknown, Resolution
from agents.models import AgentModelConfig
from tests.agents.doubles import (
    KEY_BEFORE_1_1,
    ResolverTestCase,
    change_by_sql,
    choose_model,
    script,
)
from tests.proving import amount, closing_line

MACHINES, STEPS = amount(120, quickly=40, proving=2_000), amount(30, proving=50)

AGENTS = ("extraction", "trainer")
MODELS = ("openai/gpt-5-mini", "z-ai/glm-4.6", "anthropic/claude-sonnet-4.5")
FORGED = ("token", "", None, 7, ["a list"], "a" * 1_000)
ANNOUNCED_S = 0.05  # a change that every process can hear of
STORM_S = 0.125  # longer, where two queries of the last half second were not the first ones
DEAF_S = 2.0  # and one while a process takes the cache for down
SILENT_S = 60.0  # a change that no invalidation tells of
STALE_S = 1.0  # how long after an outage an answer may still be marked stale
DEAF_AFTER_S = 5.0 + 2.0  # how long after its return a cache may still count as down
EPSILON_S = 1e-6


@dataclass(frozen=True)
class Change:
    at: float
    models: Mapping[str, str]
    is_announced: bool


class Overrides(RuleBasedStateMachine):
    """Two processes on one table; the oracle is the list of all states with their times."""

    test: ClassVar[ResolverTestCase]

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.database = self.test.clock, self.test.database
        self.database.is_down = False
        self.queried_at: list[float] = []
        self.database.before_query = lambda: self.queried_at.append(self.clock.now)
        script.reset()
        caches[revision.CACHE_ALIAS].clear()
        with connection.cursor() as cursor:
            for table in ("agent_model_config", "agents_overrideversion"):
                cursor.execute(f"DELETE FROM {table}")
        self.forgeries = 0
        self.services = [self.test.new_service(), self.test.new_service()]
        self.last: list[Resolution | None] = [None, None]
        self.models: dict[str, str] = {}
        self.timeline = [Change(at=self.clock.now - 1e9, models={}, is_announced=True)]
        self.cache_was_down_at = self.database_was_down_at = self.clock.now - 1e9

    def teardown(self) -> None:
        for service in self.services:
            service.close()

    @rule(agent=st.sampled_from(AGENTS), model=st.sampled_from(MODELS))
    def save(self, agent: str, model: str) -> None:
        choose_model(agent, model)
        self._changed({**self.models, agent: model}, is_announced=not script.is_down)

    @rule(agent=st.sampled_from(AGENTS))
    def deactivate(self, agent: str) -> None:
        if AgentModelConfig.objects.deactivate(agent):
            rest = {name: model for name, model in self.models.items() if name != agent}
            self._changed(rest, is_announced=not script.is_down)

    @rule(agent=st.sampled_from(AGENTS), model=st.sampled_from(MODELS))
    def change_by_sql(self, agent: str, model: str) -> None:
        if agent in self.models:
            change_by_sql(agent, model)
            self._changed({**self.models, agent: model}, is_announced=False)

    @rule(
        seconds=st.sampled_from([0.01, 0.051, 0.5, 1.01, 5.01, 31.0, 59.0, 60.01]),
        asking=st.sampled_from([(), (0,), (1,), (0, 1)]),
    )
    def tick(self, seconds: float, asking: tuple[int, ...]) -> None:
        self.clock.tick(seconds)
        self.note_what_is_down()
        for number in asking:
            for agent in AGENTS:
                self._resolve(number, agent)

    @rule(agent=st.sampled_from(AGENTS), model=st.sampled_from(MODELS))
    def change_in_an_older_process(self, agent: str, model: str) -> None:
        """Its counter and history are left out: what it announces is the point."""
        if agent in self.models and not script.is_down:
            change_by_sql(agent, model)
            self.forge("older", is_old_key=True)
            self._changed({**self.models, agent: model}, is_announced=True)

    @rule(value=st.sampled_from(FORGED), is_old_key=st.booleans())
    def forge(self, value: object, is_old_key: bool) -> None:
        """Write to the cache what others might; a text becomes another one each time."""
        if not script.is_down:
            self.forgeries += 1
            key = KEY_BEFORE_1_1 if is_old_key else self.test.key
            is_text = isinstance(value, str) and value
            value = f"{value}{self.forgeries}" if is_text else value
            caches[revision.CACHE_ALIAS].set(key, value, timeout=None)

    @rule()
    def lose_the_cache(self) -> None:
        caches[revision.CACHE_ALIAS].clear()

    @rule(is_down=st.booleans())
    def break_the_cache(self, is_down: bool) -> None:
        script.is_down = is_down

    @rule(is_down=st.booleans())
    def break_the_database(self, is_down: bool) -> None:
        self.database.is_down = is_down

    @rule()
    def restart_a_process(self) -> None:
        self.services[1].close()
        self.services[1] = self.test.new_service()
        self.last[1] = None

    @rule(number=st.sampled_from([0, 1]), agent=st.sampled_from(AGENTS))
    def resolve(self, number: int, agent: str) -> None:
        self._resolve(number, agent)

    @invariant()
    def note_what_is_down(self) -> None:
        if script.is_down:
            self.cache_was_down_at = self.clock.now
        if self.database.is_down:
            self.database_was_down_at = self.clock.now

    def _resolve(self, number: int, agent: str) -> None:
        service, before = self.services[number], self.last[number]
        try:
            resolution = asyncio.run(service.resolve(agent))
        except OverridesUnknown:
            assert before is None, "it fell back to knowing nothing"
            assert self.database.is_down
            return
        self._check(agent, resolution, before)
        self.last[number] = resolution

    def _check(self, agent: str, resolution: Resolution, before: Resolution | None) -> None:
        model = resolution.override.model_id if resolution.override else None
        if resolution.provider:
            assert (resolution.provider.model_id, resolution.provider.payer) == (
                model,
                Payer.SHARED,
            )
        assert bool(resolution.provider) == bool(resolution.override)
        if before:
            assert _counter(resolution) >= _counter(before)
        if resolution.freshness.is_stale:
            assert before is not None
            assert resolution.freshness.version == before.freshness.version
            assert self.clock.now - self.database_was_down_at <= STALE_S + EPSILON_S
        else:
            assert resolution.freshness.age_s < SILENT_S + EPSILON_S
            assert model in self._permitted(agent), (model, self.timeline[-5:], self.clock.now)

    def _permitted(self, agent: str) -> set[str | None]:
        """Return the models in force at some instant within the bound."""
        now = self.clock.now
        recent = [change for change in self.timeline if change.at > now - SILENT_S - EPSILON_S]
        if not all(change.is_announced for change in recent):
            bound_s = SILENT_S
        elif now - self.cache_was_down_at <= DEAF_AFTER_S:
            bound_s = DEAF_S
        else:
            recently = [at for at in self.queried_at if at > now - 0.5]
            bound_s = ANNOUNCED_S + (STORM_S if len(recently) > 1 else 0)
        since = now - bound_s - EPSILON_S
        in_force_then = [change for change in self.timeline if change.at <= since][-1:]
        later = [change for change in self.timeline if change.at > since]
        return {change.models.get(agent) for change in [*in_force_then, *later]}

    def _changed(self, models: dict[str, str], *, is_announced: bool) -> None:
        self.models = models
        self.timeline.append(Change(self.clock.now, models, is_announced))


def _counter(resolution: Resolution) -> int:
    return int(resolution.freshness.version.partition("·")[0].removeprefix("v"))


class MachineTest(ResolverTestCase):
    def test_every_answer_was_in_force_a_permitted_time_ago(self):
        Overrides.test = self
        django_log = logging.getLogger("django.db.backends.base")
        django_log.disabled = True  # an announcement that fails is logged with a traceback
        self.addCleanup(setattr, django_log, "disabled", False)

        run_state_machine_as_test(
            Overrides,
            settings=settings(
                max_examples=MACHINES,
                stateful_step_count=STEPS,
                deadline=None,
                print_blob=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
        closing_line(f"resolver: {MACHINES} machines of {STEPS} steps, wrong=0")

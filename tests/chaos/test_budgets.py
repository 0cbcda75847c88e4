"""Four processes spend at once and one is killed: what was billed never exceeds the cap."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db.models import Sum
from django.utils import timezone

from agents.catalog import sync
from agents.llm.base import Attempt, StepScope, Unobserved
from agents.llm.http import close_clients
from agents.llm.router import create_shared_provider
from pipeline.budgets import upkeep
from pipeline.budgets.money import dollars, picodollars
from pipeline.models import Budget, BudgetPeriod, LLMCall, Reservation
from pipeline.models.budgets import OPEN_STATES, ReservationState, Scope
from pipeline.models.runs import RunStatus
from pipeline.running.model_book import ModelBook
from tests.agents.processes import ROOT, environment
from tests.canaries import SHARED_KEY
from tests.pipeline.budgets.accounts import beyond_cap, wrong_periods
from tests.pipeline.cases import FALLBACK_MODEL, PipelineCase
from tests.proving import amount, closing_line

PROCESSES = 4
RUNS = amount(15, proving=50)  # of each process
AFFORDED = 10  # calls that the cap has room for, at what they really cost
KILLED_AT = (
    "facts written",
    "facts committed",
    "foreground call written",
    "foreground call answered",
)
ENDS_WITHIN_S = 240
MICRODOLLAR = Decimal("0.000001")


class Seen(Unobserved):
    """Remembers what a call may cost at most."""

    most_usd = Decimal(0)

    async def attempt_started(self, attempt: Attempt) -> None:
        self.most_usd = attempt.most_usd


@pytest.mark.chaos
class SpendingTests(PipelineCase):
    async def test_four_processes_that_spend_at_once_stay_below_the_cap(self):
        cap = await self.budget(room_for=1)
        told = await sync_to_async(self.spend)(RUNS)

        statuses = Counter(line["status"] for line in told)
        assert statuses.total() == PROCESSES * RUNS
        assert AFFORDED <= statuses[RunStatus.OK] < PROCESSES * RUNS
        refused = {line["member_line"] for line in told if line["status"] != RunStatus.OK}
        known = ("A budget of the team's key is used up.", "Other requests have set aside")
        assert all(line.startswith(known) for line in refused), refused
        await self.assert_cap_held(cap)
        closing_line(f"{PROCESSES} processes at one cap: {dict(statuses)}")

    async def test_a_process_that_is_killed_anywhere_leaves_the_cap_and_the_sums_intact(self):
        for point in KILLED_AT:
            with self.subTest(point):
                await Budget.objects.all().adelete()
                await LLMCall.objects.all().adelete()
                self.wire.clear()
                cap = await self.budget(room_for=2)  # the killed one keeps one
                told = await sync_to_async(self.spend)(RUNS // 2, f"{point}:5")

                assert len(told) >= (PROCESSES - 1) * (RUNS // 2)
                await self.assert_cap_held(cap)

    async def budget(self, *, room_for: int) -> int:
        """Make a budget with room for so many calls at their worst and `AFFORDED` at their cost."""
        await sync()
        seen = Seen()
        provider = create_shared_provider(SHARED_KEY, FALLBACK_MODEL).for_step(
            StepScope(agent="one", observer=seen, book=ModelBook())
        )
        completion = await provider.complete("You are one.", "A question of one.")
        await close_clients()
        assert completion.cost_usd is not None
        cap_usd = room_for * seen.most_usd + AFFORDED * completion.cost_usd
        budget = await Budget.objects.acreate(
            scope=Scope.SHARED_KEY, cap_usd=cap_usd.quantize(MICRODOLLAR)
        )
        self.wire.clear()
        return picodollars(budget.cap_usd)

    def spend(self, runs: int, crash_point: str = "") -> list[dict[str, str]]:
        """Let the processes spend, the first of them up to a crash point; return their lines."""
        with tempfile.TemporaryDirectory() as folder:
            processes = [
                self._started(Path(folder), runs, crash_point if not number else "")
                for number in range(PROCESSES)
            ]
            outputs = [process.communicate(timeout=ENDS_WITHIN_S)[0] for process in processes]
        codes = [process.returncode for process in processes]
        assert codes == [-signal.SIGKILL if crash_point else 0, 0, 0, 0], codes
        return [json.loads(line) for output in outputs for line in output.splitlines()]

    def _started(self, folder: Path, runs: int, crash_point: str) -> subprocess.Popen[str]:
        chaos = {
            "CRASH_POINT": crash_point,
            "OPENROUTER_BASE_URL": settings.OPENROUTER_BASE_URL,
            "OPENROUTER_API_KEY": SHARED_KEY,
            "DEFAULT_MODEL": FALLBACK_MODEL,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.spender", "one", str(runs)],
            cwd=ROOT,
            env=environment(
                DJANGO_SETTINGS_MODULE="tests.chaos.settings",
                OBSERVATORY_CHAOS=json.dumps(chaos),
                OBSERVATORY_CHAOS_DIR=str(folder),
            ),
            stdout=subprocess.PIPE,
            text=True,
        )

    async def assert_cap_held(self, cap: int) -> None:
        billed = sum(picodollars(call.cost_usd) for call in self.wire.calls())
        period = await BudgetPeriod.objects.aget()
        assert period.cap_picousd == cap
        assert billed <= period.spent_picousd + period.reserved_picousd <= cap
        assert period.over_picousd == 0

        later = timezone.now() + timedelta(hours=1)
        await sync_to_async(upkeep.settle_abandoned)(later, longest_step=timedelta(minutes=2))
        assert not await Reservation.objects.filter(state=ReservationState.HELD).aexists()
        booked = Reservation.objects.exclude(state__in=OPEN_STATES)
        costs = await LLMCall.objects.aaggregate(sum=Sum("cost_usd"))
        spent = (await booked.aaggregate(sum=Sum("picousd")))["sum"]
        assert dollars(spent) == costs["sum"]
        assert await sync_to_async(wrong_periods)() == []
        assert await sync_to_async(beyond_cap)() == []

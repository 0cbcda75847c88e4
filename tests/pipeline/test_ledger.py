"""The books agree: the sums of the first page, the records, and what the vendors charged."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from asgiref.sync import async_to_sync
from django.utils import timezone

from agents.base import Inputs
from agents.models import AgentModelConfig
from agents.snapshot import read_snapshot
from observatory.dashboard.agents_now import agents_now, sum_of
from pipeline.models import LLMCall, Member
from pipeline.models.members import Access
from pipeline.operations import usage
from pipeline.running.run_service import RunService
from tests.canaries import CLAUDE_KEY, MEMBER_KEY, OPENAI_KEY
from tests.pipeline.cases import SandboxCase

PAYERS = {
    "openrouter": (MEMBER_KEY, "openai/gpt-4.1"),
    "claude": (CLAUDE_KEY, "claude-haiku-4-5"),
    "openai": (OPENAI_KEY, "gpt-4.1-mini"),
}
ODD_MODELS = ("flaky-429", "other-model", "no-cost", "byok", "dated")


class LedgerTest(SandboxCase):
    def member(self, number: int, provider: str, model_id: str = "") -> Member:
        key, usual = PAYERS[provider]
        member = Member(telegram_id=number, access=Access.APPROVED, model_id=model_id or usual)
        member.keep_key(provider, key)
        member.save()
        return member

    async def ask(self, members: list[Member | None]) -> None:
        async with RunService("shell") as service:
            for number, member in enumerate(members):
                for name in ("support", "train"):
                    question = Inputs(user_message=f"Message {number} of a CFO who went silent")
                    await service.answer(name, member, question)
            await service.drain()

    def test_page_records_and_charges_are_equal_to_the_last_decimal(self):
        members: list[Member | None] = [
            self.member(number, provider) for number, provider in enumerate(PAYERS, start=1)
        ]
        # Some are refused first, answered by another model, or told no price with the answer.
        for number, model_id in enumerate(ODD_MODELS, start=11):
            members.append(self.member(number, "openrouter", f"sandbox/{model_id}"))
        AgentModelConfig.objects.upsert("strategist", "anthropic/claude-sonnet-4.5", "ada")

        async_to_sync(self.ask)([*members, None])

        now = timezone.now()
        charged = sum((call.cost_usd for call in self.wire.calls()), Decimal(0))
        costs = LLMCall.objects.values_list("cost_usd", flat=True)
        recorded = sum((cost for cost in costs if cost is not None), Decimal(0))
        page = sum_of(agents_now(read_snapshot(), now=now))
        chart = usage.total(usage.rollups(now - timedelta(days=1), now=now)).cost_usd
        assert charged > 0
        assert recorded == charged
        assert page.shared_usd + page.member_usd == charged
        assert chart == charged

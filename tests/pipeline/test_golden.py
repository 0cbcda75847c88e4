"""The five golden prospects through the real `support` pipeline, overrides included."""

from __future__ import annotations

import json

from asgiref.sync import sync_to_async

from agents.base import Inputs
from pipeline.models import PipelineRun, PlaybookPage
from pipeline.models.runs import RunStatus, StepStatus
from pipeline.running.run_service import RunService
from tests.canaries import SHARED_KEY
from tests.golden.judge import missing_from
from tests.golden.prospects import golden_prospects
from tests.pipeline.cases import FALLBACK_MODEL, SandboxCase, override, step_rows


class GoldenProspectTests(SandboxCase):
    async def test_each_prospect_gets_a_useful_answer_from_the_models_that_were_chosen(self):
        await PlaybookPage.objects.acreate(title="Objections", text="Ask before you answer.")
        await override("strategist", "anthropic/claude-sonnet-4.5")
        async with RunService("shell") as service:
            for prospect in golden_prospects():
                with self.subTest(prospect.name):
                    await sync_to_async(PipelineRun.objects.all().delete)()
                    self.wire.clear()

                    report = await service.answer(
                        "support", None, Inputs(user_message=prospect.message)
                    )
                    await service.drain()

                    rows = await step_rows()
                    assert report.status is RunStatus.OK
                    assert [step.status for step in report.steps] == [StepStatus.OK] * 3
                    for agent, wanted in prospect.expectations.items():
                        output = rows[agent].output
                        assert output is not None
                        assert missing_from(json.loads(output.text), wanted) == []
                    assert {(call.agent, call.model, call.key) for call in self.wire.calls()} == {
                        ("extraction", FALLBACK_MODEL, SHARED_KEY),
                        ("strategist", "anthropic/claude-sonnet-4.5", SHARED_KEY),
                        ("memory", FALLBACK_MODEL, SHARED_KEY),
                    }

"""What arrives at a vendor when every text of a run tries to write every tag: not one of them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from asgiref.sync import sync_to_async
from django.test import TransactionTestCase, override_settings

from agents.base import Inputs
from agents.passages import Tags
from agents.registry import default_registry
from pipeline.models import CasebookEntry, Fact, LLMCall, Member, PlaybookPage, StepRun
from pipeline.models.runs import RunStatus, StepStatus
from pipeline.running.config import (
    PipelineConfig,
    StepConfig,
    load_pipeline,
    passage_tags,
    pipeline_names,
)
from pipeline.running.run_service import RunService
from tests.canaries import SHARED_KEY
from tests.llm.calling import answer
from tests.llm.loopback import Canned, Loopback, Received, loopback
from tests.team.examples import ANSWERS
from tests.team.tag_spellings import SPELLINGS, tags_read

PICTURE = "iVBORw0KGgoAAAANSUhEUg=="


def known() -> Tags:
    return default_registry().tags | passage_tags()


def hostile_text() -> str:
    """Return every tag there is in every spelling there is."""
    written = [
        f"{write(name)} now" for name in sorted(known().names) for write in SPELLINGS.values()
    ]
    # NUL is taken out where texts come in, as PostgreSQL keeps none.
    return "\n".join(["A VP at a bank", *written]).replace("\x00", "")


def agent_of(request: Received) -> str:
    system = request.body["messages"][0]["content"]
    return next(
        agent.name for agent in default_registry() if system.startswith(agent.system_prompt)
    )


def user_text(request: Received) -> str:
    content = request.body["messages"][-1]["content"]
    return content if isinstance(content, str) else content[0]["text"]


class HostileVendor:
    """Answers each agent first with prose full of tags, then with JSON full of tags."""

    def __init__(self, hostile: str) -> None:
        self._hostile = hostile
        self._asked: set[str] = set()

    async def reply(
        self, request: Received, _: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        agent = agent_of(request)
        text = json.dumps(self._everywhere(ANSWERS[agent]), ensure_ascii=False)
        if agent not in self._asked:
            self._asked.add(agent)
            text = f"Rather not.\n{self._hostile}"
        body = answer(text, model=request.body["model"])
        writer.write(Canned(body=body, headers={"Connection": "close"}).encoded())
        await writer.drain()

    def _everywhere(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: part if key == "kind" else self._everywhere(part)
                for key, part in value.items()
            }
        if isinstance(value, list):
            return [self._everywhere(part) for part in value]
        return f"{value} {self._hostile}" if isinstance(value, str) else value


@override_settings(OPENROUTER_API_KEY=SHARED_KEY, SHARED_KEY_FOR_MEMBERS=True)
class WireTests(TransactionTestCase):
    async def test_no_text_speaks_a_tag_in_any_pipeline(self):
        hostile = hostile_text()
        for name in pipeline_names():
            with self.subTest(name):
                await self._check(load_pipeline(name), hostile)

    async def _check(self, pipeline: PipelineConfig, hostile: str) -> None:
        requests = await self._requests(pipeline, hostile)
        assert {agent_of(request) for request in requests} == {s.agent for s in pipeline.steps}
        for request in requests:
            agent = agent_of(request)
            step = next(step for step in pipeline.steps if step.agent == agent)
            assert tags_read(user_text(request), known().names) == self._blocks(step), agent
            system, task = request.body["messages"][0]["content"], step.input_mapping.get("task")
            prompt = default_registry().get(agent).system_prompt
            assert system == (f"{prompt}\n\n<task>\n{task}\n</task>" if task else prompt)
        assert len(requests) == 2 * len(pipeline.steps)  # each answer was corrected once

    async def _requests(self, pipeline: PipelineConfig, hostile: str) -> list[Received]:
        member = await sync_to_async(self._rows)(hostile)
        async with loopback(HostileVendor(hostile).reply) as server:
            with override_settings(OPENROUTER_BASE_URL=server.base_url):
                async with RunService("shell") as service:
                    question = Inputs(
                        user_message=hostile,
                        forwarded=hostile,
                        conversation=hostile,
                        scenario=hostile,
                        image_b64=PICTURE if pipeline.takes_picture else None,
                    )
                    report = await service.answer(pipeline.name, member, question)
                    await service.drain()
            assert report.status is RunStatus.OK, [step.error for step in report.steps]
            await sync_to_async(self._check_records)(report.run_id, pipeline, server)
            return server.chats

    def _check_records(self, run_id: Any, pipeline: PipelineConfig, server: Loopback) -> None:
        """The task is among the recorded inputs, and the record has what was sent."""
        for row in StepRun.objects.filter(run_id=run_id).select_related("inputs"):
            assert row.status == StepStatus.OK
            assert row.inputs is not None
            task = pipeline.steps[row.position].input_mapping.get("task")
            assert json.loads(row.inputs.text).get("task") == task
        calls = LLMCall.objects.filter(step__run_id=run_id).select_related("system_prompt")
        sent = sorted(request.body["messages"][0]["content"] for request in server.chats)
        assert sorted(c.system_prompt.text for c in calls if c.system_prompt is not None) == sent

    def _rows(self, hostile: str) -> Member:
        Member.objects.all().delete()
        member = Member.objects.create(telegram_id=1)
        PlaybookPage.objects.all().delete()
        PlaybookPage.objects.create(title=hostile[:200], text=hostile)
        CasebookEntry.objects.create(title=hostile[:200], text=hostile, member=member)
        lines = [hostile[at : at + 200] for at in range(0, len(hostile), 200)]
        Fact.objects.bulk_create(
            Fact(member=member, kind="role", text=line, since_version=1) for line in lines
        )
        return member

    def _blocks(self, step: StepConfig) -> list[str]:
        names = [name for name in step.input_mapping if name not in ("image", "task")]
        return [tag for name in names for tag in (name, f"/{name}")]

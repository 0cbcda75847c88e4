"""The team's own server behind the shared key: asked plainly, named by operators.

It never gets the keys of others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import ValidationError
from django.test import SimpleTestCase, TestCase, override_settings
from django.urls import reverse
from django.utils import timezone

from agents import served_names
from agents.llm.base import StepScope
from agents.llm.completion import CostSource
from agents.llm.errors import AnswerCut
from agents.llm.http import close_clients
from agents.llm.router import create_provider, create_shared_provider, provider_of_key
from agents.models import AgentModelConfig, CatalogModel, ServedName
from agents.retirement import retirements
from pipeline.models import LLMCall, PeriodicJob, PipelineRun
from pipeline.models.inbox import Buttons
from pipeline.models.runs import CallStatus
from pipeline.operations import attention, periodic_jobs
from pipeline.running.briefing import default_provider
from tests.canaries import MEMBER_KEY, OPENAI_KEY, SHARED_KEY
from tests.llm.bare_server import GGUF, BareServer, bare_server
from tests.llm.calling import Recorder
from tests.llm.loopback import Canned, loopback
from tests.made_up_agents import made_up
from tests.pipeline.cases import PipelineCase, call_rows, override
from tests.pipeline.players import asking, pipeline, step
from tests.pipeline.test_admin import operator
from tests.pipeline.test_runpipeline import MESSAGE, RunPipelineCase, member
from tests.team.examples import ANSWERS

MODEL = "llama3.2:1b"
IDS = (
    *("llama3.2:1b", "smollm2", "gpt-oss-20b", "hf.co/bartowski/Qwen2.5-1.5B-GGUF:Q4_K_M"),
    *("@cf/meta/llama-3.1-8b-instruct", "accounts/fireworks/models/llama-v3p1-8b", "@preset/sales"),
    *("/models/a b.gguf", "modèle-1", "org/sub/model@rev"),
)


def in_prose(agent: str) -> str:
    return f"Sure! Here it is:\n\n```json\n{json.dumps(ANSWERS[agent])}\n```\nAnything else?"


@contextmanager
def shared(server: BareServer, **settings: Any) -> Iterator[None]:
    values = {
        "SHARED_SERVER": "compatible",
        "OPENROUTER_BASE_URL": server.url,
        "DEFAULT_MODEL": MODEL,
        **settings,
    }
    with override_settings(**values):
        yield


class CommandTests(RunPipelineCase):
    def test_each_pipeline_ends_in_an_answer_on_a_server_that_does_the_least(self):
        with bare_server(in_prose) as server, shared(server):
            for name in ("support", "learn", "train"):
                content = self.json_of(name, MESSAGE)

                assert content["status"] == "ok", content
                assert content["answer"]
                assert {step["status"] for step in content["steps"]} == {"ok"}
                assert {step["served_model"] for step in content["steps"]} == {GGUF}

            assert server.paths == {"/v1/chat/completions"}
            for request in server.asked:
                assert request.headers["authorization"] == f"Bearer {SHARED_KEY}"
                known = {
                    "model",
                    "messages",
                    "response_format",
                    "max_tokens",
                    "max_completion_tokens",
                }
                assert not request.body.keys() - known
                assert not [name for name in request.headers if "openrouter" in name]
            calls = list(LLMCall.objects.filter(status="ok").order_by("started_at"))
            assert {call.provider for call in calls} == {"compatible"}
            assert {(call.cost_usd, call.cost_source) for call in calls} == {
                (None, CostSource.UNKNOWN)
            }
            assert len(calls) == len(server.answered)

    def test_each_pipeline_says_so_where_the_model_writes_prose_only(self):
        with bare_server(lambda agent: "I would call them.") as server, shared(server):
            for name in ("support", "learn", "train"):
                with pytest.raises(SystemExit):
                    self.printed(name, MESSAGE)

                run = PipelineRun.objects.order_by("started_at").last()
                assert run is not None
                lines = set(run.steps.filter(status="failed").values_list("member_line", flat=True))
                assert lines == {"The model's answer couldn't be read. Please try again."}

    def test_a_members_own_key_goes_to_openrouter_and_never_to_the_teams_server(self):
        maya = member("Maya", 1, key=MEMBER_KEY)
        with bare_server(in_prose) as server, shared(server, OPENROUTER_URL=self.openrouter):
            assert self.json_of("support", MESSAGE, "--as", "Maya")["status"] == "ok"
            AgentModelConfig.objects.upsert("strategist", MODEL, "olga")
            assert self.json_of("support", MESSAGE, "--as", "Maya")["status"] == "ok"
            provider = default_provider(maya)
            assert provider is not None
            async_to_sync(provider.validate_key)()

        assert {call.key for call in self.wire.calls()} == {MEMBER_KEY}
        assert {request.headers["authorization"] for request in server.asked} == {
            f"Bearer {SHARED_KEY}"
        }
        assert {request.headers["x-observatory-agent"] for request in server.asked} == {
            "strategist"
        }

    @property
    def openrouter(self) -> str:
        return f"{self.sandbox_url}/openrouter/api/v1"


class ServedNameTests(PipelineCase):
    async def asked(self, *, times: int = 1, served: str = GGUF) -> list[LLMCall]:
        service = self.resolver(SHARED_KEY)
        with bare_server(lambda agent: "Well.", served=served) as server, shared(server):
            ctx = self.context(default_llm=None, model_config=service)
            await self.play(pipeline(step("one")), [asking("one", times=times)], ctx)
        # The server knows no limit: what it refuses to take first is a row, too.
        return [call for call in await call_rows() if call.status == CallStatus.OK]

    async def test_another_name_alerts_once_until_an_operator_says_that_it_is_the_same(self):
        with override_settings(SHARED_SERVER="compatible"):
            await override("one", MODEL)

        calls = await self.asked(times=5)
        assert [call.is_mismatch for call in calls] == [True] * 5
        assert len(self.alerts) == 1
        assert f"asked for {MODEL}, answered by {GGUF}" in self.alerts[0]
        assert "Served names" in self.alerts[0]

        await ServedName.objects.filter(served_model=GGUF).aupdate(is_same=True)
        calls = await self.asked(times=2)
        assert [call.is_mismatch for call in calls[5:]] == [False] * 2
        await self.asked(served="llama3.2:3b")
        assert len(self.alerts) == 2

    async def test_a_server_that_makes_up_names_fills_no_table(self):
        with override_settings(SHARED_SERVER="compatible"):
            await override("one", MODEL)
        names = [f"name-{number}" for number in range(served_names.MAX_NAMES)]
        await ServedName.objects.abulk_create(
            ServedName(provider="compatible", requested_model=MODEL, served_model=name)
            for name in names
        )

        (call,) = await self.asked(served="one-more")

        assert (call.is_mismatch, self.alerts) == (True, [])
        assert await ServedName.objects.acount() == served_names.MAX_NAMES

    async def test_an_openai_server_under_another_name_alerts_once_too(self):
        with bare_server(lambda agent: "Well.") as server:
            for base in (server.url, f"{server.url}/v1", f"{server.url}/v1/"):
                with override_settings(OPENAI_BASE_URL=base):
                    llm = create_provider("openai", OPENAI_KEY, "smollm2")
                    ctx = self.context(default_llm=llm)
                    await self.play(pipeline(step("one")), [asking("one")], ctx)

        assert server.paths == {"/v1/chat/completions"}
        assert len(server.answered) == 3
        assert len(self.alerts) == 1


class CostTests(SimpleTestCase):
    async def test_what_an_answer_that_was_cut_cost_is_kept(self):
        choice = {"message": {"content": "Wel"}, "finish_reason": "length"}
        usage = {"prompt_tokens": 3, "completion_tokens": 1, "cost": 0.01}
        recorder = Recorder()
        async with loopback(Canned(body={"choices": [choice], "usage": usage})) as server:
            with override_settings(SHARED_SERVER="compatible", OPENROUTER_BASE_URL=server.base_url):
                llm = create_shared_provider(SHARED_KEY, MODEL)
                scope = StepScope(agent="one", step_id="1", observer=recorder, deadline_s=30)
                with pytest.raises(AnswerCut):
                    await llm.for_step(scope).complete("s", "u")

        costs = {outcome.learnt and str(outcome.learnt.cost_usd) for outcome in recorder.outcomes}
        assert costs == {"0.01"}


class BaseUrlTests(TestCase):
    async def test_bases_are_taken_with_and_without_a_version(self):
        table = {
            "": "/v1/chat/completions",
            "/": "/v1/chat/completions",
            "/v1": "/v1/chat/completions",
            "/openai/v1/": "/openai/v1/chat/completions",
            "/api": "/api/v1/chat/completions",
            "/api/paas/v4": "/api/paas/v4/chat/completions",
            "/v1beta/openai": "/v1beta/openai/chat/completions",
            "/vllm": "/vllm/v1/chat/completions",
        }
        with bare_server(lambda agent: "Well.") as server:
            for base, path in table.items():
                with self.subTest(base):
                    with shared(server, OPENROUTER_BASE_URL=f"{server.url}{base}"):
                        await create_shared_provider(SHARED_KEY, MODEL).complete("s", "u")
                    await close_clients()

                    assert server.asked[-1].path == path


class ChoosingTests(TestCase):
    def test_ids_of_any_shape_are_taken_and_said_to_be_unchecked(self):
        client = operator("ana", "change_agentmodelconfig", "view_agentmodelconfig")
        CatalogModel.objects.create(
            model_id="openai/gpt-oss-20b",
            **dict.fromkeys(("first_seen_at", "last_seen_at"), timezone.now()),
        )
        with override_settings(SHARED_SERVER="compatible", SECURE_SSL_REDIRECT=False):
            for number, model_id in enumerate((*IDS, "openai/gpt-oss-20b")):
                row = AgentModelConfig.objects.upsert(made_up(f"agent{number}"), model_id, "olga")
                assert row.model_id == model_id
                page = client.get(reverse("cost"), {"agent_name": "memory", "model_id": model_id})
                said = page.content.decode()
                assert "not checked" in said
                assert "does not do" not in said
            for wrong in ("", " a", "a\nb", "x" * 201, "a\0b", MEMBER_KEY):
                with pytest.raises(ValidationError) as refusal:
                    AgentModelConfig.objects.upsert(made_up("one"), wrong, "olga")
                assert MEMBER_KEY not in str(refusal.value)

    def test_openrouters_ids_keep_their_shape(self):
        for model_id in ("@preset/sales", "openai/gpt-5@preset/sales", "~openai/gpt-latest"):
            AgentModelConfig.objects.upsert(made_up("one"), model_id, "olga")
        for model_id in ("llama3.2:1b", "hf.co/a/b:Q4", "@cf/a/b", "a/b@preset/", "preset/a/b"):
            with self.subTest(model_id), pytest.raises(ValidationError):
                AgentModelConfig.objects.upsert(made_up("one"), model_id, "olga")

    def test_nothing_is_asked_of_openrouter_and_no_model_is_missed(self):
        with override_settings(SHARED_SERVER="compatible", DEFAULT_MODEL=MODEL):
            AgentModelConfig.objects.upsert("strategist", MODEL, "olga")
            assert retirements(attention.uses(), today=timezone.now().date()) == []
            assert attention.credit() is None
            for spec in periodic_jobs.JOBS:
                if spec.name in (attention.CREDIT, attention.CATALOGUE):
                    async_to_sync(periodic_jobs.run_if_due)(spec, timezone.now(), _silent)
                    assert PeriodicJob.objects.get(name=spec.name).last_result == {}

    def test_no_text_is_taken_for_a_key_of_the_teams_server(self):
        assert create_shared_provider(SHARED_KEY, "a/b").name == "openrouter"
        with override_settings(SHARED_SERVER="compatible"):
            assert create_shared_provider(SHARED_KEY, "a").name == "compatible"
            assert provider_of_key("") is None
            assert provider_of_key(MEMBER_KEY) == "openrouter"

    def test_an_operator_enters_a_name_and_is_on_record_for_it(self):
        client = operator("ana", "add_servedname", "change_servedname", "view_servedname")
        with override_settings(SECURE_SSL_REDIRECT=False):
            client.post(
                reverse("admin:agents_servedname_add"),
                {
                    "provider": "compatible",
                    "requested_model": MODEL,
                    "served_model": GGUF,
                    "is_same": "on",
                },
            )
            page = client.get(reverse("admin:agents_servedname_changelist")).content.decode()

        row = ServedName.objects.get()
        assert (row.is_same, row.set_by) == (True, "ana")
        assert GGUF in page


async def _silent(text: str, buttons: Buttons = (), *, is_news: bool = False) -> bool:
    raise AssertionError(text)

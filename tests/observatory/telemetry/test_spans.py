"""What a receiver learns of a run: the tree, the attributes, and nothing confidential."""

from __future__ import annotations

import asyncio
import json
import re
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.test import override_settings
from django.utils import timezone

from agents.base import AgentContext, AgentInput, AgentOutput
from agents.llm.http import close_clients
from pipeline.journal import resumption, rows
from pipeline.journal.fencing import RunLease
from pipeline.models import LLMCall, Member, PipelineRun, StepRun, TelegramUpdate
from pipeline.models.runs import Source, StepMode
from pipeline.people import erasure
from pipeline.running.runner import Origin
from tests.canaries import BOT_TOKEN, CLAUDE_KEY, MEMBER_KEY, OPENAI_KEY, SHARED_KEY
from tests.llm.loopback import Canned, loopback
from tests.observatory.telemetry.cases import AUTHORIZATION, TelemetryCase, all_named, named
from tests.pipeline.cases import MEMBER_MODEL, call_rows, member_llm, override, run_row, step_rows
from tests.pipeline.players import ask, asking, pipeline, player, said, step

CHOSEN = "anthropic/claude-sonnet-4.5"


class TreeTests(TelemetryCase):
    async def test_a_run_is_a_trace_of_its_steps_and_their_calls(self):
        report = await self.play(pipeline(step("one")), [asking("one")])

        spans = await self.told()
        run, one, call = spans
        assert [span.name for span in spans] == [
            "invoke_workflow play",
            "invoke_agent one",
            f"chat {MEMBER_MODEL}",
        ]
        assert [span.kind for span in spans] == ["INTERNAL", "INTERNAL", "CLIENT"]
        assert {span.trace_id for span in spans} == {report.run_id.hex}
        assert [run.parent_id, one.parent_id, call.parent_id] == ["", run.span_id, one.span_id]
        assert run.started_ns <= one.started_ns <= call.started_ns
        assert call.ended_ns <= one.ended_ns <= run.ended_ns
        assert not any(span.is_error for span in spans)

    async def test_parallel_and_background_steps_are_beneath_their_run(self):
        await self.play(
            pipeline(
                step("notes", StepMode.BACKGROUND),
                step("left", StepMode.PARALLEL),
                step("right", StepMode.PARALLEL),
            ),
            [asking("notes"), asking("left"), asking("right")],
        )

        spans = await self.told()
        run = named(spans, "invoke_workflow play")
        steps = [named(spans, f"invoke_agent {name}") for name in ("notes", "left", "right")]
        assert {span.parent_id for span in steps} == {run.span_id}
        assert [span["observatory.step.mode"] for span in steps] == [
            *("background", "parallel", "parallel")
        ]
        calls = all_named(spans, f"chat {MEMBER_MODEL}")
        assert {span.parent_id for span in calls} == {span.span_id for span in steps}

    async def test_a_background_step_that_another_process_runs_later_is_in_the_same_trace(self):
        played = pipeline(step("one"), step("notes", StepMode.BACKGROUND))
        ctx = self.context()
        report = await self.runner([asking("one"), asking("notes")]).run(
            pipeline(step("one")), ctx, source=Source.SHELL
        )
        first = await self.told()
        run = await run_row()
        assert run.attempt_token is not None

        self.report_to(self.receiver.base_url)
        await self.runner([asking("notes")]).run_background_step(
            played, 1, ctx, report.run_id, RunLease(report.run_id, run.attempt_token)
        )
        await close_clients()

        notes = named(await self.told(), "invoke_agent notes")
        assert notes.trace_id == report.run_id.hex
        assert notes.parent_id == named(first, "invoke_workflow play").span_id
        assert notes.resource["service.instance.id"] != first[0].resource["service.instance.id"]

    async def test_every_attempt_at_a_provider_is_a_span(self):
        ctx = self.context(default_llm=member_llm("sandbox/flaky-429"))

        await self.play(pipeline(step("one")), [asking("one")], ctx)

        first, second = all_named(await self.told(), "chat sandbox/flaky-429")
        assert first.parent_id == second.parent_id
        assert (first.is_error, first["error.type"]) == (True, "RateLimited")
        assert (first["observatory.call.attempt"], first["http.response.status_code"]) == (1, 429)
        assert (second.is_error, second["observatory.call.attempt"]) == (False, 2)
        assert "error.type" not in second.attributes

    async def test_a_run_that_goes_on_elsewhere_goes_on_in_its_trace(self):
        played, origin = pipeline(step("one"), step("two")), await an_origin()
        reached = asyncio.Event()

        async def never_end(agent_input: AgentInput, ctx: AgentContext) -> AgentOutput:
            reached.set()
            await asyncio.Event().wait()
            raise AssertionError

        running = asyncio.create_task(
            self.runner([asking("one"), player("two", never_end)]).run(
                played, self.context(), source=Source.TELEGRAM, origin=origin
            )
        )
        await reached.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        before = await self.told()

        self.report_to(self.receiver.base_url)
        run = await run_row()
        kept = await sync_to_async(resumption.read_back)(run.pk)
        await self.runner([asking("two")]).resume(kept, self.context(), origin.token)
        await close_clients()

        spans = await self.told()
        assert all_named(before, "invoke_workflow play") == []
        root = named(spans, "invoke_workflow play")
        assert {span.trace_id for span in spans} == {run.pk.hex}
        assert [
            span["observatory.step.status"] for span in all_named(spans, "invoke_agent two")
        ] == [*("cancelled", "ok")]
        assert all(
            span.parent_id == root.span_id for span in spans if span.name.startswith("invoke_agent")
        )
        assert root.started_ns <= min(span.started_ns for span in spans)

    async def test_what_a_dead_worker_left_open_is_told_when_it_is_closed(self):
        await self.play(pipeline(step("one")), [asking("one")])
        await StepRun.objects.aupdate(status="running", ended_at=None)
        await LLMCall.objects.aupdate(status="running", latency_ms=None)
        await PipelineRun.objects.aupdate(status="running", source="telegram", ended_at=None)
        await self.told()
        self.receiver.posts.clear()

        await sync_to_async(rows.close_orphans)()

        spans = await self.told()
        for name in ("invoke_workflow play", "invoke_agent one", f"chat {MEMBER_MODEL}"):
            span = named(spans, name)
            assert (span.is_error, span["error.type"]) == (True, "interrupted"), name
            assert span.ended_ns >= span.started_ns

    async def test_a_run_that_its_member_has_erased_is_told_as_nobodys_and_without_texts(self):
        self.report_to(self.receiver.base_url, with_content=True)
        member = await Member.objects.acreate(telegram_id=700000001)
        await self.runner([asking("one")]).run(
            pipeline(step("one", message="ctx.user_message")),
            self.context(user_message="A CFO of Hooli went silent."),
            source=Source.SHELL,
            member_id=member.pk,
        )
        await close_clients()
        await StepRun.objects.aupdate(status="running")
        await LLMCall.objects.aupdate(status="running")
        await PipelineRun.objects.aupdate(status="running")
        await self.told()
        self.receiver.posts.clear()

        await sync_to_async(erasure.erase)(member, now=timezone.now())

        spans = await self.told()
        assert len(spans) == 3
        assert named(spans, "invoke_workflow play")["observatory.run.status"] == "cancelled"
        assert not any("user.id" in span.attributes for span in spans)
        sent = b"".join(post.body for post in self.receiver.posts)
        assert b"Hooli" not in sent
        assert b"A question of one" not in sent


class AttributeTests(TelemetryCase):
    async def test_an_override_shows_in_step_and_call_who_chose_it_and_who_pays(self):
        row = await override("one", CHOSEN)

        await self.play(pipeline(step("one")), [asking("one")])

        spans = await self.told()
        one, call = named(spans, "invoke_agent one"), named(spans, f"chat {CHOSEN}")
        step_row, (call_row,) = (await step_rows())["one"], await call_rows()
        for span in (one, call):
            assert span["observatory.purse"] == "shared"
            assert span["observatory.config.reason"] == step_row.decision
            assert f"ran {CHOSEN} because override v1 by olga" in step_row.decision
            assert span["observatory.config.version"] == step_row.snapshot_version
            assert span["observatory.config.override_version"] == step_row.override_version
            assert span["observatory.config.model"] == row.model_id
            assert span["observatory.run.id"] == str(step_row.run_id)
            assert span["observatory.step.id"] == str(step_row.pk)
            assert span["gen_ai.agent.name"] == "one"
        assert one["gen_ai.operation.name"] == "invoke_agent"
        # A model would make a generation of it, and count its tokens twice.
        assert "gen_ai.request.model" not in one.attributes
        assert call["observatory.call.id"] == str(call_row.pk)

    async def test_a_call_has_the_attributes_of_the_conventions_and_its_cost(self):
        await self.play(pipeline(step("one")), [asking("one")])

        call = named(await self.told(), f"chat {MEMBER_MODEL}")
        (row,) = await call_rows()
        assert call["gen_ai.operation.name"] == "chat"
        assert call["gen_ai.provider.name"] == "openrouter"
        assert call["gen_ai.request.model"] == MEMBER_MODEL
        assert call["gen_ai.response.model"] == row.served_model
        assert call["gen_ai.response.id"] == row.generation_id
        assert call["observatory.call.upstream"] == row.upstream != ""
        assert call["gen_ai.response.finish_reasons"] == ("stop",)
        assert call["gen_ai.usage.input_tokens"] == row.input_tokens
        assert call["gen_ai.usage.output_tokens"] == row.output_tokens
        assert call["gen_ai.usage.cost"] == float(row.cost_usd or 0) > 0
        assert call["observatory.call.cost_source"] == "reported"
        assert call["server.address"] == "127.0.0.1"
        assert f":{call['server.port']}" in self.sandbox_url
        assert call["observatory.purse"] == "member"
        assert call["langfuse.observation.type"] == "generation"
        assert (row.latency_ms or 0) * 1_000_000 == call.ended_ns - call.started_ns

    async def test_the_root_names_the_pipeline_and_how_it_ended(self):
        await self.play(pipeline(step("one")), [asking("one")])

        root = named(await self.told(), "invoke_workflow play")
        assert root["gen_ai.operation.name"] == "invoke_workflow"
        assert root["gen_ai.workflow.name"] == root["langfuse.trace.name"] == "play"
        assert (root["observatory.run.status"], root["observatory.run.source"]) == ("ok", "shell")
        assert root["langfuse.trace.metadata.run_id"] == root["observatory.run.id"]
        assert root.resource["service.name"] == "observatory-in-tests"
        assert root.resource["deployment.environment.name"] == "tests"

    async def test_an_answer_of_another_model_is_a_warning_with_both_names(self):
        await override("one", "sandbox/other-model")

        await self.play(pipeline(step("one")), [asking("one")])

        call = named(await self.told(), "chat sandbox/other-model")
        assert call["observatory.call.is_mismatch"] is True
        assert call["gen_ai.response.model"] == "openai/gpt-4o-mini"
        assert call["langfuse.observation.level"] == "WARNING"
        assert call["langfuse.observation.status_message"] == (
            "asked for sandbox/other-model, answered by openai/gpt-4o-mini"
        )

    async def test_a_failure_is_an_error_with_a_type_all_the_way_up(self):
        await override("one", "sandbox/no-credit")

        await self.play(pipeline(step("one")), [asking("one")])

        spans = await self.told()
        assert all(span.is_error for span in spans)
        assert named(spans, "chat sandbox/no-credit")["error.type"] == "NoCredit"
        assert named(spans, "chat sandbox/no-credit")["observatory.call.cause"] == "account"
        assert named(spans, "invoke_agent one")["error.type"] == "NoCredit"
        assert named(spans, "invoke_workflow play")["error.type"] == "failed"

    async def test_members_are_told_apart_by_names_that_lead_to_nobody(self):
        for telegram_id in (700000001, 700000002):
            member = await Member.objects.acreate(telegram_id=telegram_id, name="Maya Ortiz")
            for _ in range(2):
                await self.runner([asking("one")]).run(
                    pipeline(step("one")), self.context(), source=Source.SHELL, member_id=member.pk
                )
        await close_clients()

        spans = await self.told()
        users = {span["user.id"] for span in spans}
        assert len(users) == 2
        assert len(spans) == 4 * 3
        assert all(re.fullmatch("[0-9a-f]{32}", user) for user in users)
        sent = b"".join(post.body for post in self.receiver.posts)
        for clue in (b"70000000", b"Maya", b"Ortiz"):
            assert clue not in sent

    async def test_runs_of_a_chat_share_a_session(self):
        for number in range(2):
            origin = await an_origin(update_id=number, chat_id=-100200300)
            await self.runner([asking("one")]).run(
                pipeline(step("one")), self.context(), source=Source.TELEGRAM, origin=origin
            )
        await close_clients()

        spans = await self.told()
        sessions = {span["session.id"] for span in spans}
        assert len({span.trace_id for span in spans}) == 2
        assert len(sessions) == 1
        assert all(span["gen_ai.conversation.id"] in sessions for span in spans)
        assert b"100200300" not in b"".join(post.body for post in self.receiver.posts)


class ContentTests(TelemetryCase):
    async def test_texts_stay_here_by_default(self):
        ctx = self.context(user_message="A CFO of Hooli went silent.", knowledge_base="Playbook.")
        await override("two", "sandbox/no-credit")

        await self.play(
            pipeline(step("one", message="ctx.user_message"), step("two")),
            [asking("one"), asking("two")],
            ctx,
        )

        spans = await self.told()
        sent = b"".join(post.body for post in self.receiver.posts)
        (call, *_) = await call_rows()
        assert call.output is not None
        for text in ("Hooli", "Playbook.", "A question of", "You are", call.output.text):
            assert text.encode() not in sent, text
        for span in spans:
            assert not {name for name in span.attributes if name.endswith((".input", ".output"))}
            assert not {name for name in span.attributes if "messages" in name}

    async def test_texts_go_along_where_that_was_asked_for(self):
        self.report_to(self.receiver.base_url, with_content=True)
        ctx = self.context(user_message="A CFO of Hooli went silent.")

        await self.play(pipeline(step("one", message="ctx.user_message")), [asking("one")], ctx)

        spans = await self.told()
        (row,) = await call_rows()
        assert row.output is not None
        call = named(spans, f"chat {MEMBER_MODEL}")
        assert json.loads(call["gen_ai.system_instructions"]) == [
            {"type": "text", "content": "You are one."}
        ]
        assert json.loads(call["gen_ai.input.messages"]) == [
            {"role": "user", "parts": [{"type": "text", "content": "A question of one."}]}
        ]
        assert json.loads(call["gen_ai.output.messages"]) == [
            {
                "role": "assistant",
                "parts": [{"type": "text", "content": row.output.text}],
                "finish_reason": "stop",
            }
        ]
        assert json.loads(call["langfuse.observation.input"]) == [
            {"role": "system", "content": "You are one."},
            {"role": "user", "content": "A question of one."},
        ]
        assert call["langfuse.observation.output"] == row.output.text
        root = named(spans, "invoke_workflow play")
        assert root["langfuse.trace.input"] == "A CFO of Hooli went silent."
        assert root["langfuse.trace.output"] == row.output.text

    async def test_a_long_text_goes_along_in_part(self):
        self.report_to(self.receiver.base_url, with_content=True)
        playbook = "word " * 14_000

        async def quote(agent_input: AgentInput, ctx: AgentContext) -> AgentOutput:
            await ctx.llm.complete(playbook, "What now?")
            return said("one", "Quoted.")

        await self.play(pipeline(step("one")), [player("one", quote)])

        call = named(await self.told(), f"chat {MEMBER_MODEL}")
        (told,) = json.loads(call["gen_ai.system_instructions"])
        assert told["content"] == f"{playbook[:16_000]}… [{len(playbook) - 16_000} more characters]"

    async def test_no_key_is_in_anything_that_leaves_but_the_receivers_own(self):
        self.report_to(self.receiver.base_url, with_content=True)
        secrets = (MEMBER_KEY, SHARED_KEY, CLAUDE_KEY, OPENAI_KEY, BOT_TOKEN)
        everything = " ".join(secrets)

        async def blab(agent_input: AgentInput, ctx: AgentContext) -> AgentOutput:
            await ctx.llm.complete(everything, everything)
            return AgentOutput(agent="one", success=True, data={"it": everything}, reply=everything)

        async def fail(agent_input: AgentInput, ctx: AgentContext) -> AgentOutput:
            await ask(ctx, "two")
            raise ValueError(everything)

        await override("two", "sandbox/echo-key")
        await self.play(
            pipeline(step("one", message="ctx.user_message"), step("two")),
            [player("one", blab), player("two", fail)],
            self.context(user_message=everything),
        )

        assert await self.told()
        for post in self.receiver.posts:
            for secret in secrets:
                assert secret.encode() not in post.body
            assert post.headers["authorization"] == AUTHORIZATION
            assert AUTHORIZATION.encode() not in post.body


class WireTests(TelemetryCase):
    async def test_both_kinds_go_beneath_the_address_as_protobuf_with_the_headers_of_the_settings(
        self,
    ):
        await self.play(pipeline(step("one")), [asking("one")])
        await self.told()

        assert {post.path for post in self.receiver.posts} == {
            "/api/public/otel/v1/traces",
            "/api/public/otel/v1/metrics",
        }
        for post in self.receiver.posts:
            assert post.headers["content-type"] == "application/x-protobuf"
            assert post.headers["x-langfuse-ingestion-version"] == "4"

    async def test_nothing_of_the_trace_goes_to_a_provider(self):
        async with loopback(Canned(status=400)) as provider:
            with override_settings(OPENROUTER_BASE_URL=provider.base_url):
                ctx = self.context(default_llm=member_llm())
                await self.play(pipeline(step("one")), [asking("one")], ctx)

        (request,) = provider.received
        assert not {"traceparent", "tracestate", "baggage"} & set(request.headers)


async def an_update(*, update_id: int, chat_id: int) -> TelegramUpdate:
    return await TelegramUpdate.objects.acreate(
        bot_id=1, update_id=update_id, kind="message", chat_id=chat_id, user_id=chat_id, raw="{}"
    )


async def an_origin(*, update_id: int = 1, chat_id: int = 5) -> Origin:
    update = await an_update(update_id=update_id, chat_id=chat_id)
    return Origin(update_id=update.pk, token=uuid4())

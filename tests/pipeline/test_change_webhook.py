"""Each change of an override reaches the webhook once, in order, whatever the receiver does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

from asgiref.sync import sync_to_async
from django.conf import settings

from agents.database_identity import read_identity
from agents.models import AgentModelConfig
from pipeline.models import PeriodicJob
from pipeline.operations import attention, change_webhook, periodic_jobs
from pipeline.running import run_service
from tests.canaries import canary
from tests.llm import loopback as misbehaving
from tests.llm.loopback import Canned, Loopback, loopback, until, unused_base_url
from tests.pipeline.webhook_case import (
    KEYS,
    SECRETS,
    TAKEN,
    TOKEN,
    WebhookCase,
    change,
    ids,
    models,
)

AWAY = Canned(status=500, body={"error": "down"})
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@contextmanager
def short_run() -> Iterator[None]:
    """Let a run of the job, and so an attempt, take only two seconds."""
    with (
        patch.object(change_webhook, "RUN_S", 2.0),
        patch.object(change_webhook, "STARTED_WITHIN_S", 1.0),
    ):
        yield


class DeliveryTest(WebhookCase):
    async def test_every_change_is_delivered_once_and_in_order(self):
        async with loopback(TAKEN) as receiver:
            with self.webhook(receiver.base_url):
                await self.run_job()
                for number in range(5):
                    await change(f"openai/gpt-{number}")
                await self.run_job()
                await self.run_job()
                await change("openai/gpt-5")
                await self.run_job()

        assert models(receiver.received) == [f"openai/gpt-{number}" for number in range(6)]
        assert len(set(ids(receiver.received))) == 6

    async def test_what_was_changed_before_the_first_run_is_no_news(self):
        async with loopback(TAKEN) as receiver:
            with self.webhook(receiver.base_url):
                await self.run_job()
                await self.run_job()

        assert receiver.received == []

    async def test_a_message_says_what_changed_by_whom_and_why(self):
        async with loopback(TAKEN) as receiver:
            with self.webhook(receiver.base_url):
                await self.run_job()
                await change("z-ai/glm-4.6", reason="Cheaper", on_failure="default_model")
                await self.run_job()

        (request,) = receiver.received
        entry = await AgentModelConfig.history.order_by("-history_id").afirst()
        assert request.method == "POST"
        assert request.path == f"/api/v1/{TOKEN}"
        assert request.headers["content-type"] == "application/json"
        assert request.body == {
            "type": "override.changed",
            "timestamp": entry.history_date.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "data": {
                "agent": "trainer",
                "version": 2,
                "model": "z-ai/glm-4.6",
                "model_before": "openai/gpt-4.1",
                "on_failure": "default_model",
                "on_failure_before": "fail",
                "by": "ada",
                "reason": "Cheaper",
                "check": "unchecked",
            },
        }

    async def test_a_model_that_is_not_in_force_is_null(self):
        async with loopback(TAKEN) as receiver:
            with self.webhook(receiver.base_url):
                await self.run_job()
                await AgentModelConfig.objects.adeactivate("trainer", "ada")
                await change("z-ai/glm-4.6")
                row = await AgentModelConfig.objects.aget()
                await sync_to_async(row.delete)()
                await AgentModelConfig.objects.aupsert("strategist", "openai/gpt-5", "ada")
                await self.run_job()

        facts = [request.body["data"] for request in receiver.received]
        assert [(told["model_before"], told["model"]) for told in facts] == [
            ("openai/gpt-4.1", None),
            (None, "z-ai/glm-4.6"),
            ("z-ai/glm-4.6", None),
            (None, "openai/gpt-5"),
        ]
        assert [told["on_failure"] for told in facts] == [None, "fail", None, "fail"]
        assert [told["check"] is None for told in facts] == [True, False, True, False]

    async def test_turning_all_off_delivers_each_override(self):
        async with loopback(TAKEN) as receiver:
            with self.webhook(receiver.base_url):
                await AgentModelConfig.objects.aupsert("strategist", "openai/gpt-5", "ada")
                await self.run_job()
                turn_off = sync_to_async(AgentModelConfig.objects.deactivate_all)
                await turn_off("ada", reason="The key is out of credit")
                await self.run_job()

        facts = [request.body["data"] for request in receiver.received]
        assert [told["agent"] for told in facts] == ["strategist", "trainer"]
        assert [told["version"] for told in facts] == [3, 3]
        assert models(receiver.received) == [None, None]

    async def test_without_a_url_nothing_is_sent_and_the_cursor_stays(self):
        async with loopback(TAKEN) as receiver:
            await self.run_job()
            assert await self.state() == {}
            with self.webhook(receiver.base_url):
                await self.run_job()
            before = await self.state()
            await change("openai/gpt-5")
            await self.run_job()
            assert await self.state() == before
            assert receiver.received == []
            with self.webhook(receiver.base_url):
                await self.run_job()

        assert models(receiver.received) == ["openai/gpt-5"]

    async def test_what_is_left_when_the_runs_time_is_up_is_due_at_once(self):
        async def slow(_, __, writer):
            await asyncio.sleep(0.2)
            writer.write(TAKEN.encoded())

        async with loopback(slow, TAKEN) as receiver:
            with self.webhook(receiver.base_url):
                await self.run_job()
                await change("openai/gpt-5")
                await change("openai/gpt-6")
                with patch.object(change_webhook, "STARTED_WITHIN_S", 0.1):
                    await self.run_job()
                assert len(receiver.received) == 1
                await self.run_if_due()

        assert models(receiver.received) == ["openai/gpt-5", "openai/gpt-6"]

    async def test_a_change_makes_the_job_due(self):
        for spec in periodic_jobs.JOBS:
            await PeriodicJob.objects.acreate(name=spec.name, due_at=self.at + HOUR)

        await sync_to_async(run_service._hasten_change_jobs)()

        due = PeriodicJob.objects.filter(due_at__lt=self.at + MINUTE).order_by("name")
        assert [job.name async for job in due] == [PeriodicJob.WEBHOOK, PeriodicJob.CHANGES]


class RetryTest(WebhookCase):
    async def test_a_receiver_that_is_away_for_an_hour_loses_nothing(self):
        base_url = unused_base_url()
        with self.webhook(base_url):
            await self.run_job()
            for number in range(3):
                await change(f"openai/gpt-{number}")
            await self.run_job()
            away_until = self.at + HOUR
            while self.at < away_until:
                self.at = await self.due_at()
                await self.run_if_due()

            port = int(base_url.split(":")[2].split("/")[0])
            async with loopback(TAKEN, port=port) as receiver:
                self.at = await self.due_at()
                await self.run_if_due()

        assert models(receiver.received) == ["openai/gpt-0", "openai/gpt-1", "openai/gpt-2"]
        assert self.told == []

    async def test_waits_double_from_five_seconds_to_five_minutes(self):
        waits: list[float] = []
        async with loopback(AWAY) as receiver:
            with self.webhook(receiver.base_url):
                await self.run_job()
                await change("openai/gpt-5")
                await self.run_job()
                for _ in range(9):
                    waits.append((await self.due_at() - self.at).total_seconds())
                    self.at = await self.due_at()
                    await self.run_if_due()

        expected = [5, 10, 20, 40, 80, 160, 300, 300, 300]
        for wait_s, longest_s in zip(waits, expected, strict=True):
            # The attempt itself takes a moment, and a busy machine longer.
            assert 0.9 * longest_s <= wait_s < longest_s + change_webhook.RUN_S
        assert len(receiver.received) == 10

    async def test_another_change_does_not_hasten_the_one_that_waits(self):
        async with loopback(AWAY) as receiver:
            with self.webhook(receiver.base_url):
                await self.run_job()
                await change("openai/gpt-5")
                await self.run_job()
                next_try_at = await self.due_at()
                await change("openai/gpt-6")
                await self.run_job()

        assert len(receiver.received) == 1
        assert await self.due_at() == next_try_at

    async def test_a_clock_that_is_set_back_delays_nothing(self):
        async with loopback(AWAY, TAKEN) as receiver:
            with self.webhook(receiver.base_url):
                await self.run_job()
                await change("openai/gpt-5")
                await self.run_job(after=3 * HOUR)
                await self.run_job(after=-2 * HOUR)

        assert models(receiver.received) == ["openai/gpt-5", "openai/gpt-5"]

    async def test_a_retry_has_the_same_id_and_body_and_a_time_of_its_own(self):
        async with loopback(AWAY, TAKEN) as receiver:
            with self.webhook(receiver.base_url):
                await self.run_job()
                await change("openai/gpt-5")
                await self.run_job()
                await self.run_job(after=MINUTE)

        first, second = receiver.received
        entry = await AgentModelConfig.history.order_by("-history_id").afirst()
        identity = await sync_to_async(read_identity)()
        assert ids([first]) == ids([second])
        assert f"_{identity}_{entry.history_id}_" in first.headers["webhook-id"]
        assert first.raw == second.raw
        times = [int(request.headers["webhook-timestamp"]) for request in (first, second)]
        assert 55 <= times[1] - times[0] <= 75
        assert first.headers["webhook-signature"] != second.headers["webhook-signature"]

    async def test_whatever_a_receiver_does_but_say_2xx_is_tried_again(self):
        elsewhere = {"Location": "/elsewhere"}
        for name, reply, problem in (
            ("500", AWAY, "it answered 500"),
            ("gone", Canned(status=410), "it answered 410"),
            ("moved", Canned(status=307, headers=elsewhere), "it answered 307"),
            ("a page", Canned(status=304, body=b""), "it answered 304"),
            ("reset", misbehaving.reset_before_answer, "the connection failed (ClientOSError)"),
            ("hung up", misbehaving.hang_up_before_answer, "the connection failed (Server"),
            ("nonsense", misbehaving.nonsense, "the connection failed (Http"),
            ("silence", misbehaving.never, "it didn't answer within"),
        ):
            with self.subTest(name):
                async with loopback(reply, TAKEN) as receiver:
                    with self.webhook(receiver.base_url):
                        await self.run_job()
                        await change(f"openai/{name.replace(' ', '-')}")
                        with short_run():
                            await self.run_job()
                        assert (await self.state())["problem"].startswith(problem)
                        await self.run_job(after=MINUTE)

                first, second = receiver.received
                assert ids([first]) == ids([second])
                assert {first.path, second.path} == {f"/api/v1/{TOKEN}"}

    async def test_an_answer_of_2xx_counts_whatever_its_body(self):
        async with loopback(
            misbehaving.nine_megabytes, misbehaving.drip, misbehaving.reset_mid_answer
        ) as receiver:
            with self.webhook(receiver.base_url):
                await self.run_job()
                for number in range(3):
                    await change(f"openai/gpt-{number}")
                    with short_run():
                        await self.run_job()

        assert models(receiver.received) == ["openai/gpt-0", "openai/gpt-1", "openai/gpt-2"]
        assert "problem" not in await self.state()

    async def test_a_receiver_says_how_long_to_wait_up_to_five_minutes(self):
        for status, asked, waited_s in (
            (503, "120", 120),
            (429, "90", 90),
            (503, "3600", 300),
            (503, "0", 5),
            (500, "120", 5),
        ):
            with self.subTest(status=status, asked=asked):
                busy = Canned(status=status, headers={"Retry-After": asked})
                async with loopback(busy, TAKEN) as receiver:
                    with self.webhook(receiver.base_url):
                        await self.run_job()
                        await change("openai/gpt-5")
                        await self.run_job()
                        wait_s = (await self.due_at() - self.at).total_seconds()
                        await self.run_job(after=HOUR)

                assert 0.9 * waited_s <= wait_s < waited_s + 1
                assert len(receiver.received) == 2


class GivingUpTest(WebhookCase):
    async def test_after_a_day_a_change_is_given_up_and_told_once_and_the_next_follows(self):
        async with loopback(AWAY, AWAY, AWAY, TAKEN) as receiver:
            with self.webhook(receiver.base_url):
                await self.run_job()
                await change("openai/gpt-5")
                await self.run_job()
                await self.run_job(after=DAY - 2 * MINUTE)
                assert self.told == []
                await change("openai/gpt-6")
                await self.run_job(after=3 * MINUTE)
                await self.run_job(after=MINUTE)

        assert models(receiver.received) == [*3 * ["openai/gpt-5"], "openai/gpt-6"]
        (text,) = self.told
        assert "trainer v2 (it answered 500)" in text
        assert "127.0.0.1" in text

    async def test_a_change_of_days_ago_is_tried_once_in_any_case(self):
        async with loopback(TAKEN, AWAY) as receiver:
            with self.webhook(receiver.base_url):
                await self.run_job()
                for number in range(4):
                    await change(f"openai/gpt-{number}")
                await self.run_job(after=2 * DAY)

        assert models(receiver.received) == [f"openai/gpt-{number}" for number in range(4)]
        (text,) = self.told
        assert "trainer v3 (it answered 500), trainer v4 (" in text
        assert "trainer v2" not in text

    async def test_if_the_chat_cannot_be_reached_the_next_run_tells(self):
        async with loopback(AWAY) as receiver:
            with self.webhook(receiver.base_url):
                await self.run_job()
                await change("openai/gpt-5")
                self.chat_answers = False
                await self.run_job(after=DAY)
                self.chat_answers = True
                await self.run_job()
                await self.run_job()

        (text,) = self.told
        assert "trainer v2" in text


class SeveralProcessesTest(WebhookCase):
    async def test_killed_after_the_delivery_the_same_id_is_repeated(self):
        running: list[asyncio.Task[None]] = []

        async def take_and_kill(_, __, writer):
            writer.write(TAKEN.encoded())
            running[0].cancel()  # before it can have read the answer

        async with loopback(take_and_kill, TAKEN) as receiver:
            with self.webhook(receiver.base_url):
                await self.run_job()
                await change("openai/gpt-5")
                await change("openai/gpt-6")
                running.append(asyncio.create_task(self.run_job()))
                await asyncio.wait(running)
                assert running[0].cancelled()
                assert await self.due_at() - self.at < MINUTE
                self.at = await self.due_at()
                await self.run_if_due()

        assert models(receiver.received) == ["openai/gpt-5", "openai/gpt-5", "openai/gpt-6"]
        first, second, third = ids(receiver.received)
        assert first == second != third

    async def test_while_one_process_delivers_another_one_sends_nothing(self):
        release = asyncio.Event()
        async with loopback(_take_when(release), TAKEN) as receiver:
            with self.webhook(receiver.base_url):
                await self.run_job()
                await change("openai/gpt-5")
                first = await self._begun(receiver)
                await self.run_job()
                release.set()
                await first

        assert models(receiver.received) == ["openai/gpt-5"]

    async def test_a_process_that_was_paused_does_not_move_the_cursor_back(self):
        release = asyncio.Event()
        async with loopback(_take_when(release), TAKEN) as receiver:
            with self.webhook(receiver.base_url):
                await self.run_job()
                await change("openai/gpt-5")
                await change("openai/gpt-6")
                first = await self._begun(receiver)
                await self.run_job(after=MINUTE)
                moved_on = await self.state()
                release.set()
                await first
                assert await self.state() == moved_on
                await self.run_job()

        assert models(receiver.received) == ["openai/gpt-5", "openai/gpt-5", "openai/gpt-6"]

    async def _begun(self, receiver: Loopback) -> asyncio.Task[None]:
        """Return a run of the job whose first request has arrived."""
        task = asyncio.create_task(self.run_job())
        await until(lambda: len(receiver.received) == 1)
        return task


def _take_when(release: asyncio.Event) -> misbehaving.ByHand:
    async def reply(_, __, writer):
        await release.wait()
        writer.write(TAKEN.encoded())

    return reply


class AlertTest(WebhookCase):
    def alert(self) -> list[attention.Alert]:
        return [one for one in attention.alerts(self.at) if one.key == "change-webhook"]

    async def alerts(self) -> list[attention.Alert]:
        return await sync_to_async(self.alert)()

    async def test_a_webhook_that_fails_for_five_minutes_is_an_alert_until_it_works(self):
        async with loopback(AWAY) as receiver:
            with self.webhook(receiver.base_url):
                await self.run_job()
                await change("openai/gpt-5")
                await self.run_job()
                since = self.at
                await self.run_job(after=4 * MINUTE)
                assert await self.alerts() == []
                await self.run_job(after=2 * MINUTE)
                (alert,) = await self.alerts()
                receiver.replies = [TAKEN]
                await self.run_job(after=HOUR)
                assert await self.alerts() == []

        assert alert.is_for_chat
        when = since.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
        assert f"127.0.0.1 has been failing since {when} UTC: it answered 500." in alert.text

    async def test_the_next_change_fails_since_the_one_before_it_was_given_up(self):
        async with loopback(AWAY) as receiver:
            with self.webhook(receiver.base_url):
                await self.run_job()
                await change("openai/gpt-5")
                await self.run_job()
                since = datetime.fromisoformat((await self.state())["failing_since"])
                await self._set_changed_at("openai/gpt-6", self.at + DAY)
                await self.run_job(after=DAY + MINUTE)
                (alert,) = await self.alerts()

        assert len(receiver.received) == 3
        assert since.astimezone(UTC).strftime("%Y-%m-%d %H:%M") in alert.text

    async def test_once_nothing_waits_for_it_or_it_is_gone_there_is_no_alert(self):
        async with loopback(AWAY) as receiver:
            with self.webhook(receiver.base_url):
                await self.run_job()
                await change("openai/gpt-5")
                await self.run_job()
                await self.run_job(after=HOUR)
                assert len(await self.alerts()) == 1
                with self.settings(CHANGE_WEBHOOK_URL=""):
                    assert await self.alerts() == []
                await self.run_job(after=DAY)
                assert await self.alerts() == []

    async def _set_changed_at(self, model_id: str, at: datetime) -> None:
        await change(model_id)
        await AgentModelConfig.history.filter(model_id=model_id).aupdate(history_date=at)


class RollingTest(WebhookCase):
    async def test_a_process_without_the_url_loses_nothing_of_those_with_it(self):
        async with loopback(AWAY, TAKEN) as receiver:
            with self.webhook(receiver.base_url):
                await self.run_job()
                await change("openai/gpt-5")
                await self.run_job()
                with self.settings(CHANGE_WEBHOOK_URL=""):
                    await self.run_job(after=MINUTE)
                await self.run_job(after=MINUTE)

        assert models(receiver.received) == ["openai/gpt-5", "openai/gpt-5"]


class SecrecyTest(WebhookCase):
    async def test_neither_secret_nor_path_is_in_a_log_an_alert_or_the_database(self):
        key = canary("sk-or-v1-CANARYinareason0123456789abcdef0123456789abcdef")
        with self.assertLogs(level="DEBUG") as logs:
            async with loopback(
                AWAY, misbehaving.reset_before_answer, misbehaving.never, TAKEN
            ) as receiver:
                with self.webhook(receiver.base_url), short_run():
                    await self.run_job()
                    await change("openai/gpt-5", reason=f"Ours is {key}")
                    states, alerts = [], []
                    for after in (HOUR, HOUR, HOUR, HOUR, DAY):
                        await self.run_job(after=after)
                        states.append(await self.state())
                        alerts += await sync_to_async(attention.alerts)(self.at + HOUR)
                    await change("openai/gpt-6")
                    receiver.replies = [AWAY]
                    await self.run_job(after=DAY)
                    configured = [settings.CHANGE_WEBHOOK_SECRETS, change_webhook._receiver()]

        assert len(self.told) == 1
        assert "change-webhook" in [alert.key for alert in alerts]
        assert "webhook: delivered trainer v2" in str(logs.output)
        shown = f"{logs.output} {self.told} {alerts} {states} {configured}"
        for hidden in (TOKEN, *SECRETS, *(secret[6:] for secret in SECRETS), repr(KEYS[1])[2:-1]):
            assert hidden not in shown
        assert receiver.received[0].body["data"]["reason"] == "Ours is [key hidden]"

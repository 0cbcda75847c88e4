"""LOG_FORMAT=json: one object a line, which says what it is about, and holds no key."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from django.test import SimpleTestCase

from agents.log_fields import LogFields, log_as
from agents.models import AgentModelConfig
from observatory.redaction import RedactingFilter, RedactingJsonFormatter
from pipeline.models import PipelineRun, StepRun, Task
from tests.canaries import SHARED_KEY
from tests.pipeline.bot.chatting import MAYA, BotCase
from tests.pipeline.bot.test_restarts import until_none_is_open


class Lines(logging.Handler):
    """Keeps what is logged, as LOG_FORMAT=json writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.addFilter(RedactingFilter())
        self.addFilter(LogFields())
        self.setFormatter(RedactingJsonFormatter())
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))

    def about(self, words: str) -> dict[str, Any]:
        return next(said for said in map(json.loads, self.lines) if words in said["message"])


class FormatTests(SimpleTestCase):
    def setUp(self) -> None:
        self.kept = Lines()
        self.logger = logging.getLogger("tests.log_format")
        self.logger.addHandler(self.kept)
        self.addCleanup(self.logger.removeHandler, self.kept)

    def test_a_record_is_one_line_with_its_traceback_and_without_keys(self):
        try:
            raise ValueError(f"refused {SHARED_KEY}")
        except ValueError:
            self.logger.exception("it failed:\n%s", SHARED_KEY)

        (line,) = self.kept.lines
        said = json.loads(line)
        assert "\n" not in line
        assert SHARED_KEY not in line
        assert (said["level"], said["logger"]) == ("ERROR", "tests.log_format")
        assert said["message"].startswith("it failed:\n")
        assert "ValueError: refused" in said["exception"]

    async def test_fields_are_those_of_the_asyncio_task_that_logs(self):
        async def work(number: int) -> None:
            log_as(task=number)
            await asyncio.sleep(0)
            self.logger.warning("work %s", number)

        await asyncio.gather(work(1), work(2))
        self.logger.warning("afterwards", extra={"chat": 7})

        assert self.kept.about("work 1")["task"] == "1"
        assert self.kept.about("work 2")["task"] == "2"
        assert "task" not in self.kept.about("afterwards")
        assert self.kept.about("afterwards")["chat"] == "7"


class WorkTests(BotCase):
    async def test_what_is_logged_of_a_failing_step_leads_to_run_step_task_and_chat(self):
        kept = Lines()
        root = logging.getLogger()
        root.addHandler(kept)
        self.addCleanup(root.removeHandler, kept)
        await AgentModelConfig.objects.aupsert("strategist", "sandbox/retired", "olga")
        async with self.bot() as chat:
            await chat.say(MAYA, "CFO, went silent")
            await chat.sees_text(MAYA, "(ref ")
            await until_none_is_open()

        run = await PipelineRun.objects.aget()
        step = await StepRun.objects.aget(agent="strategist")
        task = await Task.objects.aget(kind="message")
        said = kept.about("the override's model sandbox/retired failed")
        assert [said[name] for name in ("run", "step", "task", "chat")] == [
            *(str(run.pk), str(step.pk), str(task.pk), str(MAYA)),
        ]

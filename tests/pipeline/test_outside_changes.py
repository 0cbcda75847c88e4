"""Overrides written past the admin run, and the record says that they came from outside."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from asgiref.sync import sync_to_async
from django.core.management import call_command
from django.db import connection

from agents import revision
from agents.models import AgentModelConfig, OverrideVersion
from agents.snapshot import read_snapshot
from pipeline.models import StepRun
from tests.canaries import SHARED_KEY
from tests.pipeline.cases import PipelineCase, override
from tests.pipeline.players import asking, pipeline, step

OUTSIDE = "because an override changed outside the admin (its row says v"
TABLE = AgentModelConfig._meta.db_table


def sql(statement: str, *values: Any) -> Callable[[], None]:
    def execute() -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement, values)

    return execute


class OutsideTests(PipelineCase):
    async def sentence(self) -> str:
        """Return what the record of a new run says, of a resolver that has just read the table."""
        await sync_to_async(revision.announce_change)()  # else it is read within 60 s
        service = self.resolver(SHARED_KEY)
        ctx = self.context(model_config=service)
        await self.play(pipeline(step("one")), [asking("one")], ctx)
        return (await StepRun.objects.alatest("started_at")).decision

    async def test_each_column_that_sql_changes_is_told(self):
        for column, value in (
            ("model_id", "openai/gpt-4o-mini"),
            ("on_failure", "default_model"),
            ("set_by", "mallory"),
            ("version", 1),
            ("updated_at", "2026-01-01 00:00:00+00:00"),
            ("agent_name", "one"),
        ):
            with self.subTest(column):
                await override("two" if column == "agent_name" else "one", "openai/gpt-4.1")
                if column == "agent_name":
                    await AgentModelConfig.objects.filter(agent_name="one").aget()
                    await sync_to_async(sql(f"DELETE FROM {TABLE} WHERE agent_name = 'one'"))()
                    where = "two"
                else:
                    assert OUTSIDE not in await self.sentence()
                    where = "one"
                await sync_to_async(
                    sql(f"UPDATE {TABLE} SET {column} = %s WHERE agent_name = %s", value, where)
                )()

                assert OUTSIDE in await self.sentence()

        await override("one", "openai/gpt-4.1")
        assert OUTSIDE not in await self.sentence(), "an operator has looked at it"

    async def test_a_row_that_sql_inserted_or_put_in_force_is_told(self):
        await override("one", "openai/gpt-4.1")
        await AgentModelConfig.objects.adeactivate("one", "olga")
        assert "no override is set" in await self.sentence()

        await sync_to_async(sql(f"UPDATE {TABLE} SET is_active = %s", True))()
        assert OUTSIDE in await self.sentence()

        await sync_to_async(sql(f"DELETE FROM {TABLE}"))()
        names = "agent_name, model_id, set_by, version"
        await sync_to_async(
            sql(f"INSERT INTO {TABLE} ({names}) VALUES ('one', 'openai/gpt-4.1', 'olga', 1)")
        )()
        sentence = await self.sentence()
        assert sentence.startswith(f"ran openai/gpt-4.1 {OUTSIDE}1 by olga on ")

    async def test_an_override_that_sql_took_out_of_force_or_deleted_is_told(self):
        removed = "because no override is set (it was removed outside the admin)"
        for statement in (f"UPDATE {TABLE} SET is_active = FALSE", f"DELETE FROM {TABLE}"):
            with self.subTest(statement):
                await override("one", "openai/gpt-4.1")
                await override("two", "openai/gpt-4.1")
                await sync_to_async(sql(statement))()
                assert removed in await self.sentence()

                await override("one", "openai/gpt-4.1")
                assert "because override v" in await self.sentence()
                await AgentModelConfig.objects.adeactivate("one", "olga")
                assert "because no override is set;" in await self.sentence()

    async def test_a_fixture_that_brings_an_older_state_back_is_told(self):
        await override("one", "openai/gpt-4.1")
        with TemporaryDirectory() as folder:
            path = Path(folder) / "overrides.json"
            await sync_to_async(call_command)(
                "dumpdata", "agents.agentmodelconfig", output=str(path), verbosity=0
            )
            assert json.loads(path.read_text())[0]["fields"]["model_id"] == "openai/gpt-4.1"
            await override("one", "openai/gpt-4o-mini")
            assert OUTSIDE not in await self.sentence()

            await sync_to_async(call_command)("loaddata", str(path), verbosity=0)

        assert (await self.sentence()).startswith(f"ran openai/gpt-4.1 {OUTSIDE}")

    async def test_reading_stays_one_query_and_every_change_of_ours_is_known(self):
        for number in range(20):
            await override(f"agent{number}", "openai/gpt-4.1")
            await override(f"agent{number}", "openai/gpt-4o-mini", on_failure="default_model")

        def read() -> list[bool]:
            with self.assertNumQueries(1):
                return [one.is_outside for one in read_snapshot().overrides.values()]

        assert await sync_to_async(read)() == [False] * 20
        assert (await OverrideVersion.objects.aget()).n == 40

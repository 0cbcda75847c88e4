"""The repository: each change is one row, one history entry and one version."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.test import TestCase

from agents.models import AgentModelConfig, OnFailure, OverrideVersion

GOOD_MODEL_IDS = [
    "anthropic/claude-sonnet-4.5",
    "openai/gpt-5-mini",
    "meta-llama/llama-3.3-70b-instruct:free",
    "~anthropic/claude-opus-latest",
    "z-ai/glm_4.6",
    "01-ai/yi-large",
    "A/b",
]
BAD_MODEL_IDS = [
    "",
    " ",
    "gpt-5",
    "anthropic/",
    "/claude",
    "a/b/c",
    "a b/c",
    "anthropic/claude sonnet",
    "anthropic/claude\n",
    "anthropic/claude:",
    "anthropic/claude:Free!",
    "-a/b",
    "a/.b",
    "https://openrouter.ai/a/b",
    "a/b?x=1",
    "a/../b",
    "\u0430/b",  # a Cyrillic letter that looks like "a"
    "a/" + "b" * 200,
]


def counted() -> int:
    return sum(OverrideVersion.objects.values_list("n", flat=True))


class RepositoryTest(TestCase):
    def test_upsert_creates_an_active_override(self):
        row = AgentModelConfig.objects.upsert("extraction", "openai/gpt-5-mini", "olga")

        assert (row.agent_name, row.model_id, row.set_by) == (
            "extraction",
            "openai/gpt-5-mini",
            "olga",
        )
        assert (row.is_active, row.on_failure) == (True, OnFailure.FAIL)
        assert AgentModelConfig.objects.get_all_active() == [row]

    async def test_each_has_an_async_twin_and_who_sets_it_may_be_unsaid(self):
        row = await AgentModelConfig.objects.aupsert("extraction", "openai/gpt-5-mini")

        assert row.set_by == ""
        assert await AgentModelConfig.objects.aget_all_active() == [row]
        assert await AgentModelConfig.objects.adeactivate("extraction", "olga")
        assert not await AgentModelConfig.objects.adeactivate("extraction")
        assert await AgentModelConfig.objects.aget_all_active() == []

    def test_upsert_changes_the_row_that_is_there(self):
        first = AgentModelConfig.objects.upsert("extraction", "openai/gpt-5-mini", "olga")

        second = AgentModelConfig.objects.upsert(
            "extraction", "z-ai/glm-4.6", "pete", on_failure=OnFailure.DEFAULT_MODEL
        )

        [row] = AgentModelConfig.objects.all()
        assert first.pk == second.pk == row.pk
        assert (row.model_id, row.set_by, row.on_failure) == (
            "z-ai/glm-4.6",
            "pete",
            OnFailure.DEFAULT_MODEL,
        )
        assert row.created_at == first.created_at
        assert row.updated_at > first.updated_at

    def test_deactivate_keeps_the_row_but_takes_it_out_of_force(self):
        AgentModelConfig.objects.upsert("extraction", "openai/gpt-5-mini", "olga")

        assert AgentModelConfig.objects.deactivate("extraction", "pete") is True

        row = AgentModelConfig.objects.get()
        assert (row.is_active, row.model_id, row.set_by) == (False, "openai/gpt-5-mini", "pete")
        assert AgentModelConfig.objects.get_all_active() == []

    def test_upsert_reactivates_a_deactivated_row(self):
        AgentModelConfig.objects.upsert("extraction", "openai/gpt-5-mini", "olga")
        AgentModelConfig.objects.deactivate("extraction")

        row = AgentModelConfig.objects.upsert("extraction", "z-ai/glm-4.6", "olga")

        assert AgentModelConfig.objects.get_all_active() == [row]
        assert AgentModelConfig.objects.count() == 1

    def test_all_active_overrides_come_by_agent_name(self):
        for name in ("trainer", "extraction", "memory"):
            AgentModelConfig.objects.upsert(name, "openai/gpt-5-mini", "olga")

        names = [row.agent_name for row in AgentModelConfig.objects.get_all_active()]

        assert names == ["extraction", "memory", "trainer"]

    def test_each_change_counts_one_version_and_leaves_one_history_entry(self):
        row = AgentModelConfig.objects.upsert("extraction", "openai/gpt-5-mini", "olga")
        AgentModelConfig.objects.upsert("extraction", "z-ai/glm-4.6", "pete")
        AgentModelConfig.objects.deactivate("extraction", "olga")
        row.refresh_from_db()
        row.is_active = True
        row.save()

        entries = row.history.order_by("history_id").values_list(
            "version", "model_id", "is_active", "set_by"
        )
        assert list(entries) == [
            (1, "openai/gpt-5-mini", True, "olga"),
            (2, "z-ai/glm-4.6", True, "pete"),
            (3, "z-ai/glm-4.6", False, "olga"),
            (4, "z-ai/glm-4.6", True, "olga"),
        ]
        assert counted() == 4

    def test_changes_of_different_agents_share_one_counter(self):
        first = AgentModelConfig.objects.upsert("extraction", "openai/gpt-5-mini", "olga")
        second = AgentModelConfig.objects.upsert("trainer", "openai/gpt-5-mini", "olga")

        assert (first.version, second.version) == (1, 2)
        assert OverrideVersion.objects.count() == 1

    def test_deactivating_what_is_not_in_force_counts_nothing(self):
        AgentModelConfig.objects.upsert("extraction", "openai/gpt-5-mini", "olga")
        AgentModelConfig.objects.deactivate("extraction")
        before = counted()

        assert AgentModelConfig.objects.deactivate("extraction") is False
        assert AgentModelConfig.objects.deactivate("nobody") is False

        assert counted() == before
        assert AgentModelConfig.history.count() == 2

    def test_deleting_one_row_is_a_counted_change_too(self):
        row = AgentModelConfig.objects.upsert("extraction", "openai/gpt-5-mini", "olga")

        row.delete()

        assert counted() == 2
        assert AgentModelConfig.history.count() == 2

    def test_saving_some_fields_still_saves_the_version(self):
        row = AgentModelConfig.objects.upsert("extraction", "openai/gpt-5-mini", "olga")
        row.model_id = "z-ai/glm-4.6"

        row.save(update_fields=["model_id"])

        row.refresh_from_db()
        assert (row.model_id, row.version) == ("z-ai/glm-4.6", 2)

    def test_writes_that_leave_no_history_are_refused(self):
        row = AgentModelConfig.objects.upsert("extraction", "openai/gpt-5-mini", "olga")
        row.model_id = "z-ai/glm-4.6"
        refused: list[Callable[[], object]] = [
            lambda: AgentModelConfig.objects.update(model_id="z-ai/glm-4.6"),
            lambda: AgentModelConfig.objects.filter(pk=row.pk).update(is_active=False),
            lambda: AgentModelConfig.objects.bulk_create([AgentModelConfig(agent_name="x")]),
            lambda: AgentModelConfig.objects.bulk_update([row], ["model_id"]),
            lambda: AgentModelConfig.objects.all().delete(),
        ]
        for number, write in enumerate(refused):
            with (
                self.subTest(number),
                pytest.raises(TypeError, match="history"),
                transaction.atomic(),
            ):
                write()
        assert AgentModelConfig.objects.get().model_id == "openai/gpt-5-mini"


class ModelIdTest(TestCase):
    def test_openrouter_ids_are_taken(self):
        for model_id in GOOD_MODEL_IDS:
            with self.subTest(model_id):
                row = AgentModelConfig.objects.upsert("extraction", model_id, "olga")

                assert row.model_id == model_id

    def test_anything_else_is_refused_and_changes_nothing(self):
        for model_id in BAD_MODEL_IDS:
            with self.subTest(model_id), pytest.raises(ValidationError):
                AgentModelConfig.objects.upsert("extraction", model_id, "olga")

        assert counted() == 0
        assert AgentModelConfig.objects.count() == AgentModelConfig.history.count() == 0

    def test_an_agent_that_does_not_exist_is_refused_and_changes_nothing(self):
        for name in ("", "extractoin", "Extraction"):
            with self.subTest(name), pytest.raises(ValidationError, match="There are: "):
                AgentModelConfig.objects.upsert(name, "openai/gpt-5-mini", "olga")

        assert counted() == 0


class TableTest(TestCase):
    def test_the_table_is_called_agent_model_config(self):
        assert AgentModelConfig._meta.db_table == "agent_model_config"
        assert "agent_model_config" in connection.introspection.table_names()

    def test_a_partial_index_serves_the_active_overrides(self):
        with connection.cursor() as cursor:
            if connection.vendor == "sqlite":
                cursor.execute("SELECT sql FROM sqlite_master WHERE name = 'override_active'")
            else:
                cursor.execute(
                    "SELECT indexdef FROM pg_indexes WHERE indexname = 'override_active'"
                )
            [[definition]] = cursor.fetchall()

        before, _, condition = definition.partition(" WHERE ")
        assert "agent_name" in before
        assert "is_active" in condition

    def test_sql_needs_to_name_agent_and_model_only(self):
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO agent_model_config (agent_name, model_id)"
                " VALUES ('extraction', 'openai/gpt-5-mini')"
            )

        [row] = AgentModelConfig.objects.get_all_active()
        assert (row.on_failure, row.set_by, row.version) == (OnFailure.FAIL, "", 0)
        assert row.created_at is not None
        assert row.updated_at is not None

    def test_the_database_refuses_a_second_row_for_an_agent_and_empty_names(self):
        AgentModelConfig.objects.upsert("extraction", "openai/gpt-5-mini", "olga")
        refused = [("extraction", "z-ai/glm-4.6"), ("", "z-ai/glm-4.6"), ("trainer", "")]
        for names in refused:
            with (
                self.subTest(names),
                connection.cursor() as cursor,
                pytest.raises(IntegrityError),
                transaction.atomic(),
            ):
                cursor.execute(
                    "INSERT INTO agent_model_config (agent_name, model_id) VALUES (%s, %s)", names
                )

    def test_there_is_one_counter_and_no_more(self):
        AgentModelConfig.objects.upsert("extraction", "openai/gpt-5-mini", "olga")

        with pytest.raises(IntegrityError), transaction.atomic():
            OverrideVersion.objects.create(pk=2)

"""Installations of earlier commits become what a new one is, and keep what they held."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.test import TestCase

from tests.upgrades.databases import Database, new_database, old_checkout
from tests.upgrades.schema import schema_of

RELEASES = ("60fbc78", "bdadc81")
COUNTED = (
    *("pipeline_pipelinerun", "pipeline_steprun", "pipeline_llmcall", "pipeline_prompttext"),
    *("pipeline_task", "pipeline_telegramupdate", "pipeline_outgoingmessage", "pipeline_member"),
    *("agent_model_config", "agents_historicalagentmodelconfig", "pipeline_playbookpage"),
)
COSTS = """
    SELECT CAST(SUM(ROUND(cost_usd * 1000000000000)) AS BIGINT), SUM(input_tokens), SUM(output_tokens)
      FROM pipeline_llmcall"""  # noqa: E501
FIGURES = """
    SELECT CAST(SUM(ROUND(cost_usd * 1000000000000)) AS BIGINT), SUM(steps), SUM(calls), SUM(input_tokens)
      FROM pipeline_figures"""  # noqa: E501
HISTORY = """
    SELECT history_id, agent_name, model_id, is_active, version, history_type
      FROM agents_historicalagentmodelconfig ORDER BY history_id"""
WRONG_SUMS = """
    SELECT run.id FROM pipeline_pipelinerun AS run
      LEFT JOIN (SELECT step.run_id, SUM(ROUND(call.cost_usd * 1000000000000)) AS units,
                        MAX(CASE WHEN call.is_fallback THEN 1 ELSE 0 END) AS fell_back
                   FROM pipeline_llmcall AS call JOIN pipeline_steprun AS step
                     ON step.id = call.step_id GROUP BY step.run_id) AS its ON its.run_id = run.id
     WHERE COALESCE(ROUND(run.cost_usd * 1000000000000), -1) <> COALESCE(its.units, -1)
        OR (CASE WHEN run.has_fallback THEN 1 ELSE 0 END) <> COALESCE(its.fell_back, 0)"""
ROLES = """
    SELECT g.name, t.app_label, p.codename FROM auth_group AS g
      JOIN auth_group_permissions AS of_it ON of_it.group_id = g.id
      JOIN auth_permission AS p ON p.id = of_it.permission_id
      JOIN django_content_type AS t ON t.id = p.content_type_id"""
TAKE_AWAY = """
    DELETE FROM auth_group_permissions
     WHERE group_id = (SELECT id FROM auth_group WHERE name = 'Operator')
       AND permission_id IN (SELECT id FROM auth_permission WHERE codename = '{}')"""


def held(database: Database) -> dict[str, Any]:
    """Return what no upgrade may change."""
    counts = {table: database.rows(f"SELECT COUNT(*) FROM {table}") for table in COUNTED}
    return {**counts, "costs": database.rows(COSTS), "history": database.rows(HISTORY)}


@pytest.mark.chaos
class UpgradeTests(TestCase):
    """All are upgraded side by side, once; each test looks at what has come of it."""

    stack: ExitStack
    of: dict[str, Database]
    before: dict[str, Any]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.stack = ExitStack()
        cls.addClassCleanup(cls.stack.close)
        cls.of = {
            name: cls.stack.enter_context(new_database())
            for name in ("fresh", "3315b11", *RELEASES)
        }
        for name in RELEASES:
            cls.of[name].load(name)
        cls.of["bdadc81"].rows(TAKE_AWAY.format("delete_lesson"))
        # As if a process of an earlier commit had worked beside this one's tables.
        cls.of["bdadc81"].rows(
            "UPDATE pipeline_pipelinerun SET cost_usd = NULL, has_fallback = true"
        )
        cls.before = {name: held(cls.of[name]) for name in RELEASES}
        cls.before["figures"] = cls.of["bdadc81"].rows(FIGURES)
        with old_checkout() as old, ThreadPoolExecutor(2) as at_once:
            made = at_once.submit(cls.of["3315b11"].migrate, old)
            upgraded = [
                at_once.submit(database.migrate)
                for name, database in cls.of.items()
                if name != "3315b11"
            ]
            for each in (made, *upgraded):
                each.result()

    def test_the_tables_become_those_of_a_new_installation(self):
        fresh = schema_of(self.of["fresh"])
        for name in RELEASES:
            upgraded = schema_of(self.of[name])
            assert upgraded.columns == fresh.columns, name
            assert upgraded.rest ^ fresh.rest == frozenset(), name

    def test_what_an_installation_holds_is_there_afterwards(self):
        for name in RELEASES:
            assert self.before[name]["costs"][0][0] > 0
            assert self.before[name]["history"]
            assert held(self.of[name]) == self.before[name], name
        assert self.before["figures"][0][0] > 0
        assert self.of["bdadc81"].rows(FIGURES) == self.before["figures"]

    def test_a_run_costs_afterwards_what_its_calls_cost(self):
        for name in RELEASES:
            assert self.of[name].rows(WRONG_SUMS) == [], name

    def test_roles_become_those_of_a_new_installation_but_for_what_operators_took_away(self):
        fresh = set(self.of["fresh"].rows(ROLES))
        taken = {("Operator", "pipeline", "delete_lesson")}

        assert ("Operator", "pipeline", "run_again") in fresh
        assert set(self.of["60fbc78"].rows(ROLES)) == fresh
        assert set(self.of["bdadc81"].rows(ROLES)) == fresh - taken

    def test_nothing_that_3315b11_reads_is_dropped_renamed_or_typed_anew(self):
        """Until release 1.1 its processes run beside today's: see CONTRIBUTING.md."""
        old, new = schema_of(self.of["3315b11"]), schema_of(self.of["fresh"])
        for place, column in old.columns.items():
            assert place in new.columns, f"3315b11 reads {'.'.join(place)}"
            changed = new.columns[place]
            assert changed.type == column.type, f"{'.'.join(place)} is of another type"
            assert column.is_required or not changed.is_required, (
                f"3315b11 writes NULL to {'.'.join(place)}"
            )

    def test_columns_that_are_new_have_a_default_in_the_database(self):
        old, new = schema_of(self.of["3315b11"]), schema_of(self.of["fresh"])
        for place, column in new.columns.items():
            if place[0] in old.tables and place not in old.columns:
                assert column.default is not None or not column.is_required, (
                    f"{'.'.join(place)}: 3315b11 inserts rows without it; give it a db_default"
                )

    def test_another_upgrade_changes_nothing(self):
        database = self.of["bdadc81"]
        before = schema_of(database), database.rows(ROLES)
        again(database, "pipeline", "0010_any_former_state")
        again(database, "agents", "0004_any_former_state")
        again(database, "observatory", "0002_any_former_state")

        assert (schema_of(database), database.rows(ROLES)) == before

    def test_whatever_indexes_and_constraints_are_lost_or_bent_come_back(self):
        database, chance = self.of["60fbc78"], random.Random(7)
        before = schema_of(database)
        indexes = _named_indexes()
        for _ in range(4):
            lost = chance.sample(sorted(indexes), 12)
            for number, name in enumerate(lost):
                database.rows(f'DROP INDEX "{name}"')
                if number % 2:  # and another in its place
                    database.rows(f'CREATE INDEX "{name}" ON {indexes[name]} (id)')
            database.rows("CREATE INDEX task_given_up ON pipeline_task (ended_at)")
            database.rows(
                "CREATE INDEX pipeline_steprun_run_id_0123abcd ON pipeline_steprun (run_id)"
            )
            if connection.vendor == "postgresql":
                database.rows("ALTER TABLE pipeline_task DROP CONSTRAINT task_is_about_one_thing")
            assert schema_of(database) != before
            again(database, "pipeline", "0010_any_former_state")

            assert schema_of(database).rest ^ before.rest == frozenset()

    def test_an_index_that_operators_made_stays(self):
        database = self.of["60fbc78"]
        database.rows("CREATE INDEX our_own ON pipeline_task (worker)")
        self.addCleanup(database.rows, "DROP INDEX our_own")
        before = schema_of(database)
        again(database, "pipeline", "0010_any_former_state")

        assert schema_of(database) == before

    def test_a_permission_that_operators_took_away_is_not_granted_again(self):
        database, wanted = self.of["3315b11"], ("Operator", "pipeline", "run_again")
        assert wanted in database.rows(ROLES)
        database.rows(TAKE_AWAY.format("run_again"))
        again(database, "observatory", "0002_any_former_state")

        assert wanted not in database.rows(ROLES)


def again(database: Database, app: str, name: str) -> None:
    """Do what a migration does once more."""
    with database.connected() as connected:
        loader = MigrationLoader(None)
        apps = loader.project_state((app, name)).apps
        with connected.schema_editor(atomic=True) as editor:
            for operation in loader.get_migration(app, name).operations:
                operation.code(apps, editor)  # type: ignore[attr-defined]


def _named_indexes() -> dict[str, str]:
    """Return the tables of the pipeline's indexes that have a name of ours, at 0010."""
    apps = MigrationLoader(None).project_state(("pipeline", "0010_any_former_state")).apps
    models = apps.get_app_config("pipeline").get_models()
    return {
        index.name: model._meta.db_table
        for model in models
        for index in model._meta.indexes
        if model._meta.pk.column == "id"
    }

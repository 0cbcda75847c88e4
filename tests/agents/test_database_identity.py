"""No two databases have one identity, and every process of one database reads the same."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import SimpleTestCase, TransactionTestCase

from agents.database_identity import TABLE, identity_of, read_identity
from tests.agents.copies import copied_database, identity_at


def sql(statement: str) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []


class IdentityTest(TransactionTestCase):
    def test_a_copy_has_another_identity_though_its_random_id_is_the_same(self):
        with copied_database() as other:
            assert identity_at(other) != read_identity()

    def test_every_connection_of_one_database_reads_the_same(self):
        assert identity_at(connection.settings_dict) == read_identity()

    def test_it_outlives_a_flush(self):
        before = read_identity()

        call_command("flush", verbosity=0, interactive=False)

        assert read_identity() == before
        [(random_id,)] = sql(f"SELECT random_id FROM {TABLE}")
        assert len(str(random_id)) == 32

    def test_the_random_id_is_part_of_it(self):
        before = read_identity()
        [(random_id,)] = sql(f"SELECT random_id FROM {TABLE}")

        sql(f"UPDATE {TABLE} SET random_id = 'another'")
        after = read_identity()
        sql(f"UPDATE {TABLE} SET random_id = '{random_id}'")

        assert before != after
        assert read_identity() == before


@pytest.mark.sqlite
class SqliteIdentityTest(TransactionTestCase):
    def test_a_file_is_known_by_its_real_path(self):
        config = connection.settings_dict
        with tempfile.TemporaryDirectory() as folder:
            link = Path(folder) / "link"
            link.symlink_to(config["NAME"])

            assert identity_at({**config, "NAME": str(link)}) == read_identity()

    def test_a_file_put_in_anothers_place_has_another_identity(self):
        with copied_database() as copy:
            path = Path(copy["NAME"])
            before = identity_at(copy)
            shutil.copy(path, path.with_name("restored"))
            path.with_name("restored").rename(path)

            assert identity_at(copy) != before

    def test_a_database_in_memory_has_one_too(self):
        in_memory = {**connection.settings_dict, "NAME": ":memory:"}
        create = f"CREATE TABLE {TABLE} (id smallint, random_id varchar(32))"

        assert len(identity_at(in_memory, before=create)) == 20


@pytest.mark.postgresql
class PostgresqlIdentityTest(TransactionTestCase):
    def test_a_role_that_may_not_ask_for_the_cluster_falls_back_to_the_databases_oid(self):
        config = connection.settings_dict
        for statement in (
            "CREATE ROLE observatory_plain LOGIN",
            "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC",
            f"GRANT SELECT ON {TABLE} TO observatory_plain",
        ):
            sql(statement)
        try:
            plain = {**config, "USER": "observatory_plain"}
            refused = identity_at(plain)
            with copied_database() as other:
                refused_elsewhere = identity_at({**other, "USER": "observatory_plain"})
            sql("GRANT EXECUTE ON FUNCTION pg_control_system() TO PUBLIC")
            allowed = identity_at(plain)
        finally:
            sql("GRANT EXECUTE ON FUNCTION pg_control_system() TO PUBLIC")
            sql(f"REVOKE ALL ON {TABLE} FROM observatory_plain")
            sql("DROP ROLE observatory_plain")

        assert allowed == read_identity()  # whoever asks
        assert len({refused, refused_elsewhere, allowed}) == 3

    def test_reading_it_within_a_transaction_leaves_the_transaction_whole(self):
        connection.set_autocommit(False)
        try:
            read_identity()
            assert sql("SELECT 1") == [(1,)]
        finally:
            connection.rollback()
            connection.set_autocommit(True)


class ForeverTest(SimpleTestCase):
    def test_releases_agree_on_the_identity(self):
        """It is part of the key by which old and new processes announce to each other."""
        assert identity_of("ab", "postgresql", "7", "16384") == "302a370e88728807d103"
        assert identity_of("a", "b") != identity_of("ab")

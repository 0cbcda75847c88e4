"""The list of processes from which the admin knows where a change is in effect."""

from __future__ import annotations

import os
from contextlib import contextmanager
from datetime import timedelta
from unittest.mock import patch
from uuid import uuid4

from django.db import OperationalError, connections
from django.db.backends.signals import connection_created
from django.test import TransactionTestCase
from django.utils import timezone

from agents import process_report
from agents.model_config import ModelConfigService
from agents.models import ResolverProcess
from agents.process_report import ProcessReport, living
from agents.snapshot import read_snapshot
from tests import canaries
from tests.agents.doubles import choose_model
from tests.agents.processes import wait_for

MINI, GLM = "openai/gpt-5-mini", "z-ai/glm-4.6"


class ProcessReportTest(TransactionTestCase):
    def setUp(self) -> None:
        self.service = ModelConfigService(canaries.SHARED_KEY)
        self.addCleanup(self.service.close)
        quicker = patch.object(process_report, "POLL_INTERVAL_S", 0.02)
        quicker.start()
        self.addCleanup(quicker.stop)

    @contextmanager
    def reporting(self, role: str = "bot"):
        report = ProcessReport(self.service, role)
        report.start()
        try:
            yield report
        finally:
            report.close()

    def test_a_process_appears_with_role_host_and_version(self):
        choose_model("extraction", MINI)

        with self.reporting("bot"):
            wait_for(living, "the report")
            [process] = living()

        assert (process.role, process.pid) == ("bot", os.getpid())
        assert process.version == read_snapshot().version
        assert not process.is_stale
        assert process.read_at is not None
        assert abs(process.seen_at - timezone.now()) < timedelta(seconds=10)

    def test_the_version_catches_up_with_a_change(self):
        with self.reporting():
            wait_for(living, "the report")
            choose_model("extraction", GLM)

            wait_for(lambda: living()[0].version == read_snapshot().version, "the new version")

            assert ResolverProcess.objects.count() == 1

    def test_a_process_that_leaves_is_off_the_list(self):
        with self.reporting():
            wait_for(living, "the report")

        assert not ResolverProcess.objects.exists()

    def test_two_processes_are_two_rows(self):
        with self.reporting("bot"), self.reporting("worker"):
            wait_for(lambda: len(living()) == 2, "both reports")

            assert [process.role for process in living()] == ["bot", "worker"]

    def test_who_was_not_seen_for_15_s_counts_no_more_and_is_forgotten_after_an_hour(self):
        self._write("silent", timezone.now() - timedelta(seconds=16))
        self._write("forgotten", timezone.now() - timedelta(hours=1, seconds=1))
        self._write("alive", timezone.now() - timedelta(seconds=14))
        assert [process.role for process in living()] == ["alive"]

        with self.reporting("bot"):
            wait_for(lambda: len(living()) == 2, "the report")

        roles = set(ResolverProcess.objects.values_list("role", flat=True))
        assert roles == {"silent", "alive"}

    def test_a_report_that_cannot_be_written_harms_nothing(self):
        is_broken = True
        refused = []

        def refuse_reports(execute, sql, *args):
            if is_broken and "resolverprocess" in sql:
                refused.append(sql)
                raise OperationalError("the test refuses reports")
            return execute(sql, *args)

        def watch(connection, **_):
            if refuse_reports not in connection.execute_wrappers:
                connection.execute_wrappers.append(refuse_reports)

        connection_created.connect(watch)
        self.addCleanup(connection_created.disconnect, watch)
        choose_model("extraction", MINI)
        with self.reporting():
            wait_for(lambda: len(refused) >= 2, "two vain reports")

            assert self.service.freshness().version == read_snapshot().version
            is_broken = False
            wait_for(living, "the report that goes through")
        connections["default"].execute_wrappers.clear()

    def test_a_process_that_knows_nothing_reports_nothing_and_still_closes(self):
        def refuse(execute, *args):
            raise OperationalError("the test has taken the database down")

        def watch(connection, **_):
            connection.execute_wrappers.append(refuse)

        connection_created.connect(watch)
        try:
            with self.reporting():
                pass
        finally:
            connection_created.disconnect(watch)

        assert not ResolverProcess.objects.exists()

    def _write(self, role: str, seen_at):
        ResolverProcess.objects.create(
            process_id=uuid4(),
            role=role,
            host="elsewhere",
            pid=1,
            version="v1·0000",
            seen_at=seen_at,
        )

"""A worker's database is deleted at the end, even if another session has only just ended."""

from __future__ import annotations

import threading

import psycopg
import pytest
from django.db import connection
from django.test import TransactionTestCase

from tests.template_database import wait_until_all_have_left


@pytest.mark.postgresql
class TearDownTests(TransactionTestCase):
    def test_it_waits_for_a_session_that_ends_later(self):
        where = connection.settings_dict
        other = psycopg.connect(host=where["HOST"], user=where["USER"], dbname=where["NAME"])
        leaving = threading.Timer(0.3, other.close)
        leaving.start()

        wait_until_all_have_left()

        assert other.closed
        leaving.join()

"""How amounts and moments are written for people."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from django.test import SimpleTestCase
from django.utils import timezone

from agents.display import ago, dollars, money


class DisplayTests(SimpleTestCase):
    def test_money_has_four_digits_below_a_dollar_and_two_decimals_above(self):
        table = {
            "0": "$0",
            "0.0000123456": "$0.00001235",
            "0.0141125": "$0.01411",
            "0.1": "$0.10",
            "0.25": "$0.25",
            "0.999999": "$1.00",
            "1": "$1.00",
            "1234.5": "$1,234.50",
        }

        assert {amount: dollars(Decimal(amount)) for amount in table} == table

    def test_the_digits_that_are_left_out_are_in_the_title(self):
        assert 'title="$0.0141125"' in money(Decimal("0.0141125000"))
        assert 'title="$20"' in money(Decimal("20.000"))
        assert 'title="not reported"' in money(None)

    def test_a_moment_is_relative_with_the_moment_itself_as_its_title(self):
        moment = timezone.now() - timedelta(minutes=3, seconds=5)

        written = ago(moment)

        assert "3\N{NO-BREAK SPACE}minutes ago" in written
        assert f'title="{timezone.localtime(moment):%Y-%m-%d %H:%M:%S %Z}"' in written
        assert ago(None) == "\N{EN DASH}"

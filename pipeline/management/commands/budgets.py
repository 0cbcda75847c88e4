"""`manage.py budgets`: what each budget has spent and set aside in its current interval."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError
from django.utils import timezone

from pipeline.operations import budget_report


class Command(BaseCommand):
    """Prints a line, or with --json an object, for each budget's current interval."""

    help = "Show what each budget has spent, set aside and refused in its current interval."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._print(is_json=options["json"])
        except DatabaseError as error:
            raise CommandError(
                f"the database cannot be used: {error}. Run manage.py migrate; "
                "for the sandbox's database, with SANDBOX=true."
            ) from error

    def _print(self, *, is_json: bool) -> None:
        now = timezone.now()
        if is_json:
            found = budget_report.objects(now)
            self.stdout.write(json.dumps(found, indent=1, ensure_ascii=False))
            return
        for line in budget_report.lines(now):
            self.stdout.write(line)

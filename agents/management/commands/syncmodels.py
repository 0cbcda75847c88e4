"""`manage.py syncmodels`: update the catalog from OpenRouter, and report changes and warnings."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError
from django.utils import timezone

from agents.catalog import CatalogNotSynced, SyncReport, sync_and_wait
from agents.catalog.store import EXPIRING_DAYS
from agents.retirement import retirements, uses_by_agents

NAMES_SHOWN = 10


class Command(BaseCommand):
    """Syncs the catalog; if that fails, exits with 1 and leaves the catalog unchanged."""

    help = "Take in OpenRouter's list of models; say what is new, gone or expiring."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--accept-fewer",
            action="store_true",
            help="take in a list with less than half of the models known so far",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        now = timezone.now()
        try:
            uses = uses_by_agents()
            in_use = [use.model_id for use in uses]
            report = sync_and_wait(in_use, now=now, accept_fewer=options["accept_fewer"])
            warnings = retirements(uses, today=now.date())
        except CatalogNotSynced as error:
            raise CommandError(f"{error}. The catalog hasn't changed.") from None
        except DatabaseError as error:
            raise CommandError(
                f"the database cannot be used: {error}. Run manage.py migrate; "
                "for the sandbox's database, with SANDBOX=true."
            ) from error
        self.stdout.write("\n".join(_words(report)))
        for warning in warnings:
            self.stdout.write(
                f"{warning.sentence} Used by {', '.join(warning.used_by)}. {warning.advice}"
            )


def _words(report: SyncReport) -> list[str]:
    lines = [f"{_counted(report.listed, 'model')} on offer."]
    for names, what in (
        (report.new, "new"),
        (report.returned, "back again"),
        (report.vanished, "no longer offered"),
        (report.expiring, f"expiring within {EXPIRING_DAYS} days"),
    ):
        if names:
            lines.append(f"{len(names):,} {what}: {_some(names)}")
    if report.skipped:
        lines.append(f"{_counted(report.skipped, 'entry', 'entries')} could not be read: left out")
    if not report.is_whole:
        lines.append("The list came in part only: none is taken to have vanished.")
    return lines


def _some(names: tuple[str, ...]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"

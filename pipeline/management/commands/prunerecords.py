"""`manage.py prunerecords`: removes the texts of old records and keeps the figures."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from pipeline.operations.pruning import prune

UNITS = {"h": "hours", "d": "days", "w": "weeks"}


class Command(BaseCommand):
    """Prunes old records and prints the result in one line."""

    help = (
        "Delete prompts, answers, raw updates and quoting errors of what ended so long ago; "
        "tokens, costs, models and decisions stay. It may run beside the bot, and again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--older-than", type=duration, required=True, metavar="90d", help="12h, 90d or 8w"
        )
        parser.add_argument("--dry-run", action="store_true", help="only say how much it would be")

    def handle(self, *args: Any, **options: Any) -> None:
        before = timezone.now() - options["older_than"]
        pruned = prune(before, dry_run=options["dry_run"])
        what = (
            f"{pruned.runs:,} runs and {pruned.updates:,} updates"
            f" from before {before:%Y-%m-%d %H:%M %Z}"
        )
        if options["dry_run"]:
            self.stdout.write(f"Would take the texts out of {what}; nothing was changed.")
        else:
            self.stdout.write(
                f"Took the texts out of {what}; {pruned.texts:,} texts deleted, figures kept."
            )


def duration(text: str) -> timedelta:
    """Parse a duration such as `12h`, `90d` or `8w`.

    Raises:
        ArgumentTypeError: the text is not a duration of this form, with at most five digits.
    """
    found = re.fullmatch(r"([1-9][0-9]{0,4})([hdw])", text, re.ASCII)
    if found is None:
        raise ArgumentTypeError(f"{text!r} is no time such as 12h, 90d or 8w")
    return timedelta(**{UNITS[found[2]]: int(found[1])})

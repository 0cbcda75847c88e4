"""`manage.py overrides export | plan | apply`: the overrides as a YAML file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from agents import override_file
from agents.override_file import OverrideFileError

DIFFERS = 2


class Command(BaseCommand):
    """Exports, compares or applies. `plan` exits with 2 if the file and the overrides differ."""

    help = "Export the overrides to YAML, compare them with a file, or apply a file."

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_subparsers(dest="what", required=True)
        what.add_parser("export", help="print the active overrides as YAML")
        planning = what.add_parser("plan", help="print what applying a file would change")
        applying = what.add_parser("apply", help="make the overrides what a file says")
        for each in (planning, applying):
            each.add_argument("file", help='a YAML file; "-" is the standard input')
        applying.add_argument("--by", default="the shell", help="who makes the change")
        applying.add_argument("--reason", default="", help="why; kept in the history")
        applying.add_argument(
            "--accept-unfit",
            action="store_true",
            help="also set models that do not exist or lack what their agents need",
        )

    def handle(self, *args: Any, what: str, **options: Any) -> None:
        try:
            if what == "export":
                self.stdout.write(override_file.exported(), ending="")
            elif what == "plan":
                self._plan(_text(options["file"]))
            else:
                self._apply(options)
        except OverrideFileError as error:
            raise CommandError(f"{error}\nNothing was changed.") from None
        except DatabaseError as error:
            raise CommandError(
                f"the database cannot be used: {error}. Run manage.py migrate; "
                "for the sandbox's database, with SANDBOX=true."
            ) from error

    def _plan(self, text: str) -> None:
        planned = override_file.plan(text)
        for change in planned:
            self.stdout.write(str(change))
        if planned:
            sys.exit(DIFFERS)
        self.stdout.write("The overrides are as the file has them.")

    def _apply(self, options: dict[str, Any]) -> None:
        made = override_file.apply(
            _text(options["file"]),
            options["by"],
            reason=options["reason"],
            accept_unfit=options["accept_unfit"],
        )
        for change in made:
            self.stdout.write(str(change))
        if not made:
            self.stdout.write("Nothing changed: the overrides are as the file has them.")


def _text(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} cannot be read: {error}") from None

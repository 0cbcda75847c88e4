"""`manage.py loadexamples`: the example playbook and scenarios; in the sandbox, its members too."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from pipeline.school.example_content import load_example_content, load_sandbox_members


class Command(BaseCommand):
    """Creates missing example content; existing content is not changed."""

    help = "Add the example playbook pages, scenarios and tracks that are missing."

    def handle(self, *args: Any, **options: Any) -> None:
        if added := load_example_content():
            self.stdout.write(
                f"Example content: {added} playbook pages, scenarios and tracks added."
            )
        if settings.SANDBOX and (added := load_sandbox_members()):
            self.stdout.write(f"Members of the sandbox: {added} added.")

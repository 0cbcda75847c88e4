#!/usr/bin/env python
"""Django's command line for Observatory."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run one management command."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "observatory.settings")
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        _ = settings.DEBUG
    except ImproperlyConfigured as error:
        # Django would go on without settings, and some commands then die of something else.
        sys.exit(f"Wrong configuration. {error}")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()

"""The exception for runs that are not started."""

from __future__ import annotations


class NotRun(Exception):
    """A run was not started; `member_line` tells the member why."""

    member_line = ""

"""Why a member's run is not begun."""

from __future__ import annotations


class NotRun(Exception):
    """A run was not begun; `member_line` tells the member why."""

    member_line = ""

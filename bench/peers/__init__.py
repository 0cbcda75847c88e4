"""What one would use instead, a script each; none of them imports anything of ours but `laps`."""

from __future__ import annotations

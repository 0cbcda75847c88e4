"""Secrets that must come out nowhere: the suite uses them, and `conftest` searches its logs.

Use these wherever a test needs a key. A test that needs another one says `canary("sk-…")`.
"""

from __future__ import annotations

from pathlib import Path

_registered: set[str] = set()


def canary(secret: str) -> str:
    """Return the secret, after noting it among those that the suite's logs must not contain."""
    if len(secret) < 8:
        raise ValueError("so short a secret would be found by chance")
    _registered.add(secret)
    return secret


def leaks_in(folder: Path) -> list[str]:
    """Name each log beneath the folder that contains a canary, and its first letters only."""
    leaks = []
    for log in sorted(folder.rglob("*.log")):
        text = log.read_text(encoding="utf-8", errors="replace")
        leaks += [
            f"{log} contains {secret[:12]}… {text.count(secret)} times"
            for secret in sorted(_registered)
            if secret in text
        ]
    return leaks


SHARED_KEY = canary("sk-or-v1-CANARYshared0123456789abcdef0123456789abcdef")
MEMBER_KEY = canary("sk-or-v1-CANARYmember0123456789abcdef0123456789abcdef")
CLAUDE_KEY = canary("sk-ant-api03-CANARYmember-0123456789_abcdefghijklmnop")
OPENAI_KEY = canary("sk-proj-CANARYmember0123456789abcdefghijklmnop")
BOT_TOKEN = canary("7000000001:CANARYtoken0123456789-abcdefghijkl_m")

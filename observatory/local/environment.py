"""Prepares the environment of `make run`'s processes: for the sandbox, or for real services."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from observatory.environment import Environment
from observatory.local.errors import CannotStart


def prepare_environment(base_dir: Path, *, drain_seconds: int) -> list[str]:
    """Complete `os.environ` for this process and its children; return notes for the console.

    Raises:
        CannotStart: the variables contradict each other.
    """
    notes = []
    env_file = base_dir / ".env"
    if not env_file.exists():
        shutil.copyfile(base_dir / ".env.example", env_file)
        env_file.chmod(0o600)  # tokens and keys will be written into it
        notes.append("Made .env from .env.example.")
    env = Environment(env_file)
    os.environ["DRAIN_SECONDS"] = str(drain_seconds)
    has_token = bool(env.text("TELEGRAM_BOT_TOKEN"))
    has_shared_key = bool(env.text("OPENROUTER_API_KEY"))
    try:
        is_sandbox = env.flag("SANDBOX", default=not has_token)
    except ImproperlyConfigured as error:
        raise CannotStart(f"Wrong configuration. {error}") from None
    if not is_sandbox and not has_token:
        raise CannotStart(
            "SANDBOX is off and TELEGRAM_BOT_TOKEN is not set, so there is nobody to talk to. "
            "Set TELEGRAM_BOT_TOKEN in .env (get one from @BotFather), or take SANDBOX out."
        )
    os.environ["SANDBOX"] = "true" if is_sandbox else "false"
    if is_sandbox:
        notes += _in_the_sandbox(has_token=has_token, has_shared_key=has_shared_key)
    elif has_shared_key:
        notes.append("The real thing: Telegram and OpenRouter, with the token and key you set.")
    else:
        notes.append(
            "TELEGRAM_BOT_TOKEN is set, OPENROUTER_API_KEY is not: overrides are off, and only "
            "members with a key of their own get answers."
        )
    return notes


def _in_the_sandbox(*, has_token: bool, has_shared_key: bool) -> list[str]:
    """Return notes on credentials that are set but unused; `settings.py` overrides them."""
    unused = [
        name
        for name, is_set in (
            ("TELEGRAM_BOT_TOKEN", has_token),
            ("OPENROUTER_API_KEY", has_shared_key),
        )
        if is_set
    ]
    notes = ["Sandbox: Telegram and OpenRouter are stand-ins; nothing leaves this machine."]
    if has_shared_key and not has_token:
        notes.append(
            "OPENROUTER_API_KEY is set and not used: for the real thing, set "
            "TELEGRAM_BOT_TOKEN as well."
        )
    elif unused:
        notes.append(f"Set and not used, because SANDBOX is on: {', '.join(unused)}.")
    return notes

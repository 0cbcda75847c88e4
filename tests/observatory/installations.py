"""Environments of an installation, and `settings.py` as they load it."""

from __future__ import annotations

import os
import re
import runpy
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from cryptography.fernet import Fernet

from tests.canaries import canary

ROOT = Path(__file__).parent.parent.parent
SETTINGS = ROOT / "observatory" / "settings.py"

# As the README documents them; made anew for each run of the suite.
PRODUCTION = {
    "DJANGO_ALLOWED_HOSTS": "observatory.example.com",
    "DJANGO_SECRET_KEY": canary(secrets.token_urlsafe(50)),
    "CREDENTIALS_KEYS": canary(Fernet.generate_key().decode()),
    "TELEGRAM_BOT_TOKEN": canary("1000000009:CANARY-of-an-installation-in-production"),
    "OPENROUTER_API_KEY": canary("sk-or-v1-CANARY-of-an-installation-in-production"),
}


def load_settings(environment: dict[str, str], env_file: str = "") -> dict[str, Any]:
    """Return what `settings.py` says in a folder of its own, with nothing but this environment."""
    with TemporaryDirectory() as folder, patch.dict(os.environ, environment, clear=True):
        copy = Path(folder) / "observatory" / "settings.py"
        copy.parent.mkdir()
        shutil.copy(SETTINGS, copy)
        if env_file:
            (Path(folder) / ".env").write_text(env_file, encoding="utf-8")
        return runpy.run_path(str(copy))


def manage(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run `manage.py` with nothing but this environment; a value of its own `.env` cannot pass."""
    blank = dict.fromkeys(variables(), "")
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **blank, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def variables() -> list[str]:
    """Return the variables that `settings.py` reads, in its order."""
    read = re.findall(r'env\.\w+\(\s*"([A-Z_]+)"', SETTINGS.read_text(encoding="utf-8"))
    return list(dict.fromkeys(read))

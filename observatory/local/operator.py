"""Creates the first operator of a checkout, with a random password that only this machine knows."""

from __future__ import annotations

import secrets
from pathlib import Path

from django.contrib.auth import get_user_model

OPERATOR = "operator"
PASSWORD_BYTES = 12


def ensure_operator(password_file: Path, *, keep: bool) -> str:
    """Return a line on how to sign in, creating the operator if there is none.

    With `keep`, the password is stored in a file of mode 600, so that later runs can show it again.
    """
    users = (
        get_user_model().objects
    )  # looked up here: this module is imported before django.setup()
    user = users.filter(username=OPERATOR).first()
    if user is None:
        password = secrets.token_urlsafe(PASSWORD_BYTES)
        users.create_superuser(OPERATOR, password=password)
        if not keep:
            return f"{OPERATOR} / {password}  (shown this once: change it there)"
        _write(password_file, password)
        return f"{OPERATOR} / {password}"
    password = _read(password_file) if keep else ""
    if password and user.check_password(password):
        return f"{OPERATOR} / {password}"
    return f"{OPERATOR}, with the password that was chosen there (lost? manage.py changepassword)"


def _write(path: Path, password: str) -> None:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(password, encoding="utf-8")


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""

"""The web process of any release, and an operator who uses its admin over HTTP."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from django.contrib.auth.models import User
from django.utils.html import strip_tags

from tests.agents.processes import environment, wait_for
from tests.forms import form_in
from tests.servers import free_port
from tests.upgrades.databases import ROOT

PASSWORD = "a-long-password-of-an-operator"
OVERRIDES = "/admin/agents/agentmodelconfig/"


class Web:
    """A browser of an operator who is signed in."""

    def __init__(self, address: str) -> None:
        self.browser = httpx.Client(
            base_url=address, follow_redirects=True, timeout=60, trust_env=False
        )

    def answers(self) -> bool:
        try:
            return self.browser.get("/livez").status_code < 500
        except httpx.TransportError:
            return False

    def sign_in(self, name: str) -> None:
        page = self._sent("/admin/login/?next=/admin/", username=name, password=PASSWORD)
        assert "/admin/login/" not in str(page.url), page.text[-2000:]

    def save_override(self, agent: str, model: str) -> float:
        """Save it in the admin's own form; return when that was answered (monotonic)."""
        self._sent(self._page_of(agent), agent_name=agent, model_id=model, on_failure="fail")
        return time.monotonic()

    def status(self, path: str) -> int:
        return self.browser.get(path).status_code

    def _page_of(self, agent: str) -> str:
        rows = self.browser.get(OVERRIDES, params={"q": agent}).text
        found = re.search(rf'href="({OVERRIDES}\d+/change/)', rows)
        return found[1] if found else f"{OVERRIDES}add/"

    def _sent(self, path: str, **typed: str) -> httpx.Response:
        opened = self.browser.get(path)
        assert opened.status_code == 200, (path, opened.status_code, opened.text[-2000:])
        page = self.browser.post(
            path, data=form_in(opened.text) | typed, headers={"Referer": str(opened.url)}
        )
        assert page.status_code == 200, (path, page.status_code, page.text[-2000:])
        assert "errornote" not in page.text, errors_in(page.text)
        return page


def errors_in(html: str) -> str:
    """Return what a form that was refused says, as text."""
    return " ".join(strip_tags(html[html.index("errornote") :]).split())[:500]


@contextmanager
def running_web(root: Path) -> Iterator[Web]:
    """Run a checkout's web process; yield a signed-in operator who may do everything."""
    User.objects.filter(username="olga").exists() or User.objects.create_superuser(
        "olga", password=PASSWORD
    )
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "observatory.asgi:application", "--port", f"{port}"]
    with subprocess.Popen(
        [*command, "--lifespan", "off", "--log-level", "warning"],
        cwd=root,
        env=environment(PYTHONPATH=str(ROOT), DJANGO_DEBUG="true"),
    ) as process:
        web = Web(f"http://127.0.0.1:{port}")
        try:
            wait_for(web.answers, f"the web process of {root}")
            web.sign_in("olga")
            yield web
        finally:
            web.browser.close()
            process.terminate()

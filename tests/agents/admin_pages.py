"""Addresses, operators and forms of the overrides' pages, for the tests of the admin."""

from __future__ import annotations

from html.parser import HTMLParser

from django.contrib.auth.models import Permission, User
from django.contrib.messages import get_messages
from django.test import Client, TestCase, override_settings
from django.urls import reverse

from agents.models import AgentModelConfig, OnFailure, OverrideVersion
from tests import canaries
from tests.agents.doubles import script
from tests.forms import opened

MINI, GLM, SONNET = "openai/gpt-5-mini", "z-ai/glm-4.6", "anthropic/claude-sonnet-4.5"
LIST = reverse("admin:agents_agentmodelconfig_changelist")
ADD = reverse("admin:agents_agentmodelconfig_add")


def page_of(row: AgentModelConfig, page: str = "change") -> str:
    return reverse(f"admin:agents_agentmodelconfig_{page}", args=[row.pk])


def restore_url(row: AgentModelConfig, version: int) -> str:
    entry = row.history.get(version=version)
    url = reverse("admin:agents_agentmodelconfig_restore", args=[row.pk, entry.history_id])
    return f"{url}?seen={row.history.latest().version}"


def operator(name: str, *permissions: str) -> User:
    user = User.objects.create_user(name, password="x", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(codename__in=[f"{p}_agentmodelconfig" for p in permissions])
    )
    return user


def state() -> tuple[object, ...]:
    """Return everything that a request could change."""
    return (
        list(AgentModelConfig.objects.values()),
        list(AgentModelConfig.history.values()),
        list(OverrideVersion.objects.values()),
    )


class Options(HTMLParser):
    """The values that the page's choice of agents offers."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.is_inside = False
        self.values: list[str | None] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "select":
            self.is_inside = dict(attrs).get("name") == "agent_name"
        elif tag == "option" and self.is_inside:
            self.values.append(dict(attrs).get("value"))


@override_settings(
    OPENROUTER_API_KEY=canaries.SHARED_KEY,
    SECURE_SSL_REDIRECT=False,
    CACHES={
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
        "overrides": {"BACKEND": "tests.agents.doubles.ScriptedCache", "LOCATION": "overrides"},
    },
)
class AdminTestCase(TestCase):
    olga: User
    viewer: User

    @classmethod
    def setUpTestData(cls) -> None:
        cls.olga = operator("olga", "view", "add", "change")
        cls.viewer = operator("vera", "view")

    def setUp(self) -> None:
        script.reset()
        self.client.force_login(self.olga)

    def post(self, url: str, data: dict[str, object] | None = None, client: Client | None = None):
        """Open a form and send it; its commit hooks run, as outside of a test's transaction."""
        client = client or self.client
        is_form = url.endswith(("/change/", "/delete/"))
        data = (opened(client, url) if is_form else {}) | (data or {})
        with self.captureOnCommitCallbacks(execute=True):
            return client.post(url, data)

    def said(self, response) -> str:
        return " ".join(str(message) for message in get_messages(response.wsgi_request))

    def form(self, **changes: object) -> dict[str, object]:
        return {"model_id": MINI, "on_failure": OnFailure.FAIL, "is_active": "on", **changes}

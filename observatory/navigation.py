"""The admin's sidebar, tab icon, keyboard script and environment badge, called by unfold."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse

_PLACES = (
    (
        "Operations",
        [
            ("Overrides", "tune", "agents.agentmodelconfig"),
            ("Served names", "swap_horiz", "agents.servedname"),
            ("Budgets", "savings", "pipeline.budget"),
            ("Runs", "receipt_long", "pipeline.pipelinerun"),
            ("Tasks", "inbox", "pipeline.task"),
        ],
    ),
    (
        "People",
        [
            ("Members", "group", "pipeline.member"),
            ("Invites", "mail", "pipeline.invite"),
            ("Operators", "badge", "auth.user"),
            ("Telegram links", "link", "pipeline.operatorlink"),
            ("Roles", "shield_person", "auth.group"),
            ("Access log", "visibility", "pipeline.textsread"),
            ("Failed sign-ins", "lock", "axes.accessattempt"),
        ],
    ),
    (
        "Content",
        [
            ("Playbook", "menu_book", "pipeline.playbookpage"),
            ("Casebook", "bookmark", "pipeline.casebookentry"),
            ("Tracks", "route", "pipeline.track"),
            ("Scenarios", "school", "pipeline.scenario"),
        ],
    ),
)


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """Return unfold's sidebar sections with the pages that this operator may open."""
    sections: list[dict[str, Any]] = [
        {
            "title": title,
            "items": [_item(*place) for place in places if _may_see(request, place[2])],
        }
        for title, places in _PLACES
    ]
    home = {"title": "Overview", "icon": "dashboard", "link": reverse("admin:index")}
    sections[0]["items"].insert(0, home)
    return [section for section in sections if section["items"]]


def account_links(request: HttpRequest) -> list[dict[str, str]]:
    """Return the links of the menu beneath the operator's name."""
    return [
        {"title": "Telegram", "link": reverse("admin:pipeline_operatorlink_mine")},
        {"title": "Change password", "link": reverse("admin:password_change")},
    ]


def icon(request: HttpRequest) -> str:
    """Return the URL of the icon in the browser's tab."""
    return static("observatory/icon.svg")


def keyboard_script(request: HttpRequest) -> str:
    """Return the URL of the script that makes the theme's own buttons work by keyboard."""
    return static("observatory/keyboard.js")


def environment_badge(request: HttpRequest) -> list[str]:
    """Return text and color of the badge that shows sandbox, development or production."""
    if settings.SANDBOX:
        return ["Sandbox", "info"]
    return ["Development", "warning"] if settings.DEBUG else ["Production", "danger"]


def _item(title: str, icon: str, model: str) -> dict[str, str]:
    return {
        "title": title,
        "icon": icon,
        "link": reverse(f"admin:{model.replace('.', '_')}_changelist"),
    }


def _may_see(request: HttpRequest, model: str) -> bool:
    page = admin.site.get_model_admin(apps.get_model(model))
    return bool(page.has_view_or_change_permission(request))

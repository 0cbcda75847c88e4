"""Settings of the admin's theme, django-unfold; each dotted path is a function that it calls."""

from __future__ import annotations

from typing import Any

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Observatory",
    "SITE_HEADER": "Observatory",
    "SITE_SUBHEADER": "Which model ran, and why",
    "SITE_SYMBOL": "visibility",
    "SCRIPTS": ["observatory.navigation.keyboard_script"],
    "SITE_FAVICONS": [{"rel": "icon", "href": "observatory.navigation.icon"}],
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "ACCOUNT": {"navigation": "observatory.navigation.account_links"},
    "ENVIRONMENT": "observatory.navigation.environment_badge",
    "DASHBOARD_CALLBACK": "observatory.dashboard.views.first_page",
    "SIDEBAR": {"navigation": "observatory.navigation.sidebar"},
}

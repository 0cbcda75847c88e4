"""Forms of the admin as a browser sends them, with all that the page put into them."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from django.test import Client

from agents.form_state import STATE_INPUT

Sent = dict[str, Any]


def opened(client: Client, url: str) -> Sent:
    """Open a page with a form, and return what the form carries beside its fields."""
    form = filled(client, url)
    return {name: form[name] for name in (STATE_INPUT, "asked") if name in form}


def send(client: Client, url: str, data: Sent | None = None) -> Any:
    """Open a form and send it at once."""
    return client.post(url, opened(client, url) | (data or {}))


def filled(client: Client, url: str) -> Sent:
    """Open a page with a form, and return what pressing its button at once would send."""
    return form_in(client.get(url).content.decode())


def form_in(html: str) -> Sent:
    """Return the fields of the last form of a page; the others sign out and choose the theme."""
    forms = _Forms(html).forms
    return {name: value for name, value in (forms[-1] if forms else {}).items() if name}


class _Forms(HTMLParser):
    """Every posting form's fields, as they are filled in."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.forms: list[Sent] = []
        self._is_inside = False
        self._select: tuple[str, bool] | None = None
        self._textarea = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = dict(attrs)
        name = has.get("name") or ""
        if tag == "form":
            self._is_inside = has.get("method") == "post" and "logout" not in (
                has.get("action") or ""
            )
            if self._is_inside:
                self.forms.append({})
        elif not self._is_inside or "disabled" in has:
            return
        elif tag == "input":
            self._input(name, has)
        elif tag == "select":
            self._select = (name, "multiple" in has)
            self.forms[-1][name] = [] if "multiple" in has else ""
        elif tag == "option" and self._select and "selected" in has:
            self._choose(has.get("value") or "")
        elif tag == "textarea":
            self._textarea = name
            self.forms[-1][name] = ""

    def handle_data(self, data: str) -> None:
        if self._textarea:
            self.forms[-1][self._textarea] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea" and self._textarea:
            # The first line end behind the tag is none of the text.
            self.forms[-1][self._textarea] = self.forms[-1][self._textarea].removeprefix("\n")
            self._textarea = ""
        elif tag == "select":
            self._select = None
        elif tag == "form":
            self._is_inside = False

    def _input(self, name: str, has: dict[str, str | None]) -> None:
        kind = has.get("type", "text")
        if kind in {"checkbox", "radio"} and "checked" not in has:
            return
        if kind not in {"submit", "button", "reset"}:
            self.forms[-1][name] = has.get("value") or ("on" if kind == "checkbox" else "")

    def _choose(self, value: str) -> None:
        assert self._select is not None
        name, is_multiple = self._select
        if is_multiple:
            self.forms[-1][name].append(value)
        else:
            self.forms[-1][name] = value

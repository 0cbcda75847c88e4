"""A browser under watch: whatever a page ran, asked for or let in that it should not have."""

from __future__ import annotations

from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Dialog, Page, Request, Response

# What a payload turned into if it turned into anything; attributes that the theme's scripts
# evaluate.
FOUND = """() => {
  const found = [];
  if (window.xss !== undefined) found.push('a script ran');
  for (const element of document.querySelectorAll('*')) {
    if (element.hasAttribute('data-p')) found.push('an element: ' + element.outerHTML.slice(0, 99));
    for (const {name, value} of element.attributes) {
      if (/^(x-|@|:|hx-|on)/i.test(name) && value.includes('xss'))
        found.push('an expression: ' + name + '=' + value.slice(0, 99));
      if (/^(href|src|action|formaction|data)$/i.test(name) && /^\\s*(javascript|data:text)/i.test(value))
        found.push('an address: ' + name + '=' + value.slice(0, 99));
    }
  }
  for (const script of document.scripts)
    if (!script.src && script.type !== 'application/json') found.push('a script: ' + script.text.slice(0, 99));
  return found;
}"""  # noqa: E501


class Watch:
    """Notes everything suspicious that happens in a window, with the page on which it did."""

    def __init__(self, window: BrowserContext, address: str) -> None:
        self.seen: list[str] = []
        self.pages: list[str] = []
        self._own = urlsplit(address).netloc
        window.on("console", self._on_console)
        window.on("dialog", self._on_dialog)
        window.on("request", self._on_request)
        window.on("response", self._on_response)
        window.on("weberror", lambda error: self._note(f"error: {error.error}"))
        # Asked for and noted, but never answered: the network is not a test's to use.
        window.route(
            lambda url: urlsplit(url).netloc not in {self._own, ""}, lambda route: route.abort()
        )

    def look_at(self, page: Page) -> None:
        """Note what has become of the texts on a page that has loaded."""
        self.pages.append(page.url)
        self.seen += [f"{page.url}: {found}" for found in page.evaluate(FOUND)]

    def _note(self, what: str) -> None:
        self.seen.append(what)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self._note(f"console: {message.text} {message.location}")

    def _on_dialog(self, dialog: Dialog) -> None:
        self._note(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _on_request(self, request: Request) -> None:
        scheme, host = urlsplit(request.url)[:2]
        if host != self._own and scheme not in {"data", "blob", "about"}:
            self._note(f"request: {request.url}")

    def _on_response(self, response: Response) -> None:
        if response.request.is_navigation_request() and "content-security-policy" not in (
            response.headers
        ):
            self._note(f"no policy: {response.url}")

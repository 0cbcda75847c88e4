"""A wire between the bot and the sandbox's Telegram that keeps what passes and can hold it up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import parse_qs

import httpx
from aiohttp import web


class Relay:
    """Passes requests on, also those whose sender has left: they were on their way."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._http = httpx.AsyncClient(trust_env=False, timeout=30)
        self._canned: dict[str, bytes] = {}
        self._is_held: Callable[[str, dict[str, str]], bool] = lambda method, fields: False
        self._released = asyncio.Event()
        self._called = asyncio.Event()
        self.url = ""
        self.held = asyncio.Event()
        self.calls: list[tuple[str, dict[str, str]]] = []

    def hold(self, is_held: Callable[[str, dict[str, str]], bool]) -> None:
        """Keep requests for which this is true, until `release`."""
        self._is_held = is_held

    def answer(self, method: str, body: bytes) -> None:
        """Answer this method so from now on, instead of passing it on."""
        self._canned[method] = body

    def release(self) -> None:
        self._released.set()

    async def passed(self, method: str, *, times: int) -> None:
        """Return when this method has been called so often."""
        async with asyncio.timeout(60):
            while sum(called == method for called, _ in self.calls) < times:
                self._called.clear()
                await self._called.wait()

    async def _pass_on(self, request: web.Request) -> web.Response:
        body = await request.read()
        method = request.path.rpartition("/")[2]
        text = body.decode("latin-1")
        fields = {key: values[0] for key, values in parse_qs(text).items()} | {"": text}
        self.calls.append((method, fields))
        self._called.set()
        if self._is_held(method, fields):
            self.held.set()
            await self._released.wait()
        if method in self._canned:
            return web.Response(body=self._canned[method], content_type="application/json")
        answer = await self._http.request(
            request.method,
            f"{self._upstream}{request.path_qs}",
            content=body,
            headers={
                name: value
                for name, value in request.headers.items()
                if name.lower() in ("content-type", "authorization")
            },
        )
        return web.Response(
            status=answer.status_code, body=answer.content, content_type="application/json"
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Relay]:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._pass_on)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            self.release()
            await runner.cleanup()
            await self._http.aclose()

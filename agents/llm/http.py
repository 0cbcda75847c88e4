"""HTTP client for LLM providers: each request is sent once, with a deadline and a size limit.

This is the only module that reveals an API key, and nothing it returns or raises contains one. The
key is removed from a reply before parsing, and exceptions of the HTTP library are dropped here
because they hold the request and so the key. The provider's own module interprets replies;
`agents.llm.retries` decides on retries.

There is one pooled client for each running event loop and base URL; `agents.webhook_client` uses
one, too. It lives as long as its loop: an async generator holds it, and a loop closes its async
generators when it ends.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from agents.llm import bodies, upstreams
from agents.llm.bodies import MAX_BODY_BYTES, TOO_LARGE
from agents.llm.errors import DeadlineExceeded, KeyRejected, LLMError, ProviderUnavailable
from agents.llm.keys import ApiKey
from agents.llm.secrets import HIDDEN, scrub

MAX_CONNECTIONS = 500  # a bound against leaks; the number of concurrent calls is limited elsewhere
# Common servers close idle connections after 5 s. The outcome of a POST sent on a connection that
# is being closed is unknown.
KEEPALIVE_S = 4.0
# No read timeout: a model may reason for minutes before its first byte. The deadline limits it.
TIMEOUTS = httpx.Timeout(connect=5.0, read=None, write=None, pool=5.0)
HEADERS = {"Accept-Encoding": "identity", "User-Agent": "Observatory"}
UPSTREAM_HEADER = "x-provider-name"  # OpenRouter's
KEY_MIN_CHARS = 8
GENERATION_ID_MAX_CHARS = 200
BEARER = ("Authorization", "Bearer ")  # the name of the key's header, and the prefix of its value

CONNECTION_ERRORS = (
    httpx.HTTPError,
    httpx.InvalidURL,
    aiohttp.ClientError,
    OSError,
    UnicodeError,  # the transport decodes the reason phrase of the status line as UTF-8
)
_NOTHING_WAS_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    httpx.InvalidURL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request to send, without the API key."""

    base_url: str
    path: str
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    key_header: tuple[str, str] = BEARER
    id_header: str = ""  # the reply's header with the vendor's ID of this call


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The response to a request, of any status."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: Any = field(repr=False)  # parsed JSON, its fractions as Decimal; None if there is a flaw
    flaw: str  # why the body could not be read, or ""
    latency_ms: int
    generation_id: str = ""  # from the header
    upstream: str = ""  # the provider behind a gateway, from the header
    is_stream: bool = False  # merged from events; complete only if the stream had its end marker
    is_page: bool = False  # a web page, from the provider or from a network in front of it


async def send(request: Request, *, api_key: ApiKey | None, deadline_s: float) -> Reply:
    """Send one request and return its complete reply; `api_key=None` sends it without a key.

    Takes at most `deadline_s` seconds in all, unlike httpx's own timeouts, which restart with every
    byte received.

    Raises:
        DeadlineExceeded: the time ran out.
        ProviderUnavailable: the connection failed. If the request may have been sent, the error is
            `.maybe_charged` and not `.retryable`.
        KeyRejected: the key cannot be read (`KeyUnreadable`) or cannot be sent in an HTTP header.
    """
    result = await _result(request, _revealed(api_key), deadline_s)
    if isinstance(result, LLMError):
        # Raised here rather than where it was caught: there, the traceback would hold the key in a
        # local variable, and `__context__` would hold the library's exception with the request.
        raise result
    return result


async def _result(request: Request, key: str, deadline_s: float) -> Reply | LLMError:
    started = time.monotonic()
    response: httpx.Response | None = None
    failure: LLMError
    try:
        async with asyncio.timeout(deadline_s) as limit:
            client = await pooled_client(request.base_url)
            response = await client.send(_built(request, key), stream=True)
            raw, flaw = await _read(response)
            reply = _reply(response, raw, _parsed(raw, key, flaw), started)
            return replace(
                reply,
                generation_id=_generation_id(response, request, key),
                upstream=_upstream(response, key),
            )
    except TimeoutError as error:
        failure = _out_of_time(deadline_s) if limit.expired() else _unavailable(error, key)
    except CONNECTION_ERRORS as error:
        failure = _unavailable(error, key)
    if response is not None:
        failure.generation_id = _generation_id(response, request, key)
        failure.upstream = _upstream(response, key)
    return failure


def _revealed(api_key: ApiKey | None) -> str:
    if api_key is None:
        return ""
    key = api_key.reveal()
    if not (key and key.isascii() and key.isprintable()):
        del key  # because a traceback keeps local variables
        # Checked here because an encoding error would quote the whole header.
        raise KeyRejected("the API key is empty or has characters that no key has: enter it again")
    return key


def _built(request: Request, key: str) -> httpx.Request:
    """Build the httpx request; `AsyncClient.build_request` would take four times as long."""
    name, prefix = request.key_header
    headers = {**HEADERS, **request.headers}
    if key:
        headers[name] = prefix + key
    content: bytes | None = None
    if request.body is not None:
        headers["Content-Type"] = "application/json"
        content = _encoded(request.body)
    return httpx.Request(
        request.method,
        _url(request.base_url + request.path),
        headers=headers,
        content=content,
        extensions={"timeout": TIMEOUTS.as_dict()},
    )


@lru_cache(maxsize=64)
def _url(url: str) -> httpx.URL:
    return httpx.URL(url)


def _encoded(body: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # JSON can hold half a surrogate pair only as an escape
        return json.dumps(body, separators=(",", ":")).encode()


async def _read(response: httpx.Response) -> tuple[bytes, str]:
    """Read the body; return its bytes and "", or a description of the problem.

    Always releases the connection.
    """
    raw = bytearray()
    try:
        async for chunk in response.aiter_raw():
            raw += chunk
            if len(raw) > MAX_BODY_BYTES:
                return b"", TOO_LARGE
    except (httpx.HTTPError, aiohttp.ClientError, OSError):
        if not response.is_error:
            raise
        return b"", "it broke off"  # an error status: no answer is lost with the body
    finally:
        await response.aclose()
    return bodies.decompressed(bytes(raw), response.headers.get("content-encoding", ""))


def _parsed(raw: bytes, key: str, flaw: str) -> tuple[Any, str]:
    """Return the parsed body without the key and "", or None and a description of the problem."""
    if flaw:
        return None, flaw
    # Only tests use keys of a few characters. Replacing these would damage ordinary words.
    if len(key) >= KEY_MIN_CHARS:
        raw = raw.replace(key.encode(), HIDDEN.encode())
    try:
        if bodies.are_events(raw):  # the key may be split between events
            return _without(key, bodies.put_together(raw)), ""
        body = bodies.parsed(raw)
        return (_without(key, body) if b"\\u00" in raw else body), ""
    except (ValueError, RecursionError):
        return None, "it is not JSON"


def _without(key: str, value: Any) -> Any:
    """Return the parsed value without the key, which escapes such as \\u002d hid in the bytes."""
    if isinstance(value, str):
        return value.replace(key, HIDDEN) if len(key) >= KEY_MIN_CHARS else value
    if isinstance(value, list):
        return [_without(key, item) for item in value]
    if isinstance(value, dict):
        return {_without(key, name): _without(key, item) for name, item in value.items()}
    return value


def _reply(response: httpx.Response, raw: bytes, parsed: tuple[Any, str], started: float) -> Reply:
    body, flaw = parsed
    return Reply(
        status=response.status_code,
        headers=response.headers,
        body=body,
        flaw=flaw,
        latency_ms=round((time.monotonic() - started) * 1000),
        is_stream=bodies.are_events(raw),
        is_page=raw.lstrip()[:1] == b"<",
    )


def _generation_id(response: httpx.Response, request: Request, key: str) -> str:
    return scrub(response.headers.get(request.id_header, ""), key)[:GENERATION_ID_MAX_CHARS]


def _upstream(response: httpx.Response, key: str) -> str:
    return upstreams.name(response.headers.get(UPSTREAM_HEADER, ""), key)


def _out_of_time(deadline_s: float) -> DeadlineExceeded:
    failure = DeadlineExceeded(f"no complete answer within {deadline_s:.1f} s")
    failure.maybe_charged = True
    return failure


def _unavailable(error: Exception, key: str) -> ProviderUnavailable:
    # The transport maps several errors to ConnectTimeout, even a disconnect after the request was
    # sent. Only aiohttp's own exception class tells them apart.
    cause = error.__cause__ or error
    failure = ProviderUnavailable(
        f"the connection failed: {type(cause).__name__}: {scrub(str(cause), key)[:300]}"
    )
    failure.maybe_charged = not isinstance(cause, _NOTHING_WAS_SENT)
    # A request that was sent may have been charged, and a second one could be charged again.
    failure.retryable = not failure.maybe_charged
    return failure


# --- the clients ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Pooled:
    client: httpx.AsyncClient
    lifetime: AsyncGenerator[httpx.AsyncClient, None]


_pool: dict[tuple[asyncio.AbstractEventLoop, str], _Pooled] = {}


async def close_client(base_url: str) -> None:
    """Close the running loop's client for this base URL; the next request opens a new one."""
    pooled = _pool.pop((asyncio.get_running_loop(), base_url), None)
    if pooled is not None:
        await pooled.lifetime.aclose()


async def close_clients() -> None:
    """Close all clients of the running loop, which its shutdown would also do."""
    loop = asyncio.get_running_loop()
    for owner, base_url in list(_pool):
        if owner is loop:
            await close_client(base_url)


async def pooled_client(base_url: str) -> httpx.AsyncClient:
    """Return the running loop's client for this base URL; pass `TIMEOUTS` with each request."""
    key = (asyncio.get_running_loop(), base_url)
    pooled = _pool.get(key)
    if pooled is None or pooled.client.is_closed:
        lifetime = _open_client()
        # The generator awaits nothing before its yield, so no other task can run in between.
        pooled = _pool[key] = _Pooled(await anext(lifetime), lifetime)
        _forget_ended_loops()
    return pooled.client


async def _open_client() -> AsyncGenerator[httpx.AsyncClient, None]:
    transport = AiohttpTransport(client=_session(), verify=_tls(), trust_env=False)
    client = httpx.AsyncClient(
        transport=transport,
        trust_env=False,
        follow_redirects=False,
        # No cookies: they would link the requests of different keys.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )
    try:
        yield client
    finally:
        await client.aclose()


def _session() -> aiohttp.ClientSession:
    """Return a session that keeps connections alive but stores no cookies.

    aiohttp itself repeats requests with idempotent methods only, so never a POST.
    """
    connector = aiohttp.TCPConnector(
        limit=MAX_CONNECTIONS, keepalive_timeout=KEEPALIVE_S, ssl=_tls()
    )
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)  # takes 14 ms, so once in each process


def _forget_ended_loops() -> None:
    for key in list(_pool):
        if key[0].is_closed():
            _pool.pop(key, None)

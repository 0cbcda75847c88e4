"""One HTTP request to a model's provider: sent once, within a time, with a size limit.

This is the only place that reveals an API key, and nothing that leaves it contains one: a reply
is cleaned of the key before it is parsed, and an exception of the HTTP library, which holds the
request and so the key, is dropped here. What a reply means is left to the provider's own file,
when to send again to `agents.llm.retries`.

There is one pooled client per running event loop and base URL. It lives as long as its loop: an
async generator holds it, and every loop closes its generators when it ends.
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

MAX_CONNECTIONS = 500  # a bound against leaks; how many calls run at once is decided elsewhere
# Common servers hang up after 5 s. A POST on a connection that is being closed has no outcome.
KEEPALIVE_S = 4.0
# A model may think for minutes before its first byte: how long is for the deadline to say.
TIMEOUTS = httpx.Timeout(connect=5.0, read=None, write=None, pool=5.0)
HEADERS = {"Accept-Encoding": "identity", "User-Agent": "Observatory"}
UPSTREAM_HEADER = "x-provider-name"  # OpenRouter's
KEY_MIN_CHARS = 8
GENERATION_ID_MAX_CHARS = 200
BEARER = ("Authorization", "Bearer ")  # the header that takes the key, and what stands before it

_NOTHING_WAS_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    httpx.InvalidURL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to send, all but the key."""

    base_url: str
    path: str
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    key_header: tuple[str, str] = BEARER
    id_header: str = ""  # of the reply: the vendor's name of this call


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back, whatever its status."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: Any = field(repr=False)  # parsed JSON, its fractions as Decimal; None if there is a flaw
    flaw: str  # why the body could not be read, or ""
    latency_ms: int
    generation_id: str = ""  # as the header told it
    upstream: str = ""  # who answered behind a gateway, as the header told it
    is_stream: bool = False  # put together from events: only their own end is an end
    is_page: bool = False  # a web page, of the provider or of a network in front of it


async def send(request: Request, *, api_key: ApiKey | None, deadline_s: float) -> Reply:
    """Return the reply to one request, read to its end; without a key it is public.

    Takes at most `deadline_s` seconds in all: httpx's own timeouts start anew with every byte
    that drips in.

    Raises:
        DeadlineExceeded: the time ran out.
        ProviderUnavailable: the connection failed; `.maybe_charged`, and then not `.retryable`,
            if the request had left.
        KeyRejected: the key cannot be read, or no HTTP header can carry it.
    """
    result = await _result(request, _revealed(api_key), deadline_s)
    if isinstance(result, LLMError):
        # Raised here and not where it arose: there, the key is a local variable of the traceback,
        # and the library's own exception a context that carries the request along.
        raise result
    return result


async def _result(request: Request, key: str, deadline_s: float) -> Reply | LLMError:
    started = time.monotonic()
    response: httpx.Response | None = None
    failure: LLMError
    try:
        async with asyncio.timeout(deadline_s) as limit:
            client = await _client(request.base_url)
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
    except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError, UnicodeError) as error:
        # UnicodeError: the transport wants the words beside the status to be UTF-8.
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
        del key  # a traceback keeps its frames' values
        # Encoding errors quote the whole header.
        raise KeyRejected("the API key is empty or has characters that no key has: enter it again")
    return key


def _built(request: Request, key: str) -> httpx.Request:
    """Return the request ready to be sent; `AsyncClient.build_request` takes four times as long."""
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
    except UnicodeEncodeError:  # half a surrogate pair exists in JSON as an escape only
        return json.dumps(body, separators=(",", ":")).encode()


async def _read(response: httpx.Response) -> tuple[bytes, str]:
    """Return the body and what is wrong with it; the connection is given back or cut."""
    raw = bytearray()
    try:
        async for chunk in response.aiter_raw():
            raw += chunk
            if len(raw) > MAX_BODY_BYTES:
                return b"", TOO_LARGE
    except (httpx.HTTPError, aiohttp.ClientError, OSError):
        if not response.is_error:
            raise
        return b"", "it broke off"  # the status has said that there is no answer
    finally:
        await response.aclose()
    return bodies.decompressed(bytes(raw), response.headers.get("content-encoding", ""))


def _parsed(raw: bytes, key: str, flaw: str) -> tuple[Any, str]:
    """Return the body as a value without the key, and what is wrong with it."""
    if flaw:
        return None, flaw
    # A key of a few characters is a test's, and stands in every other word.
    if len(key) >= KEY_MIN_CHARS:
        raw = raw.replace(key.encode(), HIDDEN.encode())
    try:
        if bodies.are_events(raw):  # a key may be in pieces there
            return _without(key, bodies.put_together(raw)), ""
        body = bodies.parsed(raw)
        return (_without(key, body) if b"\\u00" in raw else body), ""
    except (ValueError, RecursionError):
        return None, "it is not JSON"


def _without(key: str, value: Any) -> Any:
    """Return the value without the key, which escapes such as \\u002d had hidden in its bytes."""
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
    # The transport calls several errors ConnectTimeout, also a hang-up after the request has
    # left; only aiohttp's own class tells.
    cause = error.__cause__ or error
    failure = ProviderUnavailable(
        f"the connection failed: {type(cause).__name__}: {scrub(str(cause), key)[:300]}"
    )
    failure.maybe_charged = not isinstance(cause, _NOTHING_WAS_SENT)
    # The outcome of a request that was sent is unknown: a second one may be a second charge.
    failure.retryable = not failure.maybe_charged
    return failure


# --- the clients ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Pooled:
    client: httpx.AsyncClient
    lifetime: AsyncGenerator[httpx.AsyncClient, None]


_pool: dict[tuple[asyncio.AbstractEventLoop, str], _Pooled] = {}


async def close_client(base_url: str) -> None:
    """Close the running loop's client of this base URL; the next request opens a new one."""
    pooled = _pool.pop((asyncio.get_running_loop(), base_url), None)
    if pooled is not None:
        await pooled.lifetime.aclose()


async def close_clients() -> None:
    """Close all clients of the running loop; the loop's own end does so too."""
    loop = asyncio.get_running_loop()
    for owner, base_url in list(_pool):
        if owner is loop:
            await close_client(base_url)


async def _client(base_url: str) -> httpx.AsyncClient:
    key = (asyncio.get_running_loop(), base_url)
    pooled = _pool.get(key)
    if pooled is None or pooled.client.is_closed:
        lifetime = _open_client()
        # Nothing in the generator waits before its yield, so no other task gets in between.
        pooled = _pool[key] = _Pooled(await anext(lifetime), lifetime)
        _forget_ended_loops()
    return pooled.client


async def _open_client() -> AsyncGenerator[httpx.AsyncClient, None]:
    transport = AiohttpTransport(client=_session(), verify=_tls(), trust_env=False)
    client = httpx.AsyncClient(
        transport=transport,
        trust_env=False,
        follow_redirects=False,
        # A cookie would tie the requests of different keys together.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )
    try:
        yield client
    finally:
        await client.aclose()


def _session() -> aiohttp.ClientSession:
    """Return a session that keeps connections and nothing else from one request to the next.

    aiohttp repeats a request on its own for idempotent methods only, so never a POST.
    """
    connector = aiohttp.TCPConnector(
        limit=MAX_CONNECTIONS, keepalive_timeout=KEEPALIVE_S, ssl=_tls()
    )
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)  # 14 ms, so once a process


def _forget_ended_loops() -> None:
    for key in list(_pool):
        if key[0].is_closed():
            _pool.pop(key, None)

"""Reads and validates environment variables for `settings.py`.

django-environ casts values. This module checks what it does not (ranges, choices, URLs, Fernet
keys), so that an invalid value stops the process with a message that names the variable, the
mistake and the remedy.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo, available_timezones

import environ  # type: ignore[import-untyped]
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured

T = TypeVar("T")
DATABASE_SCHEMES = ("sqlite://", "postgres://", "postgresql://")
WRONG_DATABASE = "it is neither sqlite:///path nor postgres://user:password@host/name"
# Django's own requirements in `check --deploy`.
SECRET_MIN_LENGTH = 50
SECRET_MIN_UNIQUE_CHARACTERS = 5
EXAMPLE_SECRET_PREFIX = "django-insecure-"  # noqa: S105 - marks an example, not a secret


MAX_DOLLARS = 1_000_000
CACHE_SCHEMES = {"file", "redis", "rediss", "unix", "locmem"}
# OpenTelemetry's format of headers; spaces in a value may be plain or percent-encoded.
HEADER = r"\s*([A-Za-z0-9!#$%&'*+.^_`|~-]+)\s*=\s*([\x20\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]+)"
_LISTED_ID = r"~?[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*(:[a-z0-9-]+)?"
MODEL_ID = rf"{_LISTED_ID}(@preset/[A-Za-z0-9._-]+)?|@preset/[A-Za-z0-9._-]+"
ANY_MODEL_ID = r"[^\s\x00-\x1f]{1,200}"


@dataclass(frozen=True, slots=True)
class Secret(Generic[T]):
    """A value that is not in the object's repr, so it is not shown by accident."""

    _value: T = field(repr=False)

    def reveal(self) -> T:
        """Return the value; only the code that sends it, or signs with it, may call this."""
        return self._value


class Environment:
    """The process's environment variables, then those of `.env`."""

    def __init__(self, env_file: Path) -> None:
        self._env = environ.Env()
        if env_file.is_file():
            self._env.read_env(str(env_file))

    def text(self, name: str, default: str = "") -> str:
        return str(self._env.str(name, default=default)).strip()

    def flag(self, name: str, default: bool) -> bool:
        value = self.text(name).lower()
        if value in {"true", "1", "on", "yes"}:
            return True
        if value in {"false", "0", "off", "no"}:
            return False
        if not value:
            return default
        raise _wrong(name, f"{value!r} is neither true nor false")

    def choice(self, name: str, default: str, choices: Sequence[str]) -> str:
        value = self.text(name) or default
        if value not in choices:
            raise _wrong(name, f"{value!r} is none of {', '.join(choices)}")
        return value

    def integer(self, name: str, default: int, *, lowest: int, highest: int) -> int:
        value = self._cast(name, str(default), int, "a whole number")
        if not lowest <= value <= highest:
            raise _wrong(name, f"{value} is not between {lowest} and {highest}")
        return value

    def dollars(self, name: str, default: str) -> Decimal:
        value = self._cast(name, default, _decimal, "an amount of dollars such as 1.00")
        if not 0 < value < MAX_DOLLARS:
            raise _wrong(name, f"{value} is not above 0 and below {MAX_DOLLARS}")
        return value

    def price(self, name: str, default: str) -> tuple[Decimal, Decimal] | None:
        """Return dollars per million tokens in and out; None for "none" or an empty value."""
        value = self.text(name) or default
        if value in {"", "none"}:
            return None
        try:
            prompt, completion = (_decimal(part.strip()) for part in value.split(","))
        except ValueError:
            raise _wrong(name, f"{value!r} must be two prices such as 15,75, or none") from None
        if not (0 < prompt < MAX_DOLLARS and 0 < completion < MAX_DOLLARS):
            raise _wrong(name, f"the prices are not above 0 and below {MAX_DOLLARS}")
        return prompt, completion

    def url(self, name: str, default: str = "") -> str:
        value = (self.text(name) or default).rstrip("/")
        try:
            parts = urlsplit(value)
            is_address = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        except ValueError:  # the port is not a number, or a bracket is missing
            is_address = False
        if value and not is_address:
            raise _wrong(name, "it is no http:// or https:// address")
        return value

    def model_server(self, name: str, default: str) -> str:
        """Return a model server's base URL, to which /chat/completions is appended."""
        value = self.url(name, default)
        parts = urlsplit(value)
        if parts.username is not None or parts.query or parts.fragment:
            raise _wrong(
                name, "it has credentials or a query in it: a key goes into its own setting"
            )
        if value.endswith(("/chat/completions", "/models")):
            raise _wrong(name, "it ends in a request's path, which is added to it")
        return value

    def otlp_endpoint(self, name: str, *, local_only: bool) -> str:
        """Return an OTLP receiver's base URL, to which /v1/traces and /v1/metrics are appended.

        With `local_only`, return "" if it is not on this machine.
        """
        value = self.url(name)
        parts = urlsplit(value)
        if parts.username is not None or parts.query or parts.fragment:
            raise _wrong(
                name, "it has credentials or a query in it: headers are the place for them"
            )
        if value.endswith(("/v1/traces", "/v1/metrics")):
            raise _wrong(name, "it ends in /v1/…, which is added to it")
        return "" if local_only and not _is_local(value) else value

    def webhook_receiver(self, name: str, *, local_only: bool) -> str:
        """Return the URL of a webhook's receiver as it is written: it may end in / or have a token.

        With `local_only`, return "" if it is not on this machine.
        """
        if not self.url(name):
            return ""
        value = self.text(name)
        if urlsplit(value).username is not None:
            raise _wrong(name, "it contains credentials: the signature authenticates instead")
        if _is_local(value):
            return value
        if urlsplit(value).scheme != "https":
            raise _wrong(name, "it must be https://, unless the receiver is on this machine")
        return "" if local_only else value

    def webhook_secrets(self, name: str, *, of: str) -> Secret[tuple[bytes, ...]]:
        """Return the decoded secrets, each `whsec_` and base64 of 24 to 64 bytes, for the URL `of`.

        https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
        """
        secrets = self.names(name)
        if bool(secrets) != bool(self.text(of)):
            raise ImproperlyConfigured(
                f"{of}, {name}: set both, for changes of overrides to be delivered, or neither."
            )
        keys = []
        for number, secret in enumerate(secrets, start=1):
            try:
                key = b64decode(secret.removeprefix("whsec_"), validate=True)
            except ValueError:
                key = b""
            if not (secret.startswith("whsec_") and 24 <= len(key) <= 64):
                what = "whsec_ and base64 of 24 to 64 bytes"
                raise _wrong(name, f"secret {number} of {len(secrets)} is not {what}")
            keys.append(key)
        return Secret(tuple(keys))

    def headers(self, name: str) -> Secret[dict[str, str]]:
        """Parse headers written as `name=value,name=value`."""
        parts = [part for part in self.text(name).split(",") if part.strip()]
        found = {}
        for number, part in enumerate(parts, start=1):
            shaped = re.fullmatch(HEADER, part)
            header, value = (shaped[1], shaped[2].strip()) if shaped else ("", "")
            value = value if " " in value else unquote(value)
            if not re.fullmatch(r"[ -~]+", value):
                # The value is a secret: say which header is wrong, never its value.
                raise _wrong(name, f"header {number} of {len(parts)} is no name=value")
            found[header] = value
        return Secret(found)

    def model_id(self, name: str, default: str, *, of_any_server: bool = False) -> str:
        """Return an OpenRouter model id; with `of_any_server`, any id, which must be set."""
        if of_any_server:
            if not self.text(name):
                raise _wrong(name, "name a model as your server knows it, such as llama3.2:1b")
            return self._shaped(name, ANY_MODEL_ID, "a name of at most 200 letters, without spaces")
        what = "author/slug or author/slug:variant, such as openai/gpt-5-mini, or @preset/name"
        return self._shaped(name, MODEL_ID, what) or default

    def chat_id(self, name: str) -> str:
        return self._shaped(name, r"-?\d{1,20}|@\w{4,32}", "a chat's number or @name")

    def bot_token(self, name: str) -> str:
        return self._shaped(name, r"\d+:[A-Za-z0-9_-]{30,}", "a token as @BotFather gives it")

    def api_key(self, name: str) -> str:
        return self._shaped(name, r"[!-~]{8,}", "an API key: 8 or more characters without spaces")

    def webhook_secret(self, name: str) -> str:
        what = "16 to 256 letters, digits, _ and -, as Telegram allows"
        return self._shaped(name, r"[A-Za-z0-9_-]{16,256}", what)

    def hosts(self, name: str) -> list[str]:
        hosts = self.names(name)
        for host in hosts:
            if not re.fullmatch(r"\*|\.?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*|\[[0-9A-Fa-f:]+\]", host):
                raise _wrong(name, f"{host!r} is no host name: no https://, no port, no path")
        return hosts

    def networks(self, name: str) -> list[IPv4Network | IPv6Network]:
        networks: list[IPv4Network | IPv6Network] = []
        for text in self.names(name):
            try:
                networks.append(ip_network(text))
            except ValueError:
                what = "no address or network such as 10.0.0.7 or 10.0.0.0/24"
                raise _wrong(name, f"{text!r} is {what}") from None
        return networks

    def time_zone(self, name: str, default: str) -> str:
        value = self.text(name) or default
        if value not in available_timezones():
            raise _wrong(name, f"{value!r} is no time zone such as Europe/Berlin")
        return str(ZoneInfo(value))

    def names(self, name: str) -> list[str]:
        return [part.strip() for part in self.text(name).split(",") if part.strip()]

    def fernet_keys(self, name: str) -> list[str]:
        keys = self.names(name)
        for number, key in enumerate(keys, start=1):
            try:
                Fernet(key)
            except ValueError:
                # The value is a secret: say which key is wrong, never its value.
                raise _wrong(name, f"key {number} of {len(keys)} is no Fernet key") from None
        return keys

    def database(self, name: str, default: str) -> dict[str, Any]:
        value = self.text(name) or default
        # Checked first: for an unknown scheme, django-environ prints the password.
        if not value.startswith(DATABASE_SCHEMES):
            raise _wrong(name, WRONG_DATABASE)
        try:
            return dict(self._env.db_url_config(value))
        except (ValueError, KeyError, ImproperlyConfigured):
            raise _wrong(name, WRONG_DATABASE) from None

    def cache_location(self, name: str, default: str) -> str:
        value = self.text(name) or default
        try:
            is_known = urlsplit(value).scheme in CACHE_SCHEMES and urlsplit(value).port != 0
        except ValueError:  # the port is not a number
            is_known = False
        if not is_known:
            raise _wrong(name, "it is neither file:///folder nor redis://host:port/number")
        return value

    def _shaped(self, name: str, shape: str, what: str) -> str:
        """Return the text, "" if unset; it must match `shape`, and no error quotes it."""
        value = self.text(name)
        if value and not re.fullmatch(shape, value):
            raise _wrong(name, f"it is not {what}")
        return value

    def _cast(self, name: str, default: str, cast: Callable[[str], T], what: str) -> T:
        value = self.text(name) or default
        try:
            return cast(value)
        except ValueError:
            raise _wrong(name, f"{value!r} is not {what}") from None


def cache(url: str, name: str, *, in_files: str, in_redis: str) -> dict[str, object]:
    """Return Django's settings for the cache `name`: its own folder, or its key prefix in Redis.

    The folder and prefix of `overrides` must never change: processes of two releases announce
    changes to each other under that key during a deploy.
    """
    if url.startswith("file:"):
        return {
            "BACKEND": in_files,
            "LOCATION": str(Path(urlsplit(url).path) / name),
        }
    if url.startswith("locmem:"):
        return {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": name}
    return {
        "BACKEND": in_redis,
        "LOCATION": url,
        "KEY_PREFIX": f"observatory:{name}",
        # Without timeouts, a frozen Redis blocks for 5 s. Values are JSON, because unpickling a
        # value that others may have written would run their code.
        "OPTIONS": {
            "socket_timeout": 0.25,
            "socket_connect_timeout": 0.25,
            "serializer": "observatory.serializers.JsonSerializer",
        },
    }


def _is_local(url: str) -> bool:
    """Return whether a URL leads to this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def _decimal(value: str) -> Decimal:
    try:
        amount = Decimal(value)
    except InvalidOperation:
        raise ValueError(value) from None
    if not amount.is_finite():
        raise ValueError(value)
    return amount


def is_strong_secret(secret: str) -> bool:
    """Return whether a secret key is long, varied and not one of startproject's examples."""
    return (
        len(secret) >= SECRET_MIN_LENGTH
        and len(set(secret)) >= SECRET_MIN_UNIQUE_CHARACTERS
        and not secret.startswith(EXAMPLE_SECRET_PREFIX)
    )


def _wrong(name: str, why: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"{name}: {why}. Set it in the environment or in .env.")

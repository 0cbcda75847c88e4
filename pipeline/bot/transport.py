"""The TLS settings of the requests to Telegram."""

from __future__ import annotations

import ssl
from functools import cache

import httpx


@cache
def tls_context() -> ssl.SSLContext:
    """Return the context that all requests share: reading the certificates takes 15 ms.

    `SSL_CERT_FILE` and `SSL_CERT_DIR` of the environment are used, as python-telegram-bot does.
    """
    return httpx.create_ssl_context()

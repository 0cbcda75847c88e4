"""Clients of a running sandbox: one of its own for a test, or one for a whole file."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.sandbox.serving import running_sandbox


@pytest.fixture
def sandbox() -> Iterator[httpx.Client]:
    with running_sandbox() as base_url, httpx.Client(base_url=base_url) as client:
        yield client


@pytest.fixture(scope="module")
def shared_sandbox() -> Iterator[httpx.Client]:
    with running_sandbox() as base_url, httpx.Client(base_url=base_url) as client:
        yield client

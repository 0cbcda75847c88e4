"""Telegram's side of a webhook: carries updates from the sandbox to it, again until it says 200.

Behind the one address of a webhook may be several processes: each delivery goes to the next.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle

import httpx

from tests.canaries import BOT_TOKEN

TWICE = 0.1  # of the updates: Telegram delivers at least once
PAUSE_S = 0.05


class Courier:
    """Fetches as a poller would, and confirms an update once the webhook has taken it."""

    def __init__(
        self, sandbox_url: str, webhook_urls: Sequence[str], secret: str, seed: int
    ) -> None:
        self._get_updates = f"{sandbox_url}/telegram/bot{BOT_TOKEN}/getUpdates"
        self._webhook_urls = cycle(webhook_urls)
        self._headers = {"X-Telegram-Bot-Api-Secret-Token": secret}
        self._chance = random.Random(seed)
        self._is_over = threading.Event()
        self.answers: list[int] = []  # every status but 200

    @contextmanager
    def at_work(self) -> Iterator[Courier]:
        thread = threading.Thread(target=self._carry, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._is_over.set()
            thread.join(30)

    def _carry(self) -> None:
        offset = 0
        with httpx.Client(trust_env=False, timeout=20) as http:
            while not self._is_over.is_set():
                wanted = {"offset": offset, "timeout": 0, "limit": 20}
                for update in http.post(self._get_updates, json=wanted).json()["result"]:
                    if not self._delivered(http, update):
                        break
                    offset = update["update_id"] + 1
                time.sleep(PAUSE_S)

    def _delivered(self, http: httpx.Client, update: object) -> bool:
        for _ in range(2 if self._chance.random() < TWICE else 1):
            try:
                answer = http.post(next(self._webhook_urls), json=update, headers=self._headers)
            except httpx.TransportError:
                return False
            if answer.status_code != 200:
                self.answers.append(answer.status_code)
                return False
        return True

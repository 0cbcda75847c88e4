"""What others could write to a cache that installations share, as bytes in Redis and in files."""

from __future__ import annotations

import json
import os
import pickle
import random
import time
import zlib
from pathlib import Path
from typing import Any, Protocol

import redis

FORGED_MODEL = "forged/model"
OLD_SNAPSHOT = "observatory:overrides:1:1:snapshot:"  # where the release before this one kept them


class Cache(Protocol):
    """A cache seen from outside of Django."""

    def overwrite(self, number: int) -> None:
        """Overwrite every key, each with something else; a text differs by its number."""


class RunsCode:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


class RedisKeys:
    """The tokens in a Redis, beside which lie forged snapshots as older releases kept them."""

    def __init__(self, client: redis.Redis, chance: random.Random, trap: Path) -> None:
        self._client, self._chance, self._trap = client, chance, trap

    def overwrite(self, number: int) -> None:
        for key in list(self._client.keys("*revision*")):
            token = f"forged-{number}-{self._chance.random()}"
            self._client.set(f"{OLD_SNAPSHOT}{token}", json.dumps(forged_snapshot()), ex=60)
            tokens = [json.dumps(token).encode()] * 5
            value = self._chance.choice([*tokens, *poisons(self._trap), None])
            with self._client.pipeline() as at_once:  # a process may set the key at any time
                at_once.delete(key)
                if value is not None:
                    at_once.set(key, value)
                elif self._chance.random() < 0.5:
                    at_once.rpush(key, "a list")
                at_once.execute()


class CacheFiles:
    """The files of Django's file cache; each becomes a token, a snapshot, code or a poison."""

    def __init__(self, folder: Path, chance: random.Random, trap: Path) -> None:
        self._folder, self._chance, self._trap = folder, chance, trap

    def overwrite(self, number: int) -> None:
        for path in self._folder.glob("*.djcache"):
            token = f"forged-{number}-{self._chance.random()}"
            stored = [as_file(value) for value in (token, forged_snapshot(), RunsCode(self._trap))]
            bomb = pickle.dumps(None) + zlib.compress(bytes(10_000_000))
            value = self._chance.choice([*stored, stored[0], bomb, *poisons(self._trap), None])
            if value is None:
                path.unlink(missing_ok=True)
            else:
                written = path.with_suffix(".forged")
                written.write_bytes(value)
                written.rename(path)


def poisons(trap: Path) -> list[bytes]:
    """Return what is no token, each of another kind."""
    return [
        *(b"", b"null", b"{}", b"0", b'""', b"\x80\x04garbage", b"[" * 100_000, b"\xff\xfe"),
        *(b'"' + b"a" * 1_000_000 + b'"', os.urandom(50)),
        *(json.dumps(forged_snapshot()).encode(), pickle.dumps(RunsCode(trap))),
    ]


def as_file(value: object) -> bytes:
    """Return a value as Django's file cache stores it."""
    return pickle.dumps(None, 5) + zlib.compress(pickle.dumps(value, 5))


def forged_snapshot() -> dict[str, Any]:
    """Return a snapshot as the release before this one took it out of the cache."""
    row = {
        "agent_name": "extraction",
        "model_id": FORGED_MODEL,
        "on_failure": "fail",
        "set_by": "mallory",
        "set_at": "2026-11-24T00:00:00+00:00",
        "version": 999,
    }
    return {"version": "v999·dead", "queried_at": time.time() - 0.01, "rows": [row]}

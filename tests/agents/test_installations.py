"""Two installations on one cache, and a cache that others write to: the table alone decides.

Two real processes resolve, one on the test's database and one on a copy of it, which has the same
random id. Both have the same DJANGO_SECRET_KEY.
"""

from __future__ import annotations

import hashlib
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import caches
from django.test import TransactionTestCase, override_settings

from agents import revision
from agents.database_identity import read_identity
from tests.agents.copies import copied_database, identity_at, url_of
from tests.agents.doubles import KEY, KEY_BEFORE_1_1, choose_model
from tests.agents.forging import Cache, CacheFiles, RedisKeys
from tests.agents.processes import Resolving, Saving, environment, wait_for
from tests.proving import amount, closing_line
from tests.servers import redis_server

OVERWRITTEN = amount(100, proving=1_000)
PAUSE_S = 0.01
OURS, THEIRS, NEW = "openai/gpt-5-mini", "z-ai/glm-4.6", "anthropic/claude-sonnet-4.5"


@dataclass(frozen=True, slots=True, kw_only=True)
class Two:
    """Our installation and theirs: processes of each that resolve, and one of theirs that saves."""

    ours: Resolving
    theirs: Resolving
    saving: Saving
    identity: str  # of our database
    their_identity: str

    def tokens(self) -> tuple[Any, Any]:
        cache = caches[revision.CACHE_ALIAS]
        return cache.get(KEY + self.identity), cache.get(KEY + self.their_identity)


@contextmanager
def two_installations(cache_url: str) -> Iterator[Two]:
    choose_model("extraction", OURS)
    with copied_database() as copy:
        env = environment(CACHE_URL=cache_url)
        other_env = {**env, "DATABASE_URL": url_of(copy)}
        two = Two(
            ours=Resolving(env),
            theirs=Resolving(other_env),
            saving=Saving(other_env),
            identity=read_identity(),
            their_identity=identity_at(copy),
        )
        try:
            two.saving.upsert(THEIRS)
            arrives(two.theirs, THEIRS)
            arrives(two.ours, OURS)
            yield two
        finally:
            for child in (two.ours, two.theirs, two.saving):
                child.end()


def arrives(process: Resolving, model: str) -> None:
    wait_for(
        lambda: process.lines and (process.last.model, process.last.error) == (model, ""),
        f"{model}; seen so far: {process.models}",
    )


@pytest.mark.chaos
class InstallationsTest(TransactionTestCase):
    def setUp(self) -> None:
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.cache, self.trap = folder / "cache", folder / "trap"
        self.chance = random.Random(14)

    def test_on_one_cache_of_files(self):
        backend = {
            "BACKEND": "observatory.caches.TextFileCache",
            "LOCATION": str(self.cache / "overrides"),
        }
        self.enterContext(override_settings(CACHES={"default": backend, "overrides": backend}))

        with two_installations(f"file://{self.cache}") as two:
            names = {path.stem for path in (self.cache / "overrides").glob("*.djcache")}
            assert names == {
                hashlib.md5(f":1:{key}".encode(), usedforsecurity=False).hexdigest()
                for key in (KEY + two.identity, KEY + two.their_identity, KEY_BEFORE_1_1)
            }
            self.each_has_its_own(two)
            self.forged(two, CacheFiles(self.cache / "overrides", self.chance, self.trap))

    def test_on_one_redis(self):
        redis = self.enterContext(redis_server())
        backend = {
            "BACKEND": "observatory.redis_cache.TextRedisCache",
            "LOCATION": redis.url,
            "KEY_PREFIX": "observatory:overrides",
            "OPTIONS": {"serializer": "observatory.serializers.JsonSerializer"},
        }
        self.enterContext(override_settings(CACHES={"default": backend, "overrides": backend}))

        with two_installations(redis.url) as two, redis.client() as client:
            prefix = "observatory:overrides:1"
            assert {str(key, "ascii") for key in client.keys("*") if isinstance(key, bytes)} == {
                f"{prefix}:revision:{two.identity}",
                f"{prefix}:revision:{two.their_identity}",
                f"{prefix}:1:revision",  # until release 1.1
            }
            self.each_has_its_own(two)
            self.forged(two, RedisKeys(client, self.chance, self.trap))

    def each_has_its_own(self, two: Two) -> None:
        """A change on one side sets the token of that side only, and is in effect there only."""
        ours, theirs = two.tokens()
        assert ours != theirs

        choose_model("extraction", NEW)
        arrives(two.ours, NEW)
        assert two.tokens()[0] != ours
        assert two.tokens()[1] == theirs

        ours = two.tokens()[0]
        two.saving.deactivate()
        two.saving.upsert(THEIRS)
        arrives(two.theirs, THEIRS)
        assert two.tokens()[0] == ours
        assert two.tokens()[1] != theirs
        assert set(two.theirs.models) <= {OURS, THEIRS, None}  # OURS: from before they saved
        assert set(two.ours.models) == {OURS, NEW}

    def forged(self, two: Two, cache: Cache) -> None:
        """Every key is overwritten at random, while we save: each answer is what the table said."""
        said = {1: OURS, 2: NEW}
        before = len(two.theirs.lines)
        for number in range(OVERWRITTEN):
            cache.overwrite(number)
            if number % 20 == 19:
                model = f"openai/gpt-{number}"
                said[choose_model("extraction", model).version] = model
            time.sleep(PAUSE_S)
        choose_model("extraction", OURS)
        arrives(two.ours, OURS)
        said[max(said) + 1] = OURS

        counters = [seen.counter for seen in two.ours.seen]
        wrong = [seen for seen in two.ours.seen if seen.model != said[seen.counter]]
        assert wrong == []
        assert counters == sorted(counters)
        assert {seen.model for seen in two.theirs.seen[before:]} <= {THEIRS}  # as before
        assert not self.trap.exists(), "a pickle from the cache has run"
        closing_line(
            f"cache: {OVERWRITTEN} overwrites ({type(cache).__name__}),"
            f" {len(two.ours.seen)} looks, wrong=0"
        )

"""The caches of the tokens: what older releases wrote is read, and nothing else is believed."""

from __future__ import annotations

import pickle
import tempfile
import zlib
from pathlib import Path

from django.core.cache.backends.filebased import FileBasedCache
from django.core.cache.backends.redis import RedisCache
from django.test import SimpleTestCase

from observatory.caches import TextFileCache
from observatory.redis_cache import TextRedisCache
from tests.agents.forging import RunsCode, as_file, poisons
from tests.servers import redis_server

TOKEN = "8" * 32
OPTIONS = {"OPTIONS": {"serializer": "observatory.serializers.JsonSerializer"}}


class FileTest(SimpleTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.trap = self.folder / "trap"
        self.cache = TextFileCache(str(self.folder), {})
        self.django = FileBasedCache(str(self.folder), {})

    def file(self) -> Path:
        [path] = self.folder.glob("*.djcache")
        return path

    def test_it_reads_what_django_writes_and_the_reverse(self):
        self.django.set("a", TOKEN, timeout=None)
        self.cache.set("b", TOKEN, timeout=None)

        assert self.cache.get_many(["a", "b"]) == {"a": TOKEN, "b": TOKEN}
        assert self.django.get_many(["a", "b"]) == {"a": TOKEN, "b": TOKEN}

    def test_whatever_else_is_absent_and_runs_no_code(self):
        self.cache.set("a", TOKEN, timeout=None)
        stored = self.file().read_bytes()
        code, bomb = RunsCode(self.trap), zlib.compress(bytes(50_000_000))
        poisoned = [
            *(as_file(value) for value in (None, 7, [TOKEN], {"a": 1}, b"bytes", "a" * 300, code)),
            *(pickle.dumps(code) + stored, pickle.dumps(1e12) + stored[4:], pickle.dumps(code)),
            *(pickle.dumps(None, 5) + bomb, stored[:-1], stored[:20], stored[4:]),
            *poisons(self.trap),
        ]
        for number, data in enumerate(poisoned):
            with self.subTest(number=number, data=data[:40]):
                self.file().write_bytes(data)

                assert self.cache.get("a") is None
                assert not self.cache.has_key("a")
        assert not self.trap.exists()

        self.cache.set("a", TOKEN, timeout=None)
        assert self.cache.get("a") == TOKEN

    def test_the_trap_is_one(self):
        self.cache.set("a", TOKEN, timeout=None)
        self.file().write_bytes(as_file(RunsCode(self.trap)))

        self.django.get("a")

        assert self.trap.exists()


class RedisTest(SimpleTestCase):
    def test_it_reads_short_texts_as_django_does_and_nothing_else(self):
        server = self.enterContext(redis_server())
        cache, django = TextRedisCache(server.url, OPTIONS), RedisCache(server.url, OPTIONS)
        django.set("a", TOKEN, timeout=None)
        cache.set("b", TOKEN, timeout=None)
        assert cache.get_many(["a", "b", "c"]) == {"a": TOKEN, "b": TOKEN}
        assert (cache.get("a"), django.get("b"), cache.get("c", 1)) == (TOKEN, TOKEN, 1)

        with server.client() as client:
            client.rpush("list", "x")
            client.rename("list", ":1:a")
            assert cache.get_many(["a", "b"]) == {"b": TOKEN}

            client.set(":1:a", b'"' + b"a" * 20_000_000 + b'"')
            before = int(client.info()["total_net_output_bytes"])
            assert cache.get_many(["a", "b"]) == {"b": TOKEN}
            assert int(client.info()["total_net_output_bytes"]) - before < 100_000
            for poison in poisons(Path("never made")):
                client.set(":1:a", poison)
                assert not isinstance(cache.get("a"), str) or len(cache.get("a")) < 65, poison
        for each in (cache, django):
            each._cache.get_client().connection_pool.disconnect()  # type: ignore[attr-defined]

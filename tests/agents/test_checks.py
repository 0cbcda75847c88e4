"""The system check that refuses a cache which cannot carry a change to another process."""

from __future__ import annotations

from django.core.checks import ERROR, WARNING
from django.test import SimpleTestCase, override_settings

from agents.checks import check_override_cache

BACKENDS = "django.core.cache.backends"


def caches_of(backend: str) -> dict[str, dict[str, str]]:
    return {"default": {"BACKEND": f"{BACKENDS}.filebased.FileBasedCache"}} | {
        "overrides": {"BACKEND": f"{BACKENDS}.{backend}"}
    }


class CacheCheckTest(SimpleTestCase):
    def test_a_cache_per_process_is_an_error_and_in_debug_a_warning(self):
        for backend in ("locmem.LocMemCache", "dummy.DummyCache"):
            for debug, level in ((False, ERROR), (True, WARNING)):
                with (
                    self.subTest(backend=backend, debug=debug),
                    override_settings(CACHES=caches_of(backend), DEBUG=debug),
                ):
                    [message] = check_override_cache()

                    assert (message.id, message.level) == ("agents.E001", level)
                    assert "CACHE_URL" in str(message.hint)

    def test_a_shared_cache_passes(self):
        for backend in ("filebased.FileBasedCache", "redis.RedisCache", "db.DatabaseCache"):
            with self.subTest(backend), override_settings(CACHES=caches_of(backend)):
                assert check_override_cache() == []

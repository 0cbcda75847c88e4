"""The files under deploy/ name commands, settings and times that exist."""

from __future__ import annotations

import configparser
import re
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from django.conf import settings
from django.core.management import get_commands
from django.test import SimpleTestCase

from tests.servers import redis_server

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
OURS = ("web", "worker", "bot", "migrate")


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"])


def units() -> dict[str, configparser.SectionProxy]:
    found = {}
    for path in sorted((DEPLOY / "systemd").glob("*.service")):
        parser = configparser.ConfigParser(interpolation=None)
        parser.optionxform = str  # type: ignore[assignment, method-assign]
        parser.read(path, encoding="utf-8")
        found[path.name] = parser["Service"]
    return found


class ComposeTests(SimpleTestCase):
    def test_it_has_what_two_workers_need(self):
        services = compose()

        assert set(services) == {*OURS, "database", "cache"}
        assert services["worker"]["deploy"]["replicas"] == 2
        for name in ("web", "database", "cache"):
            assert "test" in services[name]["healthcheck"], name

    def test_a_stop_leaves_time_for_answers_under_way(self):
        for name in OURS:
            grace = compose()[name]["stop_grace_period"]
            assert int(grace.removesuffix("s")) > settings.DRAIN_SECONDS, name

    def test_commands_exist(self):
        for name, service in compose().items():
            command = service.get("command", [])
            if command[:2] == ["python", "manage.py"]:
                assert command[2] in get_commands(), name

    def test_settings_exist(self):
        known = re.findall(
            r"^#? ?([A-Z_]+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE
        )
        example = (DEPLOY / "observatory.env.example").read_text(encoding="utf-8")
        named = set(re.findall(r"^#? ?([A-Z_]+)=", example, re.MULTILINE))
        named |= {name for ours in OURS for name in compose()[ours]["environment"]}

        assert named <= set(known)

    def test_redis_and_those_who_use_it_have_one_password(self):
        cache, password = compose()["cache"], "${REDIS_PASSWORD:?put it into .env beside this file}"
        url = compose()["worker"]["environment"]["CACHE_URL"]
        command = [part.replace(password, "sesame") for part in cache["command"]]

        assert cache["environment"]["REDISCLI_AUTH"] == password
        with redis_server(*command[1:]) as server:
            address = server.url.partition("//")[2]
            known = url.replace(password, "sesame").replace("cache:6379/0", address)
            with redis.Redis.from_url(known) as client:
                assert client.ping()
            with (
                redis.Redis.from_url(server.url) as stranger,
                pytest.raises(redis.AuthenticationError),
            ):
                stranger.ping()

    def test_the_image_has_every_part_of_the_product(self):
        recipe = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")

        for part in ("observatory", "agents", "pipeline"):
            assert f"COPY {part} {part}" in recipe


class SystemdTests(SimpleTestCase):
    def test_every_process_is_started_again_and_stopped_with_time(self):
        for name, service in units().items():
            with self.subTest(name):
                assert service["Restart"] == "always"
                assert int(service["TimeoutStopSec"]) > settings.DRAIN_SECONDS

    def test_commands_exist(self):
        started = [re.search(r"manage\.py (\w+)", unit["ExecStart"]) for unit in units().values()]

        assert {found[1] for found in started if found} == {"runbot", "runworker"}
        assert {"runbot", "runworker"} <= set(get_commands())

"""Telemetry by settings alone: nothing without an address, nothing begun before it is needed."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import SimpleTestCase, override_settings

from observatory.environment import Secret
from observatory.telemetry import reporter
from observatory.telemetry.sending import Receiver
from pipeline.journal import traces
from tests.canaries import canary
from tests.observatory.installations import PRODUCTION, ROOT, load_settings

SECRET = canary("Basic cGstbGYtQ0FOQVJZOnNrLWxmLUNBTkFSWQ==")
ADDRESS = "https://langfuse.example.com/api/public/otel"
LOOK = """
import json, sys, threading
import django
django.setup()
from pipeline.journal import traces
print(json.dumps({
    "libraries": sorted(m for m in ("opentelemetry", "requests", "google.protobuf") if m in sys.modules),
    "threads": sorted(thread.name for thread in threading.enumerate()),
    "is_on": traces._tracer is not None,
}))
"""  # noqa: E501


class StartTests(SimpleTestCase):
    def test_without_an_address_no_library_of_it_is_imported(self):
        found = self._started({})

        assert found == {"libraries": [], "threads": ["MainThread"], "is_on": False}

    def test_with_an_address_no_thread_is_there_before_something_is_to_be_told(self):
        found = self._started({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"})

        assert found["is_on"] is True
        assert "opentelemetry" in found["libraries"]
        assert found["threads"] == ["MainThread"]

    def _started(self, environment: dict[str, str]) -> dict[str, Any]:
        result = subprocess.run(
            [sys.executable, "-c", LOOK],
            cwd=ROOT,
            env={
                "DJANGO_SETTINGS_MODULE": "observatory.settings",
                "DJANGO_DEBUG": "true",
                "OTEL_EXPORTER_OTLP_ENDPOINT": "",
                **environment,
            },
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return dict(json.loads(result.stdout))


class SettingsTests(SimpleTestCase):
    def test_headers_are_read_as_the_vendors_write_them(self):
        table = {
            f"Authorization={SECRET},x-langfuse-ingestion-version=4": {
                "Authorization": SECRET,
                "x-langfuse-ingestion-version": "4",
            },
            "api-key=a%2Cb%20c": {"api-key": "a,b c"},
            " a = 1 , b=2,": {"a": "1", "b": "2"},
            "": {},
        }
        for text, expected in table.items():
            with self.subTest(text):
                settings = load_settings(PRODUCTION | {"OTEL_EXPORTER_OTLP_HEADERS": text})

                assert settings["OTEL_EXPORTER_OTLP_HEADERS"].reveal() == expected

    def test_a_header_that_cannot_be_sent_is_named_by_its_number_and_never_shown(self):
        for text in ("a=1,hunter2", "a=1,b=hunter2%0d%0aHost:x", 'a=1,b="hunter2"', "a=1,b="):
            with self.subTest(text):
                with pytest.raises(ImproperlyConfigured) as refusal:
                    load_settings(PRODUCTION | {"OTEL_EXPORTER_OTLP_HEADERS": text})

                assert "header 2 of 2" in str(refusal.value)
                assert "hunter2" not in str(refusal.value)

    def test_headers_are_shown_to_nobody_by_accident(self):
        headers = Secret({"Authorization": SECRET})
        receiver = Receiver(
            base_url=ADDRESS, headers=headers.reveal(), service_name="", environment=""
        )

        for shown in (repr(headers), str(headers), repr(receiver)):
            assert SECRET not in shown

    def test_the_library_logs_no_header_that_it_cannot_read(self):
        # It reads the environment once more, and quotes in a warning what puzzles it.
        assert not logging.getLogger("opentelemetry.util.re").isEnabledFor(logging.WARNING)

    def test_content_is_off_unless_asked_for(self):
        name = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"

        assert load_settings(PRODUCTION)[name] is False
        assert load_settings(PRODUCTION | {name: "true"})[name] is True

    def test_from_the_sandbox_nothing_leaves_this_machine(self):
        sandbox = {"DJANGO_DEBUG": "true", "SANDBOX": "true"}
        for address, used in ((ADDRESS, ""), ("http://127.0.0.1:4318", "http://127.0.0.1:4318")):
            with self.subTest(address):
                settings = load_settings(sandbox | {"OTEL_EXPORTER_OTLP_ENDPOINT": address})

                assert settings["OTEL_EXPORTER_OTLP_ENDPOINT"] == used

    def test_the_settings_decide_where_it_goes_and_how_much(self):
        self.addCleanup(traces.use, None)
        with override_settings(
            OTEL_EXPORTER_OTLP_ENDPOINT=ADDRESS,
            OTEL_EXPORTER_OTLP_HEADERS=Secret({"Authorization": SECRET}),
            OTEL_SERVICE_NAME="sales-bot",
            OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=True,
            SANDBOX=False,
            DEBUG=False,
        ):
            reporter.install()

        installed = traces._tracer
        assert isinstance(installed, reporter.Reporter)
        receiver = installed._receiver
        assert (receiver.base_url, receiver.service_name) == (ADDRESS, "sales-bot")
        assert receiver.headers == {"Authorization": SECRET}
        assert receiver.environment == "production"
        assert receiver.host == "langfuse.example.com"
        assert installed._with_content is True
        assert receiver.most_spans * 5 * 16_000 < 100_000_000  # characters that may wait

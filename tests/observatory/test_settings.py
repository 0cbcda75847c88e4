"""A wrong environment stops the process, by name, and never shows a secret."""

from __future__ import annotations

import re
from base64 import b64encode, urlsafe_b64encode
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured
from django.test import SimpleTestCase

from tests.observatory.installations import PRODUCTION, ROOT, load_settings, manage, variables

REQUIRED = ["DJANGO_ALLOWED_HOSTS", "DJANGO_SECRET_KEY", "CREDENTIALS_KEYS"]
WRONG = [
    ("DJANGO_DEBUG", "perhaps"),
    ("DJANGO_SECRET_KEY", "tiny"),
    ("DJANGO_SECRET_KEY", "django-insecure-" + "qwertzuiopasdfghjklyxcvbnm" * 3),
    ("DJANGO_SECRET_KEY", "a" * 60),
    ("PORT", "http"),
    ("PORT", "0"),
    ("PORT", "65536"),
    ("TIME_ZONE", "Mars/Olympus"),
    ("DATABASE_URL", "mysql://app:hunter2hunter2@db/observatory"),
    ("DATABASE_URL", "postgers://app:hunter2hunter2@db/observatory"),
    ("DATABASE_URL", "nonsense"),
    ("DATABASE_URL", "postgres://app:hunter2hunter2@db:port/observatory"),
    ("CACHE_URL", "memcached://cache:11211"),
    ("CACHE_URL", "locmem://"),
    ("CACHE_URL", "redis://:hunter2hunter2@cache:port/0"),
    ("DJANGO_ALLOWED_HOSTS", "https://observatory.example.com"),
    ("DJANGO_ALLOWED_HOSTS", "observatory.example.com/admin"),
    ("TELEGRAM_BOT_TOKEN", "hunter2hunter2"),
    ("OPENROUTER_API_KEY", "hunter2 hunter2"),
    ("DEFAULT_MODEL", "gpt"),
    ("OPERATOR_CHAT_ID", "the team's chat"),
    ("SANDBOX", "maybe"),
    ("SANDBOX", "true"),
    ("QUEUE", "rabbitmq"),
    ("TELEGRAM_API_BASE_URL", "api.telegram.org"),
    ("TELEGRAM_FILE_BASE_URL", "ftp://api.telegram.org"),
    ("OPENROUTER_BASE_URL", "http://"),
    ("OPENROUTER_BASE_URL", "http://models.internal/v1/chat/completions"),
    ("OPENAI_BASE_URL", "http://user:hunter2@models.internal/v1"),
    ("SHARED_SERVER", "ollama"),
    ("SHARED_SERVER", "compatible"),  # and no address of its own
    ("OVERRIDE_TTL_SECONDS", "61"),
    ("OVERRIDE_TTL_SECONDS", "a minute"),
    ("STEP_DEADLINE_SECONDS", "4"),
    ("SHARED_KEY_FOR_MEMBERS", "some"),
    ("ACCESS", "ajar"),
    ("RUNS_PER_HOUR", "0"),
    ("SHARED_DOLLARS_PER_DAY", "0"),
    ("SHARED_DOLLARS_PER_DAY", "one"),
    ("SHARED_DOLLARS_PER_DAY", "NaN"),
    ("DRAIN_SECONDS", "-1"),
    ("CREDENTIALS_KEYS", "not-a-fernet-key-but-a-secret"),
    ("CREDENTIALS_KEYS", f"{Fernet.generate_key().decode()},not-a-fernet-key"),
    ("CHANGE_WEBHOOK_URL", "hooks.example.com/hunter2"),
    ("CHANGE_WEBHOOK_URL", "http://hooks.example.com/hunter2"),
    ("CHANGE_WEBHOOK_URL", "https://user:hunter2@hooks.example.com/"),
    ("CHANGE_WEBHOOK_URL", "https://hooks.example.com:port/hunter2"),
    ("CHANGE_WEBHOOK_URL", "https://[::1/hunter2"),
    ("TRUSTED_PROXIES", "proxy.internal"),
    ("TRUSTED_PROXIES", "10.0.0.7/8"),
    ("LOG_LEVEL", "LOUD"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://pk:hunter2@langfuse.example.com/api/public/otel"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector.example.com/?token=hunter2"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector.example.com/v1/traces"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2hunter2"),
    ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "span_only"),
]
SECRET = {
    "DJANGO_SECRET_KEY",
    "CREDENTIALS_KEYS",
    "DATABASE_URL",
    "CACHE_URL",
    "TELEGRAM_BOT_TOKEN",
    "OPENROUTER_API_KEY",
    "CHANGE_WEBHOOK_URL",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
}


class StartTest(SimpleTestCase):
    def test_the_documented_production_settings_start(self):
        settings = load_settings(PRODUCTION)

        assert settings["DEBUG"] is False
        assert settings["SANDBOX"] is False
        assert settings["SHARED_KEY_FOR_MEMBERS"] is False
        assert settings["ACCESS"] == "closed"
        assert settings["SESSION_COOKIE_SECURE"]

    def test_a_missing_variable_stops_the_process_by_name(self):
        for name in REQUIRED:
            with self.subTest(name):
                message = self._refusal(PRODUCTION | {name: ""})

                assert message.startswith(f"{name} is not set.")
                self._assert_no_secret(message)

    def test_a_wrong_value_stops_the_process_by_name(self):
        for name, value in WRONG:
            with self.subTest(name, value=value):
                message = self._refusal(PRODUCTION | {name: value})

                assert message.startswith(f"{name}: "), message
                self._assert_no_secret(message)
                if name in SECRET:
                    assert value not in message
                    assert "hunter2" not in message

    def test_a_desk_needs_no_variable_but_debug_and_keeps_its_secrets_to_itself(self):
        settings = load_settings({"DJANGO_DEBUG": "true"})

        assert len(settings["SECRET_KEY"]) >= 50
        assert len(settings["CREDENTIALS_KEYS"]) == 1
        assert settings["TELEGRAM_BOT_TOKEN"] == ""
        assert settings["OPENROUTER_API_KEY"] == ""

    def test_the_sandbox_brings_its_own_credentials_and_addresses(self):
        settings = load_settings({"DJANGO_DEBUG": "true", "SANDBOX": "true", "PORT": "8321"})

        assert settings["TELEGRAM_API_BASE_URL"] == "http://127.0.0.1:8321/sandbox/telegram"
        assert settings["OPENROUTER_API_KEY"] == settings["SANDBOX_SHARED_KEY"]
        assert settings["SHARED_KEY_FOR_MEMBERS"] is True

    def test_the_sandbox_gets_no_real_credential_and_sends_nothing_away(self):
        real = {
            "TELEGRAM_BOT_TOKEN": PRODUCTION["TELEGRAM_BOT_TOKEN"],
            "OPENROUTER_API_KEY": PRODUCTION["OPENROUTER_API_KEY"],
            "OPENROUTER_BASE_URL": "https://openrouter.ai/api/v1",
            "ANTHROPIC_BASE_URL": "https://api.anthropic.com",
            "TELEGRAM_API_BASE_URL": "https://api.telegram.org",
        }

        settings = load_settings({"DJANGO_DEBUG": "true", "SANDBOX": "true"} | real)

        for name, value in real.items():
            assert settings[name] != value, name
        for name in [name for name in settings if name.endswith("_BASE_URL")]:
            assert settings[name].startswith("http://127.0.0.1:"), name

    def test_a_server_of_ones_own_has_models_of_any_name_and_no_default(self):
        own = {
            "SHARED_SERVER": "compatible",
            "OPENROUTER_BASE_URL": "http://models.internal/v1/",
        }
        for model_id in ("llama3.2:1b", "hf.co/a/b-GGUF:Q4_K_M", "@cf/meta/llama", "smollm2"):
            settings = load_settings(PRODUCTION | own | {"DEFAULT_MODEL": model_id})

            assert settings["DEFAULT_MODEL"] == model_id
            assert settings["OPENROUTER_BASE_URL"] == "http://models.internal/v1"
            assert settings["DEFAULT_MODELS"]["openrouter"] == "openai/gpt-5-mini"
        assert self._refusal(PRODUCTION | own).startswith("DEFAULT_MODEL: ")
        sandbox = load_settings({"DJANGO_DEBUG": "true", "SANDBOX": "true"} | own)
        assert sandbox["SHARED_SERVER"] == "openrouter"

    def test_the_log_has_one_console_and_it_hides_keys_also_under_debug(self):
        logging = load_settings({"DJANGO_DEBUG": "true"})["LOGGING"]

        assert logging["loggers"]["django"] == {"handlers": [], "propagate": True}
        assert list(logging["handlers"]) == ["stderr"]
        assert logging["handlers"]["stderr"]["filters"] == ["redact", "fields"]

    def test_the_environment_goes_before_the_env_file(self):
        settings = load_settings(PRODUCTION | {"ACCESS": "open"}, "ACCESS=closed\nPORT=8500\n")

        assert settings["ACCESS"] == "open"
        assert settings["PORT"] == 8500

    def _refusal(self, environment: dict[str, str]) -> str:
        with pytest.raises(ImproperlyConfigured) as caught:
            load_settings(environment)
        return str(caught.value)

    def _assert_no_secret(self, message: str) -> None:
        for value in PRODUCTION.values():
            assert value == PRODUCTION["DJANGO_ALLOWED_HOSTS"] or value not in message


class WebhookTest(SimpleTestCase):
    """Where changes of overrides are delivered, and what signs them."""

    URL = "https://hooks.example.com/changes/?token=hunter2"
    KEYS = (bytes(range(24)), bytes(range(190, 254)))

    def settings_with(self, url: str, *secrets: str, **others: str) -> dict[str, Any]:
        chosen = {"CHANGE_WEBHOOK_URL": url, "CHANGE_WEBHOOK_SECRETS": ", ".join(secrets)}
        return load_settings(PRODUCTION | chosen | others)

    def test_the_url_stays_as_it_is_and_each_secret_is_decoded(self):
        settings = self.settings_with(self.URL, *map(secret_of, self.KEYS))

        assert settings["CHANGE_WEBHOOK_URL"] == self.URL
        assert settings["CHANGE_WEBHOOK_SECRETS"].reveal() == self.KEYS
        assert repr(settings["CHANGE_WEBHOOK_SECRETS"]) == "Secret()"

    def test_without_them_there_is_no_webhook(self):
        assert load_settings(PRODUCTION)["CHANGE_WEBHOOK_URL"] == ""
        assert load_settings(PRODUCTION)["CHANGE_WEBHOOK_SECRETS"].reveal() == ()

    def test_one_without_the_other_stops_the_process(self):
        for url, secrets in ((self.URL, ()), ("", (secret_of(self.KEYS[0]),))):
            with self.subTest(url), pytest.raises(ImproperlyConfigured) as refusal:
                self.settings_with(url, *secrets)

            message = str(refusal.value)
            assert message.startswith("CHANGE_WEBHOOK_URL, CHANGE_WEBHOOK_SECRETS: set both")
            assert "hunter2" not in message
            assert "whsec_AAEC" not in message

    def test_a_wrong_secret_is_named_by_its_number_and_never_shown(self):
        good = secret_of(self.KEYS[0])
        for wrong in (
            "hunter2hunter2hunter2hunter2hunter2",
            good.removeprefix("whsec_"),
            secret_of(bytes(range(23))),
            secret_of(bytes(range(65))),
            good[:-1],
            f"whsec_{urlsafe_b64encode(self.KEYS[1]).decode()}",
        ):
            with self.subTest(wrong), pytest.raises(ImproperlyConfigured) as refusal:
                self.settings_with(self.URL, good, wrong)

            message = str(refusal.value)
            assert message.startswith("CHANGE_WEBHOOK_SECRETS: secret 2 of 2 is not whsec_")
            assert wrong not in message

    def test_only_a_receiver_on_this_machine_may_do_without_https(self):
        secret = secret_of(self.KEYS[0])
        for url in ("http://127.0.0.1:9000/changes", "http://localhost/", "http://[::1]:9000/"):
            with self.subTest(url):
                assert self.settings_with(url, secret)["CHANGE_WEBHOOK_URL"] == url
        with pytest.raises(ImproperlyConfigured):
            self.settings_with("http://10.0.0.7/changes", secret)

    def test_from_the_sandbox_only_a_receiver_on_this_machine_is_told(self):
        sandbox = {"DJANGO_DEBUG": "true", "SANDBOX": "true"}
        secret = secret_of(self.KEYS[0])
        for url, used in ((self.URL, ""), ("http://127.0.0.1:9000/", "http://127.0.0.1:9000/")):
            with self.subTest(url):
                settings = self.settings_with(url, secret, **sandbox)

                assert settings["CHANGE_WEBHOOK_URL"] == used


def secret_of(key: bytes) -> str:
    return f"whsec_{b64encode(key).decode()}"


class ManageTest(SimpleTestCase):
    def test_a_missing_variable_is_one_line_and_no_traceback(self):
        result = manage("migrate", environment=PRODUCTION | {"CREDENTIALS_KEYS": ""})

        assert result.returncode == 1
        assert result.stderr.startswith("Wrong configuration. CREDENTIALS_KEYS is not set.")
        assert len(result.stderr.splitlines()) == 1

    def test_the_documented_production_settings_pass_the_deployment_check(self):
        result = manage("check", "--deploy", "--fail-level", "WARNING", environment=PRODUCTION)

        assert result.returncode == 0, result.stderr

    def test_a_desk_does_not_pass_the_deployment_check(self):
        desk = {"DJANGO_DEBUG": "true", "SANDBOX": "true"}

        result = manage("check", "--deploy", "--fail-level", "WARNING", environment=desk)

        assert result.returncode == 1
        assert "observatory.E001" in result.stderr
        assert "observatory.E002" in result.stderr


class DocumentedTest(SimpleTestCase):
    """The README's table and `.env.example` name what `settings.py` reads, and nothing else."""

    def test_the_readme_explains_every_variable(self):
        table = re.findall(
            r"^\| `([A-Z_]+)`", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE
        )

        assert sorted(table) == sorted(variables())

    def test_the_example_names_every_variable(self):
        example = (ROOT / ".env.example").read_text(encoding="utf-8")

        names = re.findall(r"^(?:# )?([A-Z_]+)=", example, re.MULTILINE)

        assert sorted(names) == sorted(variables())

"""What `check --deploy` says of a deployment."""

from __future__ import annotations

from django.core.checks import run_checks
from django.test import SimpleTestCase, override_settings


def found(**settings: object) -> list[str]:
    fit = {
        "DEBUG": False,
        "SANDBOX": False,
        "TELEGRAM_BOT_TOKEN": "1:token",
        "OPENROUTER_API_KEY": "key",
    }
    with override_settings(**(fit | settings)):
        messages = run_checks(include_deployment_checks=True)
    return [str(message.id) for message in messages if str(message.id).startswith("observatory.")]


class DeploymentTest(SimpleTestCase):
    def test_nothing_is_wrong_with_what_is_fit(self):
        assert found() == []

    def test_what_is_fit_for_one_desk_only_is_refused(self):
        for id_, settings in (
            ("observatory.E001", {"DEBUG": True}),
            ("observatory.E002", {"SANDBOX": True}),
            ("observatory.W001", {"TELEGRAM_BOT_TOKEN": ""}),
            ("observatory.W001", {"OPENROUTER_API_KEY": ""}),
        ):
            with self.subTest(settings):
                assert found(**settings) == [id_]

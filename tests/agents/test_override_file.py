"""The overrides as a file: what is exported can be applied, and applying twice changes nothing."""

from __future__ import annotations

import io
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import TestCase
from django.utils import timezone

from agents import override_file
from agents.models import AGENTS, AgentModelConfig, OnFailure, OverrideVersion
from agents.override_file import OverrideFileError
from tests.agents.catalog.listing import SandboxCatalogCase, entry, take_in
from tests.agents.doubles import choose_model

MINI, GLM = "openai/gpt-5-mini", "z-ai/glm-4.6"
FILE = f"""
strategist:
  model: {GLM}
trainer:
  model: {MINI}
  if_it_fails: default_model
"""


def state() -> dict[str, tuple[str, str]]:
    rows = AgentModelConfig.objects.get_all_active()
    return {row.agent_name: (row.model_id, row.on_failure) for row in rows}


class FileTests(TestCase):
    def test_applying_sets_what_the_file_says_and_turns_the_others_off(self):
        AgentModelConfig.objects.upsert("extraction", MINI)
        AgentModelConfig.objects.upsert("strategist", MINI)

        made = override_file.apply(FILE, "olga", reason="The new plan")

        assert [str(change) for change in made] == [
            f"extraction: {MINI} → the default model",
            f"strategist: {MINI} → {GLM}",
            f"trainer: the default model → {MINI}, or DEFAULT_MODEL if it fails",
        ]
        assert state() == {
            "strategist": (GLM, OnFailure.FAIL),
            "trainer": (MINI, OnFailure.DEFAULT_MODEL),
        }
        for row in AgentModelConfig.objects.all():
            latest = row.history.latest()
            assert (latest.set_by, latest.reason) == ("olga", "The new plan")

    def test_applying_twice_changes_nothing_the_second_time(self):
        override_file.apply(FILE, "olga")
        before = OverrideVersion.objects.get().n, AgentModelConfig.history.count()

        assert override_file.apply(FILE, "olga") == []

        assert (OverrideVersion.objects.get().n, AgentModelConfig.history.count()) == before

    def test_what_is_exported_is_the_state_it_was_exported_from(self):
        for text in (FILE, "{}"):
            override_file.apply(text, "olga")

            assert override_file.plan(override_file.exported()) == []

    def test_drift_is_named(self):
        override_file.apply(FILE, "olga")
        AgentModelConfig.objects.upsert("trainer", GLM, "pete")

        [drift] = override_file.plan(FILE)

        assert str(drift) == f"trainer: {GLM} → {MINI}, or DEFAULT_MODEL if it fails"

    def test_a_file_with_a_mistake_changes_nothing_and_says_where_it_is(self):
        AgentModelConfig.objects.upsert("extraction", MINI)
        for text, said in (
            ("strategist: {model: [1]}", "strategist.model: Input should be a valid string"),
            ("strategist: {modell: a/b}", "strategist.modell: Extra inputs are not permitted"),
            ("strategist: a/b", "strategist: Input should be"),
            ("- strategist", "the file: Input should be a valid dictionary"),
            ("strateg: {model: a/b}", "No agent is called strateg. There are: "),
            (
                "strategist: {model: a/b, if_it_fails: hope}",
                "'hope' is none of fail, default_model",
            ),
            ("trainer: {model: a/b}\ntrainer: {model: a/c}", "names trainer more than once"),
            ("trainer: {model: a/b, model: a/c}", "names model more than once"),
            ("strategist: {model: 2020-13-45}", "not valid YAML"),
            ("strategist: {model: nonsense}", "Enter an OpenRouter model ID"),
            ("strategist: {model: a/b", "not valid YAML"),
            ("!!python/object:os.system {}", "not valid YAML"),
            ("[" * 5_000, "not valid YAML"),
            (f"# {'a' * override_file.MAX_BYTES}", "larger than 100,000 bytes"),
        ):
            with self.subTest(text[:60]), pytest.raises(OverrideFileError) as refused:
                override_file.apply(text, "olga")

            assert said in str(refused.value)
        assert state() == {"extraction": (MINI, OnFailure.FAIL)}

    def test_a_reason_that_is_too_long_changes_nothing(self):
        with pytest.raises(OverrideFileError, match="at most 300 characters"):
            override_file.apply(FILE, "olga", reason="x" * 301)

        assert state() == {}

    def test_an_override_of_an_agent_that_is_gone_is_left_alone(self):
        choose_model("former", MINI)
        AGENTS.discard("former")

        assert "former" not in override_file.exported()
        override_file.apply(FILE, "olga")

        assert state()["former"] == (MINI, OnFailure.FAIL)


class CheckTests(SandboxCatalogCase):
    def setUp(self) -> None:
        take_in(entry(MINI), now=timezone.now())
        AgentModelConfig.objects.upsert("extraction", MINI)

    def test_one_unfit_model_keeps_the_whole_file_from_being_applied(self):
        text = f"extraction: {{model: nosuch/model-typo}}\nstrategist: {{model: {MINI}}}\n"

        with pytest.raises(OverrideFileError, match="no model with this ID"):
            override_file.apply(text, "olga")
        assert state() == {"extraction": (MINI, OnFailure.FAIL)}

        override_file.apply(text, "olga", reason="Announced", accept_unfit=True)
        assert state()["extraction"] == ("nosuch/model-typo", OnFailure.FAIL)


class CommandTests(TestCase):
    def run_command(self, *arguments: str, text: str = FILE) -> str:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "overrides.yaml"
            path.write_text(text)
            told = io.StringIO()
            words = [str(path) if word == "FILE" else word for word in arguments]
            call_command("overrides", *words, stdout=told)
        return told.getvalue()

    def test_plan_says_what_would_change_and_exits_with_2(self):
        with pytest.raises(SystemExit) as ended:
            self.run_command("plan", "FILE")

        assert ended.value.code == 2
        assert state() == {}

    def test_apply_export_and_plan_agree(self):
        applied = self.run_command("apply", "FILE", "--by", "deploy", "--reason", "Release 12")

        assert f"strategist: the default model → {GLM}" in applied
        assert AgentModelConfig.objects.get(agent_name="strategist").set_by == "deploy"
        exported = self.run_command("export")
        assert "as the file has them" in self.run_command("plan", "FILE", text=exported)
        assert "Nothing changed" in self.run_command("apply", "FILE", text=exported)

    def test_what_cannot_be_applied_ends_with_an_error(self):
        with pytest.raises(CommandError, match="Nothing was changed"):
            self.run_command("apply", "FILE", text="strateg: {model: a/b}")
        with pytest.raises(CommandError, match="cannot be read"):
            call_command("overrides", "plan", "/no/such/file.yaml")

"""Definitions: the shipped ones load, and every mistake is told with its file and line."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import pytest
import yaml
from django.core.checks import run_checks
from django.test import SimpleTestCase
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.registry import default_registry
from pipeline.models.runs import StepMode
from pipeline.running import config
from pipeline.running.config import (
    MAX_BYTES,
    PipelineInvalid,
    UnknownPipeline,
    load_pipeline,
    pipeline_names,
    problems,
    read_pipeline,
)
from tests.proving import amount

GOOD = """\
title: Sales support
answer: [strategist]
steps:
  - agent: extraction
    mode: sequential
    input_mapping:
      message: ctx.user_message
  - agent: strategist
    mode: sequential
    input_mapping:
      task: "Plan it."
      profile: result.extraction
"""
KNOWN = "extraction, strategist, trainer, memory"
FIELDS = (
    "user_message, forwarded, conversation, image_b64, knowledge_base, user_memory, casebook_text, "
    "scenario"
)

# Each changes GOOD: what is replaced, by what, and what must then be said.
MISTAKES: dict[str, tuple[str, str, list[str]]] = {
    "unknown agent": (
        "agent: strategist",
        "agent: strategits",
        [
            f"8: unknown agent 'strategits'; known are {KNOWN}",
            "2: no step before the end yields a result of 'strategist'",
        ],
    ),
    "bad button": (
        "answer: [strategist]\n",
        "answer: [strategist]\nbuttons: [[again, agian]]\n",
        ["3: buttons: 'agian' is none of again, shorter, save, why"],
    ),
    "bad mode": (
        "mode: sequential\n    input_mapping:\n      message",
        "mode: serial\n    input_mapping:\n      message",
        ["5: steps.mode: 'serial' is none of sequential, parallel, background"],
    ),
    "result of nobody": (
        "result.extraction",
        "result.nobody",
        ["12: 'result.nobody': 'nobody' has no result yet when 'strategist' runs"],
    ),
    "result of its own": (
        "result.extraction",
        "result.strategist",
        ["12: 'result.strategist': 'strategist' has no result yet when 'strategist' runs"],
    ),
    "result of a later step": (
        "message: ctx.user_message",
        "message: result.strategist",
        ["7: 'result.strategist': 'strategist' has no result yet when 'extraction' runs"],
    ),
    "result of the same parallel group": (
        "mode: sequential",
        "mode: parallel",
        ["12: 'result.extraction': 'extraction' has no result yet when 'strategist' runs"],
    ),
    "result of a background step": (
        "mode: sequential\n    input_mapping:\n      message",
        "mode: background\n    input_mapping:\n      message",
        ["12: 'result.extraction': 'extraction' has no result yet when 'strategist' runs"],
    ),
    "unknown context field": (
        "ctx.user_message",
        "ctx.user_massage",
        [f"7: 'ctx.user_massage': the context has {FIELDS}"],
    ),
    "a task out of a text": (
        'task: "Plan it."',
        "task: ctx.user_message",
        ["11: the task is written here as a text, never taken from 'ctx.user_message'"],
    ),
    "a task out of a result": (
        'task: "Plan it."',
        "task: result.extraction",
        ["11: the task is written here as a text, never taken from 'result.extraction'"],
    ),
    "missing title": ("title: Sales support\n", "", ["1: title: Field required"]),
    "missing mode": (
        "    mode: sequential\n    input_mapping:\n      task",
        "    input_mapping:\n      task",
        ["8: steps.mode: Field required"],
    ),
    "missing steps": (GOOD[GOOD.index("steps:") :], "", ["1: steps: Field required"]),
    "no inputs": (
        "input_mapping:\n      message: ctx.user_message",
        "input_mapping: {}",
        ["6: steps.input_mapping: Dictionary should have at least 1 item after validation, not 0"],
    ),
    "an input that says nothing": (
        "message: ctx.user_message",
        "message:",
        ["7: steps.input_mapping.message: Input should be a valid string"],
    ),
    "extra key": (
        "title: Sales support",
        "title: Sales support\ntimeout: 5",
        ["2: timeout: Extra inputs are not permitted"],
    ),
    "extra key in a step": (
        "    mode: sequential\n    input_mapping:\n      task",
        "    mode: sequential\n    model: gpt\n    input_mapping:\n      task",
        ["10: steps.model: Extra inputs are not permitted"],
    ),
    "a name of its own": (
        "title: Sales support",
        "title: Sales support\nname: other",
        ["2: name: a pipeline is called like its file"],
    ),
    "the same key twice": (
        "message: ctx.user_message",
        "message: ctx.user_message\n      message: ctx.scenario",
        ["8: no YAML: the key 'message' is there twice"],
    ),
    "a key that is no text": (
        "title: Sales support",
        "? [title]\n: Sales support",
        ["1: no YAML: a key is no text"],
    ),
    "duplicate agent": (
        "agent: strategist",
        "agent: extraction",
        [
            "8: agent 'extraction' has a step already",
            "2: no step before the end yields a result of 'strategist'",
        ],
    ),
    "answer without result": (
        "answer: [strategist]",
        "answer:\n  - strategist\n  - memory",
        ["4: no step before the end yields a result of 'memory'"],
    ),
    "no answer": (
        "answer: [strategist]",
        "answer: []",
        ["2: answer: Tuple should have at least 1 item after validation, not 0"],
    ),
    "picture to an agent without eyes": (
        'task: "Plan it."',
        "image: ctx.image_b64",
        ["11: strategist takes no picture"],
    ),
    "picture under another name": (
        "message: ctx.user_message",
        "message: ctx.image_b64",
        ["7: the input 'image' and ctx.image_b64 belong together"],
    ),
    "alias": (
        'task: "Plan it."',
        "task: &plan Plan it.\n      again: *plan",
        ["12: aliases (*name) are not supported"],
    ),
    "no YAML": (
        "answer: [strategist]",
        "answer: [strategist",
        ["3: no YAML: expected ',' or ']', but got ':'"],
    ),
    "a text that ends too early": (
        GOOD,
        "title: [\n",
        ["1: no YAML: expected the node content, but found '<stream end>'"],
    ),
    "a list": (GOOD, "- title\n", ["1: not a mapping with title, answer and steps"]),
    "a word": (GOOD, "title\n", ["1: not a mapping with title, answer and steps"]),
    "nothing": (GOOD, "", ["1: not a mapping with title, answer and steps"]),
    "comments only": (GOOD, "# nothing\n", ["1: not a mapping with title, answer and steps"]),
    "two documents": (
        GOOD,
        "title: one\n---\ntitle: two\n",
        ["2: no YAML: but found another document"],
    ),
    "a control character": (
        "Sales support",
        "Sales\x07support",
        ["1: no YAML: special characters are not allowed"],
    ),
    "too large": (
        "title: Sales support",
        f"title: Sales support # {'x' * MAX_BYTES}",
        [f"1: longer than {MAX_BYTES} bytes"],
    ),
    "too deep": (GOOD, "[" * 500 + "]" * 500, ["1: no YAML: nested too deeply"]),
}


class ReadingTests(SimpleTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(TemporaryDirectory()))

    def written(self, content: str | bytes, name: str = "trial.yaml") -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def mistakes(self, content: str | bytes) -> list[str]:
        with pytest.raises(PipelineInvalid) as refused:
            read_pipeline(self.written(content), default_registry())
        return [str(problem) for problem in refused.value.problems]

    def test_each_mistake_is_told_with_file_and_line(self):
        for name, (old, new, expected) in MISTAKES.items():
            with self.subTest(name):
                assert old in GOOD
                found = self.mistakes(GOOD.replace(old, new))
                assert found == [f"trial.yaml:{problem}" for problem in expected]

    def test_a_file_that_is_not_utf8_is_told_with_the_line_of_the_first_such_byte(self):
        found = self.mistakes(GOOD.encode().replace(b"Plan it.", b"Plan \xe9t."))

        assert found == ["trial.yaml:11: not UTF-8"]

    def test_a_good_definition_is_called_like_its_file(self):
        pipeline = read_pipeline(self.written(GOOD, "mine.yaml"), default_registry())

        assert (pipeline.name, pipeline.title) == ("mine", "Sales support")
        assert pipeline.steps[1].input_mapping == {
            "task": "Plan it.",
            "profile": "result.extraction",
        }

    def test_values_that_yaml_would_read_as_something_else_stay_texts(self):
        for value in ("5", "no", "2026-11-24", "2026-99-99", "1e3", "!!int abc"):
            with self.subTest(value):
                content = GOOD.replace('"Plan it."', value)
                pipeline = read_pipeline(self.written(content), default_registry())
                assert pipeline.steps[1].input_mapping["task"] == value.removeprefix("!!int ")

    def test_a_files_byte_order_mark_and_line_ends_do_not_matter(self):
        content = "\ufeff" + GOOD.replace("\n", "\r\n")

        assert read_pipeline(self.written(content), default_registry()).title == "Sales support"

    def test_the_system_check_shows_every_mistake(self):
        self.written(GOOD.replace("ctx.user_message", "ctx.nothing"), "one.yaml")
        self.written("", "two.yaml")

        with patch.object(config, "DEFINITIONS_DIR", self.folder):
            errors = [error for error in run_checks() if error.id == "pipeline.E001"]

        assert [error.msg for error in errors] == [
            f"one.yaml:7: 'ctx.nothing': the context has {FIELDS}",
            "two.yaml:1: not a mapping with title, answer and steps",
        ]
        assert {error.hint for error in errors} == {"Correct the file and restart."}


class ShippedTests(SimpleTestCase):
    def test_the_shipped_definitions_load(self):
        assert pipeline_names() == [
            "learn",
            "lesson",
            "support",
            "support_forwarded",
            "support_photo",
            "support_shorter",
            "train",
        ]
        assert problems() == []
        for name in pipeline_names():
            assert load_pipeline(name).name == name

    def test_an_unknown_name_is_told_with_the_known_ones(self):
        with pytest.raises(UnknownPipeline) as refused:
            load_pipeline("sell")

        assert str(refused.value) == (
            "there is no pipeline 'sell'; known are learn, lesson, support, support_forwarded, "
            "support_photo, support_shorter, train"
        )

    def test_a_name_is_no_path(self):
        for name in ("../definitions/support", "support.yaml", "", "."):
            with self.subTest(name), pytest.raises(UnknownPipeline):
                load_pipeline(name)

    def test_training_asks_trainer_and_strategist_together_and_notes_in_the_background(self):
        groups = [
            (mode, [step.agent for _, step in group])
            for mode, group in load_pipeline("train").groups()
        ]

        assert groups == [
            (StepMode.PARALLEL, ["trainer", "strategist"]),
            (StepMode.BACKGROUND, ["memory"]),
        ]


# --- whatever a file may hold ---------------------------------------------------------------------

_KEYS = "title name answer steps agent mode input_mapping image message"
_NAMES = "extraction strategist memory sequential parallel background no"
_SOURCES = "ctx.user_message ctx.image_b64 ctx. result.extraction result. ctx result"
_PUNCTUATION = "[]{}-:?&*!|>'\"%@`#~,"
_words = st.sampled_from(["", *f"{_KEYS} {_NAMES} {_SOURCES}".split()])
_scalars = st.one_of(
    _words,
    st.text(max_size=8),
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.dates(),
    st.binary(max_size=4),
)
_values = st.recursive(
    _scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(_words, _scalars), inner, max_size=4),
    ),
    max_leaves=12,
)
_steps = st.fixed_dictionaries(
    {},
    optional={
        "agent": _scalars,
        "mode": _scalars,
        "input_mapping": st.dictionaries(_words, _scalars, max_size=3) | _values,
        "more": _values,
    },
)
_definitions = st.fixed_dictionaries(
    {},
    optional={
        "title": _scalars,
        "answer": st.lists(_words, max_size=3) | _values,
        "steps": st.lists(_steps, max_size=4) | _values,
        "more": _values,
    },
)
_lines = st.lists(
    st.sampled_from([*GOOD.splitlines(), *_PUNCTUATION]) | st.text(max_size=12),
    max_size=12,
).map("\n".join)
_changed_bytes = st.tuples(st.integers(0, len(GOOD)), st.binary(max_size=3)).map(
    lambda change: GOOD.encode()[: change[0]] + change[1] + GOOD.encode()[change[0] + 1 :]
)
_files = st.one_of(
    (_definitions | _values).map(lambda value: yaml.safe_dump(value, allow_unicode=True).encode()),
    _lines.map(lambda text: text.encode("utf-8", "surrogatepass")),
    _changed_bytes,
    st.binary(max_size=40),
)


class AnyFileTests(SimpleTestCase):
    @settings(max_examples=amount(200, quickly=60, proving=1_000), deadline=None)
    @given(_files)
    def test_any_file_is_a_pipeline_or_a_mistake_on_one_of_its_lines(self, content: bytes):
        with TemporaryDirectory() as folder:
            path = Path(folder) / "any.yaml"
            path.write_bytes(content)
            with suppress(PipelineInvalid):
                assert read_pipeline(path, default_registry()).steps
                return
            with pytest.raises(PipelineInvalid) as refused:
                read_pipeline(path, default_registry())

        lines = max(1, len(content.decode("utf-8", "replace").splitlines()))
        assert refused.value.problems
        for problem in refused.value.problems:
            assert 1 <= problem.line <= lines, problem
            assert "\n" not in str(problem)

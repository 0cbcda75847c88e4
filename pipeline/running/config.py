"""Pipelines as YAML: parse definitions, and report every mistake with its file and line.

A definition is read once and never changes afterwards. The system checks show `problems()`;
`load_pipeline` refuses a definition with problems, so no run ever starts on one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agents.base import INPUT_NAMES
from agents.passages import TASK, Tags
from agents.registry import AgentRegistry, default_registry
from pipeline.journal.facts import StepPlace
from pipeline.models.inbox import Action
from pipeline.models.runs import StepMode

DEFINITIONS_DIR = Path(__file__).parents[1] / "definitions"
MAX_BYTES = 64_000  # the product's have 1 kB; a larger file is a mistake
IMAGE_INPUT = "image"  # the only input that is a picture, not a passage of text
TASK_INPUT = TASK  # the only instruction: written in the definition, never taken from an input


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a definition."""

    path: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path.name}:{self.line}: {self.text}"


class PipelineInvalid(Exception):
    """A definition cannot be used; `.problems` says what to fix and where."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = tuple(problems)


class UnknownPipeline(Exception):
    """There is no definition of that name."""


class StepConfig(BaseModel):
    """One step of a pipeline."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    agent: str
    mode: StepMode
    input_mapping: dict[str, str] = Field(min_length=1)

    def at(self, position: int) -> StepPlace:
        """Return the identity of this step in the journal."""
        return StepPlace(position=position, agent=self.agent, mode=self.mode)


class PipelineConfig(BaseModel):
    """An ordered list of steps, and the agents whose results make up the answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = ""
    title: str
    answer: tuple[str, ...] = Field(min_length=1)
    # Rows of buttons below the answers in Telegram. Excluded from the JSON that is stored with a
    # run to resume it.
    buttons: tuple[tuple[Action, ...], ...] = Field(default=(), exclude=True)
    steps: tuple[StepConfig, ...] = Field(min_length=1)

    @property
    def takes_picture(self) -> bool:
        """Tell whether any step receives the member's picture."""
        return any(IMAGE_INPUT in step.input_mapping for step in self.steps)

    def groups(self) -> Iterator[tuple[StepMode, list[tuple[int, StepConfig]]]]:
        """Yield groups of steps with mode and positions; adjacent parallel steps form one group."""
        numbered = list(enumerate(self.steps))
        for key, group in groupby(
            numbered, lambda item: "together" if item[1].mode is StepMode.PARALLEL else item[0]
        ):
            members = list(group)
            yield (StepMode.PARALLEL if key == "together" else members[0][1].mode), members


def pipeline_names() -> list[str]:
    """Return the names of all definitions."""
    return sorted(path.stem for path in DEFINITIONS_DIR.glob("*.yaml"))


@cache
def load_pipeline(name: str) -> PipelineConfig:
    """Return the pipeline of that name; its file is read once per process.

    Raises:
        UnknownPipeline: there is no such pipeline.
        PipelineInvalid: its definition has mistakes.
    """
    if name not in pipeline_names():
        raise UnknownPipeline(
            f"there is no pipeline {name!r}; known are {', '.join(pipeline_names())}"
        )
    return read_pipeline(DEFINITIONS_DIR / f"{name}.yaml", default_registry())


@cache
def passage_tags() -> Tags:
    """Return the tags of all passages in all valid definitions; computed once per process."""
    names: set[str] = set()
    for name in pipeline_names():
        with suppress(PipelineInvalid):  # it never runs, and the system checks report its mistakes
            names.update(*(step.input_mapping for step in load_pipeline(name).steps))
    return Tags.of(names)


def read_pipeline(path: Path, registry: AgentRegistry) -> PipelineConfig:
    """Read one definition and check it against the registered agents.

    Raises:
        PipelineInvalid: the definition has mistakes.
    """
    content, lines = _read_yaml(path)
    try:
        pipeline = PipelineConfig.model_validate(content)
    except ValidationError as error:
        raise PipelineInvalid(
            [
                Problem(path, lines.of(problem["loc"]), _pydantic_words(problem))
                for problem in error.errors()
            ]
        ) from None
    if found := [
        Problem(path, lines.of(where), text) for where, text in _misfits(pipeline, registry)
    ]:
        raise PipelineInvalid(found)
    return pipeline.model_copy(update={"name": path.stem})


def problems() -> list[Problem]:
    """Return every mistake in every definition."""
    found: list[Problem] = []
    for name in pipeline_names():
        try:
            read_pipeline(DEFINITIONS_DIR / f"{name}.yaml", default_registry())
        except PipelineInvalid as error:
            found.extend(error.problems)
    return found


# --- checks beyond pydantic's -------------------------------------------------------------------

_Where = tuple[str | int, ...]


def _misfits(pipeline: PipelineConfig, registry: AgentRegistry) -> Iterator[tuple[_Where, str]]:
    if pipeline.name:
        yield ("name",), "name: a pipeline is called like its file"
    seen: set[str] = set()
    available: set[str] = set()
    for _, group in pipeline.groups():
        for position, step in group:
            where: _Where = ("steps", position)
            if step.agent in seen:
                yield (*where, "agent"), f"agent {step.agent!r} has a step already"
            seen.add(step.agent)
            yield from _agent_misfits(step, where, registry)
            yield from _mapping_misfits(step, where, available)
        # Added after the whole group: parallel steps cannot read each other's results.
        available.update(s.agent for _, s in group if s.mode is not StepMode.BACKGROUND)
    for position, agent in enumerate(pipeline.answer):
        if agent not in available:
            yield ("answer", position), f"no step before the end yields a result of {agent!r}"


def _agent_misfits(
    step: StepConfig, where: _Where, registry: AgentRegistry
) -> Iterator[tuple[_Where, str]]:
    if step.agent not in registry:
        known = ", ".join(registry.names())
        yield (*where, "agent"), f"unknown agent {step.agent!r}; known are {known}"
    elif IMAGE_INPUT in step.input_mapping and not registry.get(step.agent).needs.vision:
        yield (*where, "input_mapping", IMAGE_INPUT), f"{step.agent} takes no picture"


def _mapping_misfits(
    step: StepConfig, where: _Where, available: set[str]
) -> Iterator[tuple[_Where, str]]:
    for name, source in step.input_mapping.items():
        at = (*where, "input_mapping", name)
        kind, _, rest = source.partition(".")
        if kind == "ctx" and rest not in INPUT_NAMES:
            yield at, f"{source!r}: the context has {', '.join(INPUT_NAMES)}"
        elif kind == "result" and rest not in available:
            yield at, f"{source!r}: {rest!r} has no result yet when {step.agent!r} runs"
        if (name == IMAGE_INPUT) != (source == "ctx.image_b64"):
            yield at, f"the input {IMAGE_INPUT!r} and ctx.image_b64 belong together"
        if name == TASK_INPUT and kind in ("ctx", "result"):
            yield at, f"the task is written here as a text, never taken from {source!r}"


# --- YAML with line numbers ---------------------------------------------------------------------


class _Lines:
    """The line number of each part of a YAML document."""

    def __init__(self) -> None:
        self._known: dict[_Where, int] = {(): 1}

    def note(self, where: _Where, node: yaml.Node) -> None:
        self._known[where] = node.start_mark.line + 1

    def of(self, where: _Where) -> int:
        """Return the line of a part, or of the nearest part that contains it."""
        while where not in self._known:
            where = where[:-1]
        return self._known[where]


def _read_yaml(path: Path) -> tuple[dict[str, Any], _Lines]:
    """Return the file's content, with every scalar as a string, and the lines of its parts."""
    with path.open("rb") as file:
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise _invalid(path, 1, f"longer than {MAX_BYTES} bytes")
    text, lines = "", _Lines()
    try:
        text = raw.decode()
        for event in yaml.parse(text, yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                line = _line_at(event.start_mark, text)
                raise _invalid(path, line, "aliases (*name) are not supported")
        root = yaml.compose(text, yaml.SafeLoader)
        content = _plain(root, (), lines) if root is not None else None
    except UnicodeDecodeError as error:
        raise _invalid(path, raw.count(b"\n", 0, error.start) + 1, "not UTF-8") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _invalid(path, line, f"no YAML: {error.reason}") from None
    except yaml.MarkedYAMLError as error:
        line = _line_at(error.problem_mark, text)
        raise _invalid(path, line, f"no YAML: {error.problem}") from None
    except RecursionError:
        raise _invalid(path, 1, "no YAML: nested too deeply") from None
    if not isinstance(content, dict):
        raise _invalid(path, 1, "not a mapping with title, answer and steps")
    return content, lines


def _plain(node: yaml.Node, where: _Where, lines: _Lines) -> Any:
    """Return a node as strings, lists and dicts: `title: 5` is "5" and `task: no` is "no".

    Raises:
        MarkedYAMLError: a mapping has the same key twice, or a key that is not a scalar.
    """
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines.note((*where, index), item)
        return [_plain(item, (*where, index), lines) for index, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return None if node.tag == "tag:yaml.org,2002:null" else node.value
    entries: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(problem="a key is no text", problem_mark=key.start_mark)
        name = key.value
        if name in entries:
            problem = f"the key {name!r} is there twice"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
        lines.note((*where, name), key)
        entries[name] = _plain(value, (*where, name), lines)
    return entries


def _line_at(mark: Any, text: str) -> int:
    # If something is missing at the end, the parser reports the line after the last one.
    return max(1, min(mark.line + 1, len(text.splitlines()))) if mark else 1


def _invalid(path: Path, line: int, text: str) -> PipelineInvalid:
    return PipelineInvalid([Problem(path, line, text)])


def _pydantic_words(problem: Any) -> str:
    name = ".".join(" ".join(part.split()) for part in problem["loc"] if isinstance(part, str))
    if problem["type"] == "enum":
        known = Action if name == "buttons" else StepMode
        return f"{name}: {problem['input']!r} is none of {', '.join(known)}"
    return f"{name}: {problem['msg']}"

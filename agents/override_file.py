"""All overrides as a YAML file: export them, compare a file with them, and apply it.

    strategist:
      model: anthropic/claude-sonnet-4.5
    extraction:
      model: openai/gpt-5-mini
      if_it_fails: default_model

The file is the whole state: agents that it does not name use their default models. Applying it goes
through the same checks and the same history as the admin's form, in one transaction, and does
nothing if the overrides are as the file has them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from django.core.exceptions import ValidationError
from django.db import transaction
from pydantic import BaseModel, ConfigDict, RootModel
from pydantic import ValidationError as InvalidContent

from agents.models import AGENTS, AgentModelConfig, OnFailure, OverrideVersion, UnfitModel
from agents.models.overrides import MAX_REASON

MAX_BYTES = 100_000
MAX_SET_BY = 150


class OverrideFileError(Exception):
    """The file cannot be applied; the message names each problem. Nothing was changed."""


class _Entry(BaseModel):
    """One agent's override in the file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str
    if_it_fails: str = OnFailure.FAIL.value


class _Content(RootModel[dict[str, _Entry]]):
    """The whole file: overrides by agent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One difference between the file and the overrides; `None` stands for the default model."""

    agent_name: str
    now: _Entry | None
    wanted: _Entry | None

    def __str__(self) -> str:
        return f"{self.agent_name}: {_words(self.now)} → {_words(self.wanted)}"


def exported() -> str:
    """Return the active overrides as the text of a file."""
    content = {
        row.agent_name: {"model": row.model_id}
        | ({} if row.on_failure == OnFailure.FAIL else {"if_it_fails": row.on_failure})
        for row in AgentModelConfig.objects.get_all_active()
        if row.agent_name in AGENTS  # a file cannot name an agent that no longer exists
    }
    return yaml.safe_dump(content, sort_keys=True) if content else "{}\n"


def plan(text: str) -> list[Planned]:
    """Return the changes that applying the file would make, by agent.

    Raises:
        OverrideFileError: the text is not such a file.
    """
    wanted, now = _read(text), _active()
    return [
        Planned(agent_name=name, now=now.get(name), wanted=wanted.get(name))
        for name in sorted({*wanted, *now})
        if wanted.get(name) != now.get(name)
    ]


def apply(text: str, set_by: str, *, reason: str = "", accept_unfit: bool = False) -> list[Planned]:
    """Make the overrides what the file says, and return the changes made.

    Raises:
        OverrideFileError: the text is not such a file, a model is refused, or the overrides were
            changed by another operator meanwhile.
    """
    if len(reason) > MAX_REASON or len(set_by) > MAX_SET_BY:
        raise OverrideFileError(
            f"A reason has at most {MAX_REASON} characters, and a name at most {MAX_SET_BY}."
        )
    planned = plan(text)
    # Before the transaction, because a check may wait for OpenRouter; and all of them before the
    # first change, so that the file is applied as a whole or not at all.
    checks = _checked(planned, reason=reason, accept_unfit=accept_unfit)
    with transaction.atomic():
        OverrideVersion.hold()
        if plan(text) != planned:
            raise OverrideFileError("The overrides have changed meanwhile. Compare again.")
        for change in planned:
            if change.wanted is None:
                AgentModelConfig.objects.deactivate(change.agent_name, set_by, reason=reason)
                continue
            AgentModelConfig.objects.set_checked(
                change.agent_name,
                model_id=change.wanted.model,
                on_failure=change.wanted.if_it_fails,
                is_active=True,
                set_by=set_by,
                reason=reason,
                check_result=checks[change.agent_name],
            )
    return planned


def _checked(planned: Sequence[Planned], *, reason: str, accept_unfit: bool) -> Mapping[str, str]:
    checks, problems = {}, []
    for change in planned:
        if change.wanted is None:
            continue
        try:
            checks[change.agent_name] = AgentModelConfig.objects.checked(
                change.agent_name,
                change.wanted.model,
                reason=reason,
                accept_unfit=accept_unfit,
            )
        except UnfitModel as error:
            problems.append(f"{' '.join(error.messages)} --accept-unfit with --reason sets it.")
        except ValidationError as error:
            problems.append(f"{change.agent_name}: {' '.join(error.messages)}")
    if problems:
        raise OverrideFileError("\n".join(problems))
    return checks


def _active() -> dict[str, _Entry]:
    return {
        row.agent_name: _Entry(model=row.model_id, if_it_fails=row.on_failure)
        for row in AgentModelConfig.objects.get_all_active()
        if row.agent_name in AGENTS
    }


def _read(text: str) -> dict[str, _Entry]:
    if len(text.encode()) > MAX_BYTES:
        raise OverrideFileError(f"The file is larger than {MAX_BYTES:,} bytes.")
    try:
        _assert_named_once(yaml.compose(text, yaml.SafeLoader))
        content: Any = yaml.safe_load(text)
        found = _Content.model_validate({} if content is None else content).root
    except InvalidContent as error:
        problems = [
            f"{'.'.join(str(part) for part in each['loc']) or 'the file'}: {each['msg']}"
            for each in error.errors(include_url=False, include_input=False)
        ]
        raise OverrideFileError("\n".join(problems)) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:  # ValueError: a bent date
        raise OverrideFileError(f"The file is not valid YAML: {error}") from None
    unknown = sorted(set(found) - AGENTS)
    if unknown:
        raise OverrideFileError(
            f"No agent is called {', '.join(unknown)}. There are: {', '.join(sorted(AGENTS))}."
        )
    for name, entry in found.items():
        if entry.if_it_fails not in OnFailure.values:
            known = ", ".join(OnFailure.values)
            raise OverrideFileError(
                f"{name}.if_it_fails: {entry.if_it_fails!r} is none of {known}."
            )
    return found


def _assert_named_once(root: yaml.Node | None) -> None:
    if isinstance(root, yaml.MappingNode):  # of two equal names, YAML would take the last
        names = [str(key.value) for key, _ in root.value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise OverrideFileError(f"The file names {', '.join(twice)} more than once.")
        for _, content in root.value:
            _assert_named_once(content)


def _words(entry: _Entry | None) -> str:
    if entry is None:
        return "the default model"
    failing = "" if entry.if_it_fails == OnFailure.FAIL else ", or DEFAULT_MODEL if it fails"
    return f"{entry.model}{failing}"

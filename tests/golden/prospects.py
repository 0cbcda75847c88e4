"""Loads the golden prospects, for tests and benches that run them through pipelines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.golden.judge import Expectations

PROSPECTS_FILE = Path(__file__).parent / "prospects.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenProspect:
    """A message of a member, and what each agent's answer to it must hold."""

    name: str
    language: str
    message: str
    expectations: Mapping[str, Expectations]  # by agent


def golden_prospects() -> list[GoldenProspect]:
    """Return the prospects in the file's order."""
    entries = yaml.safe_load(PROSPECTS_FILE.read_text(encoding="utf-8"))
    return [
        GoldenProspect(
            name=entry["name"],
            language=entry["language"],
            message=entry["message"],
            expectations={
                agent: Expectations.from_payload(payload)
                for agent, payload in entry["expectations"].items()
            },
        )
        for entry in entries
    ]

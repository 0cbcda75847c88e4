"""Loads example content: playbook, scenarios and tracks (`pipeline/example/`), sandbox members.

Rows are matched by title or Telegram id and only ever created, so operators' edits are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from django.db import transaction

from pipeline.models import Lesson, Member, PlaybookPage, Scenario, Track
from pipeline.models.members import Access

EXAMPLE_DIR = Path(__file__).parents[1] / "example"


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxMember:
    """A person on the sandbox's chat page who is an approved member from the start."""

    telegram_id: int
    name: str
    username: str
    key: str = ""  # the member's own OpenRouter key; "": they use the team key


# The keys work only in the sandbox. Noor (1003) is left out on purpose: her first message asks for
# approval.
SANDBOX_MEMBERS = (
    SandboxMember(
        telegram_id=1001,
        name="Maya Okafor",
        username="maya",
        key="sk-or-v1-sandbox-maya-key-0002",
    ),
    SandboxMember(telegram_id=1002, name="Tom Brandt", username="tom"),
)


@transaction.atomic
def load_example_content() -> int:
    """Create the missing playbook pages, scenarios and tracks; return the number created."""
    pages = [
        PlaybookPage.objects.get_or_create(title=page.pop("title"), defaults=page)
        for page in _pages()
    ]
    scenarios = [
        Scenario.objects.get_or_create(title=scenario.pop("title"), defaults=scenario)
        for scenario in _scenarios()
    ]
    tracks = [_created_track(position, track) for position, track in enumerate(_tracks(), start=1)]
    return sum(is_new for _, is_new in [*pages, *scenarios, *tracks])


@transaction.atomic
def load_sandbox_members() -> int:
    """Create the missing sandbox members; return the number created."""
    wanted = {member.telegram_id: member for member in SANDBOX_MEMBERS}
    known = Member.objects.filter(telegram_id__in=wanted).values_list("telegram_id", flat=True)
    missing = [wanted[telegram_id] for telegram_id in wanted.keys() - set(known)]
    for person in missing:
        member = Member(
            telegram_id=person.telegram_id,
            name=person.name,
            username=person.username,
            access=Access.APPROVED,
        )
        if person.key:
            member.keep_key("openrouter", person.key)
        member.save()
    return len(missing)


def _pages() -> Iterator[dict[str, Any]]:
    for position, path in enumerate(sorted((EXAMPLE_DIR / "playbook").glob("*.md")), start=1):
        heading, _, text = path.read_text(encoding="utf-8").partition("\n")
        yield {
            "title": heading.removeprefix("#").strip(),
            "text": text.strip(),
            "position": position,
        }


def _tracks() -> list[dict[str, Any]]:
    content = yaml.safe_load((EXAMPLE_DIR / "tracks.yaml").read_text(encoding="utf-8"))
    return [dict(track) for track in content]


def _created_track(position: int, content: dict[str, Any]) -> tuple[Track, bool]:
    track, is_new = Track.objects.get_or_create(
        title=content["title"], defaults={"summary": content["summary"], "position": position}
    )
    if is_new:
        lessons = enumerate(content["lessons"], start=1)
        Lesson.objects.bulk_create(
            Lesson(
                track=track, level=level, **{name: text.strip() for name, text in lesson.items()}
            )
            for level, lesson in lessons
        )
    return track, is_new


def _scenarios() -> list[dict[str, Any]]:
    content = yaml.safe_load((EXAMPLE_DIR / "scenarios.yaml").read_text(encoding="utf-8"))
    return [dict(scenario) for scenario in content]

"""The bot's memory of a member: facts proposed by the memory agent, and the rules for keeping them.

A proposal is a model's text and so untrusted. Only this module decides what is kept of it, for whom
and for how long: a bounded number of short facts of known kinds, about the run's own member.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, get_args

from django.db import transaction
from django.db.models import Count, F
from django.utils import timezone

from agents.llm.secrets import HIDDEN, scrub
from agents.team.memory import FactKind, MemoryAgent
from pipeline.journal import hooks
from pipeline.models import Fact, Member, StepRun

AGENT = MemoryAgent.name
KINDS = get_args(FactKind)
MAX_OF_A_KIND = 8  # current facts of one kind; older ones are retired
MAX_CHARACTERS = 200
MAX_KEPT_VERSIONS = 20  # for how many memory versions a retired fact is kept


def learn(step: StepRun, data: Mapping[str, Any]) -> None:
    """Store the new facts that a memory step proposes, in the caller's transaction.

    Does nothing for a run that started before the member's memory was erased.
    """
    run = step.run
    if run.member_id is None:
        return
    member = Member.objects.select_for_update().filter(pk=run.member_id).first()
    if member is None or (member.memory_erased_at and run.started_at <= member.memory_erased_at):
        return
    new = _new_in(data, known={_folded(fact.text) for fact in holding(member)})
    if not new:
        return
    member.memory_version += 1
    member.save(update_fields=["memory_version"])
    Fact.objects.bulk_create(
        Fact(member=member, kind=kind, text=text, run=run, since_version=member.memory_version)
        for kind, text in new
    )
    _keep_bounds(member)


def _new_in(data: Mapping[str, Any], known: Collection[str]) -> list[tuple[str, str]]:
    """Return (kind, text) of the proposed facts that are valid and not known yet, each once."""
    new: dict[str, tuple[str, str]] = {}
    for proposal in data.get("facts", []):
        kind, text = proposal.get("kind"), _one_line(proposal.get("text", ""))
        if kind in KINDS and text and HIDDEN not in text and _folded(text) not in known:
            new.setdefault(_folded(text), (kind, text))
    return list(new.values())


def holding(member: Member) -> list[Fact]:
    """Return a member's current facts, the oldest first."""
    return list(Fact.objects.filter(member=member, until_version=None))


def profile_of(member: Member) -> str:
    """Return a member's current facts as a text for agents; "" if there are none."""
    return "\n".join(f"- {fact.kind}: {fact.text}" for fact in holding(member))


@transaction.atomic
def erase(member: Member) -> int:
    """Delete all facts about a member; return how many of them were current.

    Runs in progress store no facts afterwards.
    """
    Member.objects.filter(pk=member.pk).update(
        memory_version=F("memory_version") + 1, memory_erased_at=timezone.now()
    )
    held = len(holding(member))
    Fact.objects.filter(member=member).delete()
    return held


def _keep_bounds(member: Member) -> None:
    """Retire the oldest facts of each kind that has too many, and delete those retired long ago."""
    facts = Fact.objects.filter(member=member, until_version=None)
    crowded = facts.order_by().values("kind").annotate(n=Count("pk")).filter(n__gt=MAX_OF_A_KIND)
    for row in crowded:
        oldest = facts.filter(kind=row["kind"]).order_by("since_version", "pk")
        ending = [fact.pk for fact in oldest[: row["n"] - MAX_OF_A_KIND]]
        Fact.objects.filter(pk__in=ending).update(until_version=member.memory_version)
    old = Fact.objects.filter(member=member, until_version__isnull=False)
    old.filter(until_version__lt=member.memory_version - MAX_KEPT_VERSIONS).delete()


def _one_line(text: object) -> str:
    """Return a text as one line that the database can store, with key-like strings masked."""
    # Masked before its lines are joined, because a key may continue on the next line.
    line = " ".join(scrub(str(text)).replace("\x00", " ").split())
    return line.encode("utf-8", "replace").decode()[:MAX_CHARACTERS]


def _folded(text: str) -> str:
    return text.casefold().rstrip(".!")


hooks.learn_from(AGENT, learn)

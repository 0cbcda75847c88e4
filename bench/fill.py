"""Fill a database with runs as a month of use would leave them, for the tests of size.

`BENCH_STEPS=1000000 python -m bench fill` writes a million step runs, a third as many runs and twice as many
calls, with texts that are shared as real ones are, and closes their hours. It is for an empty
database of its own: what it writes cannot be told from what happened.
"""

from __future__ import annotations

import os
import random
import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any

from django.db import connection
from django.utils import timezone

from pipeline import figures
from pipeline.models import LLMCall, Member, PipelineRun, PromptText, StepRun

STEPS = int(os.environ.get("BENCH_STEPS", "1000000"))
AGENTS = ("extraction", "strategist", "memory")
MODELS = (
    "openai/gpt-5-mini",
    "anthropic/claude-sonnet-4.5",
    "openai/gpt-4.1",
    "google/gemini-2.5-flash",
    "claude-haiku-4-5",
)
DAYS = 30
MEMBERS = 200
AT_ONCE = 10_000  # rows
TEXTS = 2_000


def fill(steps: int, *, now: datetime, seed: int = 7) -> None:
    """Write about so many step runs into the database of the settings."""
    dice = random.Random(seed)
    members, texts = _people(), _texts()
    runs = _runs(steps // len(AGENTS), dice, now, members, texts)
    while batch := list(islice(runs, AT_ONCE // 9)):
        for rows in zip(*batch, strict=True):
            _write([row for several in rows for row in several])
    while figures.close_hours(now):
        pass


def _people() -> list[Any]:
    people = [
        Member(telegram_id=9_000_000 + number, name=f"Member {number}", access="approved")
        for number in range(MEMBERS)
    ]
    return Member.objects.bulk_create(people)


def _texts() -> list[str]:
    names = [f"{number:064x}" for number in range(TEXTS)]
    PromptText.objects.bulk_create(
        [PromptText(sha256=name, text=f"Text {name[-6:]}. " * 60) for name in names]
    )
    return names


def _runs(
    count: int, dice: random.Random, now: datetime, members: list[Any], texts: list[str]
) -> Iterator[tuple[list[Any], list[Any], list[Any]]]:
    gap = timedelta(days=DAYS) / count
    for number in range(count):
        at = now - gap * (count - number)
        run = PipelineRun(
            id=uuid.UUID(int=dice.getrandbits(128), version=4),
            pipeline=dice.choice(("support", "support", "support", "learn", "train")),
            member=dice.choice(members),
            source="telegram",
            status="failed" if dice.random() < 0.01 else "ok",
            user_message_id=dice.choice(texts),
            answer_id=dice.choice(texts),
            started_at=at,
            ended_at=at + timedelta(seconds=4),
        )
        steps = [_step(run, position, dice, texts) for position in range(len(AGENTS))]
        calls = [call for step in steps for call in _calls(step, dice, texts)]
        costs = [call.cost_usd for call in calls if call.cost_usd is not None]
        for name, value in (
            ("cost_usd", sum(costs, Decimal(0))),
            ("has_mismatch", any(call.is_mismatch for call in calls)),
        ):
            setattr(run, name, value)
        yield [run], steps, calls


def _step(run: Any, position: int, dice: random.Random, texts: list[str]) -> Any:
    model = dice.choice(MODELS)
    started_at = run.started_at + timedelta(seconds=position)
    return StepRun(
        id=uuid.UUID(int=dice.getrandbits(128), version=4),
        run=run,
        position=position,
        agent=AGENTS[position],
        mode="background" if AGENTS[position] == "memory" else "sequential",
        status="failed" if dice.random() < 0.01 else "ok",
        decision=f"ran {model} because no override is set; shared key; snapshot v1·0000 0.1 s old",
        provider="openrouter" if "/" in model else "claude",
        requested_model=model,
        purse="shared" if "/" in model else "member",
        output_id=dice.choice(texts),
        started_at=started_at,
        ended_at=started_at + timedelta(milliseconds=dice.lognormvariate(6.7, 0.6)),
    )


def _calls(step: Any, dice: random.Random, texts: list[str]) -> Iterator[Any]:
    for number in (1, 2):
        failed = number == 1 and dice.random() < 0.02
        yield LLMCall(
            id=uuid.UUID(int=dice.getrandbits(128), version=4),
            step=step,
            number=number,
            status="error" if failed else "ok",
            provider=step.provider,
            requested_model=step.requested_model,
            served_model=step.requested_model,
            is_mismatch=dice.random() < 0.00001,
            purse=step.purse,
            key_fingerprint="0a1b2c3d",
            system_prompt_id=texts[number],
            user_message_id=dice.choice(texts),
            output_id=dice.choice(texts),
            input_tokens=dice.randrange(200, 4000),
            output_tokens=dice.randrange(20, 900),
            cost_usd=None if failed else Decimal(dice.randrange(10**6, 10**10)).scaleb(-12),
            cost_source="unknown" if failed else "reported",
            latency_ms=dice.randrange(200, 4000),
            started_at=step.started_at,
        )


def _write(rows: list[Any]) -> None:
    model = type(rows[0])
    if connection.vendor != "postgresql":
        model.objects.bulk_create(rows)
        return
    fields = model._meta.concrete_fields
    columns = ", ".join(f'"{field.column}"' for field in fields)
    with connection.cursor() as cursor:
        statement = f'COPY "{model._meta.db_table}" ({columns}) FROM STDIN'
        with cursor.cursor.copy(statement) as copy:
            for row in _values(rows, fields, connection):
                copy.write_row(row)


def _values(rows: list[Any], fields: Iterable[Any], connection: Any) -> Iterator[list[Any]]:
    for row in rows:
        yield [field.get_db_prep_save(getattr(row, field.attname), connection) for field in fields]


def main() -> int:
    """Fill the database of the settings."""
    fill(STEPS, now=timezone.now())
    return 0

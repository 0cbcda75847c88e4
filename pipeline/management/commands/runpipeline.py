"""`manage.py runpipeline NAME "text"`: runs a pipeline once and shows each step's model."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError
from django.db.models import Q

from agents.base import Inputs
from agents.model_config import OverridesUnknown
from pipeline.journal.reports import RunReport
from pipeline.models import Member
from pipeline.models.runs import RunStatus
from pipeline.people.pictures import MAX_BYTES, PictureRefused, prepared
from pipeline.running.config import PipelineInvalid, UnknownPipeline, load_pipeline, pipeline_names
from pipeline.running.decisions import NoPayer
from pipeline.running.run_service import RunService


class Command(BaseCommand):
    """Runs a pipeline once and prints its answer; exits with 1 when it failed."""

    help = "Run a pipeline once and print the answer and which model ran each step."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help=f"one of {', '.join(pipeline_names())}")
        parser.add_argument("text", help="the member's message")
        parser.add_argument("--image", type=Path, help="a picture: JPEG, PNG, WebP or GIF")
        parser.add_argument(
            "--as",
            dest="member",
            help="Telegram id or name of the member whose key pays; default: the shared key",
        )
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the records are closed
        try:
            report = self._run(options)
        except DatabaseError as error:
            raise CommandError(
                f"the database cannot be used: {error}. Run manage.py migrate; "
                "for the sandbox's database, with SANDBOX=true."
            ) from error
        except KeyboardInterrupt:
            sys.exit(130)
        self.stdout.write(_json(report) if options["json"] else _words(report))
        if report.status is not RunStatus.OK:
            sys.exit(1)

    def _run(self, options: dict[str, Any]) -> RunReport:
        # An empty name comes from an unset shell variable: the shared key must not pay then.
        member = None if options["member"] is None else _member(options["member"])
        image_b64 = _image(options["image"]) if options["image"] else None
        try:
            if image_b64 and not load_pipeline(options["name"]).takes_picture:
                raise CommandError(f"--image: the pipeline {options['name']} takes no picture")
            return asyncio.run(_run(options["name"], member, options["text"], image_b64))
        except (UnknownPipeline, PipelineInvalid, NoPayer, OverridesUnknown) as error:
            raise CommandError(str(error)) from error


async def _run(name: str, member: Member | None, text: str, image_b64: str | None) -> RunReport:
    async with RunService("shell") as service:
        report = await service.answer(name, member, Inputs(user_message=text, image_b64=image_b64))
        await service.drain()
        return report


def _member(wanted: str) -> Member:
    name = wanted.strip().removeprefix("@")
    matches = Q(username__iexact=name) | Q(name__iexact=name)
    if name.isdecimal():
        matches |= Q(telegram_id=int(name))
    found = list(Member.objects.filter(matches)[:2]) if name else []
    if len(found) != 1:
        many = "several members are" if found else "no member is"
        raise CommandError(f"{many} called {wanted!r}: give the Telegram id")
    return found[0]


def _image(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return prepared(file.read(MAX_BYTES + 1))
    except OSError as error:
        raise CommandError(f"--image: {error}") from error
    except PictureRefused as refusal:
        raise CommandError(f"--image: {path}: {refusal}") from refusal


def _json(report: RunReport) -> str:
    steps = [
        {
            "agent": step.agent,
            "mode": step.mode.value,
            "status": step.status.value,
            "requested_model": step.requested_model,
            "served_model": step.served_model,
            "upstream": step.upstream,
            "purse": step.payer,
            "decision": step.decision,
            # A string: a float would lose the last decimal.
            "cost_usd": None if step.cost_usd is None else f"{step.cost_usd:f}",
            "latency_ms": step.latency_ms,
            "error": step.error,
        }
        for step in report.steps
    ]
    content = {
        "pipeline": report.pipeline,
        "status": report.status.value,
        "answer": report.answer,
        "steps": steps,
    }
    return json.dumps(content, ensure_ascii=False, indent=2)


def _words(report: RunReport) -> str:
    lines = [report.answer or "There is no answer: see what failed below.", ""]
    for step in report.steps:
        cost = "cost unknown" if step.cost_usd is None else f"${step.cost_usd:f}"
        lines.append(
            f"{step.agent} ({step.mode}): {step.status.label}, {step.latency_ms} ms, {cost}"
        )
        if step.decision:
            lines.append(f"  {step.decision}")
        if step.served_model and step.served_model != step.requested_model:
            lines.append(f"  answered by {step.served_model}")
        if step.upstream:
            lines.append(f"  run by {step.upstream}")
        if step.error:
            lines.append(f"  {step.error}")
    lines.append(f"run {report.run_id}")
    return "\n".join(lines)

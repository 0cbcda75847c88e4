"""Our pipelines on llama.cpp's own server behind the shared key; the model knows letters only."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.core.management import CommandError
from django.test import override_settings

from agents.llm.completion import CostSource
from agents.llm.errors import AnswerCut, AnswerNotJson
from pipeline.models import LLMCall, PipelineRun, StepRun
from pipeline.models.runs import CallStatus
from tests.conftest import LLAMA_PYTHON
from tests.pipeline.test_runpipeline import MESSAGE, RunPipelineCase
from tests.proving import closing_line
from tests.team.examples import ANSWERS

MODEL = "hf.co/observatory/bigram:F32"
ROUNDS = 5
LINES = {AnswerCut.member_line, AnswerNotJson.member_line}


@contextmanager
def llama_server(folder: Path) -> Iterator[str]:
    """Yield the address of a server whose model has learnt from the team's example answers."""
    text = "\n".join(json.dumps(answer, indent=1) for answer in ANSWERS.values())
    program = Path(__file__).with_name("bigram_server.py")
    with (
        (folder / "server.log").open("w") as log,
        subprocess.Popen(
            [LLAMA_PYTHON, program, folder / "bigram.gguf"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as server,
    ):
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps(text) + "\n")
        server.stdin.flush()
        yield server.stdout.readline().strip()
        server.stdin.close()


@pytest.mark.llama
class LlamaServerTests(RunPipelineCase):
    def test_all_three_commands_end_in_an_answer_or_in_a_line_that_says_why(self):
        with (
            llama_server(self.folder) as url,
            override_settings(
                SHARED_SERVER="compatible", OPENROUTER_BASE_URL=url, DEFAULT_MODEL=MODEL
            ),
        ):
            for _ in range(ROUNDS):
                for name in ("support", "learn", "train"):
                    self.run_of(name)

        ok = LLMCall.objects.filter(status=CallStatus.OK)
        (served,) = set(ok.values_list("served_model", flat=True))
        assert served.endswith("/bigram.gguf")
        assert set(ok.values_list("cost_source", flat=True)) == {CostSource.UNKNOWN}
        assert not ok.filter(input_tokens=None).exists()
        assert not LLMCall.objects.exclude(provider="compatible").exists()
        runs = PipelineRun.objects.all()
        answered = {name: runs.filter(pipeline=name, status="ok").count() for name in self.NAMES}
        assert min(answered.values()) > 0, answered
        closing_line(f"llama.cpp: {ROUNDS} runs of each command, answered: {answered}")

    NAMES = ("support", "learn", "train")

    def run_of(self, name: str) -> None:
        try:
            content = self.json_of(name, MESSAGE)
        except (SystemExit, CommandError):
            content = {"answer": ""}
        failed = StepRun.objects.filter(run=PipelineRun.objects.latest("started_at"))
        lines = set(failed.filter(status="failed").values_list("member_line", flat=True))
        assert content["answer"] or lines
        assert lines <= LINES

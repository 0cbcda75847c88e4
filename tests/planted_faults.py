"""Faults in what the product promises, planted one at a time: the existing tests must notice each.

    python -m tests.planted_faults [name …]

runs the tests nearest to each fault with the fault in place, and ends with 1 if they pass. Loaded
as a pytest plugin (`-p tests.planted_faults`), it plants the fault that OBSERVATORY_FAULT names in
the test's own process. No test imports or names this module, so none can be written for it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from pkgutil import resolve_name
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth import get_user_model

FAULT = "OBSERVATORY_FAULT"
ROOT = Path(__file__).parents[1]
LONGEST_S = 300
AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Fault:
    """A part of the product, by its full name, what takes its place, and the nearest fast tests."""

    part: str
    wrong: Callable[[Any], Any]  # returns it from the right one
    nearest: tuple[str, ...]

    def plant(self) -> None:
        """Replace the part in this process."""
        where, name = self.part.rsplit(".", 1)
        owner = resolve_name(where)
        setattr(owner, name, self.wrong(getattr(owner, name)))


def _does_nothing(right: Any) -> Any:
    return lambda *_, **__: None


def _awaits_nothing(right: Any) -> Any:
    async def wrong(journal: Any) -> None:
        pass

    return wrong


def _nothing(right: Any) -> Any:
    return ()


def _flushes(right: Any) -> Any:
    async def wrong(journal: Any) -> None:
        await journal.flush()

    return wrong


def _leaves_texts_alone(right: Any) -> Any:
    return lambda text, *_, **__: text


def _at_once(right: Any) -> Any:
    """Return a stand-in for Django's `transaction` that runs callbacks before the commit."""
    return SimpleNamespace(atomic=right.atomic, on_commit=lambda announce, **_: announce())


def _of_another_version(right: Any) -> Any:
    def wrong(facts: Any) -> str:
        version = facts.said_version or 0
        return str(right(facts)).replace(f"v{version}", f"v{version + 1}", 1)

    return wrong


def _with_the_other_payer(right: Any) -> Any:
    def wrong(**facts: Any) -> Any:
        payers: Any = type(facts["payer"])
        (other,) = set(payers) - {facts["payer"]}
        return right(**facts | {"payer": other})

    return wrong


def _on_the_members_key(right: Any) -> Any:
    def wrong(seen: Any, default: Any) -> Any:
        if seen.provider is not None and default is not None:
            seen = replace(seen, provider=replace(default, model_id=seen.provider.model_id))
        return right(seen, default)

    return wrong


def _the_first_override(right: Any) -> Any:
    async def wrong(self: Any, agent_name: str) -> Any:
        return await right(self, min(await self.get_all(), default=agent_name))

    return wrong


def _twice(right: Any) -> Any:
    def wrong(agent: str) -> Any:
        learn = right(agent)
        return learn and (lambda *told: (learn(*told), learn(*told)))

    return wrong


def _never(right: Any) -> Any:
    return property(lambda self: False)


def _whatever_its_age(right: Any) -> Any:
    return lambda self: self._cached


def _is_good_for_ever(right: Any) -> Any:
    def wrong(*arguments: Any) -> Any:
        return replace(right(*arguments), good_until=float("inf"))

    return wrong


def _rests(right: Any) -> Any:
    return lambda *_: None


def _free(right: Any) -> Any:
    def wrong(error: Exception, key: str) -> Any:
        failure = right(error, key)
        failure.maybe_charged, failure.retryable = False, True
        return failure

    return wrong


def _sent_anew(right: Any) -> Any:
    async def wrong(self: Any, row: Any, entities: Any, *, is_over: bool) -> None:
        row.status = "pending"
        await self._deliver(row)

    return wrong


def _passed_already(right: Any) -> Any:
    async def wrong(job: Any, state: Any, head: Any, *rest: Any) -> Any:
        passed = {"after": head[0].history_id}
        await job.aupdate(last_result=passed)
        return await right(job, passed, head, *rest)

    return wrong


def _unconditionally(right: Any) -> Any:
    async def wrong(job: Any, state: Any, by: Any, **due: Any) -> bool:
        return bool(await job.aupdate(last_result=by, **due))

    return wrong


def _allows_all(right: Any) -> Any:
    return lambda *_, **__: True


def _first_operator(right: Any) -> Any:
    return lambda telegram_id: get_user_model().objects.filter(is_staff=True).first()


_TRANSACTIONS = ("tests/agents/test_transactions.py",)
_ISOLATION = ("tests/pipeline/test_isolation.py",)
_RESOLVER = ("tests/agents/test_resolver.py",)
_SUPERSEDED = ("tests/pipeline/test_superseded.py",)
_TRIAL = ("tests/observatory/test_trial.py",)
_WEBHOOK = ("tests/pipeline/test_change_webhook.py",)
FAULTS: Mapping[str, Fault] = {
    "run-lease-is-not-checked": Fault(
        "pipeline.journal.fencing.RunLease.assert_held", _does_nothing, _SUPERSEDED
    ),
    "task-lease-is-not-checked": Fault(
        "pipeline.journal.fencing.TaskLease.assert_held", _does_nothing, _SUPERSEDED
    ),
    "message-overtakes-a-revived-one": Fault(
        "pipeline.queue.task_store._before_in_its_lane",
        lambda right: lambda: right().none(),
        ("tests/pipeline/queue/test_task_store.py",),
    ),
    "change-is-announced-before-the-commit": Fault(
        "agents.models.overrides.transaction", _at_once, _TRANSACTIONS
    ),
    "change-is-not-announced": Fault(
        "agents.revision.announce_change", _does_nothing, _TRANSACTIONS
    ),
    "sentence-names-another-version": Fault(
        "pipeline.journal.sentences._override",
        _of_another_version,
        ("tests/pipeline/test_outside_changes.py",),
    ),
    "record-names-the-other-payer": Fault(
        "pipeline.running.decisions.ModelChoice", _with_the_other_payer, _ISOLATION
    ),
    "member-pays-for-an-override": Fault(
        "pipeline.running.context.decided", _on_the_members_key, _ISOLATION
    ),
    "agent-gets-another-ones-override": Fault(
        "agents.model_config.ModelConfigService.resolve", _the_first_override, _ISOLATION
    ),
    "override-is-used-whatever-its-age": Fault(
        "agents.model_config.ModelConfigService._usable", _whatever_its_age, _RESOLVER
    ),
    "override-stays-good-without-a-look": Fault(
        "agents.resolving.refresher.Refresher._timed", _is_good_for_ever, _RESOLVER
    ),
    "watch-looks-only-when-asked": Fault(
        "agents.model_config.ModelConfigService._pause_s",
        _rests,
        ("tests/agents/test_watching.py",),
    ),
    "learner-learns-twice": Fault(
        "pipeline.journal.hooks.learner_of", _twice, ("tests/pipeline/test_runner.py",)
    ),
    "cut-answer-counts-as-whole": Fault(
        "agents.llm.completion.Completion.is_cut", _never, ("tests/llm/test_cut_answers.py",)
    ),
    "lost-answer-is-paid-again": Fault(
        "agents.llm.http._unavailable", _free, ("tests/llm/test_retries.py",)
    ),
    "tag-of-a-member-is-obeyed": Fault(
        "agents.passages.Tags.inert",
        lambda right: lambda self, text: text,
        ("tests/pipeline/test_tags_on_the_wire.py",),
    ),
    "key-is-written-down": Fault(
        "pipeline.journal.text_store.scrub",
        _leaves_texts_alone,
        ("tests/pipeline/test_records.py",),
    ),
    "key-is-logged": Fault(
        "observatory.redaction.scrub",
        _leaves_texts_alone,
        ("tests/leaks/test_no_key_gets_out.py",),
    ),
    "request-leaves-before-its-row": Fault(
        "pipeline.journal.records.RunJournal.barrier",
        _awaits_nothing,
        ("tests/pipeline/test_journal.py",),
    ),
    "gap-in-the-record-stops-nothing": Fault(
        "pipeline.journal.records.RunJournal.barrier",
        _flushes,
        ("tests/pipeline/test_journal.py",),
    ),
    "call-that-never-left-stays-open": Fault(
        "pipeline.journal.records.RunJournal.call_withdrawn",
        _does_nothing,
        ("tests/pipeline/test_journal.py",),
    ),
    "success-is-recorded-behind-a-gap": Fault(
        "pipeline.journal.writer._Write.settle", _does_nothing, ("tests/pipeline/test_journal.py",)
    ),
    "what-was-paid-is-lost-with-a-connection": Fault(
        "pipeline.journal.writer.MAY_PASS", _nothing, ("tests/pipeline/test_journal.py",)
    ),
    "full-budget-refuses-nothing": Fault(
        "pipeline.budgets.ledger._refusal", _does_nothing, ("tests/pipeline/budgets",)
    ),
    "what-was-set-aside-is-never-settled": Fault(
        "pipeline.budgets.ledger.settle", _does_nothing, ("tests/pipeline/budgets",)
    ),
    "call-is-thought-to-cost-nothing": Fault(
        "agents.llm.calls.cost_bounds",
        lambda right: lambda prompt, terms: type(right(prompt, terms))(),
        ("tests/pipeline/budgets",),
    ),
    "hourly-limit-counts-only-what-has-begun-before": Fault(
        "pipeline.people.limits.admit", _does_nothing, ("tests/pipeline/test_limits.py",)
    ),
    "change-counts-as-delivered-before-it-is": Fault(
        "pipeline.operations.change_webhook._try", _passed_already, _WEBHOOK
    ),
    "paused-process-moves-the-webhooks-cursor-back": Fault(
        "pipeline.operations.change_webhook._replaced", _unconditionally, _WEBHOOK
    ),
    "texts-of-a-trial-need-no-permission": Fault(
        "observatory.dashboard.trial.may_read_texts_of", _allows_all, _TRIAL
    ),
    "trial-writes-erased-texts-anew": Fault(
        "pipeline.running.trials._still_stored", _does_nothing, _TRIAL
    ),
    "undo-in-telegram-asks-not-who-presses": Fault(
        "pipeline.people.operator_links.operator_of",
        _first_operator,
        ("tests/pipeline/bot/test_operators.py",),
    ),
    "lost-reply-is-sent-again": Fault(
        "pipeline.bot.outbox.Outbox._find_or_say",
        _sent_anew,
        ("tests/pipeline/bot/test_outbox.py",),
    ),
}


def pytest_sessionstart(session: pytest.Session) -> None:
    """Plant the fault that is named, once Django is set up and before a test is imported."""
    FAULTS[os.environ[FAULT]].plant()


def survived(name: str) -> str:
    """Run the nearest tests with a fault; return what is wrong with that, "" if they fail."""
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "tests.planted_faults"),
            *("-x", "-q", "-m", "not browser and not chaos", "--show-capture=no"),
            *FAULTS[name].nearest,
        ],
        cwd=ROOT,
        env=os.environ | {FAULT: name},
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    caught = re.search(r"^(?:SUB)?FAILED.* (tests/\S+)", ran.stdout, re.MULTILINE)
    if ran.returncode == pytest.ExitCode.TESTS_FAILED and caught:
        sys.stdout.write(f"{name}: caught by {caught[1]}\n")
        return ""
    return f"{name}: NOT CAUGHT (pytest ended with {ran.returncode})\n{ran.stdout[-2000:]}\n"


def main(names: list[str]) -> int:
    """Plant each fault, and write what was not caught."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        wrong = [told for told in pool.map(survived, names or FAULTS) if told]
    sys.stdout.writelines(wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

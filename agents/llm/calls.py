"""How one `complete` becomes HTTP requests, for every provider.

    complete            asks the chosen model, then at most once the fallback model
      _ask_model        asks again with a changed request (agents.llm.second_tries)
        retrying        repeats the same request if its error may pass (agents.llm.retries)
          _attempt      reports to the observer before the request is sent and after it has ended
            _exchange   sends one request and interprets its reply

No answer is paid for twice: a request that may have been processed is not sent again, and its cost
is looked up where the vendor reports it (`VendorAdapter.settled`); otherwise the record says that
the outcome is unknown. The one exception is a truncated answer, which is requested at most once
more, with a larger limit or less reasoning effort. If the override allows a fallback, the fallback
model is asked when the second answer is truncated, too, and by `agents.llm.answers` when the model
fails twice to return JSON of the schema. All requests of one `complete` share one deadline.
Differences between vendors are in `VendorAdapter` subclasses, one file for each vendor.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any, ClassVar
from urllib.parse import quote
from uuid import uuid4

from agents.llm import http
from agents.llm.base import Attempt, LLMProvider, Outcome
from agents.llm.completion import Completion
from agents.llm.errors import DeadlineExceeded, LLMError
from agents.llm.prompt import Prompt
from agents.llm.retries import Deadline, retrying
from agents.llm.second_tries import Trial
from agents.llm.signs import Sent
from agents.llm.terms import Model, Terms
from agents.llm.worst_case import cost_bounds

SETTLING_S = 3.0  # for looking up what a call cost, while the member waits for the answer
# Parameters that a request needs. Every other one can be left out.
_NEEDED = ("model", "messages", "system")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class VendorAdapter(LLMProvider):
    """A provider, with the methods that each vendor implements differently."""

    base_url: str = ""  # of the vendor's API

    reasons_unasked: ClassVar[bool] = True  # its models may reason without being asked to

    def request(self, model_id: str, prompt: Prompt, terms: Terms) -> http.Request:
        """Build the request that sends the prompt to the model on these terms.

        Raises:
            RequestInvalid: no request can be built from the prompt, such as for an invalid picture.
        """
        raise NotImplementedError

    def completion(self, reply: http.Reply, sent: Sent) -> Completion:
        """Return the answer in a reply.

        Raises:
            LLMError: the reply is a refusal, interpreted in the light of `sent`, or has no
                complete answer.
        """
        raise NotImplementedError

    def refusal(self, reply: http.Reply) -> LLMError:
        """Return the error for a reply other than 2xx to a request without a schema."""
        raise NotImplementedError

    async def settled(self, completion: Completion, deadline: Deadline) -> Completion:
        """Return the completion with its cost added, or unchanged if the cost cannot be found.

        Takes at most `SETTLING_S`, never goes beyond the deadline, and raises nothing. The
        completion may be lost, so that only its `generation_id` is known.
        """
        raise NotImplementedError

    def key_check(self) -> http.Request:
        """Return a free request whose reply shows whether the key is valid."""
        raise NotImplementedError

    def is_key_accepted(self, reply: http.Reply) -> bool:
        """Return whether a reply to `key_check` shows that the key is valid."""
        raise NotImplementedError


async def complete(provider: VendorAdapter, prompt: Prompt) -> Completion:
    """Return the answer of the provider's model or, if it fails, of its fallback model.

    Raises:
        LLMError: the error of the model that was asked last.
    """
    call = _Call(provider, Deadline.in_seconds(provider.scope.deadline_s))
    try:
        return await _ask_model(call, provider.model_id, prompt)
    except LLMError as error:
        if not _may_fall_back(call, error):
            raise
        logger.warning(
            "agent=%s step=%s model=%s failed (%s), asking %s instead",
            provider.scope.agent,
            provider.scope.step_id,
            provider.model_id,
            type(error).__name__,
            provider.fallback_model,
        )
        completion = await _ask_model(call, provider.fallback_model, prompt)
        return replace(completion, is_fallback=True)


@dataclass(slots=True)
class _Call:
    """State shared by all attempts of one `complete`."""

    provider: VendorAdapter
    deadline: Deadline
    attempts: int = 0
    answered_at: float | None = None  # monotonic; when the current attempt's reply arrived


def _may_fall_back(call: _Call, error: LLMError) -> bool:
    if not error.handling.may_fall_back:
        return False
    # A lost answer (no HTTP status) may have been charged, so no second one is bought. The cost of
    # an unusable answer is recorded.
    if error.maybe_charged and error.http_status is None:
        return False
    fallback_model = call.provider.fallback_model
    return (
        bool(fallback_model)
        and fallback_model != call.provider.model_id
        and call.deadline.remaining_s > 0
    )


async def _ask_model(call: _Call, model_id: str, prompt: Prompt) -> Completion:
    provider = call.provider
    model = Model(
        base_url=provider.base_url,
        model_id=model_id,
        key_fingerprint=provider.api_key.fingerprint,
    )
    trial = await Trial.begin(
        provider.name, model, provider.scope, prompt, provider.reasons_unasked
    )
    if trial.terms.max_price is None:
        trial.terms = replace(trial.terms, max_price=provider.unknown_price)
    while True:
        try:
            completion = await _ask(call, model_id, trial.prompt, trial.terms)
        except LLMError as error:
            before = provider.request(model_id, trial.prompt, trial.terms)
            if not await trial.is_changed_after(error):
                raise
            if provider.request(model_id, trial.prompt, trial.terms) == before:
                raise  # the refused parameter is mandatory, such as max_tokens at Anthropic
            logger.info(
                "agent=%s step=%s model=%s: %s, trying %s",
                provider.scope.agent,
                provider.scope.step_id,
                model_id,
                error.cause.value,
                error.handling.next.value,
            )
        else:
            trial.keep_what_helped()
            return completion


async def _ask(call: _Call, model_id: str, prompt: Prompt, terms: Terms) -> Completion:
    try:
        return await retrying(
            lambda: _attempt(call, model_id, prompt, terms),
            policy=call.provider.retries,
            deadline=call.deadline,
        )
    except LLMError as error:
        error.provider, error.model_id = call.provider.name, model_id
        raise


async def _attempt(call: _Call, model_id: str, prompt: Prompt, terms: Terms) -> Completion:
    """Send one request and report its start and its end to the observer, even if it fails."""
    request = call.provider.request(model_id, prompt, terms)
    sent = _sent(request, prompt, terms)
    if call.deadline.remaining_s <= 0:
        raise DeadlineExceeded("no time was left for another try")
    call.attempts += 1
    attempt = _record_of(call, model_id, prompt, terms)
    await call.provider.scope.observer.attempt_started(attempt)
    started, call.answered_at = time.monotonic(), None

    async def ended(outcome: Outcome) -> asyncio.Task[None]:
        took_s = (
            call.answered_at or time.monotonic()
        ) - started  # excludes the time for looking up the cost
        outcome = replace(outcome, latency_ms=round(took_s * 1000))
        return await _finished(call.provider.scope.observer.attempt_ended(attempt, outcome))

    try:
        completion, status = await _exchange(call, _signed(request, call, attempt), sent)
    except LLMError as error:
        (await ended(Outcome(error=error, http_status=error.http_status))).result()
        raise
    except BaseException:  # a cancellation, or a bug in this program
        if failure := (await ended(Outcome(cancelled=True))).exception():
            logger.exception("call=%s: its end is not recorded", attempt.call_id, exc_info=failure)
        raise
    (await ended(Outcome(completion=completion, http_status=status))).result()
    return completion


async def _exchange(call: _Call, request: http.Request, sent: Sent) -> tuple[Completion, int]:
    provider = call.provider
    try:
        reply = await http.send(
            request, api_key=provider.api_key, deadline_s=call.deadline.remaining_s
        )
        call.answered_at = time.monotonic()
        completion = provider.completion(reply, sent)
    except LLMError as error:
        call.answered_at = call.answered_at or time.monotonic()
        if error.maybe_charged:
            seen = error.learnt or Completion.lost(error.generation_id)
            error.learnt = await provider.settled(seen, call.deadline)
        raise
    return await provider.settled(completion, call.deadline), reply.status


def _sent(request: http.Request, prompt: Prompt, terms: Terms) -> Sent:
    """Return the facts about a request that are needed to interpret a refusal of it."""
    body = request.body or {}
    routing = body.get("provider") or {}
    return Sent(
        has_schema=prompt.schema is not None,
        has_picture=bool(prompt.image_b64),
        has_instructions=bool(prompt.system),
        has_max_price="max_price" in routing,
        wants_json=prompt.wants_json,
        parameters=frozenset(body).difference(_NEEDED),
        max_tokens=terms.max_tokens,
    )


def _record_of(call: _Call, model_id: str, prompt: Prompt, terms: Terms) -> Attempt:
    provider, bounds = call.provider, cost_bounds(prompt, terms)
    return Attempt(
        call_id=uuid4(),
        number=call.attempts,
        provider=provider.name,
        requested_model=model_id,
        payer=provider.payer,
        key_fingerprint=provider.api_key.fingerprint,
        system_prompt=prompt.system,
        user_message=prompt.user,
        has_image=bool(prompt.image_b64),
        is_fallback=provider.is_fallback or model_id != provider.model_id,
        most_usd=bounds.most_usd,
        likely_usd=bounds.likely_usd,
    )


def _signed(request: http.Request, call: _Call, attempt: Attempt) -> http.Request:
    """Return the request with headers that link the vendor's log entry to our record of the call.

    All vendors get these headers. They hold a random call id and the names of agent and step, which
    reveal neither the member nor the text.
    """
    headers = {
        **request.headers,
        "X-Observatory-Call": str(attempt.call_id),
        # Quoted, because a name with characters that HTTP headers forbid would raise an error that
        # looks as if the request had been sent.
        "X-Observatory-Agent": quote(call.provider.scope.agent),
        "X-Observatory-Step": quote(call.provider.scope.step_id),
    }
    return replace(request, headers=headers)


_unfinished: set[asyncio.Task[None]] = set()  # strong references: the event loop keeps weak ones


async def ends_recorded(within_s: float = 1.0) -> None:
    """Wait until the ends of this event loop's calls are recorded, for at most `within_s` seconds.

    For use at shutdown: if a call was cancelled twice, no caller waits for its record any more. A
    write takes milliseconds, and an unreachable database must not delay the shutdown.
    """
    loop = asyncio.get_running_loop()
    if ends := [task for task in _unfinished if task.get_loop() is loop]:
        await asyncio.wait(ends, timeout=within_s)


async def _finished(telling: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Run the coroutine to its end even if this task is cancelled, and return its finished task.

    The returned task may hold an exception. A cancellation is re-raised once the coroutine has
    finished. A second cancellation is raised at once, and the coroutine continues in the
    background.
    """
    task = asyncio.create_task(telling, name="end of a call")
    _unfinished.add(task)
    task.add_done_callback(_unfinished.discard)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.add_done_callback(_log_failure)
            raise
        _log_failure(task)
        raise
    return task


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (failure := task.exception()) is not None:
        logger.error("the end of a call is not recorded", exc_info=failure)

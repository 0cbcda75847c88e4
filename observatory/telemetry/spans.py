"""Builds spans from ended rows: their position in the trace, times and attributes.

Trace and span ids come from the rows' ids. So a step that another process runs later, or a run that
is resumed after a crash, is in the same trace without passing on any context, and a trace leads to
its record.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit
from uuid import UUID

from django.utils.crypto import salted_hmac
from opentelemetry.trace import SpanKind

from agents.llm.router import vendor_of
from agents.llm.secrets import scrub
from observatory.telemetry import names
from pipeline.models.runs import (
    CallStatus,
    LLMCall,
    PipelineRun,
    RunStatus,
    StepRun,
    StepStatus,
    TextBlob,
)

Attribute = str | bool | int | float | tuple[str, ...]
Attributes = dict[str, Attribute]

MAX_CHARACTERS = 16_000  # per text: a queue full of playbooks must fit into memory
_ERRORS = {RunStatus.FAILED, RunStatus.INTERRUPTED, RunStatus.GIVEN_UP}
_STEP_ERRORS = {StepStatus.FAILED, StepStatus.INTERRUPTED}
_CLASS_NAME = re.compile(r"([A-Za-z_]{1,60}):")


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One complete span; times are in nanoseconds since the epoch."""

    name: str
    kind: SpanKind
    trace_id: int
    span_id: int
    parent_id: int | None  # None: the root of its trace
    started_ns: int
    ended_ns: int
    attributes: Attributes
    is_error: bool


def of_run(run: PipelineRun, *, with_content: bool) -> Told:
    """Return the span of a run, which is the root of its trace."""
    status = RunStatus(run.status)
    attributes = _of_run(run) | {
        names.OPERATION: names.INVOKE_WORKFLOW,
        names.WORKFLOW: run.pipeline,
        names.AGENT: run.pipeline,
        names.KIND: names.KIND_SPAN,
        names.RUN_STATUS: run.status,
        names.RUN_SOURCE: run.source,
    }
    if status in _ERRORS:
        attributes[names.ERROR_TYPE] = run.status
    if with_content:
        asked, answered = _text(run.user_message), _text(run.answer)
        attributes |= _present({names.TRACE_INPUT: asked, names.TRACE_OUTPUT: answered})
        attributes |= _present({names.OBSERVED_INPUT: asked, names.OBSERVED_OUTPUT: answered})
    return Told(
        name=f"{names.INVOKE_WORKFLOW} {run.pipeline}",
        kind=SpanKind.INTERNAL,
        trace_id=run.pk.int,
        span_id=_span_id(run.pk),
        parent_id=None,
        started_ns=_ns(run.started_at),
        ended_ns=_ns(run.ended_at or run.started_at),
        attributes=attributes,
        is_error=status in _ERRORS,
    )


def of_step(step: StepRun, *, with_content: bool) -> Told:
    """Return the span of one step attempt."""
    status = StepStatus(step.status)
    attributes = _of_step(step) | {
        names.OPERATION: names.INVOKE_AGENT,
        names.KIND: names.KIND_AGENT,
        names.STEP_STATUS: step.status,
    }
    if status in _STEP_ERRORS:
        attributes[names.ERROR_TYPE] = step.error_type or step.status
    if with_content:
        content = {names.OBSERVED_INPUT: _text(step.inputs), names.OBSERVED_OUTPUT: _said(step)}
        attributes |= _present({**content, names.STATUS_MESSAGE: step.error})
    return Told(
        name=f"{names.INVOKE_AGENT} {step.agent}",
        kind=SpanKind.INTERNAL,
        trace_id=step.run_id.int,
        span_id=_span_id(step.pk),
        parent_id=_span_id(step.run_id),
        started_ns=_ns(step.started_at),
        ended_ns=_ns(step.ended_at or step.started_at),
        attributes=attributes,
        is_error=status in _STEP_ERRORS,
    )


def of_call(call: LLMCall, *, with_content: bool) -> Told:
    """Return the span of one HTTP request to a provider."""
    started_ns = _ns(call.started_at)
    content = _content(call) if with_content else {}
    attributes = content | _of_step(call.step) | _of_call(call)
    if call.latency_ms is not None:
        ended_ns = started_ns + call.latency_ms * 1_000_000
    else:  # its end was not recorded
        ended_ns = max(started_ns, _ns(call.step.ended_at or call.started_at))
    return Told(
        name=f"{names.CHAT} {call.requested_model}",
        kind=SpanKind.CLIENT,
        trace_id=call.step.run_id.int,
        span_id=_span_id(call.pk),
        parent_id=_span_id(call.step_id),
        started_ns=started_ns,
        ended_ns=ended_ns,
        attributes=attributes,
        is_error=call.status != CallStatus.OK,
    )


# --- attributes -----------------------------------------------------------------------------------


def _of_run(run: PipelineRun) -> Attributes:
    """Return the run's attributes for all its spans; Langfuse needs user and session on each."""
    update = run.update
    session = ""
    if update is not None and update.chat_id is not None:
        session = _pseudonym(f"chat:{update.bot_id}:{update.chat_id}")
    return _present(
        {
            names.RUN: str(run.pk),
            names.TRACE_NAME: run.pipeline,
            names.TRACE_RUN: str(run.pk),
            names.TRACE_PIPELINE: run.pipeline,
            names.USER: _pseudonym(f"member:{run.member_id}") if run.member_id else "",
            names.SESSION: session,
            names.CONVERSATION: session,
        }
    )


def _of_step(step: StepRun) -> Attributes:
    """Return the attributes that a step's span shares with its calls' spans."""
    return _of_run(step.run) | _present(
        {
            names.AGENT: step.agent,
            names.PROVIDER: provider_name(step.provider),
            names.STEP: str(step.pk),
            names.STEP_POSITION: step.position,
            names.STEP_MODE: step.mode,
            names.STEP_ATTEMPT: step.attempt,
            names.CONFIG_VERSION: step.snapshot_version,
            names.CONFIG_OVERRIDE: step.override_version,
            names.CONFIG_MODEL: step.requested_model,
            names.CONFIG_REASON: step.decision,
            names.CONFIG_STALE: step.is_stale,
            names.PAYER: step.payer,
        }
    )


def _of_call(call: LLMCall) -> Attributes:
    attributes = _present(
        {
            names.OPERATION: names.CHAT,
            names.KIND: names.KIND_GENERATION,
            names.PROVIDER: provider_name(call.provider),
            names.REQUEST_MODEL: call.requested_model,
            names.RESPONSE_MODEL: call.served_model,
            names.UPSTREAM: call.upstream,
            names.CAUSE: call.cause,
            names.RESPONSE_ID: call.generation_id,
            names.FINISH_REASONS: (call.finish_reason,) if call.finish_reason else None,
            names.INPUT_TOKENS: call.input_tokens,
            names.OUTPUT_TOKENS: call.output_tokens,
            names.CACHE_READ_TOKENS: call.cached_input_tokens,
            names.REASONING_TOKENS: call.reasoning_tokens,
            names.COST: None if call.cost_usd is None else float(call.cost_usd),
            names.COST_SOURCE: call.cost_source,
            names.PAYER: call.payer,
            names.CALL: str(call.pk),
            names.CALL_NUMBER: call.number,
            names.MISMATCH: call.is_mismatch,
            names.FALLBACK: call.is_fallback,
            names.HAS_IMAGE: call.has_image,
            names.HTTP_STATUS: call.http_status,
            names.ERROR_TYPE: error_type(call),
        }
    )
    if call.is_mismatch:
        attributes[names.LEVEL] = names.LEVEL_WARNING
        attributes[names.STATUS_MESSAGE] = (
            f"asked for {call.requested_model}, answered by {call.served_model}"
        )
    return attributes | server(call.provider)


def error_type(call: LLMCall) -> str:
    """Return why a call failed, as one of a few words; "" if it succeeded."""
    if call.status == CallStatus.OK:
        return ""
    return call.error_type or ("cancelled" if call.status == CallStatus.UNKNOWN else call.status)


def provider_name(provider: str) -> str:
    """Return a provider's name in OpenTelemetry's conventions; an unknown name stays as it is."""
    known = vendor_of(provider)
    return known.public_name if known else provider


def server(provider: str) -> Attributes:
    """Return the address and port of the server that a provider's calls go to."""
    known = vendor_of(provider)
    url = urlsplit(known.configured_url() if known else "")
    port = url.port or {"https": 443, "http": 80}.get(url.scheme)
    return _present({names.SERVER_ADDRESS: url.hostname, names.SERVER_PORT: port})


# --- content, only if it is switched on -----------------------------------------------------------


def _content(call: LLMCall) -> Attributes:
    """Return the texts sent and received, as recorded: without keys, and absent once erased."""
    system, user, answer = (
        _text(text) for text in (call.system_prompt, call.user_message, call.output)
    )
    asked = [("system", system), ("user", user)]
    messages = [{"role": role, "content": text} for role, text in asked if text]
    output = {"role": "assistant", "parts": _parts(answer), "finish_reason": call.finish_reason}
    return _present(
        {
            names.SYSTEM_INSTRUCTIONS: _json(_parts(system)) if system else "",
            names.INPUT_MESSAGES: _json([{"role": "user", "parts": _parts(user)}]) if user else "",
            names.OUTPUT_MESSAGES: _json([output]) if answer else "",
            names.OBSERVED_INPUT: _json(messages) if messages else "",
            names.OBSERVED_OUTPUT: answer,
            names.STATUS_MESSAGE: call.error,
        }
    )


def _said(step: StepRun) -> str:
    return _text(step.reply) or _text(step.output)


def _parts(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "content": text}]


def _text(kept: TextBlob | None) -> str:
    if kept is None:
        return ""
    text = kept.text
    left_out = len(text) - MAX_CHARACTERS
    return text if left_out <= 0 else f"{text[:MAX_CHARACTERS]}… [{left_out} more characters]"


def _json(content: object) -> str:
    return json.dumps(content, ensure_ascii=False)


# --- ids and times --------------------------------------------------------------------------------


def _span_id(row_id: UUID) -> int:
    """Return the lower 64 bits of a row's id, of which 62 are random; never 0."""
    return row_id.int & (2**64 - 1)


def _pseudonym(of: str) -> str:
    """Return a stable pseudonym of a member or chat, linkable to it only with our secret key."""
    return salted_hmac("observatory.telemetry", of, algorithm="sha256").hexdigest()[:32]


def _ns(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000) * 1000


def _present(attributes: dict[str, Attribute | None]) -> Attributes:
    """Return the attributes that have a value, with everything that looks like a key replaced."""
    return {
        name: scrub(value) if isinstance(value, str) else value
        for name, value in attributes.items()
        if value is not None and value != ""
    }

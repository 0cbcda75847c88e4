"""Metrics: call duration and tokens by OpenTelemetry's conventions, cost, mismatches and steps.

Every attribute has few distinct values: agents, models, payers, states. Values that identify runs
or members belong in spans.
"""

from __future__ import annotations

from opentelemetry.metrics import MeterProvider

from agents.llm.secrets import scrub
from observatory.telemetry import names, spans
from pipeline.models.runs import LLMCall, StepRun


class Meters:
    """The OpenTelemetry instruments of one process."""

    def __init__(self, provider: MeterProvider) -> None:
        meter = provider.get_meter(names.SCOPE)
        self._duration = meter.create_histogram(
            names.CALL_DURATION,
            unit="s",
            description="How long a call to a model took.",
            explicit_bucket_boundaries_advisory=names.DURATION_BOUNDARIES_S,
        )
        self._tokens = meter.create_histogram(
            names.TOKEN_USAGE,
            unit="{token}",
            description="How many tokens a call took and gave.",
            explicit_bucket_boundaries_advisory=names.TOKEN_BOUNDARIES,
        )
        self._cost = meter.create_counter(
            names.CALL_COST, unit="{USD}", description="What calls cost, by payer."
        )
        self._mismatches = meter.create_counter(
            names.CALL_MISMATCHES,
            unit="{call}",
            description="Calls that another model answered than the one asked for.",
        )
        self._steps = meter.create_counter(
            names.STEPS_ENDED, unit="{step}", description="How attempts at steps ended."
        )

    def count_step(self, step: StepRun) -> None:
        """Count a step attempt that ended."""
        self._steps.add(
            1,
            {
                names.AGENT: step.agent,
                names.STEP_STATUS: step.status,
                names.STEP_MODE: step.mode,
                names.PAYER: step.payer or "none",
            },
        )

    def count_call(self, call: LLMCall) -> None:
        """Count a call that ended."""
        models = {names.REQUEST_MODEL: scrub(call.requested_model)}
        if call.served_model:
            models[names.RESPONSE_MODEL] = scrub(call.served_model)
        common: spans.Attributes = {
            names.OPERATION: names.CHAT,
            names.PROVIDER: spans.provider_name(call.provider),
            **models,
            **spans.server(call.provider),
        }
        if call.latency_ms is not None:
            error = spans.error_type(call)
            outcome: spans.Attributes = {names.ERROR_TYPE: error} if error else {}
            self._duration.record(call.latency_ms / 1000, common | outcome)
        counts = {names.INPUT: call.input_tokens, names.OUTPUT: call.output_tokens}
        for kind, tokens in counts.items():
            if tokens is not None:
                self._tokens.record(tokens, common | {names.TOKEN_TYPE: kind})
        by_agent = {names.AGENT: call.step.agent, names.PAYER: call.payer, **models}
        if call.cost_usd is not None:
            self._cost.add(float(call.cost_usd), by_agent)
        if call.is_mismatch:
            self._mismatches.add(1, by_agent)

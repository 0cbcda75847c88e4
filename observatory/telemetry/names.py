"""All attribute and metric names that are sent: OpenTelemetry's GenAI, Langfuse's, and our own.

The GenAI conventions are still in development and have been renamed more than once, so their names
are written only here. They are those of semantic-conventions 1.41 and of what moved to
semantic-conventions-genai, where a workflow's name is an agent's name, so a run carries both.
"""

from __future__ import annotations

# --- OpenTelemetry: GenAI -------------------------------------------------------------------------

OPERATION = "gen_ai.operation.name"
CHAT, INVOKE_AGENT, INVOKE_WORKFLOW = "chat", "invoke_agent", "invoke_workflow"
PROVIDER = "gen_ai.provider.name"
AGENT = "gen_ai.agent.name"
WORKFLOW = "gen_ai.workflow.name"
CONVERSATION = "gen_ai.conversation.id"
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"
RESPONSE_ID = "gen_ai.response.id"
FINISH_REASONS = "gen_ai.response.finish_reasons"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS = "gen_ai.usage.cache_read.input_tokens"
REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens"
COST = "gen_ai.usage.cost"  # dollars; not in the conventions, but what Langfuse reads
TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105
INPUT, OUTPUT = "input", "output"

# Content, sent only if OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT is on.
SYSTEM_INSTRUCTIONS = "gen_ai.system_instructions"
INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"

# --- OpenTelemetry: general -----------------------------------------------------------------------

SERVER_ADDRESS, SERVER_PORT = "server.address", "server.port"
HTTP_STATUS = "http.response.status_code"
ERROR_TYPE = "error.type"
USER, SESSION = "user.id", "session.id"
SERVICE_NAME, SERVICE_INSTANCE = "service.name", "service.instance.id"
ENVIRONMENT = "deployment.environment.name"

# --- Langfuse -------------------------------------------------------------------------------------

TRACE_NAME = "langfuse.trace.name"
TRACE_RUN, TRACE_PIPELINE = "langfuse.trace.metadata.run_id", "langfuse.trace.metadata.pipeline"
TRACE_INPUT, TRACE_OUTPUT = "langfuse.trace.input", "langfuse.trace.output"
KIND = "langfuse.observation.type"
KIND_SPAN, KIND_AGENT, KIND_GENERATION = "span", "agent", "generation"
LEVEL, LEVEL_WARNING = "langfuse.observation.level", "WARNING"
STATUS_MESSAGE = "langfuse.observation.status_message"
OBSERVED_INPUT, OBSERVED_OUTPUT = "langfuse.observation.input", "langfuse.observation.output"

# --- ours -----------------------------------------------------------------------------------------

SCOPE = "observatory"
RUN = "observatory.run.id"
RUN_STATUS, RUN_SOURCE = "observatory.run.status", "observatory.run.source"
STEP = "observatory.step.id"
STEP_POSITION, STEP_MODE = "observatory.step.position", "observatory.step.mode"
STEP_STATUS, STEP_ATTEMPT = "observatory.step.status", "observatory.step.attempt"
CONFIG_VERSION = "observatory.config.version"  # of the snapshot of overrides
CONFIG_OVERRIDE = "observatory.config.override_version"
CONFIG_MODEL = "observatory.config.model"
CONFIG_REASON = "observatory.config.reason"  # the decision, in a sentence
CONFIG_STALE = "observatory.config.is_stale"
PAYER = "observatory.purse"
CALL, CALL_NUMBER = "observatory.call.id", "observatory.call.attempt"
MISMATCH, FALLBACK = "observatory.call.is_mismatch", "observatory.call.is_fallback"
CAUSE = "observatory.call.cause"  # why it failed, in a word that is the same for all vendors
UPSTREAM = "observatory.call.upstream"  # the provider that ran the model behind a gateway
COST_SOURCE = "observatory.call.cost_source"
HAS_IMAGE = "observatory.call.has_image"

# --- metrics --------------------------------------------------------------------------------------

CALL_DURATION = "gen_ai.client.operation.duration"
TOKEN_USAGE = "gen_ai.client.token.usage"  # noqa: S105
CALL_COST = "observatory.call.cost"
CALL_MISMATCHES = "observatory.call.mismatches"
STEPS_ENDED = "observatory.step.ended"
# The histogram boundaries that the conventions specify.
DURATION_BOUNDARIES_S = tuple(0.01 * 2**power for power in range(14))
TOKEN_BOUNDARIES = tuple(float(4**power) for power in range(14))

"""Table of the codes and wordings that reveal the cause of a refusal; the first match counts.

Codes with one meaning at all vendors come first. Wordings follow, since they are less reliable than
such codes. Codes that vendors use for many causes come last. If no sign matches, the HTTP status
decides. The wordings behind this table are in `tests/llm/wordings.json`, with their sources.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from agents.llm.causes import Cause
from agents.llm.limits import said_limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """The facts about a request that are needed to interpret a refusal of it."""

    has_schema: bool = False
    has_picture: bool = False
    has_instructions: bool = False  # in a message with the role system, or Anthropic's `system`
    has_max_price: bool = False
    wants_json: bool = False  # by a schema, enforced or described in words
    parameters: frozenset[str] = frozenset()  # the optional parameters
    max_tokens: int = 0

    def parameter_in(self, words: str) -> str:
        """Return the sent parameter that the text names first, or ""."""
        named = {
            found.start(): name
            for name in self.parameters
            if (found := re.search(rf"\b{re.escape(name)}\b", words)) is not None
        }
        return named[min(named)] if named else ""


@dataclass(frozen=True, slots=True)
class Sign:
    """A cause and the conditions for it: one of the codes, the words, a status, and a function.

    All conditions that are set must hold.
    """

    cause: Cause
    codes: frozenset[str] = frozenset()
    words: re.Pattern[str] | None = None
    statuses: frozenset[int] = frozenset()  # empty = any
    applies: Callable[[Sent, str], bool] = lambda sent, words: True

    def fits(self, status: int, codes: frozenset[str], words: str, sent: Sent) -> bool:
        """Return whether a refusal meets all conditions."""
        if self.statuses and status not in self.statuses:
            return False
        if self.codes and not self.codes & codes:
            return False
        if self.words is not None and not self.words.search(words):
            return False
        return self.applies(sent, words)


def _codes(cause: Cause, *codes: str) -> Sign:
    return Sign(cause, codes=frozenset(code.casefold() for code in codes))


def _words(
    cause: Cause,
    *patterns: str,
    statuses: tuple[int, ...] = (),
    applies: Callable[[Sent, str], bool] = lambda sent, words: True,
) -> Sign:
    return Sign(
        cause,
        words=re.compile("|".join(patterns), re.IGNORECASE),
        statuses=frozenset(statuses),
        applies=applies,
    )


def _names_smaller_limit(words: str, sent: Sent) -> bool:
    limit = said_limit(words, asked=sent.max_tokens)
    return limit is not None and limit.is_fixed


# HTTP statuses; 0 = an error inside a 200 that names no status.
_REQUEST = (0, 200, 400, 404, 405, 413, 415, 416, 422, 500, 501, 502)
_MONEY = (0, 200, 400, 401, 402, 403, 429)
_RULES = (0, 200, 400, 403, 451)

SIGNS: tuple[Sign, ...] = (
    # --- wordings more specific than the codes they come with, so they must be tried first ------
    _words(Cause.CREDIT, r"can only afford \d+", statuses=_MONEY),
    _words(Cause.LENGTH, r"request too large\b.*tokens per", statuses=(413, 429)),
    _codes(Cause.RATE, "openrouter_in_flight_budget"),
    # --- codes with one meaning at all vendors --------------------------------------------------
    _codes(
        Cause.KEY,
        *("invalid_api_key", "api_key_invalid", "authentication", "authentication_error"),
        *("invalid_authentication", "token_not_found_in_db", "incorrect_api_key", "auth_error"),
    ),
    _codes(Cause.BUDGET, "budget_exceeded", "key_limit_exceeded", "project_budget_exceeded"),
    _codes(Cause.RATE, "resource_exhausted"),
    _codes(
        Cause.ACCOUNT,
        *("insufficient_quota", "billing_hard_limit_reached", "billing_not_active"),
        *("credit_balance_exhausted", "credit_balance_too_low", "billing_error"),
        *("insufficient_balance", "payment_required", "account_deactivated"),
    ),
    _codes(
        Cause.REGION,
        *("unsupported_country_region_territory", "region_restricted", "unsupported_region"),
    ),
    _codes(
        Cause.POLICY,
        *("content_filter", "content_policy_violation", "responsibleaipolicyviolation"),
        *("refusal", "data_inspection_failed", "content_policy", "moderation_blocked"),
    ),
    _codes(
        Cause.UNKNOWN_MODEL,
        *("model_not_found", "wrong_endpoint", "model_deprecated", "free_variant_ended"),
        *("model_unavailable_upstream", "deploymentnotfound", "model_decommissioned"),
        *("model_not_available", "privacy_restricted", "invalid_model", "model_not_supported"),
    ),
    _codes(
        Cause.LENGTH,
        *("context_length_exceeded", "exceed_context_size_error", "string_above_max_length"),
        *("string_too_long", "payload_too_large", "request_too_large", "token_limit_exceeded"),
        *("prompt_too_long", "input_too_long"),
    ),
    _codes(Cause.LIMIT, "max_tokens_exceeded"),
    _codes(
        Cause.THIS_PICTURE,
        *("invalid_image", "invalid_image_format", "image_too_large", "image_too_small"),
        *("unsupported_image_format", "image_not_found", "image_download_failed"),
        *("image_parse_error", "invalid_image_url", "invalid_base64_image"),
    ),
    # --- wordings -------------------------------------------------------------------------------
    _words(
        Cause.THIS_PICTURE,
        r"could not process image|image (data )?(is|was) (invalid|corrupt|not valid)",
        r"unsupported image|invalid image|(failed|unable) to (decode|load|process) (the )?image",
        r"image exceeds|image dimensions|supported (image )?formats|(image|media|mime) types?\b",
        applies=lambda sent, words: sent.has_picture,
        statuses=_REQUEST,
    ),
    _words(
        Cause.PICTURE,
        r"\b(support|accept|take)\w*\b.{0,60}\b(image|vision|multimodal|multi-modal|picture)",
        r"\bimages?( input| inputs)? (is|are) not (supported|allowed|enabled|accepted)",
        r"not a multimodal model|image_url.{0,40}(not supported|unsupported|expected)",
        r"at most 0 image|unknown variant .?image_url|content must be a string",
        r"missing data required for image|image input is not enabled|mmproj",
        applies=lambda sent, words: sent.has_picture,
        statuses=_REQUEST,
    ),
    _words(
        Cause.ROLE,
        r"\brole\b.{0,40}\bnot support\w*\b.{0,20}\bsystem",
        r"system[ '\"]{0,2}(role|message|prompt|instruction)s?\W{0,3}(is |are )?not (be )?"
        r"(supported|enabled|allowed|permitted)",
        r"(developer|system) instructions? (is|are) not (enabled|supported|allowed)",
        r"not support (the )?(role )?['\"`]?system\b|roles must alternate",
        r"only (the )?['\"]?user['\"]? (and|or) ['\"]?(assistant|model)['\"]? roles? (is|are)",
        r"unexpected role ['\"`]?system",
        applies=lambda sent, words: sent.has_instructions,
        statuses=_REQUEST,
    ),
    _words(
        Cause.SCHEMA,
        r"response_?format|json_?schema|response_?schema|structured.?outputs?|output_config",
        r"output[_ ]format|guided_(json|grammar|decoding)|too many states|additional_?properties",
        r"\bschema\b|items: missing field|compiled grammar|failed to (parse|compile) grammar",
        r"(require_?|requested |supported_)parameters|json mode|parse grammar",
        applies=lambda sent, words: sent.has_schema,
        statuses=_REQUEST,
    ),
    Sign(Cause.LIMIT, applies=lambda sent, words: _names_smaller_limit(words, sent)),
    Sign(
        Cause.PARAMETER,
        codes=frozenset({"unsupported_parameter", "unknown_parameter", "extra_forbidden"}),
        applies=lambda sent, words: bool(sent.parameter_in(words)),
    ),
    _words(
        Cause.PARAMETER,
        r"(unsupported|unrecogni[sz]ed|unknown|unexpected|invalid|incompatible)\b.{0,30}"
        r"\b(parameter|argument|field|property|key|keyword|name)",
        r"extra (inputs|fields|parameters)|not (supported|permitted|allowed) (with|by|for) this",
        r"does not support (the )?(parameter|option|\S{1,40} parameter)|is unsupported",
        r"unsupported value|property \S{1,40} is (unsupported|not allowed)|unexpected keyword",
        applies=lambda sent, words: bool(sent.parameter_in(words)),
        statuses=_REQUEST,
    ),
    _words(
        Cause.LIMIT,
        r"max_(\w+_)?tokens\b.{0,120}(too (large|high|big)| > |<=|at most|up to|maximum|exceed"
        r"|less than|between|range|above|\[1)",
        r"supports? (at most|up to) \d+ \w+ tokens|maximum allowed number of output tokens",
        statuses=_REQUEST,
    ),
    _words(
        Cause.LENGTH,
        r"context (length|window|size)|maximum (context|input|prompt) length",
        r"(prompt|input|request|message|conversation|text)s? (is |are |was )?too (long|large|big)",
        r"too many (input |prompt )?tokens|reduce (the|your) (length|size|prompt|message|input)",
        r"tokens? (limit )?exceeds?\b|exceeds? (the )?(context|token|maximum (number of tokens|"
        r"length|context))|input length|string too long|prompt tokens limit exceeded",
        statuses=(0, 200, 400, 413, 422, 500),
    ),
    _words(
        Cause.BUDGET,
        r"\bbudget|(key|spend(ing)?|usage|quota|daily|weekly|monthly) limit "
        r"(was |has been |is )?(exceeded|reached)|limit exceeded \(",
        r"tokens limit exceeded: \d+|specified api usage limits",
        statuses=_MONEY,
    ),
    _words(
        Cause.ACCOUNT,
        r"credit balance|insufficient (credit|fund|balance|quota)|exceeded your current quota",
        r"no credits?\b|out of credits|purchase (more )?credits|requires? (more|at least) .*credit",
        r"billing (is not active|details|hard limit)|payment required|account is not active",
        r"never purchased credits|prepayment|arrearage|overdue",
        statuses=_MONEY,
    ),
    _words(
        Cause.REGION,
        r"country,? (or )?region|location is not supported|unsupported (country|region)",
        r"not (available|supported|offered) in your (country|region|location)",
        statuses=_RULES,
    ),
    _words(
        Cause.KEY,
        r"api[ _-]?key (is )?(not valid|not found|invalid|missing|expired|disabled)",
        r"(invalid|incorrect|expired|missing|wrong|no) (x-)?api[ _-]?key|pass a valid api key",
        r"invalid (authentication|token|credentials|proxy server token|bearer)",
        r"no auth credentials|authentication (error|failed|required)|unauthori[sz]ed",
        r"user not found",
        statuses=(0, 200, 400, 401, 403),
    ),
    _words(
        Cause.POLICY,
        r"content management policy|content.?filter|(content|usage|safety) polic",
        r"\bflagged\b|moderation|guardrail|prohibited|violat(e|es|ing|ion)|safety (system|reasons)",
        r"inappropriate content|blocked (by|due|because)",
        statuses=_RULES,
    ),
    _words(
        Cause.UNKNOWN_MODEL,
        r"not a valid model|(invalid|unknown|no such|unsupported) model|try pulling it",
        r"\bmodel\b.{0,160}(not found|does ?n.t exist|does not exist|not exist|decommissioned"
        r"|deprecated|no longer|is not available|is not supported|unavailable|not loaded)",
        r"(deployment|engine)\b.{0,60}does not exist|data policy|support tool use",
        statuses=(0, 200, 400, 403, 404, 410, 422, 500, 503),
    ),
    _words(
        Cause.PRICE,
        r"max_price|no (allowed )?(endpoints|providers)|routing requirements",
        applies=lambda sent, words: sent.has_max_price,
        statuses=(404, 503),
    ),
    _words(
        Cause.RATE,
        r"rate.?limit|too many requests|capacity exceeded|(tokens|requests) per (min|day)",
        statuses=(0, 200, 403, 429, 498),
    ),
    # --- codes that vendors use for many causes -------------------------------------------------
    _codes(Cause.RATE, "rate_limit_exceeded", "rate_limit_error", "capacity_exhausted"),
    Sign(
        Cause.OUTAGE,
        codes=frozenset(
            {
                *("overloaded_error", "api_error", "timeout_error", "server_is_overloaded"),
                *("provider_overloaded", "provider_unavailable", "temporarily_unavailable"),
                *("server_error", "internal_server_error", "engine_overloaded", "server"),
                *("internal", "unavailable", "timeout", "slow_down"),
            }
        ),
        statuses=frozenset({0, 200, 408, 409, 429, *range(500, 600)}),
    ),
    _codes(Cause.UNKNOWN_MODEL, "not_found_error", "not_found", "no_endpoints"),
    _codes(Cause.POLICY, "permission_error"),
)

OF_STATUS: dict[int, Cause] = {
    400: Cause.REQUEST,
    401: Cause.KEY,
    402: Cause.ACCOUNT,
    403: Cause.POLICY,
    404: Cause.UNKNOWN_MODEL,
    408: Cause.OUTAGE,
    409: Cause.OUTAGE,  # at OpenAI, a lock could not be acquired in time; a retry may succeed
    410: Cause.UNKNOWN_MODEL,
    413: Cause.LENGTH,
    422: Cause.REQUEST,
    425: Cause.OUTAGE,
    429: Cause.RATE,
    451: Cause.REGION,
}

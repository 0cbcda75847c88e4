"""Change a request after a refusal or a cut-off answer; each kind of change is made once.

This module sends nothing itself. A refusal costs nothing, so asking again after one is free. A
cut-off answer was paid for, so it is requested once more only with a larger limit, or with less
reasoning effort if the model spent over half of its tokens on reasoning.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from agents.llm.base import StepScope
from agents.llm.errors import (
    AnswerCut,
    CreditTooLow,
    LimitRefused,
    LLMError,
    ParameterUnsupported,
    PriceRefused,
    RoleUnsupported,
    SchemaUnsupported,
)
from agents.llm.limits import LESS_EFFORT, ModelFacts, output_limit
from agents.llm.prompt import Prompt
from agents.llm.terms import Learnt, Model, Terms, learnt_of, remember

UNNAMED_LIMIT = 4_096  # used if a refusal names no limit: every model allows as much


@dataclass(slots=True)
class Trial:
    """The state of asking one model: the next request's prompt and terms, and the changes made."""

    provider: str
    model: Model
    scope: StepScope
    prompt: Prompt
    terms: Terms
    reasons_unasked: bool
    learnt: Learnt
    tried: frozenset[str] = frozenset()  # changes made so far: each is made at most once
    cut_at: int = 0  # the limit at which an answer was cut off; a smaller one would waste money

    @classmethod
    async def begin(
        cls, provider: str, model: Model, scope: StepScope, prompt: Prompt, reasons_unasked: bool
    ) -> Trial:
        """Create the trial from the facts in the model book and from earlier refusals."""
        learnt = learnt_of(model)
        facts = await scope.book.facts(provider, model.model_id)
        if learnt.max_output_tokens is not None:
            ceiling = min(
                facts.max_output_tokens or learnt.max_output_tokens, learnt.max_output_tokens
            )
            facts = replace(facts, max_output_tokens=ceiling)
        if learnt.schema_in_words:
            prompt = prompt.with_schema_in_words()
        if learnt.instructions_in_message:
            prompt = prompt.with_instructions_in_message()
        terms = Terms(
            max_tokens=output_limit(
                facts,
                visible_tokens=scope.most_output_tokens,
                reasons_unasked=reasons_unasked,
            ),
            facts=facts,
            left_out=learnt.left_out,
            max_price=facts.max_price,
        )
        return cls(provider, model, scope, prompt, terms, reasons_unasked, learnt)

    async def is_changed_after(self, error: LLMError) -> bool:
        """Change the next request in response to the error; return False if nothing can change."""
        if error.maybe_charged and not isinstance(error, AnswerCut):
            return False
        match error:
            case SchemaUnsupported() if self._is_first("schema") and self.prompt.schema:
                self.prompt = self.prompt.with_schema_in_words()
                self.learnt = replace(self.learnt, schema_in_words=True)
            case RoleUnsupported() if self._is_first("role") and self.prompt.system:
                self.prompt = self.prompt.with_instructions_in_message()
                self.learnt = replace(self.learnt, instructions_in_message=True)
            case ParameterUnsupported(parameter=name) if name and self._is_first(name):
                self.terms = replace(self.terms, left_out=self.terms.left_out | {name})
                self.learnt = replace(self.learnt, left_out=self.terms.left_out)
            case CreditTooLow() | LimitRefused() if self._is_first("smaller limit"):
                return self._takes_smaller_limit(error)
            case AnswerCut() if self._is_first("larger limit"):
                return self._asks_for_more(error)
            case PriceRefused() if self._is_first("price"):
                return await self._pays_more()
            case _:
                return False
        return True

    def keep_what_helped(self) -> None:
        """Remember, for later calls to the model, the changes that led to an answer."""
        if self.learnt != learnt_of(self.model):
            remember(self.model, self.learnt)

    def _is_first(self, change: str) -> bool:
        is_first = change not in self.tried
        self.tried |= {change}
        return is_first

    def _takes_smaller_limit(self, error: CreditTooLow | LimitRefused) -> bool:
        tokens = error.most_tokens
        if tokens is None and isinstance(error, LimitRefused):
            tokens = UNNAMED_LIMIT
        least = max(self.scope.least_output_tokens, self.cut_at + 1)
        if tokens is None or not least <= tokens < self.terms.max_tokens:
            return False
        # This is the maximum now, so that a cut-off answer does not lead to a larger limit.
        facts = replace(self.terms.facts, max_output_tokens=tokens)
        self.terms = replace(self.terms, max_tokens=tokens, facts=facts)
        if isinstance(error, LimitRefused) and error.is_fixed:
            self.learnt = replace(self.learnt, max_output_tokens=tokens)
        return True

    def _asks_for_more(self, error: AnswerCut) -> bool:
        self.cut_at = self.terms.max_tokens
        if not error.may_be_longer:
            return False
        larger = min(2 * self.terms.max_tokens, self.terms.facts.ceiling)
        if larger > self.terms.max_tokens:
            self.terms = replace(self.terms, max_tokens=larger)
            return True
        can_be_told = self.reasons_unasked and self.terms.facts.can_reason is not False
        if self.terms.effort or not can_be_told or not _is_mostly_reasoning(error):
            return False
        self.terms = replace(self.terms, effort=LESS_EFFORT)
        return True

    async def _pays_more(self) -> bool:
        """Raise the maximum price if the model's current price is higher; never drop the limit."""
        paid = self.terms.max_price
        facts: ModelFacts = await self.scope.book.refreshed(self.provider, self.model.model_id)
        if paid is None or facts.max_price is None or not facts.max_price.is_above(paid):
            return False
        self.terms = replace(self.terms, max_price=facts.max_price)
        return True


def _is_mostly_reasoning(error: AnswerCut) -> bool:
    usage = error.learnt.usage if error.learnt else None
    if usage is None or usage.reasoning_tokens is None or usage.output_tokens is None:
        return False
    return 2 * usage.reasoning_tokens > usage.output_tokens

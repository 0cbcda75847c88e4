"""Every request has an output limit: how large it is, by which name it goes, and what moves it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import pytest
from django.test import SimpleTestCase

from agents.llm.base import StepScope
from agents.llm.errors import (
    AnswerCut,
    CreditTooLow,
    LimitRefused,
    LLMError,
    ParameterUnsupported,
    PriceRefused,
    RequestInvalid,
    RoleUnsupported,
)
from agents.llm.keys import PlainKey
from agents.llm.limits import MaxPrice, ModelFacts, output_limit, said_limit
from agents.llm.prompt import Prompt
from agents.llm.second_tries import Trial
from agents.llm.terms import Model
from tests.llm.calling import MODEL, SCHEMA, Recorder, answer, ok, provider, refused
from tests.llm.loopback import PATIENCE_S, Canned, Received, Reply, loopback
from tests.llm.vendors import CLAUDE, OPENAI, OPENROUTER, VENDORS, Vendor

BOTH_NAMES = frozenset({"max_tokens", "max_completion_tokens", "reasoning"})
LARGE = ModelFacts(max_output_tokens=64_000)
PRICE = MaxPrice(prompt=Decimal("3.75"), completion=Decimal("18.75"))
HIGHER = MaxPrice(prompt=Decimal("3.75"), completion=Decimal("37.5"))


@dataclass
class Book:
    """A book with one page: what is known of every model, and what is known after a look."""

    known: ModelFacts = field(default_factory=ModelFacts)
    then: ModelFacts = field(default_factory=ModelFacts)
    looks: int = 0

    async def facts(self, provider: str, model_id: str) -> ModelFacts:
        return self.known

    async def refreshed(self, provider: str, model_id: str) -> ModelFacts:
        self.looks += 1
        return self.then


def scope(recorder: Recorder, book: Book, **needs: int) -> StepScope:
    return StepScope(
        agent="strategist",
        step_id="step-7",
        observer=recorder,
        deadline_s=PATIENCE_S,
        book=book,
        **needs,
    )


async def asked(
    vendor: Vendor, *replies: Reply, book: Book | None = None, schema: Any = None, **needs: int
) -> tuple[list[dict[str, Any]], Recorder, LLMError | None]:
    """Return the bodies that were sent, what was recorded, and the error of the call, if any."""
    recorder, error = Recorder(), None
    async with loopback(*replies) as server:
        llm = vendor.provider(server.base_url, recorder)
        llm = replace(llm, scope=scope(recorder, book or Book(), **needs))
        try:
            await llm.complete("Be kind.", "Hi", schema=schema)
        except LLMError as caught:
            error = caught
        bodies = [request.body for request in server.chats]
    return bodies, recorder, error


def limit_in(body: dict[str, Any]) -> int:
    (limit,) = [body[name] for name in ("max_tokens", "max_completion_tokens") if name in body]
    return int(limit)


def cut(vendor: Vendor, *, reasoning: int = 0, **changes: Any) -> Canned:
    """Return an answer that reached its limit, after so many tokens of reasoning out of 187."""
    if vendor is CLAUDE:
        return vendor.ok('{"is_lead": tr', stop_reason="max_tokens", **changes)
    body = vendor.answer('{"is_lead": tr', **changes)
    body["choices"][0]["finish_reason"] = "length"
    body["usage"]["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    return Canned(body=body)


class Sizes(SimpleTestCase):
    def test_the_visible_text_and_an_allowance_within_what_the_model_gives(self):
        plain, thinking = frozenset({"max_tokens"}), frozenset({"max_tokens", "reasoning"})
        table: list[tuple[ModelFacts, bool, int]] = [
            (ModelFacts(), True, 16_384),
            (ModelFacts(), False, 4_000),
            (LARGE, True, 4_000 + 16_384),
            (LARGE, False, 4_000),
            (replace(LARGE, parameters=plain), True, 4_000),
            (replace(LARGE, parameters=thinking), True, 4_000 + 16_384),
            (replace(LARGE, reasoning_p99_tokens=900), True, 4_900),
            (replace(LARGE, reasoning_p99_tokens=90_000), True, 64_000),
            (ModelFacts(max_output_tokens=2_048), True, 2_048),
        ]
        for facts, reasons_unasked, expected in table:
            limit = output_limit(facts, visible_tokens=4_000, reasons_unasked=reasons_unasked)

            assert limit == expected

    def test_a_limit_in_words_counts_only_below_the_one_that_was_asked_for(self):
        for words in ("max_tokens: 16384 > 20000", "it can only afford 16384", "max_tokens", ""):
            assert said_limit(words, asked=16_384) is None
        said = said_limit("Supported range is from 1 (inclusive) to 8193 (exclusive)", asked=16_384)
        assert said is not None
        assert (said.tokens, said.is_fixed) == (8_192, True)


class Names(SimpleTestCase):
    async def test_each_vendor_reads_the_limit_by_its_name(self):
        table = [
            (CLAUDE, "max_tokens", 700),
            (OPENAI, "max_completion_tokens", 700 + 16_384),
            (OPENROUTER, "max_tokens", 700 + 16_384),
        ]
        for vendor, name, limit in table:
            (body,), _, _ = await asked(
                vendor, vendor.ok(), book=Book(LARGE), most_output_tokens=700
            )

            assert body[name] == limit_in(body) == limit

    async def test_openrouter_is_told_by_the_name_that_the_model_lists(self):
        for listed, name in (
            (BOTH_NAMES, "max_completion_tokens"),
            (frozenset({"max_tokens"}), "max_tokens"),
            (frozenset({"temperature"}), "max_tokens"),
        ):
            book = Book(replace(LARGE, parameters=listed))
            (body,), _, _ = await asked(OPENROUTER, ok(), book=book)

            assert body[name] == limit_in(body)

    async def test_a_name_that_is_not_taken_is_replaced_and_then_left_out(self):
        first = OPENAI.refused(422, "x", param="max_completion_tokens", code="extra_forbidden")
        second = OPENAI.refused(400, "Unsupported parameter: 'max_tokens'")
        bodies, _, error = await asked(OPENAI, first, second, OPENAI.ok())

        assert error is None
        names = [{name for name in body if name.startswith("max_")} for body in bodies]
        assert names == [{"max_completion_tokens"}, {"max_tokens"}, set()]

    async def test_a_parameter_is_left_out_once_and_no_more(self):
        refusal = OPENAI.refused(400, "Unsupported parameter: 'max_completion_tokens'")
        bodies, recorder, error = await asked(OPENAI, refusal)

        assert isinstance(recorder.outcomes[0].error, ParameterUnsupported)
        assert isinstance(error, RequestInvalid), "it names what was not sent any more"
        assert len(bodies) == len(recorder.ended) == 2

    async def test_a_parameter_that_the_vendor_needs_is_no_reason_to_ask_the_same_again(self):
        words = "Unsupported parameter: 'max_tokens' is not supported with this model."
        bodies, _, error = await asked(CLAUDE, CLAUDE.refused(400, words), CLAUDE.ok())

        assert isinstance(error, ParameterUnsupported)
        assert len(bodies) == 1


class Cut(SimpleTestCase):
    async def test_a_cut_answer_is_asked_for_once_more_with_twice_the_limit(self):
        for vendor in VENDORS:
            with self.subTest(vendor.name):
                bodies, recorder, error = await asked(
                    vendor, cut(vendor), vendor.ok(), book=Book(LARGE), most_output_tokens=3_000
                )

                assert error is None
                assert limit_in(bodies[1]) == 2 * limit_in(bodies[0])
                first, second = recorder.outcomes
                assert isinstance(first.error, AnswerCut)
                assert first.learnt is not None
                assert first.learnt.is_cut
                assert second.completion is not None
                assert not second.completion.is_cut

    async def test_cut_twice_it_fails_and_says_so(self):
        for vendor in VENDORS:
            with self.subTest(vendor.name):
                bodies, recorder, error = await asked(vendor, cut(vendor), book=Book(LARGE))

                assert isinstance(error, AnswerCut)
                assert "was cut off" in error.member_line
                assert len(bodies) == len(recorder.ended) == 2

    async def test_at_the_most_that_a_model_gives_it_is_not_asked_again(self):
        for vendor in VENDORS:
            book = Book(ModelFacts(max_output_tokens=1_000))
            bodies, _, error = await asked(vendor, cut(vendor), book=book)

            assert isinstance(error, AnswerCut)
            assert [limit_in(body) for body in bodies] == [1_000]

    async def test_where_no_larger_limit_helps_it_is_asked_with_less_effort_if_it_reasoned(self):
        book = Book(ModelFacts(max_output_tokens=1_000, parameters=BOTH_NAMES))
        for vendor, effort in (
            (OPENROUTER, {"reasoning": {"effort": "low"}}),
            (OPENAI, {"reasoning_effort": "low"}),
        ):
            bodies, _, error = await asked(vendor, cut(vendor, reasoning=150), book=book)

            assert isinstance(error, AnswerCut)
            assert len(bodies) == 2
            assert bodies[1] == {**bodies[0], **effort}
            bodies, _, _ = await asked(vendor, cut(vendor, reasoning=20), book=book)
            assert len(bodies) == 1

    async def test_a_model_that_is_listed_without_effort_is_not_told_of_it(self):
        listed = frozenset({"max_tokens", "temperature"})
        book = Book(ModelFacts(max_output_tokens=1_000, parameters=listed))
        bodies, _, _ = await asked(OPENROUTER, cut(OPENROUTER, reasoning=150), book=book)

        assert len(bodies) == 1

    async def test_what_filled_the_context_or_has_no_end_is_not_asked_again(self):
        for reason in ("model_context_window_exceeded", None):
            reply = CLAUDE.ok("Hel", stop_reason=reason)
            bodies, _, error = await asked(CLAUDE, reply, book=Book(LARGE))

            assert isinstance(error, AnswerCut)
            assert len(bodies) == 1


class Charged(SimpleTestCase):
    async def test_nothing_follows_what_may_have_been_charged_but_a_cut_answer(self):
        charged = LimitRefused("max_tokens: 4096 > 2048")
        charged.most_tokens, charged.maybe_charged = 2_048, True
        model = Model(base_url="http://here", model_id="a/b", key_fingerprint="ab")
        trial = await Trial.begin(
            "openrouter", model, scope(Recorder(), Book()), Prompt(system="s", user="u"), True
        )

        assert not await trial.is_changed_after(charged)
        charged.maybe_charged = False
        assert await trial.is_changed_after(charged)


class Credit(SimpleTestCase):
    async def test_what_can_be_afforded_is_asked_for_if_it_is_enough(self):
        poor = refused(402, "requires more credits, or fewer max_tokens. can only afford 900")
        bodies, recorder, error = await asked(OPENROUTER, poor, ok(), least_output_tokens=900)

        assert error is None
        assert limit_in(bodies[1]) == 900
        assert isinstance(recorder.outcomes[0].error, CreditTooLow)

    async def test_too_little_is_told_as_that_and_not_as_no_credit(self):
        poor = refused(402, "requires more credits, or fewer max_tokens. can only afford 899")
        bodies, _, error = await asked(OPENROUTER, poor, least_output_tokens=900)

        assert isinstance(error, CreditTooLow)
        assert len(bodies) == 1
        assert "out of credit" not in error.member_line

    async def test_an_answer_that_is_cut_at_what_can_be_afforded_is_not_asked_for_again(self):
        poor = refused(402, "can only afford 900")
        bodies, _, error = await asked(OPENROUTER, poor, cut(OPENROUTER), book=Book(LARGE))

        assert isinstance(error, AnswerCut)
        assert [limit_in(body) for body in bodies][1:] == [900]

    async def test_a_cut_answer_is_never_asked_for_again_with_less_than_it_was_cut_at(self):
        poor = refused(402, "requires more credits, or fewer max_tokens. can only afford 3919")
        bodies, _, error = await asked(
            OPENROUTER, cut(OPENROUTER), poor, ok(), book=Book(LARGE), most_output_tokens=4_000
        )

        assert isinstance(error, CreditTooLow)
        assert limit_in(bodies[1]) == 2 * limit_in(bodies[0]) > 3_919
        assert len(bodies) == 2

    async def test_what_was_affordable_once_is_not_remembered_but_a_models_limit_is(self):
        older = CLAUDE.refused(400, "max_tokens: 4096 > 2048, which is the maximum allowed")
        table = [(refused(402, "can only afford 900"), OPENROUTER, 16_384), (older, CLAUDE, 2_048)]
        for refusal, vendor, then in table:
            async with loopback(refusal, vendor.ok()) as server:
                for _ in range(2):
                    await vendor.provider(server.base_url).complete("s", "u")

                assert limit_in(server.chats[-1].body) == then
                assert len(server.chats) == 3

    async def test_a_model_that_gives_less_than_the_agent_needs_fails_as_that(self):
        refusal = CLAUDE.refused(400, "max_tokens: 4096 > 500, which is the maximum allowed")
        bodies, _, error = await asked(CLAUDE, refusal, least_output_tokens=600)

        assert isinstance(error, LimitRefused)
        assert len(bodies) == 1


class Prices(SimpleTestCase):
    async def test_openrouter_is_told_the_most_that_may_be_paid_and_others_are_not(self):
        book = Book(replace(LARGE, max_price=PRICE))
        for vendor in VENDORS:
            (body,), _, _ = await asked(vendor, vendor.ok(), book=book, schema=SCHEMA)

            if vendor is OPENROUTER:
                told = {"prompt": "3.75", "completion": "18.75"}
                assert body["provider"] == {"require_parameters": True, "max_price": told}
            else:
                assert "provider" not in body

    async def test_the_most_that_may_be_paid_stays_where_the_routing_is_refused(self):
        book = Book(replace(LARGE, max_price=PRICE))
        refusal = refused(400, "JSON input is not supported by this provider")
        bodies, _, error = await asked(OPENROUTER, refusal, ok(), book=book, schema=SCHEMA)

        assert error is None
        assert [sorted(body["provider"]) for body in bodies] == [
            ["max_price", "require_parameters"],
            ["max_price"],
        ]

    async def test_a_price_that_has_risen_is_paid_and_one_that_has_not_is_the_end(self):
        shut_out = [
            refused(404, "No endpoints found for x/y."),
            refused(404, "No allowed providers are available for the selected model."),
            refused(503, "There is no available provider that meets your routing requirements"),
        ]
        before = replace(LARGE, max_price=PRICE)
        for refusal in shut_out:
            for then, expected in (
                (replace(LARGE, max_price=HIGHER), None),
                (before, 1),
                (LARGE, 1),
            ):
                with self.subTest(str(refusal.body), then=then):
                    book = Book(before, then)
                    bodies, recorder, error = await asked(OPENROUTER, refusal, ok(), book=book)

                    assert book.looks == 1
                    assert all("max_price" in body["provider"] for body in bodies)
                    if expected is None:
                        assert error is None
                        assert bodies[1]["provider"]["max_price"]["completion"] == "37.5"
                        continue
                    assert isinstance(error, PriceRefused)
                    assert error.member_line == (
                        "This model isn't available right now. An admin can choose another one."
                    )
                    assert len(bodies) == len(recorder.ended) == expected

    async def test_a_price_that_rises_again_and_again_is_followed_once(self):
        refusal = refused(404, "No endpoints found for x/y.")
        book = Book(replace(LARGE, max_price=PRICE), replace(LARGE, max_price=HIGHER))
        bodies, _, error = await asked(OPENROUTER, refusal, book=book)

        assert isinstance(error, PriceRefused)
        assert (len(bodies), book.looks) == (2, 1)


class Roles(SimpleTestCase):
    async def test_instructions_go_into_the_message_of_a_model_without_a_system_role(self):
        refusal = refused(400, "'messages[0].role' does not support 'system' with this model.")
        bodies, recorder, error = await asked(OPENROUTER, refusal, ok())

        assert error is None
        assert bodies[1]["messages"] == [{"role": "user", "content": "Be kind.\n\nHi"}]
        assert isinstance(recorder.outcomes[0].error, RoleUnsupported)
        told = [(each.system_prompt, each.user_message) for each in recorder.started]
        assert told == [("Be kind.", "Hi"), ("", "Be kind.\n\nHi")], "the record has what was sent"

    async def test_role_and_schema_can_both_be_missing(self):
        role = refused(400, "System role not supported")
        schema = refused(400, "response_format is not supported")
        for replies in ((role, schema), (schema, role)):
            bodies, _, error = await asked(
                OPENROUTER, *replies, ok('{"is_lead": true}'), schema=SCHEMA
            )

            assert error is None
            assert "response_format" not in bodies[2]
            (message,) = bodies[2]["messages"]
            assert message["content"].startswith("Be kind.\n\n")
            assert '"is_lead"' in message["content"]

    async def test_what_helped_the_chosen_model_says_nothing_of_the_fallback(self):
        refusal = refused(400, "System role not supported")
        gone = refused(404, "gone")

        async def reply(request: Received, _: Any, writer: Any) -> None:
            is_first = request.body["model"] == MODEL
            canned = gone if is_first and len(request.body["messages"]) == 1 else refusal
            canned = canned if is_first else Canned(body=answer(model="a/b"))
            writer.write(canned.encoded())

        async with loopback(reply) as server:
            llm = provider(server.base_url, fallback_model="a/b")
            await llm.complete("Be kind.", "Hi")

        assert [len(each.body["messages"]) for each in server.chats] == [2, 1, 2]

    async def test_what_one_key_is_refused_changes_nothing_for_another(self):
        refusal = refused(404, "No endpoints found that can handle the requested parameters.")
        async with loopback(refusal, ok('{"is_lead": true}')) as server:
            for key in ("sk-or-v1-a-members-key-0001", "sk-or-v1-the-teams-key-0002"):
                llm = provider(server.base_url, api_key=PlainKey(key))
                await llm.complete("s", "u", schema=SCHEMA)

        assert ["response_format" in each.body for each in server.chats] == [True, False, True]

    async def test_a_schema_may_be_refused_with_any_status_and_inside_a_200(self):
        words = "Unknown name \"additionalProperties\" at 'generation_config.response_schema'"
        for vendor in VENDORS:
            for status in (200, 400, 404, 422, 500):
                body = vendor.error(400 if status == 200 else status, words)
                good = vendor.ok('{"is_lead": true}')
                with self.subTest(f"{vendor.name} {status}"):
                    refusal = Canned(status=status, body=body)
                    bodies, recorder, error = await asked(vendor, refusal, good, schema=SCHEMA)

                    assert error is None
                    assert len(bodies) == 2
                    assert not {"response_format", "output_config"} & bodies[1].keys()
                    assert recorder.outcomes[0].learnt is None, "it cost nothing"

    async def test_an_outage_is_not_remembered_as_a_trait(self):
        refusal = refused(500, "json_schema could not be compiled")
        async with loopback(refusal, refused(401), ok('{"is_lead": true}')) as server:
            llm = provider(server.base_url)
            with pytest.raises(LLMError):
                await llm.complete("s", "u", schema=SCHEMA)
            await llm.complete("s", "u", schema=SCHEMA)

        assert "response_format" in server.chats[2].body, "nothing had helped"

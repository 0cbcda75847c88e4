"""An agent's Markdown becomes messages that Telegram always takes."""

from __future__ import annotations

from django.test import SimpleTestCase
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.bot.messages import MAX_UTF16, formatted

MARKDOWN = st.text(
    alphabet=st.sampled_from(list("ab \n*_`~[](){}<>#|!-$\\.1😀é\u200f")), max_size=400
)


def utf16(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


class FormattedTests(SimpleTestCase):
    @settings(max_examples=300, deadline=None)
    @given(MARKDOWN)
    def test_every_entity_lies_within_its_message(self, markdown):
        for text, entities in formatted(markdown):
            assert text.strip()
            assert utf16(text) <= MAX_UTF16
            for entity in entities:
                assert entity.offset >= 0
                assert entity.length > 0
                assert entity.offset + entity.length <= utf16(text)

    def test_a_long_answer_is_split_by_utf16_units_and_loses_no_word(self):
        words = [f"wörd{number}😀" for number in range(2000)]

        chunks = formatted("\n".join(words))

        assert len(chunks) > 1
        assert "\n".join(text.strip() for text, _ in chunks).split() == words

    def test_a_link_shows_where_it_leads_and_hides_nothing(self):
        cases = {
            "[our bank](https://evil.example/x)": "our bank (https://evil.example/x)",
            "[click](javascript:alert(1))": "click",
            "[me](tg://user?id=1)": "me",
        }
        for markdown, shown in cases.items():
            with self.subTest(markdown=markdown):
                ((text, entities),) = formatted(markdown)
                assert shown in text
                assert {entity.type for entity in entities}.isdisjoint(
                    {"text_link", "text_mention"}
                )

    def test_a_heading_is_bold_and_gets_no_ornament(self):
        ((text, entities),) = formatted("# Strategy\n\nGo slow.")

        assert text.startswith("Strategy")
        assert "bold" in {entity.type for entity in entities}

    def test_money_is_not_mathematics(self):
        ((text, _),) = formatted(r"It costs \$5 today and \$9 tomorrow \(net\)")

        assert "$5 today and $9 tomorrow" in text

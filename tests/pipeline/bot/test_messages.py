"""An agent's Markdown becomes messages that Telegram always takes."""

from __future__ import annotations

import re

from django.test import SimpleTestCase
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.team.markdown import fenced, literal, prose
from pipeline.bot.messages import MAX_UTF16, formatted

# What Markdown and its extensions react to, between words, links and line breaks.
PIECES = [
    *"*_`~[](){}<>#|!-+=$\\.:&@^%/'\"1 \n",
    *(
        "**",
        "__",
        "```",
        "\n\n",
        "\n- ",
        "\n3. ",
        "\n    ",
        "---",
        "&amp;",
        "<b>",
        "|x|",
        "[^1]",
        "[ ] ",
    ),
    *(
        "word",
        "Ümläut",
        "😀",
        "\u200f",
        "https://a.example/__init__.py",
        "[docs](https://b.example)",
    ),
]
NAMES_A_LANGUAGE = re.compile(r"```[A-Za-z0-9+#-]+\n")  # Telegram shows it above the code
WRITTEN = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)
MARKDOWN = st.text(
    alphabet=st.sampled_from(list("ab \n*_`~[](){}<>#|!-$\\.1😀é\u200f")), max_size=400
)


def utf16(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def read(markdown: str) -> str:
    """Return the text of all messages, white space aside."""
    return " ".join(" ".join(text for text, _ in formatted(markdown)).split())


def squeezed(text: str) -> str:
    return " ".join(text.split())


class FieldTests(SimpleTestCase):
    """What an agent wrote is what a member reads."""

    @settings(max_examples=300, deadline=None)
    @given(WRITTEN)
    def test_a_line_reads_as_it_was_written(self, written):
        assert read(f"- **Role:** {literal(written)}") == squeezed(f"• Role: {written}")

    @settings(max_examples=300, deadline=None)
    @given(WRITTEN.filter(str.strip))
    def test_a_draft_is_copied_as_it_was_written(self, written):
        text = "".join(text for text, _ in formatted(fenced(written)))

        assert text.strip("\n") == written.strip("\n")

    @settings(max_examples=600, deadline=None)
    @given(WRITTEN.filter(lambda written: not NAMES_A_LANGUAGE.search(written)))
    def test_prose_keeps_all_but_the_marks_of_emphasis_lists_and_links(self, written):
        """The marks may go from where they mark something; every other character stays."""
        marks = str.maketrans("", "", "*_`-+•[]() \n")

        assert read(prose(written)).translate(marks) == written.translate(marks)

    @settings(max_examples=300, deadline=None)
    @given(st.text(alphabet=st.sampled_from(list("ab12 \n.:/*_-+=#>~|$&<![](){}\\😀é"))))
    def test_prose_without_a_pair_of_marks_reads_as_it_was_written(self, written):
        written = "x" + written.replace("*", "* ").replace("_", "_ ").replace("\n", "\nx ")

        assert read(prose(written)).replace("•", "-") == squeezed(written)

    def test_a_bullet_far_from_the_margin_is_no_code(self):
        for written in (
            "    * `",
            "\n      - a_b `",
            "text\n\n    - 2*3 \\",
            "- a\n\n\n      - `x",
        ):
            with self.subTest(written):
                assert read(prose(written)).replace("•", "-") == squeezed(
                    written.replace("* `", "- `")
                )

    def test_emphasis_needs_words_on_both_sides(self):
        cases = {
            "2*3*4=24": "2*3*4=24",
            "https://example.com/__init__.py": "https://example.com/__init__.py",
            "*args, **kwargs": "*args, **kwargs",
            "call __init__ first (*) and (*) again": "call __init__ first (*) and (*) again",
            "5 * 3 and 4 * 2": "5 * 3 and 4 * 2",
            "**Risk:** they *may* wait (**$96k**)": "Risk: they may wait ($96k)",
            "_now_ or ***never***": "now or never",
        }
        for written, shown in cases.items():
            with self.subTest(written):
                assert read(prose(written)) == shown

    def test_a_link_in_prose_shows_its_words_and_its_address(self):
        cases = {
            "Mention [the audit](https://example.com/a).": (
                "Mention the audit (https://example.com/a)."
            ),
            "[a_b](https://e.example/x_(y)?q=*1*&r=2)!": "a_b (https://e.example/x_(y)?q=*1*&r=2)!",
            "[click](javascript:alert(1))": "[click](javascript:alert(1))",
        }
        for written, shown in cases.items():
            with self.subTest(written):
                assert read(prose(written)) == shown

    def test_code_in_prose_is_left_alone(self):
        written = "Run `a*b*c` and\n```\nx = [1](https://e.example) * 2 * 3\n```\nthen call."

        assert read(prose(written)) == "Run a*b*c and x = [1](https://e.example) * 2 * 3 then call."

    def test_numbers_of_a_list_are_not_counted_anew(self):
        assert read(prose("3. Call\n5. Write\n2024. A year")) == "3. Call 5. Write 2024. A year"


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
            "**[a](https://a.example) [b](http://b.example/😀)** *c*": (
                "a (https://a.example) b (http://b.example/😀) c"
            ),
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

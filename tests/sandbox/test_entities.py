"""Texts are counted in UTF-16 units, and entities and markup must fit them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observatory.sandbox.entities import bot_commands, checked, utf16_length
from observatory.sandbox.markup import parse
from observatory.sandbox.web import Refused


def bold(offset: int, length: int) -> dict[str, object]:
    return {"type": "bold", "offset": offset, "length": length}


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_length_is_counted_in_utf16_units(text: str) -> None:
    assert utf16_length(text) == len(text.encode("utf-16-le")) // 2


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/help", [(0, 5)]),
        ("/help@my_bot now", [(0, 12)]),
        ("😀 /help", [(3, 5)]),
        ("see /a and /b", [(4, 2), (11, 2)]),
        ("and/or", []),
        ("/usr/bin", []),
        ("no command", []),
    ],
)
def test_commands_are_found_where_telegram_finds_them(
    text: str, found: list[tuple[int, int]]
) -> None:
    assert [(entity["offset"], entity["length"]) for entity in bot_commands(text)] == found


@pytest.mark.parametrize(
    ("entity", "expected"),
    [
        (bold(1, 1), "begins in a middle of a UTF-16 symbol"),
        (bold(0, 1), "ends in a middle of a UTF-16 symbol"),
        (bold(9, 1), "begins after the end"),
        (bold(0, 9), "ends after the end"),
        (bold(-1, 2), "invalid offset or length"),
        (bold(0, 0), "invalid offset or length"),
        ({"type": "bold"}, "invalid offset or length"),
        ({"type": "glitter", "offset": 0, "length": 2}, "unsupported type"),
        ({"type": "text_link", "offset": 0, "length": 2}, 'field "url"'),
        ("bold", "unsupported type"),
    ],
)
def test_an_entity_that_does_not_fit_is_refused(entity: object, expected: str) -> None:
    with pytest.raises(Refused, match=expected):
        checked("😀 hi", [entity])


def test_entities_nest_but_do_not_cross() -> None:
    _, nested = checked("abcdef", [bold(1, 2), bold(0, 4), bold(4, 2)])

    assert nested == [bold(0, 4), bold(1, 2), bold(4, 2)]
    with pytest.raises(Refused, match="crosses"):
        checked("abcdef", [bold(0, 3), bold(2, 3)])


def test_a_hundred_entities_are_kept_and_the_others_cut() -> None:
    _, entities = checked("x" * 150, [bold(offset, 1) for offset in range(150)])

    assert len(entities) == 100


def test_entities_in_trimmed_space_disappear() -> None:
    assert checked("  hi  ", [bold(0, 1), bold(2, 4)]) == ("hi", [bold(0, 2)])


@pytest.mark.parametrize(
    ("source", "text", "entities"),
    [
        ("plain", "plain", []),
        ("1 &lt; 2 &amp; <b>so</b>", "1 < 2 & so", [("bold", 8, 2)]),
        ("<b>a <i>b</i></b>", "a b", [("italic", 2, 1), ("bold", 0, 3)]),
        ("<pre>x\ny</pre>", "x\ny", [("pre", 0, 3)]),
        ("😀<code>x</code>", "😀x", [("code", 2, 1)]),
        ("<blockquote expandable>q</blockquote>", "q", [("expandable_blockquote", 0, 1)]),
        ("<b></b>x", "x", []),
    ],
)
def test_html_becomes_text_and_entities(
    source: str, text: str, entities: list[tuple[str, int, int]]
) -> None:
    plain, found = parse(source, "HTML")

    assert plain == text
    assert [(one["type"], one["offset"], one["length"]) for one in found] == entities


@pytest.mark.parametrize(
    ("source", "text", "entities"),
    [
        (r"1\.5 *bold*", "1.5 bold", [("bold", 4, 4)]),
        ("*a _b_*", "a b", [("italic", 2, 1), ("bold", 0, 3)]),
        (
            "__u__ ~s~ ||p||",
            "u s p",
            [("underline", 0, 1), ("strikethrough", 2, 1), ("spoiler", 4, 1)],
        ),
        ("`a\\`b`", "a`b", [("code", 0, 3)]),
        ("```py\nx = 1\n```", "x = 1\n", [("pre", 0, 6)]),
        (">one\n>two\nafter", "one\ntwo\nafter", [("blockquote", 0, 7)]),
        ("[a](https://e.com/\\)x)", "a", [("text_link", 0, 1)]),
    ],
)
def test_markdown_becomes_text_and_entities(
    source: str, text: str, entities: list[tuple[str, int, int]]
) -> None:
    plain, found = parse(source, "MarkdownV2")

    assert plain == text
    assert [(one["type"], one["offset"], one["length"]) for one in found] == entities


def test_links_keep_their_address_and_code_its_language() -> None:
    assert parse('<a href="https://e.com/?a=1&amp;b=2">x</a>', "HTML")[1][0]["url"] == (
        "https://e.com/?a=1&b=2"
    )
    assert parse("[x](https://e.com/\\)y)", "MarkdownV2")[1][0]["url"] == "https://e.com/)y"
    assert parse("```py\nx```", "MarkdownV2")[1][0]["language"] == "py"


@pytest.mark.parametrize(
    ("mode", "source", "expected"),
    [
        ("HTML", "<b>x", 'Can\'t find end tag corresponding to start tag "b"'),
        ("HTML", "x</b>", "Unmatched end tag at byte offset 1"),
        ("HTML", "<b><i>x</b></i>", 'expected "</i>"'),
        ("HTML", "é<blink>x</blink>", 'Unsupported start tag "blink" at byte offset 2'),
        ("HTML", "1 < 2", "Unsupported start tag at byte offset 2"),
        ("MarkdownV2", "*x", "Can't find end of Bold entity"),
        ("MarkdownV2", "1.5", "Character '.' is reserved"),
        ("MarkdownV2", "[x", "Can't find end of Link entity"),
        ("MarkdownV2", "x](https://e.com)", "is reserved"),
        ("MarkdownV2", "`x", "Character '`' is reserved"),
    ],
)
def test_broken_markup_is_refused_with_a_reason(mode: str, source: str, expected: str) -> None:
    with pytest.raises(Refused) as refused:
        parse(source, mode)

    assert "Bad Request: can't parse entities: " in refused.value.text
    assert expected in refused.value.text


@given(st.text(st.sampled_from("*_~|`[]()<>/ab \\\n.😀"), max_size=40))
def test_any_markup_is_either_parsed_into_fitting_entities_or_refused(source: str) -> None:
    for mode in ("HTML", "MarkdownV2"):
        try:
            text, entities = parse(source, mode)
        except Refused:
            continue
        checked(text, [entity for entity in entities if entity.get("url") != ""])

"""Texts are counted in UTF-16 units, and entities must fit them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observatory.sandbox.entities import bot_commands, checked, utf16_length
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
        (bold(1, 1), "splits a UTF-16 symbol"),
        (bold(0, 1), "splits a UTF-16 symbol"),
        (bold(9, 1), "ends after the end"),
        (bold(0, 9), "ends after the end"),
        (bold(-1, 2), "0.offset: Input should be greater than or equal to 0"),
        (bold(0, 0), "0.length: Input should be greater than 0"),
        ({"type": "bold"}, "0.offset: Field required"),
        ({"type": "glitter", "offset": 0, "length": 2}, "0.type: String should match pattern"),
        ("bold", "0: Input should be a valid dictionary"),
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

"""The texts of the sandbox's answers, by field name, in the words of a sales coach.

The texts are deterministic and come from `phrases.json`: the same message gives a model the same
words. Templates may use `{quote}`, `{role}`, `{company}` and `{worry}`, which are extracted from
the member's message. `answers.py` uses this module.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from observatory.sandbox.styles import Style
from observatory.sandbox.web import Json

QUOTE_LENGTH = 140
MESSAGE_BLOCK = re.compile(r"<message>(.*?)</message>", re.DOTALL)
PICTURE = re.compile(r"picture of \d+ by \d+ pixels")
LESS = re.compile(r"\bshorter\b|\bhalf the words\b", re.IGNORECASE)
SENTENCE_END = re.compile(r"(?<=[.?!]) ")
COMMAND = re.compile(r"^/\w+(@\w+)?\s*")
ROLE_AT_COMPANY = re.compile(
    r"^(?P<role>[^,.;:!?]{2,60}?) (?:at (?:an? |the )?|of (?:an? |the ))"
    r"(?P<company>[^,.;:!?]{2,60})"
)
WORRY = re.compile(
    r"(?:worried about|concerned about|afraid of|objects to|hesitates over) "
    r"(?P<worry>[^,.;!?]{2,80})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Facts extracted from the member's message by simple patterns."""

    quote: str
    role: str
    company: str
    worry: str
    wants_less: bool = False  # the member asked for a shorter answer
    picture: str = ""  # a description of the picture, if there is one


def read_message(prompt: str, *, instructions: str = "", picture: str = "") -> Reading:
    """Return the quote and facts in the member's message, which is inside a user prompt.

    A task for the message, if there is one, is at the end of the instructions, after `<task>`.
    """
    task = instructions.rpartition("<task>")[2] if "<task>" in instructions else ""
    noted = PICTURE.search(prompt)
    block = MESSAGE_BLOCK.search(prompt)
    message = " ".join((block[1] if block else prompt).split())
    facts = COMMAND.sub("", message)
    person = ROLE_AT_COMPANY.search(facts)
    worry = WORRY.search(facts)
    return Reading(
        quote=shorten(message, QUOTE_LENGTH),
        role=person["role"] if person else "the person described",
        company=person["company"] if person else "their company",
        worry=worry["worry"] if worry else "what a change would cost them",
        wants_less=bool(LESS.search(f"{task} {message}")),
        picture=picture or (noted[0] if noted else ""),
    )


def shorten(text: str, length: int) -> str:
    """Return at most `length` characters of `text`, cut at a word boundary if there is one."""
    if len(text) <= length:
        return text
    return text[: length + 1].rsplit(" ", 1)[0][:length].rstrip()


_STORED = json.loads(Path(__file__).with_name("phrases.json").read_text("utf-8"))
PHRASES: dict[str, list[str]] = _STORED["phrases"]
OTHER_NAMES: dict[str, str] = _STORED["other_names"]
ITEMS = {"criteria": 3, "signals": 1}
OPENED = ("analysis", "feedback")
ILLUSTRATED = ("analysis", "summary")
SLOT = re.compile(r"\{(quote|role|company|worry)\}")
PADDING = " Keep it concrete: one question, one number, one next step."


REQUEST = "Could we take twenty minutes on Thursday to put a figure on {worry} together?"


def phrase(name: str, hint: str, index: int, reading: Reading, style: Style) -> str:
    """Return the `index`-th text for a field of this name; `hint` describes unknown fields."""
    key = OTHER_NAMES.get(name.lower(), name.lower())
    templates = PHRASES.get(key) or [f"{_label(name, hint)}: “{{quote}}”"]
    template = templates[index % len(templates)]
    if reading.wants_less and key == "draft":
        template = REQUEST
    elif key != "draft":
        sentences = SENTENCE_END.split(template)
        template = " ".join(sentences[: 1 if reading.wants_less else style.sentences])
    if key in OPENED:
        template = style.opening + template
    if reading.picture and key in ILLUSTRATED:
        template += f" It comes with a {reading.picture}."
    return _filled(template, reading)


def learnt(reading: Reading) -> list[Json]:
    """Return the facts worth remembering about the member who wrote the message."""
    if reading.company == "their company":
        return [{"text": "Wants drafts that are ready to send", "kind": "style"}]
    text = "Sells to a {company}; speaks with its {role}, who cares about {worry}"
    return [{"text": _filled(text, reading), "kind": "market"}]


def plain_answer(reading: Reading, style: Style) -> str:
    """Return an answer in prose, for requests without a schema."""
    sentences = (
        "On “{quote}”: take {worry} as a sign of interest.",
        "Ask what it cost them last time, and put a figure on it together.",
        "Offer a first step that can be undone.",
    )
    kept = sentences[: 1 if reading.wants_less else style.sentences]
    return _filled(style.opening + " ".join(kept), reading)


def _filled(template: str, reading: Reading) -> str:
    # In one pass and not by str.format, because members' texts may contain braces.
    return SLOT.sub(lambda slot: getattr(reading, slot[1]), template)


def _label(name: str, hint: str) -> str:
    words = shorten(hint, 60).rstrip(".:") or name.replace("_", " ") or "answer"
    return words[0].upper() + words[1:]

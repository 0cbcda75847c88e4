"""What a sales coach would say, by the name of the field that asks for it.

Deterministic text for `answers.py`: the same message gives each model's same words. Templates may
use `{quote}`, `{role}`, `{company}` and `{worry}`, which are read out of the member's message.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from observatory.sandbox.styles import Style
from observatory.sandbox.web import Json

QUOTE_LENGTH = 140
MESSAGE_BLOCK = re.compile(r"<message>(.*?)</message>", re.DOTALL)
TASK_BLOCK = re.compile(r"<task>(.*?)</task>", re.DOTALL)
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
    """What a quick look at the member's message finds."""

    quote: str
    role: str
    company: str
    worry: str
    wants_less: bool = False  # asked for a shorter answer
    picture: str = ""  # what is known of the picture, if there is one


def read_message(prompt: str, picture: str = "") -> Reading:
    """Return the quote and facts of the member's message inside a user prompt."""
    task = TASK_BLOCK.search(prompt)
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
        wants_less=bool(LESS.search(f"{task[1] if task else ''} {message}")),
        picture=picture or (noted[0] if noted else ""),
    )


def shorten(text: str, length: int) -> str:
    """Return at most `length` characters of `text`, cut at a word boundary where there is one."""
    if len(text) <= length:
        return text
    return text[: length + 1].rsplit(" ", 1)[0][:length].rstrip()


PHRASES: dict[str, tuple[str, ...]] = {
    "summary": ("A conversation about “{quote}”.",),
    "title": ("Winning over {role}", "Answering the worry about {worry}"),
    "name": ("Needs discovery", "Handling the objection", "Next step agreed"),
    "role": ("{role}",),
    "company": ("{company}",),
    "industry": ("Inferred from “{company}”; confirm it in the first call",),
    "goals": (
        "Show a result within two quarters without putting daily business at risk",
        "Keep control of the timeline and of who is involved",
    ),
    "concerns": (
        "{worry}",
        "Whether their own team has time for a change this year",
    ),
    "signals": ("They name {worry} themselves: it is live, and it can be talked about",),
    "quote": ("{quote}",),
    "meaning": (
        (
            "They are weighing a change seriously; nobody worries about {worry}"
            " for something they have ruled out"
        ),
        "The risk is personal as well as commercial: they want cover for the decision",
    ),
    "missing": (
        "Who else signs, and what that person fears",
        "What staying as they are costs per quarter",
    ),
    "analysis": (
        "They wrote “{quote}”. The stated worry is {worry}; behind it usually stands the question"
        " who is blamed if it goes wrong. Treat it as a sign of interest, and make the first step"
        " small enough to be undone.",
    ),
    "strategy": (
        "Agree that {worry} is a fair concern, put a number on it together, and offer a first step"
        " that can be undone.",
    ),
    "action": (
        "Ask what the last change of this kind really cost, and write the figure down together",
        "Propose a four-week pilot with one team and an agreed way back",
        "Bring a customer who had the same worry into a 20-minute call",
    ),
    "why": (
        "A number that they worked out themselves is one they will defend inside",
        "A small step with a way back turns a yes-or-no decision into a trial",
        "A peer is believed where a vendor is not",
    ),
    "when": ("In the next call", "Within a week", "Before the proposal goes out"),
    "draft": (
        "Thank you for being open about {worry}. Before we talk about anything new: could we take"
        " twenty minutes to put a figure on it together? If it does not add up, I will be the first"
        " to say so. Would Thursday morning suit you?",
    ),
    "risks": (
        "Arguing against {worry} before having understood it",
        "Offering a discount where they asked for certainty",
    ),
    "feedback": (
        "You opened with “{quote}”. You named the concern instead of talking over it, and that"
        " earned you the next question. Ask one more before you propose anything.",
    ),
    "advice": (
        "Ask one open question more before you offer a solution",
        "Repeat the worry in their words, then wait",
        "End with one dated next step",
    ),
    "next_exercise": ("Answer “{worry}” with two questions and no statement, in under a minute.",),
    "question": (
        "What would have to be true for {worry} to stop being the reason to wait?",
        "Who besides you has to be comfortable with this?",
    ),
}
SINGULAR = {
    "goal": "goals",
    "concern": "concerns",
    "signal": "signals",
    "risk": "risks",
    "criteria": "name",
    "steps": "action",
    "questions": "question",
    "criterion": "name",
    "exercise": "next_exercise",
    "content": "analysis",
    "answer": "analysis",
    "reply": "draft",
    "message": "draft",
}
ITEMS = {"criteria": 3, "signals": 1}
OPENED = ("analysis", "feedback")
ILLUSTRATED = ("analysis", "summary")
SLOT = re.compile(r"\{(quote|role|company|worry)\}")
PADDING = " Keep it concrete: one question, one number, one next step."


REQUEST = "Could we take twenty minutes on Thursday to put a figure on {worry} together?"


def phrase(name: str, hint: str, index: int, reading: Reading, style: Style) -> str:
    """Return the `index`-th text for a field of this name; `hint` describes unknown fields."""
    key = SINGULAR.get(name.lower(), name.lower())
    templates = PHRASES.get(key) or (f"{_label(name, hint)}: “{{quote}}”",)
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
    """Return what is worth remembering of the member who wrote this."""
    if reading.company == "their company":
        return [{"text": "Wants drafts that are ready to send", "kind": "style"}]
    text = "Sells to a {company}; speaks with its {role}, who cares about {worry}"
    return [{"text": _filled(text, reading), "kind": "market"}]


def plain_answer(reading: Reading, style: Style) -> str:
    """Return what a model says when no schema was asked for."""
    sentences = (
        "On “{quote}”: take {worry} as a sign of interest.",
        "Ask what it cost them last time, and put a figure on it together.",
        "Offer a first step that can be undone.",
    )
    kept = sentences[: 1 if reading.wants_less else style.sentences]
    return _filled(style.opening + " ".join(kept), reading)


def _filled(template: str, reading: Reading) -> str:
    # Not str.format, and in one pass: members write braces too.
    return SLOT.sub(lambda slot: getattr(reading, slot[1]), template)


def _label(name: str, hint: str) -> str:
    words = shorten(hint, 60).rstrip(".:") or name.replace("_", " ") or "answer"
    return words[0].upper() + words[1:]

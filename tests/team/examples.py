"""One good answer of each agent, as a model would send it."""

from __future__ import annotations

from typing import Any

PROFILE: dict[str, Any] = {
    "summary": "A VP of Strategy likes the product and fears a second failed migration.",
    "role": "VP of Strategy",
    "company": "a mid-size bank",
    "industry": None,
    "goals": ["Show the board progress in six weeks."],
    "concerns": ["Switching cost during the close."],
    "signals": [{"quote": "it cost my predecessor his job", "meaning": "The risk is personal."}],
    "missing": ["Who signs besides her?"],
}
PLAN: dict[str, Any] = {
    "analysis": "The deal hangs on the fear of owning a failure.",
    "strategy": "Make the first step reversible.",
    "steps": [
        {"action": "Ask what went wrong last time.", "why": "It names the fear.", "when": "today"},
        {"action": "Offer a parallel close.", "why": "Nothing is switched off.", "when": "Tuesday"},
    ],
    "draft": "Hello Ms Grant,\n\nwhat would make you regret starting this?",
    "risks": ["The board date may be assumed."],
}
FEEDBACK: dict[str, Any] = {
    "feedback": "You asked before you argued.",
    "score": 72,
    "criteria": [
        {
            "name": "Finds the fear",
            "score": 8,
            "quote": "what went wrong that time?",
            "advice": "Wait for the second answer.",
        }
    ],
    "next_exercise": "Answer the same objection in one sentence.",
}
MEMORY: dict[str, Any] = {
    "facts": [{"text": "Wants drafts under 80 words.", "kind": "style"}],
}
ANSWERS = {"extraction": PROFILE, "strategist": PLAN, "trainer": FEEDBACK, "memory": MEMORY}

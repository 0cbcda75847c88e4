"""The answering styles of the sandbox's models: length, tone, pace, and care with JSON."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """One way to answer; `pace` multiplies the sandbox's latency before each answer."""

    sentences: int = 9  # at most, per text
    items: int = 3  # at most, per list
    opening: str = ""
    pace: float = 1.0
    breaks_json: bool = False


PLAIN = Style()
# By a part of the model's id; the first match counts.
STYLES = {
    "opus": Style(opening="Let us take this step by step. ", pace=2.5),
    "haiku": Style(sentences=2, items=2, opening="The short version. ", pace=0.4),
    "claude": Style(pace=1.2),
    "-mini": Style(sentences=3, items=2, pace=0.6),
    "gpt-4-1106": Style(opening="Speaking as a coach: stay calm. ", pace=2.0),
    "gpt": Style(opening="Here is how I see it. ", pace=0.9),
    "flash": Style(sentences=2, items=2, opening="Quick take. ", pace=0.3),
    "llama": Style(sentences=2, opening="Good question! ", pace=0.8),
    "mistral": Style(sentences=2, items=2, pace=0.5, breaks_json=True),
    "deepseek-v3.2": Style(opening="I have thought about this for a while. ", pace=6.0),
    "deepseek": Style(opening="There are two sides to this. ", pace=1.5),
}


def style_of(model_id: str) -> Style:
    """Return the style of this model."""
    return next((style for name, style in STYLES.items() if name in model_id), PLAIN)

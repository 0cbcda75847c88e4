"""Chart of a member's progress: a bar per score, and a line at the passing score."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

SIZE = (900, 420)
LEFT, TOP, RIGHT, BOTTOM = 70, 70, 870, 360
BACKGROUND, INK, FAINT = "#ffffff", "#1f2933", "#d7dde4"
PASSED, MISSED, LINE = "#2f8f6b", "#d9822b", "#6b7785"
WIDEST = 44


def progress(scores: Sequence[int], *, title: str, passes_at: int) -> str:
    """Return a bar chart of scores from 0 to 100 as a base64 PNG; the last score is on the right.

    A dashed line marks `passes_at`, and lower scores have another color.
    """
    picture = Image.new("RGB", SIZE, BACKGROUND)
    draw = ImageDraw.Draw(picture)
    large, small = ImageFont.load_default(size=26), ImageFont.load_default(size=18)
    draw.text((LEFT, 20), title, fill=INK, font=large)
    for mark in (0, 50, 100):
        draw.line([(LEFT, _y(mark)), (RIGHT, _y(mark))], fill=FAINT, width=2)
        draw.text((LEFT - 12, _y(mark)), str(mark), fill=LINE, font=small, anchor="rm")
    room = (RIGHT - LEFT) / max(1, len(scores))
    half = min(WIDEST, room * 0.7) / 2
    for number, score in enumerate(scores):
        middle = LEFT + room * (number + 0.5)
        colour = PASSED if score >= passes_at else MISSED
        box = [(middle - half, min(_y(score), _y(0) - 3)), (middle + half, _y(0))]
        draw.rounded_rectangle(box, radius=5, fill=colour)
        draw.text((middle, _y(score) - 6), str(score), fill=INK, font=small, anchor="mb")
    for x in range(LEFT, RIGHT, 16):
        draw.line([(x, _y(passes_at)), (x + 8, _y(passes_at))], fill=LINE, width=2)
    legend = f"One bar per answer, newest on the right. {passes_at} unlocks the next level."
    draw.text((LEFT, BOTTOM + 18), legend, fill=LINE, font=small)
    content = io.BytesIO()
    picture.save(content, "PNG", optimize=True)
    return base64.b64encode(content.getvalue()).decode()


def _y(score: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * score / 100

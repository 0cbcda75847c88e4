"""`parse_mode`: HTML and MarkdownV2 to text and entities, with Telegram's complaints.

A modest reading of Telegram's rules: nesting, escapes, links, code and quotes. Legacy Markdown is
refused, since nobody should start using it now.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import NoReturn

from observatory.sandbox.entities import utf16_length
from observatory.sandbox.web import Json, Refused

Parsed = tuple[str, list[Json]]

TAG = re.compile(r"<(/?)([a-zA-Z][\w-]*)((?:\s[^<>]*)?)>")
HTML_TYPES = {
    "b": "bold",
    "strong": "bold",
    "i": "italic",
    "em": "italic",
    "u": "underline",
    "ins": "underline",
    "s": "strikethrough",
    "strike": "strikethrough",
    "del": "strikethrough",
    "tg-spoiler": "spoiler",
    "span": "spoiler",
    "code": "code",
    "pre": "pre",
    "a": "text_link",
    "blockquote": "blockquote",
}
MARKS = {"*": "bold", "_": "italic", "__": "underline", "~": "strikethrough", "||": "spoiler"}
RESERVED = frozenset("_*[]()~`>#+-=|{}.!")
MARKDOWN_TOKEN = re.compile(
    r"\\(?P<escaped>[\x01-\x7e])"
    r"|```(?P<language>[\w+#-]*\n)?(?P<pre>(?:\\.|[^`\\]|`(?!``))*)```"
    r"|`(?P<code>(?:\\.|[^`\\])+)`"
    r"|(?P<mark>\*|__|_|~|\|\|)"
    r"|(?P<open>\[)"
    r"|\]\((?P<url>(?:\\.|[^()\\\s])*)\)"
    r"|(?P<plain>.)",
    re.DOTALL,
)


def parse(text: str, mode: str) -> Parsed:
    """Return plain text and entities of a marked-up text.

    Raises:
        Refused: the mode is unknown or the markup is broken.
    """
    parsers: dict[str, Callable[[str], Parsed]] = {"html": _html, "markdownv2": _markdown}
    parser = parsers.get(mode.lower())
    if parser is None:
        raise Refused(400, "Bad Request: unsupported parse_mode")
    return parser(text)


class _Builder:
    """Plain text so far, finished entities, and those still open."""

    def __init__(self) -> None:
        self.text = ""
        self.entities: list[Json] = []
        self.open: list[tuple[str, Json]] = []

    def begin(self, name: str, entity: Json) -> None:
        self.open.append((name, entity | {"offset": utf16_length(self.text)}))

    def end(self, **more: str) -> None:
        _, entity = self.open.pop()
        length = utf16_length(self.text) - entity["offset"]
        if length:
            self.entities.append(entity | {"length": length} | more)

    def whole(self, text: str, entity: Json) -> None:
        self.begin("", entity)
        self.text += text
        self.end()


def _fail(reason: str) -> NoReturn:
    raise Refused(400, f"Bad Request: can't parse entities: {reason}")


def _html(source: str) -> Parsed:
    out = _Builder()
    position = 0
    for match in TAG.finditer(source):
        _html_text(out, source[position : match.start()], position)
        position = match.end()
        closing, tag, attributes = match[1], match[2].lower(), match[3]
        at = len(source[: match.start()].encode())
        if tag not in HTML_TYPES:
            _fail(f'Unsupported start tag "{tag}" at byte offset {at}')
        if not closing:
            out.begin(tag, _html_entity(tag, attributes))
        elif not out.open or out.open[-1][0] != tag:
            _fail(f'Unmatched end tag at byte offset {at}, expected "</{_innermost(out)}>"')
        else:
            out.end()
    _html_text(out, source[position:], position)
    if out.open:
        _fail(f'Can\'t find end tag corresponding to start tag "{_innermost(out)}"')
    return out.text, out.entities


def _html_text(out: _Builder, text: str, position: int) -> None:
    if "<" in text:
        _fail(f"Unsupported start tag at byte offset {position + text.index('<')}")
    out.text += html.unescape(text)


def _html_entity(tag: str, attributes: str) -> Json:
    entity: Json = {"type": HTML_TYPES[tag]}
    href = re.search(r"""href\s*=\s*["']?([^"'\s]+)""", attributes)
    if tag == "a":
        entity["url"] = html.unescape(href[1]) if href else ""
    if tag == "blockquote" and "expandable" in attributes:
        entity["type"] = "expandable_blockquote"
    return entity


def _innermost(out: _Builder) -> str:
    return out.open[-1][0] if out.open else ""


def _markdown(source: str) -> Parsed:
    out = _Builder()
    for match in MARKDOWN_TOKEN.finditer(source):
        _markdown_token(out, match, source)
    if any(name == ">" for name, _ in out.open[-1:]):
        out.end()
    if out.open:
        name, entity = out.open[-1]
        at = entity["offset"]
        _fail(
            f"Can't find end of {MARKS.get(name, 'link').capitalize()} entity at byte offset {at}"
        )
    return out.text, out.entities


def _markdown_token(out: _Builder, match: re.Match[str], source: str) -> None:
    if match["escaped"] is not None:
        out.text += match["escaped"]
    elif match["pre"] is not None:
        language = (match["language"] or "").strip()
        entity: Json = {"type": "pre"} | ({"language": language} if language else {})
        out.whole(_unescaped(match["pre"]), entity)
    elif match["code"] is not None:
        out.whole(_unescaped(match["code"]), {"type": "code"})
    elif match["mark"]:
        _toggle(out, match["mark"])
    elif match["open"]:
        out.begin("[", {"type": "text_link"})
    elif match["url"] is not None:
        if _innermost(out) != "[":
            _fail("Character ']' is reserved and must be escaped with the preceding '\\'")
        out.end(url=_unescaped(match["url"]))
    else:
        _plain(out, match, source)


def _toggle(out: _Builder, mark: str) -> None:
    if _innermost(out) == mark:
        out.end()
    else:
        out.begin(mark, {"type": MARKS[mark]})


def _plain(out: _Builder, match: re.Match[str], source: str) -> None:
    character, at = match["plain"], match.start()
    if character == ">" and (at == 0 or source[at - 1] == "\n"):
        if _innermost(out) != ">":
            out.begin(">", {"type": "blockquote"})
        return
    if character in RESERVED:
        _fail(f"Character '{character}' is reserved and must be escaped with the preceding '\\'")
    if character == "\n" and _innermost(out) == ">" and source[at + 1 : at + 2] != ">":
        out.end()
    out.text += character


def _unescaped(text: str) -> str:
    return re.sub(r"\\([\x01-\x7e])", r"\1", text)

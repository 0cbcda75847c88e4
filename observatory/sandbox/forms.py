"""Bodies of HTML forms: urlencoded and multipart, with files.

Written out because the standard library lost its multipart parser (`cgi`) and the e-mail parser
copies a 50 MB upload several times.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from email.message import Message
from urllib.parse import parse_qsl

from observatory.sandbox.web import Refused, Request

MAX_FIELDS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file that came with a form."""

    filename: str
    content_type: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The fields and files of one submitted form; of equal names the last one counts."""

    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, Upload] = field(default_factory=dict)


def parse_form(request: Request) -> Form:
    """Return the body's fields and files.

    Raises:
        Refused: the body is neither urlencoded nor multipart, or is damaged.
    """
    kind, boundary = _content_type(request.headers.get("content-type", ""))
    if kind == "multipart/form-data":
        return _parse_multipart(request.body, boundary)
    if kind in ("application/x-www-form-urlencoded", ""):
        return Form(fields=parse_urlencoded(request.body))
    raise Refused(400, f"unsupported content type {kind!r}")


def parse_urlencoded(raw: bytes) -> dict[str, str]:
    """Return the fields of an urlencoded body or query string."""
    try:
        pairs = parse_qsl(
            raw.decode(),
            keep_blank_values=True,
            max_num_fields=MAX_FIELDS,
            errors="strict",
        )
    except ValueError as error:
        raise Refused(400, f"not valid form data: {error}") from error
    return dict(pairs)


def _content_type(header: str) -> tuple[str, str]:
    message = Message()
    message["content-type"] = header
    return (message.get_content_type() if header else "", message.get_boundary(failobj=""))


def _parse_multipart(body: bytes, boundary: str) -> Form:
    if not boundary:
        raise Refused(400, "multipart body without a boundary")
    fields: dict[str, str] = {}
    files: dict[str, Upload] = {}
    for head, data in _parts(body, boundary.encode("latin-1", "replace")):
        disposition = _parameters(head.get("content-disposition", ""))
        name = disposition.get("name")
        if name is None:
            raise Refused(400, "multipart part without a name")
        if "filename" in disposition:
            files[name] = Upload(
                filename=disposition["filename"],
                content_type=head.get("content-type", "application/octet-stream"),
                data=data,
            )
        else:
            fields[name] = _decoded(data)
    return Form(fields=fields, files=files)


def _parts(body: bytes, boundary: bytes) -> list[tuple[dict[str, str], bytes]]:
    delimiter = b"\r\n--" + boundary
    pieces = (b"\r\n" + body).split(delimiter, MAX_FIELDS)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise Refused(400, "multipart body is cut off")
    parts = []
    for piece in pieces[1:-1]:
        head, separator, data = piece.partition(b"\r\n\r\n")
        if not separator:
            raise Refused(400, "multipart part without headers")
        parts.append((_headers(head), data))
    return parts


def _headers(head: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in _decoded(head).split("\r\n") if ":" in line)
    return {name.strip().lower(): value.strip() for name, _, value in lines}


def _parameters(header: str) -> dict[str, str]:
    return dict(re.findall(r';\s*(\w+)="([^"]*)"', header))


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise Refused(400, "strings must be encoded in UTF-8") from error

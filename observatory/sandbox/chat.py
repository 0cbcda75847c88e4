"""The chat page and its API: people write, press and look; the wire panel shows who paid."""

from __future__ import annotations

import re
from http import HTTPStatus
from pathlib import Path

from observatory.sandbox.chats import Chats, photo_content, text_content
from observatory.sandbox.entities import utf16_length
from observatory.sandbox.feed import Feed
from observatory.sandbox.files import picture_size, picture_type
from observatory.sandbox.forms import parse_form
from observatory.sandbox.ledger import Ledger
from observatory.sandbox.people import Person
from observatory.sandbox.state import Chat
from observatory.sandbox.web import (
    Handler,
    Json,
    Refused,
    Request,
    Response,
    Route,
    Stream,
    json_response,
    plain_error,
)

STATIC = Path(__file__).parent / "static"
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
PAGE_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:;"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
SHOWN_MESSAGES = 500
SHOWN_CALLS = 50
MAX_TEXT = 4096
MAX_CAPTION = 1024
MAX_PHOTO_BYTES = 10 * 1024 * 1024


class ChatApi:
    """The routes of the page, of its people, and of the ledger."""

    def __init__(self, *, chats: Chats, ledger: Ledger, feed: Feed) -> None:
        self._chats = chats
        self._ledger = ledger
        self._feed = feed

    def routes(self) -> list[Route]:
        """Return the page, what it loads and what it calls."""
        return [
            _route("GET", "/?", self.page),
            _route("GET", r"/static/([a-z]+\.(?:css|js))", self.asset),
            _route("GET", "/chat/people", self.people),
            _route("POST", "/chat/people", self.add_person),
            _route("POST", "/chat/groups", self.add_group),
            _route("POST", r"/chat/(-\d{1,12})/upgrade", self.upgrade_group),
            _route("GET", "/chat/calls", self.calls),
            _route("GET", r"/chat/(-?\d{1,12})/messages", self.messages),
            _route("POST", r"/chat/(\d{1,12})/messages", self.say),
            _route("POST", r"/chat/(\d{1,12})/press", self.press),
            _route("POST", r"/chat/(\d{1,12})/block", self.block),
            _route("GET", r"/chat/(\d{1,12})/commands", self.commands),
            _route("GET", r"/chat/(\d{1,12})/events", self.events),
            _route("GET", r"/chat/(\d{1,12})/files/(\w+)", self.file),
            _route("GET", "/ledger", self.ledger),
            _route("DELETE", "/ledger", self.clear_ledger),
        ]

    async def page(self, request: Request) -> Response:
        """Return the chat page."""
        if not request.path:
            # Without the slash the page's relative addresses would miss the mount.
            return Response(
                status=HTTPStatus.TEMPORARY_REDIRECT,
                body=b"",
                content_type="text/plain",
                headers={"location": f"{request.mount}/"},
            )
        return _asset("chat.html")

    async def asset(self, request: Request, name: str) -> Response:
        """Return the page's style or script."""
        return _asset(name)

    async def people(self, request: Request) -> Response:
        """List the people, and the bot if one is connected."""
        people = [_person(person) for person in self._chats.people()]
        return json_response({"people": people, "bot": self._chats.bot})

    async def add_person(self, request: Request) -> Response:
        """Add somebody: `{"first_name", "last_name", "username", "note"}`."""
        person = self._chats.add_person(request.json_object())
        return json_response(_person(person), status=HTTPStatus.CREATED)

    async def add_group(self, request: Request) -> Response:
        """Add a group: `{"title"}`. The page does not show it; updates of it are a test's."""
        group = self._chats.add_group(request.json_object())
        return json_response(group.as_chat(), status=HTTPStatus.CREATED)

    async def upgrade_group(self, request: Request, group_id: str) -> Response:
        """Upgrade a group to a supergroup, which gets an id of its own."""
        group = self._chats.upgrade_group(self._chat(group_id))
        return json_response(group.as_chat(), status=HTTPStatus.CREATED)

    async def messages(self, request: Request, person_id: str) -> Response:
        """Return a chat as it stands, and the cursor from which events go on."""
        chat = self._chat(person_id)
        newest = list(chat.messages.values())[-SHOWN_MESSAGES:]
        return json_response(
            {
                "messages": newest,
                "cursor": self._feed.cursor,
            }
        )

    async def say(self, request: Request, person_id: str) -> Response:
        """Write to the bot: a text as JSON, or a photo with a caption as multipart."""
        chat = self._chat(person_id)
        if chat.person.is_blocking:
            raise Refused(409, "this person has blocked the bot; unblock it first")
        if request.headers.get("content-type", "").startswith("multipart/"):
            message = self._say_photo(chat, request)
        else:
            message = self._say_text(chat, request)
        return json_response(message, status=HTTPStatus.CREATED)

    async def press(self, request: Request, person_id: str) -> Response:
        """Press an inline button: `{"message_id", "data"}`."""
        body = request.json_object()
        message_id, data = body.get("message_id"), body.get("data")
        if not isinstance(message_id, int) or not isinstance(data, str):
            raise Refused(400, "message_id must be a number and data a text")
        query = self._chats.press(self._chat(person_id), message_id, data)
        return json_response({"callback_query_id": query["id"]}, status=HTTPStatus.CREATED)

    async def block(self, request: Request, person_id: str) -> Response:
        """Block the bot, or with `{"blocked": false}` let it back in."""
        chat = self._chat(person_id)
        is_blocking = request.json_object().get("blocked", True)
        if not isinstance(is_blocking, bool):
            raise Refused(400, "blocked must be true or false")
        self._chats.set_blocking(chat, is_blocking=is_blocking)
        return json_response(_person(chat.person))

    async def commands(self, request: Request, person_id: str) -> Response:
        """List the commands that the bot offers."""
        self._chat(person_id)
        return json_response({"commands": self._chats.commands})

    async def events(self, request: Request, person_id: str) -> Stream:
        """Follow a chat, from `Last-Event-ID` or `?after=` on."""
        chat = self._chat(person_id)
        cursor = request.headers.get("last-event-id") or request.query.get("after")
        return Stream(chunks=self._feed.follow(chat.id, cursor))

    async def file(self, request: Request, person_id: str, file_id: str) -> Response:
        """Return a picture to look at, or any other file as a download."""
        self._chat(person_id)
        file = self._chats.files.get(file_id)
        if file is None:
            raise Refused(404, "this file is gone")
        if picture_size(file.data) is not None:
            content_type, disposition = picture_type(file.data), "inline"
        else:
            content_type, disposition = "application/octet-stream", "attachment"
        return Response(
            status=200,
            body=file.data,
            content_type=content_type,
            headers={
                "content-disposition": disposition,
                "content-security-policy": "default-src 'none'; sandbox",
            },
        )

    async def calls(self, request: Request) -> Response:
        """List the newest model calls without keys and prompts."""
        newest = self._ledger.newest(SHOWN_CALLS)
        return json_response({"calls": [call.for_page() for call in newest]})

    async def ledger(self, request: Request) -> Response:
        """List all model calls in full, optionally `?after=` a number."""
        after = request.query.get("after", "0")
        calls = self._ledger.after(int(after) if after.isdecimal() else 0)
        return json_response({"calls": [call.as_payload() for call in calls]})

    async def clear_ledger(self, request: Request) -> Response:
        """Forget all model calls."""
        self._ledger.clear()
        return json_response({"ok": True})

    def _chat(self, person_id: str) -> Chat:
        chat = self._chats.find(int(person_id))
        if chat is None:
            raise Refused(404, f"nobody has the id {person_id}")
        return chat

    def _say_text(self, chat: Chat, request: Request) -> Json:
        body = request.json_object()
        text, reply_to = body.get("text"), body.get("reply_to_message_id")
        if not isinstance(text, str) or not text.strip():
            raise Refused(400, "text is missing")
        _check_length(text, MAX_TEXT)
        if reply_to is not None and not isinstance(reply_to, int):
            raise Refused(400, "reply_to_message_id must be a number")
        return self._chats.say(chat, text_content(text.strip()), reply_to=reply_to)

    def _say_photo(self, chat: Chat, request: Request) -> Json:
        form = parse_form(request)
        upload = form.files.get("photo")
        if upload is None or len(upload.data) > MAX_PHOTO_BYTES:
            raise Refused(400, "a photo of at most 10 MB is needed")
        if picture_size(upload.data) is None:
            raise Refused(400, "a photo must be a JPEG, PNG or WebP")
        caption = form.fields.get("caption", "").strip()
        _check_length(caption, MAX_CAPTION)
        reply_to = form.fields.get("reply_to_message_id", "")
        file = self._chats.files.add(
            data=upload.data,
            name=upload.filename,
            mime_type=picture_type(upload.data),
            folder="photos",
        )
        content = photo_content(file)
        if caption:
            words = text_content(caption)
            content |= {"caption": words["text"]}
            content |= {"caption_entities": words["entities"]} if "entities" in words else {}
        return self._chats.say(
            chat, content, reply_to=int(reply_to) if reply_to.isdecimal() else None
        )


def _route(method: str, path: str, handler: Handler) -> Route:
    return Route(
        methods=(method,),
        pattern=re.compile(path),
        handler=handler,
        render_error=plain_error,
        own_origin_only=method != "GET",
    )


def _asset(name: str) -> Response:
    file = STATIC / name
    if not file.is_file():
        raise Refused(404, "the page has no such file")
    return Response(
        status=200,
        body=file.read_bytes(),
        content_type=MEDIA_TYPES[file.suffix],
        headers=PAGE_HEADERS,
    )


def _person(person: Person) -> Json:
    names = {
        "id": person.id,
        "first_name": person.first_name,
        "last_name": person.last_name,
        "username": person.username,
    }
    shown = {name: value for name, value in names.items() if value}
    return shown | {"note": person.note, "blocked": person.is_blocking}


def _check_length(text: str, most: int) -> None:
    if utf16_length(text) > most:
        raise Refused(400, f"at most {most} characters")

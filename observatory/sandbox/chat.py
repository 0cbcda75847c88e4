"""The chat page and its API: people write and press buttons; the wire panel shows who paid."""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from observatory.sandbox.calls import Upload, read_form
from observatory.sandbox.chats import MAX_PHOTO_BYTES, Chats, photo_content, text_content
from observatory.sandbox.entities import MAX_CAPTION, MAX_TEXT, utf16_length
from observatory.sandbox.feed import Feed
from observatory.sandbox.ledger import Ledger
from observatory.sandbox.pictures import picture_size, picture_type
from observatory.sandbox.state import Chat
from observatory.sandbox.web import (
    Json,
    Refused,
    application,
    json_object,
    json_response,
    plain_error,
)

STATIC = Path(__file__).parent / "static"
PAGE_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:;"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
}
SHOWN_MESSAGES = 500
SHOWN_CALLS = 50


class ChatApi:
    """The routes of the chat page, its people and the ledger."""

    def __init__(self, *, chats: Chats, ledger: Ledger, feed: Feed) -> None:
        self._chats = chats
        self._ledger = ledger
        self._feed = feed

    def app(self) -> Starlette:
        """Return the app with the page, its static files and its API."""
        chat = "/chat/{person_id}"
        routes = [
            Route("/", self.page),
            Mount("/static", StaticFiles(directory=STATIC)),
            Route("/chat/people", self.people),
            Route("/chat/people", self.add_person, methods=["POST"]),
            Route("/chat/calls", self.calls),
            Route(f"{chat}/messages", self.messages),
            Route(f"{chat}/messages", self.say, methods=["POST"]),
            Route(f"{chat}/press", self.press, methods=["POST"]),
            Route(f"{chat}/block", self.block, methods=["POST"]),
            Route(f"{chat}/commands", self.commands),
            Route(f"{chat}/events", self.events),
            Route(chat + "/files/{file_id}", self.file),
            Route("/ledger", self.ledger),
            Route("/ledger", self.clear_ledger, methods=["DELETE"]),
        ]
        return application(routes, plain_error)

    async def page(self, request: Request) -> Response:
        """Return the chat page."""
        return FileResponse(STATIC / "chat.html", headers=PAGE_HEADERS)

    async def people(self, request: Request) -> Response:
        """List the people, and the bot if one is connected."""
        people = [person.for_page() for person in self._chats.people()]
        return json_response({"people": people, "bot": self._chats.bot})

    async def add_person(self, request: Request) -> Response:
        """Add a person: `{"first_name", "last_name", "username", "note"}`."""
        person = self._chats.add_person(await json_object(request))
        return json_response(person.for_page(), status=201)

    async def messages(self, request: Request) -> Response:
        """Return a chat's newest messages, and the cursor after which to follow its events."""
        chat = self._chat(request)
        newest = list(chat.messages.values())[-SHOWN_MESSAGES:]
        return json_response({"messages": newest, "cursor": self._feed.cursor})

    async def say(self, request: Request) -> Response:
        """Send a message to the bot: a text as JSON, or a photo with a caption as multipart."""
        chat = self._chat(request)
        if chat.person.is_blocking:
            raise Refused(409, "this person has blocked the bot; unblock it first")
        if request.headers.get("content-type", "").startswith("multipart/"):
            message = self._say_photo(chat, *await read_form(request))
        else:
            message = self._say_text(chat, await json_object(request))
        return json_response(message, status=201)

    async def press(self, request: Request) -> Response:
        """Press an inline button: `{"message_id", "data"}`."""
        body = await json_object(request)
        message_id, data = body.get("message_id"), body.get("data")
        if not isinstance(message_id, int) or not isinstance(data, str):
            raise Refused(400, "message_id must be a number and data a text")
        query = self._chats.press(self._chat(request), message_id, data)
        return json_response({"callback_query_id": query["id"]}, status=201)

    async def block(self, request: Request) -> Response:
        """Block the bot, or unblock it with `{"blocked": false}`."""
        chat = self._chat(request)
        is_blocking = (await json_object(request)).get("blocked", True)
        if not isinstance(is_blocking, bool):
            raise Refused(400, "blocked must be true or false")
        self._chats.set_blocking(chat, is_blocking=is_blocking)
        return json_response(chat.person.for_page())

    async def commands(self, request: Request) -> Response:
        """List the commands that the bot offers."""
        self._chat(request)
        return json_response({"commands": self._chats.state.commands})

    async def events(self, request: Request) -> Response:
        """Stream a chat's events after the cursor in `Last-Event-ID` or `?after=`."""
        chat = self._chat(request)
        cursor = request.headers.get("last-event-id") or request.query_params.get("after")
        return StreamingResponse(self._feed.follow(chat.id, cursor), media_type="text/event-stream")

    async def file(self, request: Request) -> Response:
        """Return a picture inline, or any other file as a download."""
        file = self._chats.files.get(request.path_params["file_id"])
        if file is None:
            raise Refused(404, "this file is gone")
        is_picture = picture_size(file.data) is not None
        return Response(
            file.data,
            media_type=picture_type(file.data) if is_picture else "application/octet-stream",
            headers={
                "content-disposition": "inline" if is_picture else "attachment",
                "content-security-policy": "default-src 'none'; sandbox",
            },
        )

    async def calls(self, request: Request) -> Response:
        """List the newest model calls, without keys and prompts."""
        newest = self._ledger.newest(SHOWN_CALLS)
        return json_response({"calls": [call.for_page() for call in newest]})

    async def ledger(self, request: Request) -> Response:
        """List model calls in full: all, or those `?after=` a call's number."""
        after = request.query_params.get("after", "0")
        calls = self._ledger.after(int(after) if after.isdecimal() else 0)
        return json_response({"calls": [call.as_payload() for call in calls]})

    async def clear_ledger(self, request: Request) -> Response:
        """Delete all recorded model calls."""
        self._ledger.clear()
        return json_response({"ok": True})

    def _chat(self, request: Request) -> Chat:
        person_id: str = request.path_params["person_id"]
        is_id = person_id.removeprefix("-").isdecimal()
        chat = self._chats.find(int(person_id)) if is_id else None
        if chat is None:
            raise Refused(404, f"nobody has the id {person_id}")
        return chat

    def _say_text(self, chat: Chat, body: Json) -> Json:
        text, reply_to = body.get("text"), body.get("reply_to_message_id")
        if not isinstance(text, str) or not text.strip():
            raise Refused(400, "text is missing")
        _check_length(text, MAX_TEXT)
        if reply_to is not None and not isinstance(reply_to, int):
            raise Refused(400, "reply_to_message_id must be a number")
        return self._chats.say(chat, text_content(text.strip()), reply_to=reply_to)

    def _say_photo(self, chat: Chat, fields: dict[str, str], files: dict[str, Upload]) -> Json:
        upload = files.get("photo")
        if upload is None or len(upload.data) > MAX_PHOTO_BYTES:
            raise Refused(400, "a photo of at most 10 MB is needed")
        if picture_size(upload.data) is None:
            raise Refused(400, "a photo must be a JPEG, PNG or WebP")
        caption = fields.get("caption", "").strip()
        _check_length(caption, MAX_CAPTION)
        reply_to = fields.get("reply_to_message_id", "")
        file = self._chats.files.add(
            data=upload.data,
            name=upload.filename,
            mime_type=picture_type(upload.data),
            folder="photos",
        )
        content = photo_content(file) | text_content(caption, is_caption=True)
        return self._chats.say(
            chat, content, reply_to=int(reply_to) if reply_to.isdecimal() else None
        )


def _check_length(text: str, most: int) -> None:
    if utf16_length(text) > most:
        raise Refused(400, f"at most {most} characters")

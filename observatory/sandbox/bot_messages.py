"""The Bot API's methods on messages (send, edit, delete), with Telegram's errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from observatory.sandbox.calls import BotCall
from observatory.sandbox.chats import MAX_PHOTO_BYTES, Chats, photo_content, text_content
from observatory.sandbox.entities import MAX_CAPTION, MAX_TEXT, checked, utf16_length
from observatory.sandbox.files import StoredFile
from observatory.sandbox.keyboards import checked_keyboard
from observatory.sandbox.state import Chat
from observatory.sandbox.web import Json, Refused

BotMethod = Callable[[BotCall], Any]

MAX_DOCUMENT_BYTES = 50 * 1024 * 1024
NOT_MODIFIED = (
    "Bad Request: message is not modified: specified new message content and reply markup"
    " are exactly the same as a current content and reply markup of the message"
)
MAX_TEXT_BYTES = 32_768  # https://github.com/tdlib/telegram-bot-api, get_formatted_text


class BotMessages:
    """The methods with which a bot sends, edits and deletes messages."""

    def __init__(self, chats: Chats) -> None:
        self._chats = chats

    def methods(self) -> dict[str, BotMethod]:
        """Return the methods by their names in the Bot API."""
        return {
            "sendMessage": self.send_message,
            "sendPhoto": self.send_photo,
            "sendDocument": self.send_document,
            "editMessageText": self.edit_message_text,
            "editMessageCaption": self.edit_message_caption,
            "editMessageReplyMarkup": self.edit_message_reply_markup,
            "deleteMessage": self.delete_message,
        }

    def send_message(self, call: BotCall) -> Json:
        """Send a text."""
        chat = self._open_chat(call)
        return self._post(chat, call, _text(call))

    def send_photo(self, call: BotCall) -> Json:
        """Send a picture, uploaded or given by file id."""
        chat = self._open_chat(call)
        file = self._file(call, "photo", folder="photos", most=MAX_PHOTO_BYTES)
        return self._post(chat, call, photo_content(file) | _caption(call))

    def send_document(self, call: BotCall) -> Json:
        """Send a file, uploaded or given by file id."""
        chat = self._open_chat(call)
        file = self._file(call, "document", folder="documents", most=MAX_DOCUMENT_BYTES)
        document = file.as_file() | {"file_name": file.name, "mime_type": file.mime_type}
        return self._post(chat, call, {"document": document} | _caption(call))

    def edit_message_text(self, call: BotCall) -> Json:
        """Replace text, entities and keyboard of a message that the bot sent."""
        # Checked before the message itself, like in the Bot API server.
        if len(call.text("text").encode()) > MAX_TEXT_BYTES:
            raise Refused(400, "Bad Request: text is too long")
        chat, message = self._own_message(call)
        if "text" not in message:
            raise Refused(400, "Bad Request: there is no text in the message to edit")
        content = {"entities": None} | _text(call) | {"reply_markup": _keyboard(call)}
        return self._edit(chat, message, content)

    def edit_message_caption(self, call: BotCall) -> Json:
        """Replace caption and keyboard of a picture or file that the bot sent."""
        chat, message = self._own_message(call)
        if not {"photo", "document"} & set(message):
            raise Refused(400, "Bad Request: there is no caption in the message to edit")
        caption = call.text("caption") or None
        content = {"caption": caption, "reply_markup": _keyboard(call)}
        return self._edit(chat, message, content)

    def edit_message_reply_markup(self, call: BotCall) -> Json:
        """Replace or remove the keyboard of a message that the bot sent."""
        chat, message = self._own_message(call)
        return self._edit(chat, message, {"reply_markup": _keyboard(call)})

    def delete_message(self, call: BotCall) -> bool:
        """Delete a message, sent by the bot or by the person."""
        self._chats.delete(self._open_chat(call), call.get("message_id", int))
        return True

    def _post(self, chat: Chat, call: BotCall, content: Json) -> Json:
        keyboard = _keyboard(call)
        return self._chats.post(
            chat,
            call.bot,
            content | ({"reply_markup": keyboard} if keyboard else {}),
            reply_to=_reply_to(call, chat),
        )

    def _edit(self, chat: Chat, message: Json, content: Json) -> Json:
        if all(message.get(name) == value for name, value in content.items()):
            raise Refused(400, NOT_MODIFIED)
        return self._chats.edit(chat, message, content)

    def _open_chat(self, call: BotCall) -> Chat:
        chat_id = call.chat_id()
        if chat_id is None:
            raise Refused(400, "Bad Request: chat_id is empty")
        chat = self._chats.find(chat_id)
        if chat is None:
            raise Refused(400, "Bad Request: chat not found")
        if chat.person.is_blocking:
            raise Refused(403, "Forbidden: bot was blocked by the user")
        return chat

    def _own_message(self, call: BotCall) -> tuple[Chat, Json]:
        chat = self._open_chat(call)
        message = chat.messages.get(call.get("message_id", int))
        if message is None:
            raise Refused(400, "Bad Request: message to edit not found")
        if message["from"]["id"] != call.bot["id"]:
            raise Refused(400, "Bad Request: message can't be edited")
        return chat, message

    def _file(self, call: BotCall, name: str, *, folder: str, most: int) -> StoredFile:
        """Return the parameter's file: uploaded under its name, by `attach://name`, or by id."""
        reference = call.text(name)
        upload = call.files.get(reference.removeprefix("attach://") or name)
        if upload is None:
            known = self._chats.files.get(reference)
            if known is None:
                raise Refused(400, "Bad Request: wrong file identifier/HTTP URL specified")
            return known
        if not upload.data:
            raise Refused(400, "Bad Request: file must be non-empty")
        if len(upload.data) > most:
            raise Refused(413, "Request Entity Too Large")
        return self._chats.files.add(
            data=upload.data,
            name=upload.filename,
            mime_type=upload.content_type,
            folder=folder,
        )


def _text(call: BotCall) -> Json:
    text, entities = _formatted(call, "text", "entities")
    if not text:
        raise Refused(400, "Bad Request: message text is empty")
    if utf16_length(text) > MAX_TEXT:
        raise Refused(400, "Bad Request: message is too long")
    return text_content(text, entities)


def _caption(call: BotCall) -> Json:
    caption, entities = _formatted(call, "caption", "caption_entities")
    if utf16_length(caption) > MAX_CAPTION:
        raise Refused(400, "Bad Request: message caption is too long")
    return text_content(caption, entities, is_caption=True)


def _formatted(call: BotCall, name: str, entities_name: str) -> tuple[str, list[Json]]:
    if call.text("parse_mode"):
        raise Refused(400, "Bad Request: the sandbox takes entities, not parse_mode")
    return checked(call.text(name), call.get(entities_name, list))


def _keyboard(call: BotCall) -> Json | None:
    return checked_keyboard(call.get("reply_markup", dict))


def _reply_to(call: BotCall, chat: Chat) -> int | None:
    parameters = call.get("reply_parameters", dict)
    message_id = parameters.get("message_id")
    if parameters.get("allow_sending_without_reply") and message_id not in chat.messages:
        return None
    return message_id if isinstance(message_id, int) else None

"""Updates as Telegram delivers them, one of each kind: https://core.telegram.org/bots/api#update."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

WHEN = 1_700_000_000
PERSON: Json = {"id": 1001, "is_bot": False, "first_name": "Maya", "language_code": "en"}
PRIVATE: Json = {"id": 1001, "type": "private", "first_name": "Maya"}
GROUP: Json = {"id": -1007, "type": "supergroup", "title": "Sales", "is_forum": True}
_FILE: Json = {"file_id": "f", "file_unique_id": "u", "file_size": 9}
_SIZE: Json = _FILE | {"width": 9, "height": 9}
_POLL: Json = {
    "id": "1",
    "question": "Who?",
    "options": [
        {"persistent_id": "1", "text": "I", "voter_count": 0},
        {"persistent_id": "2", "text": "You", "voter_count": 0},
    ],
    "total_voter_count": 0,
    "is_closed": False,
    "is_anonymous": True,
    "type": "regular",
    "allows_multiple_answers": False,
    "allows_revoting": True,
    "members_only": False,
}
_OLD_POLL: Json = {  # of a Bot API server before 9.6, which PTB 22.8 refuses
    **_POLL,
    "options": [{"text": "I", "voter_count": 0}],
}
_CHECKLIST: Json = {"title": "T", "tasks": [{"id": 1, "text": "Call"}]}

CONTENT: dict[str, Json] = {
    "photo": {"photo": [_SIZE]},
    "image file": {"document": _FILE | {"mime_type": "image/png", "file_name": "a.png"}},
    "PDF": {"document": _FILE | {"mime_type": "application/pdf", "file_name": "a.pdf"}},
    "voice": {"voice": _FILE | {"duration": 3, "mime_type": "audio/ogg"}},
    "audio": {"audio": _FILE | {"duration": 3}},
    "video": {"video": _SIZE | {"duration": 3}},
    "video note": {"video_note": _FILE | {"length": 9, "duration": 3}},
    "animation": {"animation": _SIZE | {"duration": 3}, "document": _FILE},
    "sticker": {"sticker": _SIZE | {"type": "regular", "is_animated": False, "is_video": False}},
    "location": {"location": {"latitude": 0.5, "longitude": 0.5}},
    "venue": {
        "venue": {
            "location": {"latitude": 0.5, "longitude": 0.5},
            "title": "T",
            "address": "A",
        }
    },
    "contact": {"contact": {"phone_number": "+1", "first_name": "Pia"}},
    "poll": {"poll": _POLL},
    "old poll": {"poll": _OLD_POLL},
    "dice": {"dice": {"emoji": "🎲", "value": 3}},
    "game": {"game": {"title": "T", "description": "D", "photo": [_SIZE]}},
    "story": {"story": {"chat": PRIVATE, "id": 7}},
    "checklist": {"checklist": _CHECKLIST},
    "paid media": {
        "paid_media": {"star_count": 1, "paid_media": [{"type": "preview", "width": 9}]}
    },
}
SERVICE: dict[str, Json] = {
    "pinned": {"pinned_message": {"message_id": 1, "date": WHEN, "chat": PRIVATE, "text": "x"}},
    "joined": {"new_chat_members": [PERSON]},
    "left": {"left_chat_member": PERSON},
    "title": {"new_chat_title": "New"},
    "chat photo": {"new_chat_photo": [_SIZE]},
    "photo deleted": {"delete_chat_photo": True},
    "group made": {"group_chat_created": True},
    "moved": {"migrate_from_chat_id": -8},
    "payment": {
        "successful_payment": {
            "currency": "XTR",
            "total_amount": 1,
            "invoice_payload": "p",
            "telegram_payment_charge_id": "t",
            "provider_payment_charge_id": "c",
        }
    },
    "web app": {"web_app_data": {"data": "d", "button_text": "b"}},
    "topic made": {"forum_topic_created": {"name": "T", "icon_color": 1}},
    "topic closed": {"forum_topic_closed": {}},
    "video chat": {"video_chat_started": {}},
    "timer": {"message_auto_delete_timer_changed": {"message_auto_delete_time": 86_400}},
    "write access": {"write_access_allowed": {"from_request": True}},
    "users shared": {"users_shared": {"request_id": 1, "users": [{"user_id": 5}]}},
    "boost": {"boost_added": {"boost_count": 1}},
    "background": {
        "chat_background_set": {
            "type": {"type": "chat_theme", "theme_name": "🌷"},
        }
    },
    "proximity": {
        "proximity_alert_triggered": {"traveler": PERSON, "watcher": PERSON, "distance": 5}
    },
    "kind to come": {"gift_of_the_year": {"deep": [1, {"er": None}]}},
}
_REPLIED: Json = {"message_id": 5, "date": WHEN, "chat": PRIVATE, "from": PERSON}
_ORIGINS: dict[str, Json] = {
    "user": {"type": "user", "date": WHEN, "sender_user": PERSON},
    "hidden user": {"type": "hidden_user", "date": WHEN, "sender_user_name": "Pia"},
    "chat": {"type": "chat", "date": WHEN, "sender_chat": GROUP},
    "channel": {"type": "channel", "date": WHEN, "chat": GROUP, "message_id": 3},
    "origin to come": {"type": "robot", "date": WHEN},
}
# What a text can come with.
BESIDE_TEXT: dict[str, Json] = {
    "": {},
    "entities": {"entities": [{"type": "bold", "offset": 0, "length": 2}]},
    "mention of a person": {
        "entities": [{"type": "text_mention", "offset": 0, "length": 2, "user": PERSON}]
    },
    "entity to come": {"entities": [{"type": "date_time", "offset": 0, "length": 2}]},
    "quote": {"quote": {"text": "x", "position": 0}, "reply_to_message": _REPLIED},
    "topic": {"message_thread_id": 7, "is_topic_message": True, "chat": GROUP},
    "via a bot": {"via_bot": {"id": 9, "is_bot": True, "first_name": "B", "username": "b"}},
    "link preview": {"link_preview_options": {"url": "https://a.example"}},
    "external reply": {
        "external_reply": {"origin": _ORIGINS["channel"], "chat": GROUP, "message_id": 3}
    },
    "reply to a story": {"reply_to_story": {"chat": PRIVATE, "id": 7}},
    "keyboard": {"reply_markup": {"inline_keyboard": [[{"text": "b", "callback_data": "x"}]]}},
    "part to come": {"part_to_come": [{"a": 1}]},
    **{f"forwarded from {name}": {"forward_origin": origin} for name, origin in _ORIGINS.items()},
    **{
        f"reply to {name}": {"reply_to_message": _REPLIED | content}
        for name, content in (CONTENT | SERVICE).items()
    },
}
NOT_WANTED: dict[str, Json] = {
    "poll": _POLL,
    "poll_answer": {"poll_id": "1", "user": PERSON, "option_ids": [0]},
    "inline_query": {"id": "1", "from": PERSON, "query": "", "offset": ""},
    "chosen_inline_result": {"result_id": "1", "from": PERSON, "query": ""},
    "my_chat_member": {"chat": GROUP, "from": PERSON, "date": WHEN},
    "chat_join_request": {"chat": GROUP, "from": PERSON, "date": WHEN, "user_chat_id": 1001},
    "edited_message": _REPLIED | {"text": "x"},
    "channel_post": _REPLIED | {"text": "x"},
    "business_message": _REPLIED | {"text": "x"},
    "message_reaction": {"chat": GROUP, "message_id": 3, "date": WHEN, "user": PERSON},
    "kind_to_come": {"text": "x"},
}


def message(**parts: Any) -> Json:
    """Return a private message of Maya's."""
    return {
        "message_id": 50,
        "date": WHEN,
        "chat": PRIVATE,
        "from": PERSON,
    } | parts


def updates() -> dict[str, Json]:
    """Return one update of each kind, by a name for it."""
    texts = {
        f"text with {name}": {"message": message(text="A question", **parts)}
        for name, parts in BESIDE_TEXT.items()
    }
    others = {name: {"message": message(**parts)} for name, parts in (CONTENT | SERVICE).items()}
    press = {"id": "9", "from": PERSON, "chat_instance": "1", "data": "run:why:0"}
    presses = {
        "press": {"callback_query": press | {"message": message(text="An answer")}},
        "press on what is gone": {
            "callback_query": press | {"message": {"message_id": 3, "date": 0, "chat": PRIVATE}}
        },
        "press inline": {"callback_query": press | {"inline_message_id": "i"}},
    }
    unwanted = {name: {name: content} for name, content in NOT_WANTED.items()}
    return {
        name: {"update_id": 1} | update
        for name, update in (texts | others | presses | unwanted).items()
    }

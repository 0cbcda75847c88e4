"""Short ways to talk to a sandbox as a bot, as a person and as a client of each model vendor."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import httpx

KEY = "sk-or-v1-a-test-key-3fa9"
CLAUDE_KEY = "sk-ant-a-test-key-c1a4"
OPENAI_KEY = "sk-proj-a-test-key-0a14"
OPENROUTER, ANTHROPIC, OPENAI = "openrouter", "anthropic", "openai"
TOKEN = "123456:" + "A" * 35
MAYA = 1001

Json = dict[str, Any]


def complete(
    client: httpx.Client, model: str, /, prompt: str = "Hello", **body: Any
) -> httpx.Response:
    """Ask a model; `key`, `headers` and `timeout` are for the request, the rest for its body."""
    timeout = body.pop("timeout", 10)
    key = body.pop("key", KEY)
    headers = {"authorization": f"Bearer {key}"} | body.pop("headers", {})
    request = {"model": model, "messages": [{"role": "user", "content": prompt}]} | body
    return client.post(
        "/openrouter/api/v1/chat/completions", json=request, headers=headers, timeout=timeout
    )


def ask_claude(
    client: httpx.Client, model: str = "claude-sonnet-4-5", /, prompt: str = "Hello", **body: Any
) -> httpx.Response:
    """Ask a model of Anthropic's; headers and body values that are None are left out."""
    headers = {"x-api-key": CLAUDE_KEY, "anthropic-version": "2023-06-01"} | body.pop("headers", {})
    messages = [{"role": "user", "content": prompt}]
    request = {"model": model, "max_tokens": 1024, "messages": messages} | body
    return client.post("/anthropic/v1/messages", json=_given(request), headers=_given(headers))


def ask_openai(
    client: httpx.Client, model: str = "gpt-4.1", /, prompt: str = "Hello", **body: Any
) -> httpx.Response:
    """Ask a model of OpenAI's; a value of the body that is None is left out."""
    headers = {"authorization": f"Bearer {body.pop('key', OPENAI_KEY)}"}
    request = {"model": model, "messages": [{"role": "user", "content": prompt}]} | body
    return client.post("/openai/v1/chat/completions", json=_given(request), headers=headers)


def chat_request(client: httpx.Client, vendor: str, name: str) -> httpx.Request:
    """Return a request for a vendor's misbehaving model `name`, for the test to send."""
    messages = [{"role": "user", "content": "Hello"}]
    path, author, headers = {
        OPENROUTER: ("openrouter/api/v1/chat/completions", "sandbox/", _bearer(KEY)),
        OPENAI: ("openai/v1/chat/completions", "sandbox-", _bearer(OPENAI_KEY)),
        ANTHROPIC: (
            "anthropic/v1/messages",
            "sandbox-",
            {"x-api-key": CLAUDE_KEY, "anthropic-version": "2023-06-01"},
        ),
    }[vendor]
    body = {"model": author + name, "max_tokens": 1024, "messages": messages}
    return client.build_request("POST", f"/{path}", json=body, headers=headers)


def calls(client: httpx.Client, after: int = 0) -> list[Json]:
    """Return the lines of the ledger."""
    listed: list[Json] = client.get(f"/ledger?after={after}").json()["calls"]
    return listed


def last_call(client: httpx.Client) -> Json:
    return calls(client)[-1]


def generation(client: httpx.Client, generation_id: str) -> httpx.Response:
    return client.get(f"/openrouter/api/v1/generation?id={generation_id}", headers=_bearer(KEY))


def _bearer(key: str) -> Json:
    return {"authorization": f"Bearer {key}"}


def _given(values: Json) -> Json:
    return {name: value for name, value in values.items() if value is not None}


def json_schema(schema: Json) -> Json:
    return {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": schema},
    }


def content(response: httpx.Response) -> str:
    text = response.json()["choices"][0]["message"]["content"]
    assert isinstance(text, str)
    return text


def bot(client: httpx.Client, method: str, **values: Any) -> Json:
    """Call a method of the Bot API and return the whole answer."""
    answer: Json = client.post(f"/telegram/bot{TOKEN}/{method}", json=values).json()
    return answer


def send(client: httpx.Client, text: str = "Hi", **values: Any) -> Json:
    """Let the bot send a text to Maya and return the message."""
    answer = bot(client, "sendMessage", chat_id=MAYA, text=text, **values)
    assert answer["ok"], answer
    message: Json = answer["result"]
    return message


def say(client: httpx.Client, text: str, person_id: int = MAYA, **values: Any) -> Json:
    """Let a person write to the bot and return the message."""
    response = client.post(f"/chat/{person_id}/messages", json={"text": text} | values)
    assert response.status_code == 201, response.text
    message: Json = response.json()
    return message


def press(client: httpx.Client, message_id: int, data: str) -> str:
    """Let Maya press an inline button and return the id of the callback query."""
    body = {"message_id": message_id, "data": data}
    response = client.post(f"/chat/{MAYA}/press", json=body)
    assert response.status_code == 201, response.text
    query_id = response.json()["callback_query_id"]
    assert isinstance(query_id, str)
    return query_id


def block(client: httpx.Client) -> None:
    """Let Maya block the bot."""
    client.post(f"/chat/{MAYA}/block").raise_for_status()


def sent(client: httpx.Client) -> list[Json]:
    """Return what the bot sent, each message with its history."""
    rows: list[Json] = client.get("/telegram/sent").json()["sent"]
    return rows


def update_ids(client: httpx.Client, **values: Any) -> list[int]:
    return [update["update_id"] for update in bot(client, "getUpdates", **values)["result"]]


def png(width: int = 4, height: int = 3) -> bytes:
    """Return a small valid picture."""
    rows = b"".join(b"\0" + b"\x40\x80\xc0" * width for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )

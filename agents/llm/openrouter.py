"""OpenRouter: how it is asked.

What its replies mean is in `agents.llm.openrouter_replies`; retries, records and the fallback model
are the same for all providers (`agents.llm.calls`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar
from urllib.parse import quote

from django.conf import settings

from agents.llm import calls, http, images, openrouter_replies, replies, schemas
from agents.llm.base import Completion, CostSource, LLMProvider
from agents.llm.errors import KeyRejected, LLMError, ProviderUnavailable
from agents.llm.keys import ApiKey
from agents.llm.retries import Deadline, retrying

KEY_CHECK_S = 15.0  # somebody is waiting in front of a form or a chat
COST_LOOK_UP_S = 3.0  # the answer is already here and should not wait for its price
HEADERS = {"X-OpenRouter-Title": "Observatory"}


def _configured_base_url() -> str:
    return str(settings.OPENROUTER_BASE_URL).rstrip("/")


@dataclass(frozen=True, kw_only=True)
class OpenRouterProvider(LLMProvider):
    """A model behind OpenRouter, bound to a key and a purse."""

    base_url: str = field(default_factory=_configured_base_url)

    name: ClassVar[str] = "openrouter"

    async def complete(
        self,
        system_prompt: str,
        user_message: str,
        *,
        image_b64: str | None = None,
        schema: dict[str, Any] | None = None,
    ) -> Completion:
        prompt = calls.Prompt(
            system=system_prompt, user=user_message, image_b64=image_b64 or "", schema=schema
        )
        return await calls.complete(self, OpenRouterWire(self.base_url), prompt)

    async def validate_key(self) -> None:
        deadline = Deadline.in_seconds(min(self.scope.deadline_s, KEY_CHECK_S))
        try:
            await retrying(
                lambda: self._check_key(deadline), policy=self.retries, deadline=deadline
            )
        except (KeyRejected, ProviderUnavailable) as error:
            error.provider = self.name
            raise
        except LLMError as error:
            raise ProviderUnavailable(
                f"the key could not be checked: {error}",
                provider=self.name,
                http_status=error.http_status,
            ) from error

    async def close(self) -> None:
        await http.close_client(self.base_url)

    async def _check_key(self, deadline: Deadline) -> None:
        request = http.Request(base_url=self.base_url, path="/key", method="GET", headers=HEADERS)
        reply = await http.send(request, api_key=self.api_key, deadline_s=deadline.remaining_s)
        if reply.status == 403:
            raise KeyRejected("the key may not be used", http_status=reply.status)
        if reply.status != 200:
            raise openrouter_replies.refusal(reply, has_schema=False)
        if not replies.mapping(replies.mapping(reply.body).get("data")):
            # Such as the sign-in page of a hotel's network.
            raise ProviderUnavailable("something other than OpenRouter answered", http_status=200)


@dataclass(frozen=True, slots=True)
class OpenRouterWire:
    """OpenRouter's side of `agents.llm.calls.Wire`."""

    base_url: str

    def request(self, model_id: str, prompt: calls.Prompt) -> http.Request:
        body: dict[str, Any] = {"model": model_id, "messages": _messages(prompt)}
        if prompt.schema is not None:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {
                    "name": schemas.name_of(prompt.schema),
                    "strict": True,
                    "schema": prompt.schema,
                },
            }
            # Without it, endpoints that know no schema are asked all the same and drop it silently.
            body["provider"] = {"require_parameters": True}
        return http.Request(
            base_url=self.base_url, path="/chat/completions", headers=HEADERS, body=body
        )

    def completion(self, reply: http.Reply, prompt: calls.Prompt) -> Completion:
        return openrouter_replies.completion(reply, has_schema=prompt.schema is not None)

    async def settled(
        self, completion: Completion, api_key: ApiKey, deadline: Deadline
    ) -> Completion:
        """Return the completion with its cost asked for, if the response did not say it."""
        if completion.cost_usd is not None or not completion.generation_id:
            return completion
        request = http.Request(
            base_url=self.base_url,
            path=f"/generation?id={quote(completion.generation_id, safe='')}",
            method="GET",
            headers=HEADERS,
        )
        time_s = min(COST_LOOK_UP_S, deadline.remaining_s)
        try:
            reply = await http.send(request, api_key=api_key, deadline_s=time_s)
        except LLMError:
            return completion  # an answer without a price is still an answer
        cost_usd = openrouter_replies.cost_of_generation(reply)
        if cost_usd is None:
            return completion
        return replace(completion, cost_usd=cost_usd, cost_source=CostSource.REPORTED)


def _messages(prompt: calls.Prompt) -> list[dict[str, Any]]:
    user = {"role": "user", "content": _user_content(prompt)}
    if not prompt.system:  # some vendors refuse an empty one
        return [user]
    return [{"role": "system", "content": prompt.system}, user]


def _user_content(prompt: calls.Prompt) -> str | list[dict[str, Any]]:
    if not prompt.image_b64:
        return prompt.user
    url = f"data:{images.media_type(prompt.image_b64)};base64,{prompt.image_b64}"
    return [
        {"type": "text", "text": prompt.user},
        {"type": "image_url", "image_url": {"url": url}},
    ]

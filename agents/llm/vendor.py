"""Base class of all vendors' providers: completion, key check and cost look-up.

To add a vendor, write a module with a subclass of `VendorProvider`, or of `ChatCompletionsProvider`
if its API is compatible with OpenAI's, and register the class in `agents.llm.router`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from django.conf import settings

from agents.llm import calls, http
from agents.llm.completion import Completion
from agents.llm.errors import KeyRejected, LLMError, ProviderUnavailable
from agents.llm.prompt import Prompt
from agents.llm.retries import Deadline, retrying
from agents.llm.secrets import scrub

_VERSION = re.compile(r"/v\d+[a-z0-9]*(/|\Z)")
KEY_CHECK_S = 15.0  # while a person waits at a form or in a chat


@dataclass(frozen=True, kw_only=True)
class VendorProvider(calls.VendorAdapter):
    """A model at a vendor, bound to a key and its payer."""

    address: ClassVar[str] = ""  # the API's base URL, unless the settings name another
    address_setting: ClassVar[str] = ""  # the setting that may name another base URL
    public_name: ClassVar[str] = ""  # the vendor's name in OpenTelemetry and genai-prices
    default_model: ClassVar[str] = ""  # for members who chose none, unless the settings name one

    def __post_init__(self) -> None:
        if not self.base_url:
            object.__setattr__(self, "base_url", self.configured_url())

    @classmethod
    def configured_url(cls) -> str:
        """Return the vendor's base URL from the settings, or else its own `address`.

        In the sandbox, a local URL replaces `address`, so that requests stay on this machine.
        """
        own = f"{settings.SANDBOX_URL}/{cls.name}" if settings.SANDBOX else cls.address
        return str(getattr(settings, cls.address_setting, "") or own).rstrip("/")

    async def complete(
        self,
        system_prompt: str,
        user_message: str,
        *,
        image_b64: str | None = None,
        schema: dict[str, Any] | None = None,
    ) -> Completion:
        prompt = Prompt(
            system=scrub(system_prompt),
            user=scrub(user_message),
            image_b64=image_b64 or "",
            schema=schema,
        )
        completion = await calls.complete(self, prompt)
        # The model may have read a key in a picture.
        return replace(completion, text=scrub(completion.text))

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

    async def settle(self, generation_id: str) -> Completion | None:
        deadline = Deadline.in_seconds(calls.SETTLING_S)
        known = await self.settled(Completion.lost(generation_id), deadline)
        return None if known.cost_usd is None else known

    async def close(self) -> None:
        # All providers of this base URL share the client, so a single step must not close it.
        if not self.scope.step_id:
            await http.close_client(self.base_url)

    async def _check_key(self, deadline: Deadline) -> None:
        reply = await http.send(
            self.key_check(), api_key=self.api_key, deadline_s=deadline.remaining_s
        )
        if self.is_key_accepted(reply):
            return
        if reply.status == 403 and not reply.is_page:
            raise KeyRejected("the key may not be used", http_status=reply.status)
        if reply.status != 200:
            raise self.refusal(reply)
        # For example, the sign-in page of a hotel's network.
        raise ProviderUnavailable(f"something other than {self.name} answered", http_status=200)


def versioned(base_url: str, path: str) -> str:
    """Return the path with the prefix `/v1`, unless the base URL already contains a version.

    Base URLs are configured in both ways: http://host:11434, http://host/v1,
    https://host/api/paas/v4, https://host/v1beta/openai.
    """
    return path if _VERSION.search(base_url) else f"/v1{path}"

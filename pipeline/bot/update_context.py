"""The context that handlers get with an update: the claim on its task, its row and its outbox."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from telegram import Update
from telegram.ext import Application, CallbackContext

from pipeline.bot.outbox import Outbox
from pipeline.journal.fencing import TaskLease
from pipeline.models.inbox import TelegramUpdate
from pipeline.queue.base import Claim


class UpdateContext(CallbackContext[Any, Any, Any, Any]):
    """Context of one attempt to handle one update."""

    def __init__(
        self,
        application: UpdateApplication,
        *,
        claim: Claim,
        row: TelegramUpdate,
        outbox: Outbox,
        replied_to: int | None,
    ) -> None:
        super().__init__(application)
        self.claim = claim
        self.row = row
        self.outbox = outbox
        self.replied_to = replied_to  # id of the message that the update's message replies to
        self.was_handled = False

    @property
    def lease(self) -> TaskLease:
        return TaskLease(self.claim.task_id, self.claim.token)

    @classmethod
    def from_update(cls, update: object, application: Any) -> UpdateContext:
        """Return the context passed to `UpdateApplication.handle`; called by the library."""
        context: UpdateContext = application.contexts[id(update)]
        return context


Callback: TypeAlias = Callable[[Update, UpdateContext], Coroutine[Any, Any, None]]


class UpdateApplication(Application[Any, UpdateContext, Any, Any, Any, Any]):
    """Application that passes a prepared context to handlers and raises their errors.

    The library itself would log an error and treat the update as handled.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.contexts: dict[int, UpdateContext] = {}  # by `id()` of the update object

    async def handle(self, update: Update, context: UpdateContext) -> None:
        """Call the handler that matches the update, with this context."""
        self.contexts[id(update)] = context
        try:
            await self.process_update(update)
        finally:
            del self.contexts[id(update)]

    async def process_error(self, update: object, error: Exception, *args: Any, **kw: Any) -> bool:
        raise error

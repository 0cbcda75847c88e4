"""The overrides with their repository and change counter, and the processes that use them.

There is one override for each agent and one change counter for all of them. The repository is
`AgentModelConfig.objects`. At run time only the resolver (`agents.model_config`) reads overrides;
all other code asks the resolver.
"""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone
from simple_history.models import HistoricalRecords

from agents import revision
from agents.models.checking import Check, Suitability, UnfitModel, run_check
from agents.models.model_ids import validate_model_id


class OnFailure(models.TextChoices):
    """How a call is handled if the override's model fails for good."""

    FAIL = "fail", "The step fails and says so"
    DEFAULT_MODEL = "default_model", "The same call on DEFAULT_MODEL, on the shared key"


MAX_REASON = 300  # characters


AGENTS: set[str] = set()  # agent names, set by `agents.apps`: models need not load the prompts


class OverrideVersion(models.Model):
    """The change counter of the overrides, and the time of the last change: a single row."""

    n = models.PositiveBigIntegerField(default=0)
    changed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(id=1), name="override_version_has_one_row")
        ]

    def __str__(self) -> str:
        return f"v{self.n}"

    @classmethod
    def hold(cls) -> None:
        """Lock out other writers until the transaction ends, without counting a change."""
        OverrideVersion.objects.bulk_create([OverrideVersion(pk=1)], ignore_conflicts=True)
        list(cls.objects.select_for_update().filter(pk=1))

    @classmethod
    def bump(cls) -> int:
        """Increment the counter and return the new number.

        The row stays locked until the transaction ends. This serializes the writers, so that of two
        overlapping transactions, the one that commits later has the higher number.
        """
        one_more = {"n": F("n") + 1, "changed_at": timezone.now()}
        if not cls.objects.filter(pk=1).update(**one_more):
            OverrideVersion.objects.bulk_create([OverrideVersion(pk=1)], ignore_conflicts=True)
            cls.objects.filter(pk=1).update(**one_more)
        return cls.objects.get(pk=1).n


class AgentModelConfigQuerySet(models.QuerySet["AgentModelConfig"]):
    """Query set that refuses writes that would bypass counter, history and announcement."""

    def update(self, **kwargs: Any) -> int:
        raise TypeError("overrides change by upsert() or deactivate(): update() leaves no history")

    def bulk_create(self, *args: Any, **kwargs: Any) -> list[AgentModelConfig]:
        raise TypeError("overrides change by upsert(): bulk_create() leaves no history")

    def delete(self) -> tuple[int, dict[str, int]]:
        raise TypeError("overrides are not deleted but deactivated, so that history stays whole")


class AgentModelConfigRepository(models.Manager["AgentModelConfig"]):
    """Repository of the overrides; each change is one transaction."""

    def get_queryset(self) -> AgentModelConfigQuerySet:
        return AgentModelConfigQuerySet(self.model, using=self._db)

    def get_all_active(self) -> list[AgentModelConfig]:
        """Return the overrides that are in force, by agent name."""
        return list(self.filter(is_active=True).order_by("agent_name"))

    def suitability(self, agent_name: str, model_id: str) -> Suitability:
        """Return a model's problems for an agent; may wait 3 s for OpenRouter.

        Never call it inside a transaction: on SQLite, that keeps all others from writing.
        """
        return run_check(agent_name, model_id)

    def checked(
        self, agent_name: str, model_id: str, *, reason: str = "", accept_unfit: bool = False
    ) -> Check:
        """Check that an agent may be set to a model, and return what to record about that.

        As for `suitability`, call it before the transaction.

        Raises:
            UnfitModel, ValidationError: as `upsert`.
        """
        _assert_known(agent_name)
        try:
            validate_model_id(model_id)
        except ValidationError as error:
            raise ValidationError({"model_id": error.messages}) from None
        if settings.REQUIRE_REASON and not reason.strip():
            raise ValidationError({"reason": "Say why: this installation requires a reason."})
        suited = self.suitability(agent_name, model_id)
        if suited.problems and not accept_unfit:
            raise UnfitModel(agent_name, model_id, suited.problems)
        if suited.problems and not reason.strip():
            raise ValidationError({"reason": "Say why this model is set all the same."})
        return suited.check

    def upsert(
        self,
        agent_name: str,
        model_id: str,
        set_by: str | None = None,
        *,
        on_failure: str = OnFailure.FAIL,
        reason: str = "",
        accept_unfit: bool = False,
    ) -> AgentModelConfig:
        """Set the agent's model, and turn its override on if it was off.

        Args:
            agent_name: The agent.
            model_id: The model, as the shared key's server names it.
            set_by: Who makes the change.
            on_failure: What happens to a call if the model fails.
            reason: Why; kept in the history. Required with a model that is unfit.
            accept_unfit: Set the model even if it is unfit or does not exist.

        Raises:
            UnfitModel: the model lacks what the agent needs, or is unknown to OpenRouter.
            ValidationError: there is no such agent, `validate_model_id` refuses the model id, or
                the reason is missing.
        """
        check = self.checked(agent_name, model_id, reason=reason, accept_unfit=accept_unfit)
        return self.set_checked(
            agent_name,
            model_id=model_id,
            on_failure=on_failure,
            set_by=set_by or "",
            is_active=True,
            reason=reason,
            check_result=check,
        )

    @transaction.atomic
    def set_checked(self, agent_name: str, **values: Any) -> AgentModelConfig:
        """Set columns of the agent's override, whose model was checked before (`checked`).

        Raises:
            ValidationError: there is no such agent, or a value is invalid.
        """
        version = OverrideVersion.bump()  # first, because it locks out other writers
        row = self.filter(agent_name=agent_name).first() or self.model(agent_name=agent_name)
        for name, value in values.items():
            setattr(row, name, value)
        if row.is_active:  # turning off must be possible whatever the row says
            _assert_known(agent_name)
            row.full_clean()
        row.record_change(version)
        return row

    def before(self, state: Any) -> Any:
        """Return the history entry before a row's, or a history entry's, state; None if none."""
        earlier = AgentModelConfig.history.filter(id=state.id, version__lt=state.version)
        return earlier.order_by("-version", "-history_id").first()

    @transaction.atomic
    def undo(
        self, agent_name: str, version: int, set_by: str = "", *, reason: str = ""
    ) -> AgentModelConfig | None:
        """Take back the change with this version; return None if it is not the agent's last one.

        The state before it is set as a new change, without a check: taking a change back must
        always be possible. If there was none, the override is turned off.
        """
        OverrideVersion.hold()
        row = self.filter(agent_name=agent_name, version=version).first()
        if row is None:
            return None
        former = self.before(row)
        values = (
            {"is_active": False}
            if former is None
            else {
                "model_id": former.model_id,
                "on_failure": former.on_failure,
                "is_active": former.is_active,
                "check_result": former.check_result,
            }
        )
        return self.set_checked(agent_name, set_by=set_by, reason=reason, **values)

    @transaction.atomic
    def deactivate_all(self, set_by: str, *, reason: str = "") -> list[str]:
        """Turn off all active overrides in one change; return their agents' names."""
        if not self.filter(is_active=True).exists():
            return []
        version = OverrideVersion.bump()  # first, because it locks out other writers
        rows = self.get_all_active()
        for row in rows:
            row.is_active = False
            row.set_by = set_by
            row.reason = reason[:MAX_REASON]
            row.record_change(version)
        return [row.agent_name for row in rows]

    @transaction.atomic
    def deactivate(self, agent_name: str, set_by: str = "", *, reason: str = "") -> bool:
        """Turn off the agent's override; return False if there was none or it was off."""
        in_force = self.filter(agent_name=agent_name, is_active=True)
        if not in_force.exists():
            return False  # before the counter is incremented
        version = OverrideVersion.bump()
        row = in_force.first()
        if row is None:  # another writer deactivated it while this one waited for the counter
            return False
        row.is_active = False
        row.set_by = set_by or row.set_by
        row.reason = reason[:MAX_REASON]
        row.record_change(version)
        return True

    async def aget_all_active(self) -> list[AgentModelConfig]:
        """Return the overrides that are in force, by agent name."""
        return await sync_to_async(self.get_all_active)()

    async def aupsert(
        self, agent_name: str, model_id: str, set_by: str | None = None, **options: Any
    ) -> AgentModelConfig:
        """Set the agent's model; the asynchronous form of `upsert`, with the same options."""
        return await sync_to_async(self.upsert)(agent_name, model_id, set_by, **options)

    async def adeactivate(self, agent_name: str, set_by: str = "", *, reason: str = "") -> bool:
        """Turn off the agent's override; the asynchronous form of `deactivate`."""
        return await sync_to_async(self.deactivate)(agent_name, set_by, reason=reason)


def _assert_known(agent_name: str) -> None:
    if agent_name not in AGENTS:
        known = ", ".join(sorted(AGENTS))
        raise ValidationError(
            {"agent_name": f"No agent is called {agent_name!r}. There are: {known}."}
        )


class AgentModelConfig(models.Model):
    """An override: the model that an agent uses, paid with the shared key."""

    agent_name = models.CharField("agent", max_length=100, unique=True)
    model_id = models.CharField("model", max_length=200, validators=[validate_model_id])
    is_active = models.BooleanField("active", default=True, db_default=True)
    on_failure = models.CharField(
        "when the model fails",
        max_length=20,
        choices=OnFailure,
        default=OnFailure.FAIL,
        db_default=OnFailure.FAIL,
        help_text="Either way the shared key pays: a call never changes purse.",
    )
    set_by = models.CharField(max_length=150, default="", db_default="", blank=True)
    reason = models.CharField(
        "why",
        max_length=MAX_REASON,
        default="",
        db_default="",
        blank=True,
        help_text="Shown in the override's history.",
    )
    check_result = models.CharField(
        "check of the model",
        max_length=10,
        choices=Check,
        default="",
        db_default="",
        blank=True,
        editable=False,
    )
    version = models.PositiveBigIntegerField(default=0, db_default=0, editable=False)
    created_at = models.DateTimeField(auto_now_add=True, db_default=Now())
    updated_at = models.DateTimeField(auto_now=True, db_default=Now())

    objects = AgentModelConfigRepository()
    history = HistoricalRecords()

    class Meta:
        db_table = "agent_model_config"
        verbose_name = "override"
        verbose_name_plural = "overrides"
        ordering = ["agent_name"]
        indexes = [
            models.Index(fields=["agent_name"], name="override_active", condition=Q(is_active=True))
        ]
        constraints = [
            models.CheckConstraint(
                condition=~Q(agent_name="") & ~Q(model_id=""), name="override_names_are_not_empty"
            )
        ]

    def __str__(self) -> str:
        return f"{self.agent_name} → {self.model_id}{'' if self.is_active else ' (off)'}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save as one change: row, history entry and counter, announced after the commit."""
        with transaction.atomic():
            self.record_change(OverrideVersion.bump(), *args, **kwargs)

    def record_change(self, version: int, *args: Any, **kwargs: Any) -> None:
        """Save with a version that this transaction has already taken from the counter."""
        self.version = version
        if (update_fields := kwargs.get("update_fields")) is not None:
            kwargs["update_fields"] = {*update_fields, "version", "updated_at"}
        super().save(*args, **kwargs)
        # robust: an unreachable cache must not turn a committed change into an error page.
        transaction.on_commit(revision.announce_change, robust=True)

    @transaction.atomic
    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete as one change. The admin does not offer this: it turns overrides off instead."""
        OverrideVersion.bump()
        transaction.on_commit(revision.announce_change, robust=True)
        return super().delete(*args, **kwargs)


class ResolverProcess(models.Model):
    """The overrides' version that a running process uses, as reported by the process itself."""

    process_id = models.UUIDField(primary_key=True, editable=False)
    role = models.CharField(max_length=30)
    host = models.CharField(max_length=200)
    pid = models.PositiveIntegerField()
    version = models.CharField(max_length=40)
    version_at = models.DateTimeField("version first seen at", null=True)
    read_at = models.DateTimeField("overrides read at", null=True)
    is_stale = models.BooleanField(default=False)
    seen_at = models.DateTimeField()

    class Meta:
        verbose_name = "process"
        verbose_name_plural = "processes"
        indexes = [models.Index(fields=["seen_at"], name="resolver_process_seen")]

    def __str__(self) -> str:
        return f"{self.role} {self.pid}@{self.host}"

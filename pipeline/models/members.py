"""Members and invites: who may use the bot, and whose key pays for their runs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from agents.llm.keys import SealedKey, seal

TELEGRAM_ID_STAYS = "a member's Telegram id never changes: make another member instead"


PROVIDERS: list[str] = []  # names, set by `pipeline.apps`: models must import no HTTP client


def provider_choices() -> list[tuple[str, str]]:
    """Return the providers whose keys a member may use, as choices."""
    return [(name, name) for name in PROVIDERS]


class Access(models.TextChoices):
    """Whether a member may use the bot."""

    WAITING = "waiting", "Waiting for approval"
    APPROVED = "approved", "Approved"
    BLOCKED = "blocked", "Blocked"


class MemberQuerySet(models.QuerySet["Member"]):
    """A query set that refuses to change a member's Telegram id."""

    def update(self, **kwargs: Any) -> int:
        if "telegram_id" in kwargs:
            raise TypeError(TELEGRAM_ID_STAYS)
        return super().update(**kwargs)


class Member(models.Model):
    """A Telegram user of the bot, with or without an API key of their own.

    The Telegram id identifies the owner of memory, runs and key, so it never changes.
    """

    telegram_id = models.BigIntegerField(unique=True)
    name = models.CharField(max_length=200, blank=True)
    username = models.CharField("Telegram name", max_length=100, blank=True)
    access = models.CharField(max_length=10, choices=Access, default=Access.WAITING)
    provider = models.CharField(
        max_length=30, blank=True, choices=provider_choices, help_text="Of the member's own key"
    )
    model_id = models.CharField(
        "model", max_length=200, blank=True, help_text="Empty: the default model of the provider"
    )
    key_ciphertext = models.TextField(blank=True, editable=False)
    key_fingerprint = models.CharField("own key", max_length=8, blank=True, editable=False)
    memory_version = models.PositiveIntegerField(default=0, editable=False)
    memory_erased_at = models.DateTimeField(null=True, blank=True, editable=False)
    # Usage from before the member erased everything still counts toward today's limits.
    forgotten_at = models.DateTimeField(null=True, blank=True, editable=False)
    forgotten_runs = models.PositiveIntegerField(default=0, editable=False)
    forgotten_usd = models.DecimalField(max_digits=20, decimal_places=12, default=0, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = MemberQuerySet.as_manager()
    _created_as: int | None = None  # the Telegram id in the database

    class Meta:
        ordering = ["name", "telegram_id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(key_ciphertext="") | ~Q(provider=""), name="member_key_has_provider"
            )
        ]

    def __str__(self) -> str:
        return self.name or self.username or str(self.telegram_id)

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the row.

        Raises:
            ValueError: the Telegram id is not the one that the row was created with.
        """
        if "telegram_id" in self.__dict__ and self._has_another_id():
            raise ValueError(TELEGRAM_ID_STAYS)
        super().save(*args, **kwargs)
        self._created_as = self.telegram_id

    def _has_another_id(self) -> bool:
        if self._created_as is not None:
            return self._created_as != self.telegram_id
        # Created in code with the primary key of an existing row, or loaded without this column.
        rows = Member.objects.filter(pk=self.pk)
        return rows.exclude(telegram_id=self.telegram_id).exists()

    @classmethod
    def from_db(cls, db: str | None, field_names: Collection[str], values: Collection[Any]) -> Self:
        member = super().from_db(db, field_names, values)
        member._created_as = member.__dict__.get("telegram_id")
        return member

    @property
    def api_key(self) -> SealedKey | None:
        """The member's own key, sealed as in the database; None without one."""
        if not self.key_ciphertext:
            return None
        return SealedKey(
            owner=owner_of(self.telegram_id),
            provider=self.provider,
            ciphertext=self.key_ciphertext,
            fingerprint=self.key_fingerprint,
        )

    def keep_key(self, provider: str, key: str) -> None:
        """Seal a key and put it in this row; the caller saves."""
        self.keep_sealed(seal(key, owner=owner_of(self.telegram_id), provider=provider))

    def keep_sealed(self, sealed: SealedKey) -> None:
        """Put a key that was already sealed for this member in this row; the caller saves."""
        self.provider = sealed.provider
        self.key_ciphertext = sealed.ciphertext
        self.key_fingerprint = sealed.fingerprint

    def forget_key(self) -> None:
        """Remove the key from this row; the caller saves."""
        self.provider = self.key_ciphertext = self.key_fingerprint = ""


class Fact(models.Model):
    """A fact that the memory agent noted about a member, with the memory versions it is in."""

    member = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="facts")
    kind = models.CharField(max_length=20)
    text = models.CharField(max_length=200)
    run = models.ForeignKey(
        "pipeline.PipelineRun", null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    since_version = models.PositiveIntegerField()
    until_version = models.PositiveIntegerField(null=True, blank=True)  # None: still valid
    noted_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["since_version", "pk"]
        indexes = [models.Index(fields=["member", "until_version"], name="fact_that_holds")]

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


class PastedKey(models.Model):
    """A sealed key that a person pasted into their chat with the bot, until the vendor accepts it.

    It is stored in the transaction that stores the update, which itself never holds it.
    """

    update = models.OneToOneField(
        "pipeline.TelegramUpdate", on_delete=models.CASCADE, related_name="pasted_key"
    )
    telegram_id = models.BigIntegerField()
    provider = models.CharField(max_length=30)
    ciphertext = models.TextField(editable=False)
    fingerprint = models.CharField(max_length=8)

    def __str__(self) -> str:
        return f"{self.provider} key {self.fingerprint}"

    @property
    def sealed(self) -> SealedKey:
        """The key, sealed as its future owner's row will store it."""
        return SealedKey(
            owner=owner_of(self.telegram_id),
            provider=self.provider,
            ciphertext=self.ciphertext,
            fingerprint=self.fingerprint,
        )


class Invite(models.Model):
    """A link that admits the first person to open it; only its secret's hash is stored."""

    secret_sha256 = models.CharField(max_length=64, unique=True, editable=False)
    note = models.CharField(max_length=200, blank=True, help_text="For whom it is")
    created_by = models.CharField(max_length=150, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField()
    used_by = models.ForeignKey(
        Member, null=True, blank=True, editable=False, on_delete=models.SET_NULL, related_name="+"
    )
    used_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.note or f"Invite of {self.created_at:%Y-%m-%d %H:%M}"


class OperatorLink(models.Model):
    """The Telegram account of an operator, and the hash of the code that is to link one."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="telegram_link"
    )
    telegram_id = models.BigIntegerField(unique=True, null=True, blank=True)
    linked_at = models.DateTimeField(null=True, blank=True)
    code_sha256 = models.CharField(max_length=64, blank=True, default="", editable=False)
    code_expires_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        verbose_name = "Telegram link"

    def __str__(self) -> str:
        return f"Telegram link of {self.user.get_username()}"


def owner_of(telegram_id: int) -> str:
    """Return the name under which a person's key is sealed."""
    return f"telegram:{telegram_id}"

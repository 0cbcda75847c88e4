"""Who may use the bot, and on whose key."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import display
from unfold.widgets import UnfoldAdminPasswordWidget

from pipeline.admission import approve, greet, invite, link_of
from pipeline.models import Fact, Invite, Member
from pipeline.models.members import Access


class MemberForm(forms.ModelForm):
    """A member, with a field that takes a key and never shows one."""

    new_key = forms.CharField(
        label="New key",
        required=False,
        strip=True,
        max_length=500,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "off"}, render_value=False),
        help_text="Stored encrypted and never shown again. Empty: the key stays as it is.",
    )
    forget_key = forms.BooleanField(label="Forget the key", required=False)

    class Meta:
        model = Member
        fields = ["telegram_id", "name", "username", "access", "provider", "model_id"]

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        has_key = bool(cleaned.get("new_key")) or (
            bool(self.instance.key_ciphertext) and not cleaned.get("forget_key")
        )
        if has_key and not cleaned.get("provider"):
            self.add_error("provider", "Choose the provider that the key belongs to.")
        # The key is sealed for one Telegram id and one provider: neither can change under it.
        sealed_for = {"telegram_id", "provider"}
        if has_key and not cleaned.get("new_key") and sealed_for & set(self.changed_data):
            self.add_error("new_key", "Enter the key again: it was stored for the former values.")
        return cleaned


class FactInline(TabularInline):
    """What is remembered of a member: a text like those of the runs, to be read or taken out."""

    model = Fact
    fields = readonly_fields = ["kind", "text", "noted_at", "until_version"]
    extra = 0

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("pipeline.view_texts")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("pipeline.view_texts") and request.user.has_perm(
            "pipeline.change_member"
        )


@admin.register(Member)
class MemberAdmin(ModelAdmin):
    """Members: approve, block, see who pays."""

    form = MemberForm
    list_display = ["__str__", "username", "telegram_id", "access_label", "payer", "created_at"]
    list_filter = ["access", "provider"]
    search_fields = ["name", "username", "telegram_id"]
    list_per_page = 50
    show_full_result_count = False
    actions = ["approve_selected", "block"]
    readonly_fields = ["key_fingerprint"]

    @display(
        description="access",
        ordering="access",
        label={"Waiting for approval": "warning", "Approved": "success", "Blocked": "danger"},
    )
    def access_label(self, member: Member) -> str:
        return member.get_access_display()

    @display(description="pays for their runs")
    def payer(self, member: Member) -> str:
        if member.key_ciphertext:
            return f"own {member.provider} key {member.key_fingerprint}"
        return "shared key, where allowed"

    @admin.action(description="Approve the selected members", permissions=["change"])
    def approve_selected(self, request: HttpRequest, members: QuerySet[Member]) -> None:
        approved = sum(approve(member) for member in members)
        self.message_user(request, f"Approved: {approved}. The bot tells them now.")

    @admin.action(description="Block the selected members", permissions=["change"])
    def block(self, request: HttpRequest, members: QuerySet[Member]) -> None:
        self.message_user(request, f"Blocked: {members.update(access=Access.BLOCKED)}.")

    fields = [
        *("telegram_id", "name", "username", "access", "provider", "model_id"),
        *("key_fingerprint", "new_key", "forget_key"),
    ]
    inlines = [FactInline]

    def save_model(self, request: HttpRequest, obj: Member, form: Any, change: bool) -> None:
        if form.cleaned_data["forget_key"]:
            obj.forget_key()
        if form.cleaned_data["new_key"]:
            obj.keep_key(form.cleaned_data["provider"], form.cleaned_data["new_key"])
        super().save_model(request, obj, form, change)
        if change and "access" in form.changed_data and obj.access == Access.APPROVED:
            greet(obj)


@admin.register(Invite)
class InviteAdmin(ModelAdmin):
    """Invites: make a link, see who came by it, take one back."""

    list_display = ["__str__", "state", "created_by", "created_at", "expires_at", "used_by"]
    list_select_related = ["used_by"]
    fields = ["note"]

    @display(label={"Open": "info", "Used": "success", "Too old": "warning"}, description="state")
    def state(self, invited: Invite) -> str:
        if invited.used_at is not None:
            return "Used"
        return "Open" if invited.expires_at > timezone.now() else "Too old"

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Invite, form: Any, change: bool) -> None:
        made, secret = invite(obj.note, request.user.get_username(), now=timezone.now())
        obj.pk, obj.created_at = made.pk, made.created_at
        link = link_of(secret)
        way = f"{link} or, to the bot, /start {secret}" if link else f"/start {secret} to the bot"
        self.message_user(
            request,
            f"Send this to one person; it is shown only now and is good for 7 days: {way}",
        )

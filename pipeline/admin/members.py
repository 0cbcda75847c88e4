"""Admin pages for members and invites: who may use the bot, and whose key pays."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from unfold.admin import TabularInline
from unfold.decorators import display

from agents.display import ago, money
from agents.guarded_admin import Acted, GuardedModelAdmin, Question
from pipeline.admin.budgets import bars
from pipeline.admin.labels import RUN_STATUS
from pipeline.budgets.queries import of_member
from pipeline.models import Fact, Invite, Member
from pipeline.models.budgets import Scope
from pipeline.models.members import Access
from pipeline.people.admission import approve, greet, invite, link_of
from pipeline.queue.backends import add_tasks

LATEST_RUNS = 5
SEEN_WITH = {  # fields of the page that need a permission of their own
    "spending": "pipeline.view_budget",
    "limit": "pipeline.add_budget",
    "latest_runs": "pipeline.view_pipelinerun",
}


class FactInline(TabularInline):
    """The facts remembered about a member; seen only by operators who may read members' texts."""

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
class MemberAdmin(GuardedModelAdmin):
    """Members: approve, block, see who pays.

    A member is identified by their Telegram id: memory, runs and key belong to it, so it never
    changes. The key and the choice of its model are the member's own; an operator can only remove
    the key.
    """

    list_title = "Members"
    empty_title = "No members yet"
    empty_text = "People appear here when they write to the bot. An invite lets them in right away."
    list_display = ["__str__", "username", "telegram_id", "access_label", "payer", "joined"]
    list_filter = ["access", "provider"]
    search_fields = ["name", "username", "telegram_id"]
    list_per_page = 50
    show_full_result_count = False
    actions = ["approve_selected", "block"]
    fields = [
        *("telegram_id", "name", "username", "access", "provider", "model_id", "own_key"),
        *("spending", "limit", "latest_runs"),
    ]
    readonly_fields = [
        *("telegram_id", "username", "provider", "model_id", "own_key"),
        *("spending", "limit", "latest_runs"),
    ]
    also_seen = ["key_fingerprint"]
    inlines = [FactInline]

    @display(
        description="access",
        ordering="access",
        label={"Waiting for approval": "warning", "Approved": "success", "Blocked": "danger"},
    )
    def access_label(self, member: Member) -> str:
        return member.get_access_display()

    @display(description="joined", ordering="created_at")
    def joined(self, member: Member) -> str:
        return ago(member.created_at)

    @display(description="billing")
    def payer(self, member: Member) -> str:
        if member.key_ciphertext:
            return f"Member's key ({member.provider}, {member.key_fingerprint})"
        return "Team key (if allowed)"

    @display(
        description="own key", empty_value="None. Members add a key in their chat with the bot."
    )
    def own_key(self, member: Member) -> str | None:
        if not member.key_ciphertext:
            return None
        url = reverse("admin:pipeline_member_remove_key", args=[member.pk])
        return format_html(
            '{} <a href="{}" id="remove-key" class="ml-3 text-primary-600 underline">Remove</a>',
            member.key_fingerprint,
            url,
        )

    @display(description="spent by the team key", empty_value="Nothing yet")
    def spending(self, member: Member) -> str | None:
        periods = of_member(member.pk, timezone.now())
        return bars((period, str(period.budget)) for period in periods) or None

    @display(description="limit")
    def limit(self, member: Member) -> str:
        add = f"{reverse('admin:pipeline_budget_add')}?scope={Scope.MEMBER}&member={member.pk}"
        return format_html(
            '<a href="{}" class="text-primary-600 underline">Add a budget for this member</a>', add
        )

    @display(description="latest runs", empty_value="None yet")
    def latest_runs(self, member: Member) -> str | None:
        rows = member.runs.order_by("-started_at")[:LATEST_RUNS]
        return (
            format_html_join(
                "",
                '<p><a href="{}" class="text-primary-600 underline">{}</a>, {}, {}, {}</p>',
                (
                    (
                        reverse("admin:pipeline_pipelinerun_change", args=[run.pk]),
                        run,
                        RUN_STATUS[run.status],
                        money(run.cost_usd),
                        ago(run.started_at),
                    )
                    for run in rows
                ),
            )
            or None
        )

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        texts = {
            "labels": {"telegram_id": "Telegram ID"},
            "help_texts": {
                "provider": "The provider of the member's key",
                "model_id": "Empty: the provider's default model",
            },
        }
        return super().get_form(request, obj, change=change, **{**texts, **kwargs})

    def get_fields(self, request: HttpRequest, obj: Member | None = None) -> Any:
        if obj is None:
            return ["telegram_id", "name", "username", "access"]
        hidden = {name for name, needed in SEEN_WITH.items() if not request.user.has_perm(needed)}
        return [name for name in self.fields if name not in hidden]

    def get_readonly_fields(self, request: HttpRequest, obj: Member | None = None) -> Any:
        return self.readonly_fields if obj else []

    @admin.action(description="Approve selected members", permissions=["change"])
    def approve_selected(self, request: HttpRequest, members: QuerySet[Member]) -> Acted:
        approved = [member for member in members if approve(member, add_tasks)]
        said = f"Approved: {len(approved)}. The bot is sending a welcome message."
        return Acted(rows=approved, log="Approved.", then=partial(self.message_user, request, said))

    @admin.action(description="Block selected members", permissions=["change"])
    def block(self, request: HttpRequest, members: QuerySet[Member]) -> Acted:
        blocked = list(members.exclude(access=Access.BLOCKED))
        Member.objects.filter(pk__in=[member.pk for member in blocked]).update(
            access=Access.BLOCKED
        )
        said = f"Blocked: {len(blocked)}."
        return Acted(rows=blocked, log="Blocked.", then=partial(self.message_user, request, said))

    def save_model(self, request: HttpRequest, obj: Member, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if change and "access" in form.changed_data and obj.access == Access.APPROVED:
            greet(obj, add_tasks)

    # --- the key --------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        remove = path(
            "<path:object_id>/remove-key/",
            self.admin_site.admin_view(self.remove_key_view),
            name="pipeline_member_remove_key",
        )
        return [remove, *super().get_urls()]

    def remove_key_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Remove a member's key after a confirmation page."""
        found = self.get_object(request, unquote(object_id))
        if found is None:
            raise Http404("No such member.")
        rows = self.get_queryset(request).filter(pk=found.pk)

        def ask() -> Question:
            member = get_object_or_404(rows.exclude(key_ciphertext=""))
            return Question(
                title=f"Remove {member}'s key?",
                what=f"This erases the {member.provider} key {member.key_fingerprint}. It can't "
                "be undone. From the next step on, the team key pays for "
                f"{member}'s runs, if that is allowed. Only the member can add a key again, in "
                "their chat with the bot.",
                button="Remove key",
                back=reverse("admin:pipeline_member_change", args=[member.pk]),
            )

        def remove() -> Acted:
            member = rows.get()
            fingerprint = member.key_fingerprint
            member.forget_key()
            member.save(update_fields=["provider", "key_ciphertext", "key_fingerprint"])
            done = f"Key {fingerprint} removed."
            return Acted(
                rows=[member],
                log=f"Removed key {fingerprint}.",
                then=partial(self.message_user, request, done),
            )

        return self.asked_first(request, rows, ask, remove)


@admin.register(Invite)
class InviteAdmin(GuardedModelAdmin):
    """Invites: create a link, see who used it, revoke it."""

    list_title = "Invites"
    empty_title = "No invites yet"
    empty_text = "Create an invite link to let one person in without approval."
    list_display = ["__str__", "state", "created_by", "created", "expires", "used_by"]
    list_select_related = ["used_by"]
    fields = ["note"]

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        texts = {"help_texts": {"note": "Who the invite is for"}}
        return super().get_form(request, obj, change=change, **{**texts, **kwargs})

    @display(label={"Open": "info", "Used": "success", "Expired": "warning"}, description="status")
    def state(self, invited: Invite) -> str:
        if invited.used_at is not None:
            return "Used"
        return "Open" if invited.expires_at > timezone.now() else "Expired"

    @display(description="created", ordering="created_at")
    def created(self, invited: Invite) -> str:
        return ago(invited.created_at)

    @display(description="expires", ordering="expires_at")
    def expires(self, invited: Invite) -> str:
        return ago(invited.expires_at)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Invite, form: Any, change: bool) -> None:
        made, secret = invite(obj.note, request.user.get_username(), now=timezone.now())
        obj.pk, obj.created_at = made.pk, made.created_at
        link = link_of(secret)
        command = f"/start {secret}"
        way = f"{link} (or {command} in the chat with the bot)" if link else command
        self.message_user(
            request,
            f"Send this to one person. It's shown only once and works for 7 days: {way}",
        )

"""The admin page on which an operator links their own account to Telegram, and the list of links.

Every signed-in operator may link their own account, because a link grants nothing beyond the
account's permissions. Other operators' links are shown only with the permission to view them.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from unfold.decorators import display

from agents.display import ago
from agents.guarded_admin import GuardedModelAdmin
from pipeline.models import OperatorLink
from pipeline.people.admission import bot_name
from pipeline.people.operator_links import make_code, unlink

MINE = "pipeline_operatorlink_mine"


@admin.register(OperatorLink)
class OperatorLinkAdmin(GuardedModelAdmin):
    """Links of operators' accounts to Telegram: each operator makes and removes their own."""

    list_title = "Telegram links"
    empty_title = "No links yet"
    empty_text = "To link your own account, click your name at the top right, then Telegram."
    list_display = ["operator", "telegram_id", "linked"]
    list_select_related = ["user"]
    readonly_fields = ["operator", "telegram_id", "linked"]

    @display(description="operator", ordering="user__username")
    def operator(self, link: OperatorLink) -> str:
        return link.user.get_username()

    @display(description="linked", ordering="linked_at", empty_value="Not linked")
    def linked(self, link: OperatorLink) -> str | None:
        return ago(link.linked_at) if link.linked_at else None

    def get_fields(self, request: HttpRequest, obj: OperatorLink | None = None) -> Any:
        return self.readonly_fields

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        mine = path("mine/", self.admin_site.admin_view(self.mine_view), name=MINE)
        return [mine, *super().get_urls()]

    def mine_view(self, request: HttpRequest) -> HttpResponse:
        """Show whether the operator's own account is linked; make a code, or unlink it."""
        operator: Any = request.user
        code = ""
        if request.method == "POST" and "unlink" in request.POST:
            if unlink(operator.pk):
                self.message_user(request, "Unlinked from Telegram.", messages.SUCCESS)
            return redirect(f"admin:{MINE}")
        if request.method == "POST":
            code = make_code(operator.pk, now=timezone.now())
        context = {
            **self.admin_site.each_context(request),
            "title": "Telegram",
            "opts": self.model._meta,
            "link": OperatorLink.objects.filter(user=operator).exclude(telegram_id=None).first(),
            "code": code,
            "bot": bot_name(),
        }
        return TemplateResponse(request, "pipeline/my_telegram.html", context)

"""Operators, roles, failed sign-ins and the queue's jobs in the admin, in the theme's style."""

from __future__ import annotations

from typing import Any

from axes.models import AccessAttempt
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters
from unfold.admin import ModelAdmin, StackedInline
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from agents.guarded_admin import GuardedAdmin, GuardedModelAdmin

admin.site.unregister(User)
admin.site.unregister(Group)


class SuperusersOnly:
    """Lets only superusers edit accounts: an editor could grant themselves any permission."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_active and request.user.is_superuser)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_active and request.user.is_superuser)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_active and request.user.is_superuser)


@admin.register(User)
class OperatorAdmin(SuperusersOnly, GuardedAdmin, UserAdmin, ModelAdmin):
    """Operators: who may sign in to the admin, and their permissions.

    Records and logs identify operators by username, so a username cannot be changed.
    """

    list_title = "Operators"
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    not_seen = ["last_login", "password"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["username", "last_login", "date_joined"] if obj else []

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # their log entries would be deleted too: clear "active" instead

    @method_decorator(sensitive_post_parameters())
    def user_change_password(
        self,
        request: HttpRequest,
        id: str,
        form_url: str = "",
    ) -> HttpResponse:
        """Set a password and log the change, in one transaction."""
        if request.method != "POST":
            return super().user_change_password(request, id, form_url)
        with transaction.atomic():
            return super().user_change_password(request, id, form_url)


@admin.register(Group)
class RoleAdmin(SuperusersOnly, GuardedAdmin, GroupAdmin, ModelAdmin):
    """Roles: named sets of permissions."""

    list_title = "Roles"
    empty_title = "No roles yet"
    empty_text = "A role is a set of permissions that you give to operators."


@admin.register(AccessAttempt)
class FailedSignInAdmin(GuardedModelAdmin):
    """Failed sign-ins of the last 15 minutes; deleting one ends its lockout."""

    list_title = "Failed sign-ins"
    empty_title = "No failed sign-ins"
    empty_text = "Failed sign-ins of the last 15 minutes appear here. Delete one to end its wait."
    list_display = ["attempt_time", "username", "ip_address", "failures_since_start"]
    search_fields = ["username", "ip_address"]
    ordering = ["-attempt_time"]
    fields = ("username", "ip_address", "user_agent", "failures_since_start", "attempt_time")
    readonly_fields = fields
    not_seen = fields  # a failure that came in meanwhile must not block the deletion

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


if apps.is_installed("procrastinate.contrib.django"):
    from procrastinate.contrib.django.admin import ProcrastinateEventInline, ProcrastinateJobAdmin
    from procrastinate.contrib.django.models import ProcrastinateJob

    class EventInline(StackedInline, ProcrastinateEventInline):
        """The events of a queue job, in the theme's style."""

    admin.site.unregister(ProcrastinateJob)

    @admin.register(ProcrastinateJob)
    class QueueJobAdmin(GuardedAdmin, ProcrastinateJobAdmin, ModelAdmin):
        """The queue's own job table, to look at only; tasks are retried and stopped as tasks."""

        list_title = "Queue jobs"
        empty_title = "No jobs"
        empty_text = "Jobs appear here while tasks are queued."
        actions: Any = None
        inlines = [EventInline]

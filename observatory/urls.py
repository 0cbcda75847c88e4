"""URLs of the Django project; `/` redirects to the sandbox if it is on, else to the admin."""

from __future__ import annotations

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from observatory.dashboard import picker
from observatory.dashboard.views import now
from pipeline.views import webhook

admin.site.index_template = "dashboard/index.html"

urlpatterns = [
    path("admin/now/", now, name="now"),
    path("admin/now/", include(picker)),
    path("admin/", admin.site.urls),
    path(settings.WEBHOOK_PATH, webhook),
    path("", RedirectView.as_view(url="/sandbox/" if settings.SANDBOX else "/admin/")),
]

"""Every page says what it may load and run; cookies are for this host alone."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory, SimpleTestCase, TestCase, override_settings
from django.urls import reverse

from observatory.content_policy import HEADER, POLICY, ContentPolicyMiddleware
from tests.observatory.installations import PRODUCTION, load_settings


@override_settings(SECURE_SSL_REDIRECT=False)
class PolicyTests(TestCase):
    def test_every_page_has_a_policy_under_which_no_script_in_it_runs(self):
        client = Client()
        client.force_login(User.objects.create_superuser("boss"))
        for path in (reverse("admin:index"), reverse("admin:login"), "/", "/nowhere/"):
            response = client.get(path)
            with self.subTest(path):
                assert response[HEADER] == POLICY

        assert "'unsafe-inline'" not in POLICY.partition("script-src")[2].partition(";")[0]
        assert "http" not in POLICY

    def test_the_policy_of_a_view_stays(self):
        def view(request: HttpRequest) -> HttpResponse:
            return HttpResponse(headers={HEADER: "default-src 'none'"})

        response = ContentPolicyMiddleware(view)(RequestFactory().get("/"))

        assert response[HEADER] == "default-src 'none'"


class CookieTests(SimpleTestCase):
    def test_in_production_cookies_are_bound_to_this_host_and_to_tls(self):
        settings = load_settings(PRODUCTION)

        for cookie in ("SESSION", "CSRF"):
            with self.subTest(cookie):
                assert settings[f"{cookie}_COOKIE_NAME"].startswith("__Host-")
                assert settings[f"{cookie}_COOKIE_SECURE"] is True
                assert settings[f"{cookie}_COOKIE_HTTPONLY"] is True
                assert settings.get(f"{cookie}_COOKIE_DOMAIN") is None
                assert settings.get(f"{cookie}_COOKIE_PATH", "/") == "/"

    def test_on_ones_own_machine_they_work_without_tls(self):
        settings = load_settings({"DJANGO_DEBUG": "true"})

        assert "SESSION_COOKIE_NAME" not in settings
        assert settings["SESSION_COOKIE_SECURE"] is False


@override_settings(SECURE_SSL_REDIRECT=False)
class MessageTests(TestCase):
    def test_a_message_with_an_invites_link_is_in_no_cookie(self):
        client = Client()
        client.force_login(User.objects.create_superuser("boss"))

        response = client.post(reverse("admin:pipeline_invite_add"), {"note": "Dana"})

        assert response.status_code == 302
        assert "messages" not in response.cookies
        page = client.get(reverse("admin:pipeline_invite_changelist")).content.decode()
        assert "It&#x27;s shown only once" in page

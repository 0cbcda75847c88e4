"""Sign-in: only who guesses waits, and no header moves an attempt to another address."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import time_machine
from axes.models import AccessAttempt, AccessLog
from django.contrib.auth.models import User
from django.test import (
    AsyncClient,
    Client,
    RequestFactory,
    SimpleTestCase,
    TestCase,
    override_settings,
)
from django.urls import reverse

from observatory.sign_in import CLEANED_AT_ONCE, address_of
from tests.canaries import canary
from tests.forms import send

LOGIN = reverse("admin:login")
HOME = reverse("admin:index")
RIGHT = canary("correct-horse-battery-CANARY-password")
WRONG = canary("a-guessed-CANARY-password-0001")
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HERE, ELSEWHERE, PROXY = "192.0.2.1", "192.0.2.2", "10.0.0.7"
LIMIT = 5


@override_settings(SECURE_SSL_REDIRECT=False)
class SignInCase(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        User.objects.create_superuser("olga", password=RIGHT)
        User.objects.create_superuser("pete", password=RIGHT)

    def attempt(self, password: str, name: str = "olga", at: str = HERE, **headers: str) -> Any:
        """Try to sign in as somebody new to the site would."""
        form = {"username": name, "password": password}
        return Client().post(LOGIN, form, REMOTE_ADDR=at, **headers)  # type: ignore[arg-type]

    def guess(self, times: int, name: str = "olga", at: str = HERE, **headers: str) -> list[int]:
        return [self.attempt(WRONG, name, at, **headers).status_code for _ in range(times)]


class LockTests(SignInCase):
    def test_the_fifth_failure_and_all_that_follow_have_to_wait(self):
        assert self.guess(LIMIT) == [200, 200, 200, 200, 429]

        response = self.attempt(RIGHT)

        assert response.status_code == 429
        assert "sessionid" not in response.cookies

    def test_nobody_else_waits_and_the_owner_comes_in_from_elsewhere(self):
        self.guess(LIMIT)

        assert self.attempt(RIGHT, at=ELSEWHERE).status_code == 302
        assert self.attempt(RIGHT, name="pete").status_code == 302

    def test_the_wait_ends_after_a_quarter_of_an_hour_however_often_one_knocks(self):
        with time_machine.travel(NOON, tick=False) as clock:
            self.guess(LIMIT)
            for _ in range(3):
                clock.shift(timedelta(minutes=4, seconds=59))
                assert self.attempt(RIGHT).status_code == 429
            clock.shift(timedelta(seconds=4))

            assert self.attempt(RIGHT).status_code == 302

    def test_a_success_begins_the_count_anew(self):
        self.guess(LIMIT - 1)
        self.attempt(RIGHT)

        assert self.guess(LIMIT - 1) == [200] * (LIMIT - 1)

    def test_another_browser_is_no_new_beginning(self):
        statuses = [
            self.attempt(WRONG, HTTP_USER_AGENT=f"browser {number}").status_code
            for number in range(LIMIT)
        ]

        assert statuses[-1] == 429

    def test_a_name_that_nobody_has_is_treated_alike_and_may_be_of_any_length(self):
        for name in ("nobody", "x" * 10_000, "ünï\u202ecode"):
            with self.subTest(name[:10]):
                assert self.guess(LIMIT, name)[-1] == 429

    async def test_it_holds_under_an_asynchronous_server_too(self):
        client = AsyncClient()
        form = {"username": "olga", "password": WRONG}

        responses = [await client.post(LOGIN, form) for _ in range(LIMIT)]

        assert [response.status_code for response in responses] == [200, 200, 200, 200, 429]
        assert "Try again at" in responses[-1].content.decode()


class PageTests(SignInCase):
    def test_it_says_when_to_try_again_and_not_whether_there_is_such_a_person(self):
        pages = []
        with time_machine.travel(NOON, tick=False) as clock:
            for name in ("olga", "nobody"):
                self.guess(LIMIT, name)
            clock.shift(timedelta(minutes=4))
            for name in ("olga", "nobody"):
                response = self.attempt(RIGHT, name)
                assert response["Retry-After"] == "660"
                pages.append(response.content.decode())

        assert "12:15 UTC" in pages[0]
        assert "in 11 minutes" in pages[0]
        assert pages[0] == pages[1]

    def test_the_name_that_was_tried_is_not_on_it(self):
        response = [self.attempt(WRONG, "<b>olga</b>") for _ in range(LIMIT)][-1]

        assert "olga" not in response.content.decode()


class KeptTests(SignInCase):
    def test_no_password_and_no_name_is_in_the_log_and_no_password_in_the_rows(self):
        with self.assertLogs("axes", logging.DEBUG) as said:
            self.guess(LIMIT, "olga")
            self.attempt(RIGHT)

        rows = str(list(AccessAttempt.objects.values()))
        assert "olga" not in str(said.output)
        assert HERE in str(said.output)
        for secret in (WRONG, RIGHT):
            assert secret not in str(said.output)
            assert secret not in rows

    def test_nothing_is_kept_of_who_signed_in(self):
        self.attempt(RIGHT)

        assert not AccessLog.objects.exists()
        assert not AccessAttempt.objects.exists()

    def test_what_counts_no_more_is_deleted_some_at_a_time(self):
        many = CLEANED_AT_ONCE + 7
        with time_machine.travel(NOON):
            AccessAttempt.objects.bulk_create(
                AccessAttempt(username=f"name {n}", ip_address=HERE, failures_since_start=1)
                for n in range(many)
            )
        left = []
        for minutes in (16, 17):
            with time_machine.travel(NOON + timedelta(minutes=minutes)):
                self.guess(1)
                left.append(AccessAttempt.objects.exclude(username="olga").count())

        assert left == [7, 0]

    def test_who_may_see_failed_sign_ins_may_end_a_wait(self):
        self.guess(LIMIT)
        boss = Client()
        boss.force_login(User.objects.get(username="pete"))
        row = AccessAttempt.objects.get()

        listed = boss.get(reverse("admin:axes_accessattempt_changelist")).content.decode()
        shown = boss.get(reverse("admin:axes_accessattempt_change", args=[row.pk]))
        send(boss, reverse("admin:axes_accessattempt_delete", args=[row.pk]), {"post": "yes"})

        assert HERE in listed
        assert shown.status_code == 200
        assert self.attempt(RIGHT).status_code == 302


@override_settings(TRUSTED_PROXIES=[ip_network(PROXY), ip_network("10.1.0.0/16")])
class AddressTests(SimpleTestCase):
    def test_only_what_a_trusted_proxy_wrote_is_believed(self):
        table = [
            # peer, X-Forwarded-For, where it comes from
            (HERE, None, HERE),
            (HERE, ELSEWHERE, HERE),
            (PROXY, None, PROXY),
            (PROXY, "", PROXY),
            (PROXY, HERE, HERE),
            (PROXY, f"{ELSEWHERE}, {HERE}", HERE),
            (PROXY, f"{ELSEWHERE},{HERE}, 10.1.2.3", HERE),
            (PROXY, f"{PROXY}, {HERE}", HERE),
            (PROXY, f"{HERE}, nonsense", PROXY),
            (PROXY, f"{HERE}, unknown, 10.1.2.3", "10.1.2.3"),
            (PROXY, "10.1.0.1, 10.1.0.2", "10.1.0.1"),
            (PROXY, f"{HERE}:51234", HERE),
            (PROXY, "[2001:db8:1:2:3::4]:443", "2001:db8:1:2::"),
            ("::ffff:10.0.0.7", f"::ffff:{HERE}", HERE),
            ("2001:db8:1:2:aaaa::1", None, "2001:db8:1:2::"),
            ("2001:db8:1:2:bbbb::2", HERE, "2001:db8:1:2::"),
            ("", HERE, None),
            ("testclient", HERE, None),
        ]
        for peer, forwarded, expected in table:
            headers = {} if forwarded is None else {"HTTP_X_FORWARDED_FOR": forwarded}
            request = RequestFactory().get("/", REMOTE_ADDR=peer, **headers)  # type: ignore[arg-type]
            with self.subTest(f"{peer}: {forwarded}"):
                assert address_of(request) == expected

    def test_no_other_header_is_asked(self):
        names = ("X_REAL_IP", "FORWARDED", "CLIENT_IP", "X_CLIENT_IP", "CF_CONNECTING_IP", "VIA")
        said: dict[str, Any] = {f"HTTP_{name}": f"for={HERE}" for name in names}

        assert address_of(RequestFactory().get("/", REMOTE_ADDR=PROXY, **said)) == PROXY

    def test_without_a_trusted_proxy_nobody_is_believed(self):
        request = RequestFactory().get("/", REMOTE_ADDR=PROXY, HTTP_X_FORWARDED_FOR=HERE)

        with override_settings(TRUSTED_PROXIES=[]):
            assert address_of(request) == PROXY


@override_settings(TRUSTED_PROXIES=[ip_network(PROXY)])
class ProxyTests(SignInCase):
    def test_people_behind_one_proxy_are_told_apart(self):
        self.guess(LIMIT, at=PROXY, HTTP_X_FORWARDED_FOR=HERE)

        assert self.guess(1, at=PROXY, HTTP_X_FORWARDED_FOR=HERE) == [429]
        assert self.guess(1, at=PROXY, HTTP_X_FORWARDED_FOR=ELSEWHERE) == [200]

    def test_a_client_does_not_escape_by_what_it_says_of_itself(self):
        statuses = [
            self.guess(1, at=PROXY, HTTP_X_FORWARDED_FOR=f"198.51.100.{number}, {HERE}")[0]
            for number in range(LIMIT)
        ]
        direct = [
            self.guess(1, at=ELSEWHERE, HTTP_X_FORWARDED_FOR=f"198.51.100.{number}")[0]
            for number in range(LIMIT)
        ]

        assert statuses[-1] == direct[-1] == 429

"""An address gets a page, a redirect or a refusal, whatever it holds, and never an error page."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client, TransactionTestCase, override_settings
from django.urls import reverse

from observatory.addresses import MAX_QUERY_LENGTH
from tests.observatory.admin_rows import rows_with_texts
from tests.observatory.role_case import PAGES
from tests.proving import amount, closing_line

HUGE = "9" * 30
# Percent-encoded where a browser could not send it otherwise.
VALUES = (
    *("", "%00", "a%00b", "%ED%A0%80", "%ff%fe", "%F0%9F%92%A9", "%0d%0a", "%25", "%27%22"),
    *(
        HUGE,
        f"-{HUGE}",
        str(2**63),
        str(-(2**63) - 1),
        str(2**31),
        "9" * 5000,
        "1e400",
        "nan",
        "-1",
    ),
    *(
        "0x10",
        "1_000",
        "%D9%A3",
        "inf",
        "true",
        "None",
        "null",
        "a" * 100_000,
        "a+" * 3000,
        "a+b" * 60,
    ),
    *("not-a-uuid", "00000000-0000-0000-0000-00000000000g", "0" * 31, "g" * 32),
    *(
        "2026-02-30",
        "0000-00-00",
        "9999-12-31",
        "9999-12-31T23:59:59%2B14:00",
        "0001-01-01",
        "24:61",
    ),
    *("%5B", "(((((a*)*)*)*)*)", "%5C", "*", "1,2,3", ",", "1,abc", "__", "id__in", "../../etc"),
)
LOOKUPS = (
    *("", "__exact", "__in", "__gte", "__lt", "__range", "__isnull", "__icontains", "__regex"),
    *("__year", "__date", "__pk", "__id__exact", "__nonsense", "_from", "_to"),
)
OF_EVERY_LIST = (
    *("q", "p", "o", "all", "e", "_to_field", "_popup", "_facets", "_changelist_filters"),
    *("pk", "pk__in", "id", "id__gte", "action", "x" * 300),
)
OTHER_PAGES = {
    "now": ("seen",),
    "models": ("search", "agent_name"),
    "cost": ("agent_name", "model_id"),
    "admin:index": ("range", "by"),
    "admin:login": ("next",),
    "admin:autocomplete": ("term", "page", "app_label", "model_name", "field_name"),
    "admin:jsi18n": ("language",),
    "admin:agents_agentmodelconfig_of": ("agent_name",),
    "admin:agents_agentmodelconfig_remove": ("agent_name",),
    "admin:agents_agentmodelconfig_history_of": ("agent_name",),
    "admin:agents_agentmodelconfig_stop_all": ("agent_name",),
}


def of_lists() -> Iterator[tuple[str, str]]:
    """Yield each list's address with each parameter it may look at and columns it hides."""
    for model, model_admin in admin.site._registry.items():
        url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        own = [field.name for field in model._meta.get_fields()]
        filters = [one for one in model_admin.list_filter if isinstance(one, type)]
        own += [getattr(one, "parameter_name", "") or "x" for one in filters]
        for name in [*OF_EVERY_LIST, *(name + lookup for name in own for lookup in LOOKUPS)]:
            yield url, name
        if model_admin.has_add_permission is not None:
            add = url + "add/"
            for field in model._meta.get_fields():
                yield add, field.name


def of_objects() -> Iterator[str]:
    """Yield each address that has an id in it, with a mark where the id belongs."""
    for page in PAGES:
        for arguments in (["HERE"], ["HERE", 1]):
            try:
                yield reverse(f"admin:{page}", args=arguments)
            except Exception:  # noqa: BLE001 - it has another number of ids
                continue
    yield "/admin/r/HERE/1/"
    yield "/admin/r/1/HERE/"
    yield reverse("admin:pipeline_pipelinerun_export", args=["HERE"])
    yield "/admin/HERE/"
    yield "/admin/pipeline/HERE/"


def addresses() -> list[str]:
    found = [f"{url}?{quote(name)}={value}" for url, name in of_lists() for value in VALUES]
    found += [
        f"{reverse(page)}?{name}={value}"
        for page, names in OTHER_PAGES.items()
        for name in names
        for value in VALUES
    ]
    ids = [value for value in VALUES if value and value != ","]
    found += [url.replace("HERE", value) for url in of_objects() for value in ids]
    exports = [reverse("admin:pipeline_pipelinerun_export", args=[one]) for one in ("csv", "texts")]
    found += [
        f"{url}?{name}={value}"
        for url in exports
        for name in ("q", "member", "cost_usd_from")
        for value in VALUES
    ]
    return found


# Tried in each run of the suite: of each way in which an address once ended in an error page, one.
ALWAYS = (
    "/admin/pipeline/member/?q=%00",
    "/admin/pipeline/member/?access__exact=%00",
    f"/admin/pipeline/member/?telegram_id={HUGE}",
    f"/admin/pipeline/member/?telegram_id__in={HUGE}",
    f"/admin/pipeline/member/?telegram_id__range=1,{HUGE}",
    f"/admin/pipeline/member/?pk__in={HUGE}",
    f"/admin/pipeline/member/{HUGE}/change/",
    f"/admin/pipeline/task/{HUGE}/change/",
    f"/admin/auth/user/{HUGE}/password/",
    "/admin/pipeline/member/%00/change/",
    "/admin/pipeline/pipelinerun/%00/change/",
    f"/admin/pipeline/pipelinerun/{HUGE}/change/",
    "/admin/now/models/?search=%00",
    "/admin/now/cost/?agent_name=a%00&model_id=a/b",
    "/admin/agents/agentmodelconfig/?model_id__regex=%5B",
    "/admin/pipeline/member/?name__range=a",
    "/admin/pipeline/member/?pk__range=1",
    f"/admin/r/{HUGE}/1/",
)


@override_settings(SECURE_SSL_REDIRECT=False)
class AddressTests(TransactionTestCase):
    """These use no single transaction, as an error of PostgreSQL would spoil later addresses."""

    rows: dict[str, Any]

    def setUp(self) -> None:
        self.rows = rows_with_texts()
        self.browser = Client(raise_request_exception=False)
        self.browser.force_login(User.objects.create_superuser("root"))

    def test_no_address_of_the_admin_ends_in_an_error_page(self):
        every = addresses()
        some = random.Random(14).sample(every, amount(100, proving=min(6_000, len(every))))

        failed = [
            (address[:120], status)
            for address in (*ALWAYS, *some)
            if (status := self.browser.get(address).status_code) >= 500
        ]

        assert len(every) > 10_000
        assert failed == []
        closing_line(f"admin: {len(some)} of {len(every)} addresses, errors=0")

    def test_a_refused_address_says_what_is_wrong_with_it(self):
        table = {
            "/admin/pipeline/member/?q=%00": "a NUL character",
            "/admin/pipeline/member/%00/change/": "a NUL character",
            "/admin/?" + urlencode({"range": "x" * MAX_QUERY_LENGTH}): "longer than 8,000",
            "/admin/" + "x" * 3000: "longer than 2,000",
        }
        for address, said in table.items():
            answer = self.browser.get(address)
            with self.subTest(address[:60]):
                assert answer.status_code == 400
                assert said in answer.content.decode()
                assert answer["Content-Type"].startswith("text/plain")

    def test_an_address_filters_by_what_the_list_shows_and_by_nothing_else(self):
        table = {
            "pipeline/member/?access__exact=approved": 200,
            "pipeline/member/?telegram_id__gte=1": 200,
            "pipeline/member/?key_ciphertext__startswith=g": 400,
            "pipeline/member/?forgotten_usd__gte=1": 400,
            "pipeline/member/?name__regex=(a*)*b": 400,
            "pipeline/pipelinerun/?answer_id=1": 400,
            "auth/user/?password__startswith=p": 400,
            "auth/user/?groups__id__exact=1": 200,
            "axes/accessattempt/?post_data__contains=pass": 400,
            "agents/agentmodelconfig/?set_by=olga": 200,
        }
        for address, status in table.items():
            with self.subTest(address):
                assert self.browser.get(f"/admin/{address}").status_code == status

    def test_a_form_with_a_nul_is_refused_by_its_field(self):
        answer = self.browser.post(reverse("admin:pipeline_playbookpage_add"), {"title": "a\x00b"})

        assert answer.status_code == 200
        assert "Null characters are not allowed." in answer.content.decode()
        sample = {"agent_name": "trainer", "model_id": "a/b\x00", "sample": "\x00"}
        assert "Can&#x27;t try it" in self.browser.post(reverse("try"), sample).content.decode()

"""Stored scripts in every field that people or models fill run on no page of the admin."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.test import Client, LiveServerTestCase, override_settings
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import BrowserContext, Page, sync_playwright

from agents.models import AgentModelConfig, CatalogModel
from observatory.content_policy import HEADER, POLICY
from pipeline.models import (
    CasebookEntry,
    Fact,
    Invite,
    Lesson,
    LLMCall,
    Member,
    OutgoingMessage,
    PipelineRun,
    PlaybookPage,
    Scenario,
    StepRun,
    Task,
    TelegramUpdate,
    TextBlob,
    Track,
)
from tests.browser.conftest import CHROMIUM_ARGUMENTS
from tests.browser.payloads import FOREIGN, PAYLOADS
from tests.browser.watching import Watch
from tests.conftest import CHROMIUM_NAMES
from tests.observatory.role_case import make_roles

pytestmark = pytest.mark.browser

ALL = "\n".join(PAYLOADS)
LISTS = [
    "agents_agentmodelconfig",
    "auth_group",
    "auth_user",
    "axes_accessattempt",
    "pipeline_casebookentry",
    "pipeline_invite",
    "pipeline_member",
    "pipeline_pipelinerun",
    "pipeline_playbookpage",
    "pipeline_scenario",
    "pipeline_task",
    "pipeline_track",
]
DELETED = [name for name in LISTS if name.split("_")[1] in {"invite", "member", "scenario"}]
DELETED += ["pipeline_casebookentry", "pipeline_playbookpage", "pipeline_track", "auth_group"]
FORMS_OF_EACH = 5  # of overrides and members; a track's form has a field for each payload


@override_settings(OPENROUTER_API_KEY="not-a-key-but-one-is-set", WHITENOISE_MAX_AGE=600)
class HostileTextTests(LiveServerTestCase):
    """The rows are written before the browser starts, whose event loop the ORM would refuse."""

    static_handler = staticmethod(lambda application: application)  # the product's own middleware

    def test_no_page_of_the_admin_lets_any_of_them_do_anything(self):
        addresses = [reverse("admin:index"), *_written()]
        session = self._session()

        with self._window(session) as (window, watch):
            page = window.new_page()
            for address in addresses:
                self._open(page, address, watch)
            for name in DELETED:
                self._act_on_all(page, name, "delete_selected", watch)
            self._act_on_all(page, "agents_agentmodelconfig", "deactivate", watch)

        assert watch.seen == []
        assert len(watch.pages) == len(addresses) + len(DELETED) + 1

    def test_what_a_visitor_sends_along_does_nothing_either(self):
        session = self._session()
        searched = [reverse(f"admin:{name}_changelist") for name in LISTS if "group" not in name]

        with self._window(session) as (window, watch):
            page = window.new_page()
            for address in [*searched[:3], "/nowhere/"]:
                asked = "&".join(f"q={_quoted(text)}" for text in PAYLOADS[:40])
                page.goto(f"{self.live_server_url}{address}?{asked}")
                watch.look_at(page)
            window.clear_cookies()
            for payload in ("javascript:window.xss=1", f"{FOREIGN}/xss", '"><img data-p src=x>'):
                self._sign_in(page, payload, watch)

        own = [seen for seen in watch.seen if "404 (Not Found)" not in seen]
        assert own == []

    def test_the_watch_sees_each_way_in_which_a_page_can_fail(self):
        session = self._session()
        bodies = [
            ("<script>window.xss=1</script>", "a script ran"),
            ("<img src=/x onerror=\"alert('xss')\">", "dialog: xss"),
            (f"<img src={FOREIGN}/xss.png>", f"request: {FOREIGN}/xss.png"),
            ("<p data-p>", "an element: <p data-p"),
            ("<p x-init='window.xss=1'>", "an expression: x-init=window.xss=1"),
            ("<a href=' JavaScript:1'>", "an address: href= JavaScript:1"),
        ]
        with self._window(session) as (window, watch):
            for number, (body, words) in enumerate(bodies):
                watch.seen.clear()
                self._serve(window, f"/control{number}", body)
                self._open(window.new_page(), f"/control{number}", watch)
                with self.subTest(body):
                    assert any(words in seen for seen in watch.seen)
                    assert any("no policy" in seen for seen in watch.seen)

    def test_the_policy_stops_what_got_into_a_page_after_all(self):
        bodies = ["<script>window.xss=1</script>", "<img src=/x onerror='window.xss=1'>"]
        with self._window(self._session()) as (window, watch):
            for number, body in enumerate(bodies):
                watch.seen.clear()
                self._serve(window, f"/control{number}", body, {HEADER.lower(): POLICY})
                page = window.new_page()
                self._open(page, f"/control{number}", watch)
                with self.subTest(body):
                    assert page.evaluate("window.xss === undefined")
                    assert any("Content Security Policy" in seen for seen in watch.seen)

    # --- the browser ------------------------------------------------------------------------------

    def _session(self) -> str:
        """Return the session of an operator who may do everything."""
        client = Client()
        client.force_login(
            User.objects.get_or_create(username="boss", is_superuser=True, is_staff=True)[0]
        )
        return client.cookies[settings.SESSION_COOKIE_NAME].value

    @contextmanager
    def _window(self, session: str) -> Iterator[tuple[BrowserContext, Watch]]:
        executable = next(path for name in CHROMIUM_NAMES if (path := shutil.which(name)))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=executable, args=CHROMIUM_ARGUMENTS
            )
            window = browser.new_context()
            window.set_default_timeout(20_000)
            window.add_cookies(
                [
                    {
                        "name": settings.SESSION_COOKIE_NAME,
                        "value": session,
                        "url": self.live_server_url,
                    }
                ]
            )
            yield window, Watch(window, self.live_server_url)
            browser.close()

    def _open(self, page: Page, address: str, watch: Watch) -> None:
        response = page.goto(f"{self.live_server_url}{address}")
        assert response is not None
        assert response.status == 200, f"{response.status} {address}"
        watch.look_at(page)

    def _act_on_all(self, page: Page, name: str, action: str, watch: Watch) -> None:
        """Tick every row of a list, choose an action and go on, as the page's own form does."""
        page.goto(f"{self.live_server_url}{reverse(f'admin:{name}_changelist')}")
        with page.expect_navigation():
            page.evaluate(
                """action => {
                  for (const box of document.querySelectorAll('input.action-select')) box.checked = true;
                  const form = document.getElementById('changelist-form');
                  const choice = document.createElement('input');
                  Object.assign(choice, {type: 'hidden', name: 'action', value: action});
                  form.querySelectorAll('[name=action]').forEach(other => other.remove());
                  form.append(choice);
                  form.submit();
                }""",  # noqa: E501
                action,
            )
        watch.look_at(page)
        assert PAYLOADS[0] in page.inner_text("body"), f"{name}: {action}"

    def _sign_in(self, page: Page, payload: str, watch: Watch) -> None:
        page.goto(f"{self.live_server_url}{reverse('admin:login')}?next={_quoted(payload)}")
        watch.look_at(page)
        page.fill("input[name=username]", payload)
        page.fill("input[name=password]", payload)
        with page.expect_navigation():
            page.locator("button[type=submit]").click()
        watch.look_at(page)

    @staticmethod
    def _serve(
        window: BrowserContext, path: str, body: str, headers: dict[str, str] | None = None
    ) -> None:
        window.route(
            f"**{path}",
            lambda route: route.fulfill(body=body, content_type="text/html", headers=headers),
        )


# --- the rows -------------------------------------------------------------------------------------


def _written() -> list[str]:
    """Write payloads into every field that is shown, and return the addresses that show them."""
    make_roles()
    now = timezone.now()
    track = Track.objects.create(title=PAYLOADS[0], summary=PAYLOADS[1])
    written: dict[str, list[Any]] = {
        "agents_agentmodelconfig": _overrides(),
        "pipeline_member": _members(now),
        "pipeline_task": [_task(now)],
        "pipeline_pipelinerun": [_run(now)],
        "pipeline_casebookentry": _each(
            CasebookEntry,
            lambda text: {"title": text, "text": ALL, "member": Member.objects.first()},
        ),
        "pipeline_scenario": _each(
            Scenario, lambda text: {"title": text, "text": ALL, "good_answer": ALL}
        ),
        "pipeline_playbookpage": _each(PlaybookPage, lambda text: {"title": text, "text": ALL}),
        "pipeline_track": [track],
    }
    Lesson.objects.bulk_create(
        Lesson(track=track, level=n + 1, title=text, text=text, task=text, good_answer=text)
        for n, text in enumerate(PAYLOADS)
    )
    _each(Track, lambda text: {"title": f"{text} ", "summary": text})
    _each(
        Invite,
        lambda text: {
            "note": text,
            "created_by": text,
            "secret_sha256": f"{PAYLOADS.index(text):064}",
            "expires_at": now + timedelta(days=1),
        },
    )
    _each(Group, lambda text: {"name": text})
    _each(
        User, lambda text: {"username": text, "first_name": text, "last_name": text, "email": text}
    )
    _each(
        AccessAttempt,
        lambda text: {"username": text, "user_agent": text, "failures_since_start": 1},
    )
    _catalogue(now)
    _log(written)
    return [*_list_addresses(), *_page_addresses(written)]


def _list_addresses() -> Iterator[str]:
    for name in LISTS:
        show_all = "?show=all" if name == "pipeline_task" else ""
        yield reverse(f"admin:{name}_changelist") + show_all


def _page_addresses(written: dict[str, list[Any]]) -> Iterator[str]:
    for name, rows in written.items():
        shown = rows if name.endswith(("_member", "_agentmodelconfig")) else rows[:1]
        for row in shown[:FORMS_OF_EACH]:
            yield reverse(f"admin:{name}_change", args=[row.pk])
        yield reverse(f"admin:{name}_history", args=[rows[0].pk])
    for name in ("agents_agentmodelconfig", "pipeline_invite", "pipeline_member", "auth_user"):
        yield reverse(f"admin:{name}_add")
    user = User.objects.get(username=PAYLOADS[0])
    yield reverse("admin:auth_user_change", args=[user.pk])
    yield reverse("admin:pipeline_member_delete", args=[written["pipeline_member"][0].pk])
    yield reverse("admin:index")
    yield reverse("admin:agents_agentmodelconfig_stop_all")
    for row in written["agents_agentmodelconfig"][:FORMS_OF_EACH]:
        yield (
            f"{reverse('admin:agents_agentmodelconfig_remove')}?agent_name={quote(row.agent_name)}"
        )
        yield f"{reverse('cost')}?agent_name={quote(row.agent_name)}&model_id={quote(row.model_id)}"
    for text in PAYLOADS[::12]:
        yield f"{reverse('models')}?search={quote(text[:40])}"
    yield reverse("models")
    yield reverse("admin:axes_accessattempt_change", args=[AccessAttempt.objects.latest("pk").pk])


def _joined(index: int, length: int) -> str:
    """Return payloads from this one on, as many as fit."""
    text = ""
    for step in range(len(PAYLOADS)):
        following = PAYLOADS[(index + step) % len(PAYLOADS)]
        if len(text) + 1 + len(following) > length:
            break
        text = f"{text} {following}".strip()
    return text


def _each(model: type[models.Model], fields: Callable[[str], dict[str, Any]]) -> list[Any]:
    rows = [model(**fields(text)) for text in PAYLOADS]
    return list(_bare(model).bulk_create(rows))


def _bare(model: type[models.Model]) -> Any:
    """Return a table without its repository and its validators, as SQL would write it."""
    return models.QuerySet(model)


def _overrides() -> list[Any]:
    """Write an override for each payload; the first carry as many as fit, history has all."""
    step = len(PAYLOADS) // FORMS_OF_EACH + 1
    rows = [
        AgentModelConfig(
            agent_name=text,
            model_id=_joined(n * step, 200) if n < FORMS_OF_EACH else text,
            set_by=_joined(n * step + 3, 150) if n < FORMS_OF_EACH else text,
            version=n,
        )
        for n, text in enumerate(PAYLOADS)
    ]
    written = list(_bare(AgentModelConfig).bulk_create(rows))
    history: Any = AgentModelConfig.history.model
    history.objects.bulk_create(
        history(
            id=written[0].pk,
            agent_name=text,
            model_id=text,
            set_by=text,
            version=n,
            history_date=timezone.now(),
            history_type="~",
            created_at=timezone.now(),
            updated_at=timezone.now(),
        )
        for n, text in enumerate(PAYLOADS)
    )
    return written


def _catalogue(now: Any) -> None:
    """Write what a hostile list of models would leave, had it got past what is checked."""
    _bare(CatalogModel).bulk_create(
        CatalogModel(
            model_id=f"{text[:150]}{n}",
            name=text[:200],
            alias_target=text[:200],
            input_modalities=[text],
            supported_parameters=[text],
            first_seen_at=now,
            last_seen_at=now,
        )
        for n, text in enumerate(PAYLOADS)
    )


def _members(now: Any) -> list[Any]:
    step = len(PAYLOADS) // FORMS_OF_EACH + 1
    rows = [
        Member(
            telegram_id=n + 1,
            name=_joined(n * step, 200) if n < FORMS_OF_EACH else text,
            username=text,
            model_id=_joined(n * step + 3, 200) if n < FORMS_OF_EACH else text,
            created_at=now,
        )
        for n, text in enumerate(PAYLOADS)
    ]
    written = list(Member.objects.bulk_create(rows))
    Fact.objects.bulk_create(
        Fact(member=written[0], kind=text[:20], text=text, since_version=1) for text in PAYLOADS
    )
    return written


def _task(now: Any) -> Task:
    """Write given-up tasks whose members, errors and updates are payloads; return one with all."""
    for n, text in enumerate(PAYLOADS):
        update = TelegramUpdate.objects.create(
            bot_id=7,
            update_id=n,
            kind=text[:60],
            chat_id=n + 1,
            user_id=n + 1,
            raw=json.dumps({"message": {"text": text, "caption": text}}),
        )
        task = Task.objects.create(
            kind="message", update=update, status="dead", error=text, worker=text, ended_at=now
        )
    update.raw = json.dumps({"message": {"text": ALL, "from": {"first_name": ALL}}})
    update.save()
    Task.objects.filter(pk=task.pk).update(error=ALL)
    for number, text in enumerate(PAYLOADS):
        OutgoingMessage.objects.create(update=update, number=number, text=text, status="sent")
    return task


def _run(now: Any) -> PipelineRun:
    """Write runs of members with payloads as names; return one whose every text is one."""
    texts = [
        TextBlob.objects.create(sha256=f"{n:064}", text=text)
        for n, text in enumerate([*PAYLOADS, ALL])
    ]
    common = {"pipeline": "support", "source": "telegram", "started_at": now}
    PipelineRun.objects.bulk_create(
        PipelineRun(member=member, **common) for member in Member.objects.all()[:40]
    )
    run = PipelineRun.objects.create(
        **{**common, "pipeline": PAYLOADS[0]},
        member=Member.objects.first(),
        user_message=texts[-1],
        answer=texts[-1],
    )
    for n, text in enumerate(PAYLOADS):
        step = StepRun.objects.create(
            run=run,
            position=n,
            agent=text,
            mode="seq",
            status="failed",
            decision=text,
            error=text,
            member_line=text,
            requested_model=text,
            payer="shared",
            output=texts[n],
            started_at=now,
        )
        LLMCall.objects.create(
            step=step,
            number=1,
            provider="openrouter",
            requested_model=text,
            served_model=text,
            payer="shared",
            key_fingerprint="<b>xss",
            system_prompt=texts[n],
            user_message=texts[n],
            output=texts[n],
            finish_reason=text[:40],
            error=text,
            started_at=now,
        )
    return run


def _log(written: dict[str, list[Any]]) -> None:
    """Write the admin's log of changes, with names of objects for history pages and the index."""
    boss = User.objects.get_or_create(username="boss", is_superuser=True, is_staff=True)[0]
    for rows in written.values():
        kind = ContentType.objects.get_for_model(rows[0])
        LogEntry.objects.bulk_create(
            LogEntry(
                user=boss,
                content_type=kind,
                object_id=str(rows[0].pk),
                object_repr=text,
                action_flag=CHANGE,
                change_message=json.dumps(
                    [{"changed": {"name": text, "object": text, "fields": [text]}}]
                ),
            )
            for text in PAYLOADS
        )


def _quoted(text: str) -> str:
    return quote(text, safe="")

"""The operator's pages of runs and members: who may see what, and nothing that runs."""

from __future__ import annotations

from decimal import Decimal
from hashlib import sha256
from uuid import UUID, uuid4

from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import transaction
from django.test import Client, TestCase, override_settings
from django.urls import reverse
from django.utils import timezone

from pipeline.budgets.queries import of_member
from pipeline.budgets.upkeep import count_uncounted
from pipeline.models import (
    Budget,
    Fact,
    Invite,
    LLMCall,
    Member,
    PipelineRun,
    Poller,
    StepRun,
    Task,
    TelegramUpdate,
    TextBlob,
)
from pipeline.models.budgets import Interval, Scope
from pipeline.models.inbox import TaskKind
from pipeline.models.members import Access
from tests.canaries import BOT_TOKEN, MEMBER_KEY
from tests.forms import opened, send
from tests.pipeline.recorded import a_run

SECRET_PROSPECT = "SECRET-PROSPECT <script>alert(1)</script>"


def operator(name: str, *permissions: str) -> Client:
    user = User.objects.create_user(name, password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def run_with_texts() -> PipelineRun:
    text = TextBlob.objects.create(sha256="0" * 64, text=SECRET_PROSPECT)
    now = timezone.now()
    run = PipelineRun.objects.create(
        pipeline="support", source="shell", user_message=text, answer=text, started_at=now
    )
    step = StepRun.objects.create(
        run=run,
        position=0,
        agent="extraction",
        mode="sequential",
        status="failed",
        decision="ran openai/gpt-5-mini because no override is set",
        error=f"RequestForbidden: the model refused: {SECRET_PROSPECT}",
        started_at=now,
    )
    LLMCall.objects.create(
        step=step,
        number=1,
        provider="openrouter",
        requested_model="openai/gpt-5-mini",
        payer="shared",
        system_prompt=text,
        user_message=text,
        output=text,
        error=f"RequestForbidden: the model refused: {SECRET_PROSPECT}",
        started_at=now,
    )
    return run


def member_with_key() -> Member:
    dana = Member(telegram_id=42, name="Dana", access=Access.APPROVED)
    dana.keep_key("openrouter", MEMBER_KEY)
    dana.save()
    return dana


def page_of(run: PipelineRun) -> str:
    return reverse("admin:pipeline_pipelinerun_change", args=[run.pk])


@override_settings(SECURE_SSL_REDIRECT=False)
class RunPageTests(TestCase):
    def test_who_may_read_texts_reads_them_escaped(self):
        page = operator("ana", "view_pipelinerun", "view_texts").get(page_of(run_with_texts()))

        assert page.content.decode().count("SECRET-PROSPECT") == 7
        assert "<script" not in page.content.decode()

    def test_who_may_not_read_texts_sees_figures_and_kinds_of_errors(self):
        page = operator("bo", "view_pipelinerun").get(page_of(run_with_texts())).content.decode()

        assert "SECRET-PROSPECT" not in page
        assert "RequestForbidden" in page
        assert "ran openai/gpt-5-mini because no override is set" in page

    def test_the_page_allows_no_script_at_all(self):
        page = operator("ana", "view_pipelinerun", "view_texts").get(page_of(run_with_texts()))

        assert page["Content-Security-Policy"].startswith("default-src 'none'")
        assert "script-src" not in page["Content-Security-Policy"]

    def test_the_page_opens_whatever_its_id_happens_to_look_like(self):
        client = operator("ana", "view_pipelinerun")
        for place in (0, 9, 14, 24):  # of four letters with which keys of AWS begin
            digits = str(uuid4())
            run = PipelineRun.objects.create(
                pk=UUID(f"{digits[:place]}acca{digits[place + 4 :]}"),
                pipeline="support",
                source="shell",
                started_at=timezone.now(),
            )

            assert client.get(page_of(run)).status_code == 200

    def test_without_permission_there_is_no_page_and_a_wrong_id_is_not_found(self):
        run = run_with_texts()

        assert operator("cy").get(page_of(run)).status_code == 403
        url = page_of(run).replace(str(run.pk), "abc")
        assert operator("ana", "view_pipelinerun").get(url).status_code == 404

    def test_nobody_changes_or_deletes_a_run(self):
        run = run_with_texts()
        boss = Client()
        boss.force_login(User.objects.create_superuser("boss"))

        for action in ("delete", "add"):
            url = page_of(run).replace("change", action)
            url = reverse("admin:pipeline_pipelinerun_add") if action == "add" else url
            assert boss.post(url, {"post": "yes"}).status_code == 403
        assert PipelineRun.objects.filter(pk=run.pk).exists()


@override_settings(SECURE_SSL_REDIRECT=False)
class MemberPageTests(TestCase):
    FORM: dict[str, object] = {"telegram_id": 42, "name": "Dana", "access": "approved"}

    def setUp(self) -> None:
        self.ana = operator("ana", "add_member", "view_member", "change_member")

    def test_a_key_is_shown_as_a_fingerprint_only_and_set_by_no_operator(self):
        dana = member_with_key()
        url = reverse("admin:pipeline_member_change", args=[dana.pk])
        before = Member.objects.filter(pk=dana.pk).values().get()

        page = self.ana.get(url).content.decode()
        smuggled: dict[str, object] = {"new_key": MEMBER_KEY, "key_ciphertext": "x"}
        smuggled |= {"telegram_id": 43, "provider": "openai", "model_id": "a/b", "forget_key": "on"}
        sent = send(self.ana, url, self.FORM | smuggled)

        assert dana.key_fingerprint in page
        assert MEMBER_KEY not in page
        assert sent.status_code == 302
        assert Member.objects.filter(pk=dana.pk).values().get() == before

    def test_the_page_shows_what_was_spent_for_the_member_and_the_latest_runs(self):
        budget, _ = Budget.objects.update_or_create(
            scope=Scope.EACH_MEMBER, interval=Interval.DAY, defaults={"cap_usd": Decimal(1)}
        )
        maya = Member.objects.create(telegram_id=1, name="Maya")
        run = a_run(member=maya)
        a_run()
        count_uncounted(budget, timezone.now())

        url = reverse("admin:pipeline_member_change", args=[maya.pk])
        bo = operator("bo", "view_member", "view_budget", "add_budget", "view_pipelinerun")
        shown = (
            "Each member, $1.00 a day: ",
            f"scope={Scope.MEMBER}&amp;member={maya.pk}",
            reverse("admin:pipeline_pipelinerun_change", args=[run.pk]),
        )
        for words in shown:
            self.assertContains(bo.get(url), words)
            self.assertNotContains(self.ana.get(url), words)
        assert len(of_member(maya.pk, timezone.now())) == 1

    def test_a_new_member_comes_without_a_key(self):
        smuggled = {"new_key": MEMBER_KEY, "provider": "openrouter", "model_id": "a/b"}

        self.ana.post(reverse("admin:pipeline_member_add"), self.FORM | smuggled)

        made = Member.objects.get(telegram_id=42)
        assert (made.provider, made.model_id, made.api_key) == ("", "", None)

    def test_a_key_is_removed_after_a_question_and_that_is_logged(self):
        dana = member_with_key()
        url = reverse("admin:pipeline_member_remove_key", args=[dana.pk])

        asked = self.ana.get(url).content.decode()
        assert self.ana.post(url).status_code == 409
        assert Member.objects.get().api_key is not None
        sent = send(self.ana, url)

        entry = LogEntry.objects.get()
        assert dana.key_fingerprint in asked
        assert sent.status_code == 302
        assert Member.objects.get().api_key is None
        assert entry.object_id == str(dana.pk)
        assert entry.change_message == f"Removed key {dana.key_fingerprint}."

    def test_a_key_that_came_after_the_question_is_not_removed(self):
        dana = member_with_key()
        url = reverse("admin:pipeline_member_remove_key", args=[dana.pk])
        asked = opened(self.ana, url)
        dana.keep_key("openrouter", f"{MEMBER_KEY[:-1]}x")
        dana.save()

        sent = self.ana.post(url, asked)

        assert sent.status_code == 409
        assert "something changed while you had this page open" in sent.content.decode()
        assert Member.objects.get().key_fingerprint == dana.key_fingerprint

    def test_who_may_not_change_members_removes_no_key(self):
        dana = member_with_key()
        url = reverse("admin:pipeline_member_remove_key", args=[dana.pk])
        bo = operator("bo", "view_member")

        assert bo.get(url).status_code == bo.post(url).status_code == 403
        assert Member.objects.get().api_key is not None

    def test_no_way_of_saving_gives_a_member_another_telegram_id(self):
        dana = Member.objects.create(telegram_id=42, name="Dana")
        ways = [
            Member.objects.get(),
            Member.objects.defer("telegram_id").get(),
            Member(pk=dana.pk, name="Dana"),
            dana,
        ]
        for member in ways:
            member.telegram_id = 43
            with self.assertRaisesMessage(ValueError, "never changes"):
                member.save()
        with self.assertRaisesMessage(TypeError, "never changes"):
            Member.objects.filter(pk=dana.pk).update(telegram_id=43)
        with self.assertRaisesMessage(TypeError, "never changes"), transaction.atomic():
            Member.objects.bulk_update([dana], ["telegram_id"])

        assert Member.objects.get().telegram_id == 42

    def test_an_approval_has_the_bot_tell_the_member_and_only_who_was_out(self):
        client = self.ana
        for telegram_id in (42, 43, 44):
            written = TelegramUpdate(
                bot_id=7_000_000_001, update_id=telegram_id, chat_id=telegram_id, raw="{}"
            )
            written.user_id = telegram_id
            written.save()
        people = [
            Member.objects.create(telegram_id=42, name="Dana", access=Access.WAITING),
            Member.objects.create(telegram_id=43, name="Eli", access=Access.APPROVED),
            Member.objects.create(telegram_id=44, name="Fay", access=Access.BLOCKED),
        ]
        with override_settings(TELEGRAM_BOT_TOKEN=BOT_TOKEN):
            client.post(
                reverse("admin:pipeline_member_changelist"),
                {"action": "approve_selected", "_selected_action": [p.pk for p in people[:2]]},
            )
            fay = reverse("admin:pipeline_member_change", args=[people[2].pk])
            send(client, fay, self.FORM | {"telegram_id": 44})

        assert not Member.objects.exclude(access=Access.APPROVED).exists()
        greeted = Task.objects.filter(kind=TaskKind.GREETING).order_by("pk")
        assert list(greeted.values_list("update__chat_id", flat=True)) == [42, 44]

    def test_an_invite_is_shown_once_and_kept_as_a_hash(self):
        client = operator("ivy", "add_invite", "view_invite", "delete_invite")
        Poller.objects.create(bot_id=7_000_000_001, username="our_bot", heard_at=timezone.now())
        with override_settings(TELEGRAM_BOT_TOKEN=BOT_TOKEN):
            shown = client.post(
                reverse("admin:pipeline_invite_add"), {"note": "Dana, new"}, follow=True
            ).content.decode()

        secret = shown.partition("https://t.me/our_bot?start=")[2].split()[0]
        later = client.get(reverse("admin:pipeline_invite_changelist")).content.decode()
        made = Invite.objects.get()
        assert len(secret) == 22
        assert secret not in later
        assert "Dana, new" in later
        assert (made.created_by, made.secret_sha256) == ("ivy", sha256(secret.encode()).hexdigest())

    def test_memory_is_a_text_like_those_of_the_runs(self):
        dana = Member.objects.create(telegram_id=42, name="Dana")
        Fact.objects.create(member=dana, kind="goal", text=SECRET_PROSPECT, since_version=1)
        url = reverse("admin:pipeline_member_change", args=[dana.pk])

        assert "SECRET-PROSPECT" not in operator("bo", "view_member").get(url).content.decode()
        page = operator("rea", "view_member", "view_texts").get(url).content.decode()
        assert "SECRET-PROSPECT" in page
        assert "<script>alert" not in page

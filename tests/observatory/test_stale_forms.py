"""Stale forms: what was changed after a form was opened is not overwritten, whatever the model."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from itertools import islice
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client, TestCase, TransactionTestCase, override_settings
from django.urls import reverse
from django.utils.html import strip_tags

from pipeline.models import Lesson, Member, PlaybookPage, Track
from tests.forms import filled, form_in, send
from tests.observatory.admin_rows import rows_with_texts
from tests.observatory.test_fields import columns
from tests.proving import IS_PROVING, amount

# What a form carries that no page of ours has sent.
STATES = (None, "", "{}", "[]", "null", '{"at": "NaN", "digests": {}}', "[" * 9999)


def boss(name: str) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser(name))
    return client


def another(field: Any, sent: Any) -> Any:
    """Return another value that this field of a form takes."""
    if isinstance(field, forms.BooleanField):
        return "" if sent else "on"
    if isinstance(field, forms.ModelMultipleChoiceField):
        offered: Any = field.queryset
        return [] if sent else [str(offered.first().pk)]
    if isinstance(field, forms.ChoiceField):
        choices: Any = field.choices
        return next(str(value) for value, _ in choices if value and str(value) != str(sent))
    if isinstance(field, forms.DecimalField):
        return str(Decimal(sent) + 1)
    if isinstance(field, forms.IntegerField):
        return str(int(sent) + 1 if int(sent) < 3 else 1)
    if isinstance(field, forms.EmailField):
        return "nora@example.com"
    return f"{sent}x"


@override_settings(SECURE_SSL_REDIRECT=False)
class EveryModelTests(TestCase):
    rows: dict[str, Any]

    @classmethod
    def setUpTestData(cls) -> None:
        cls.rows = rows_with_texts()
        Group.objects.create(name="Day shift")

    def setUp(self) -> None:
        self.ana, self.bo = boss("ana"), boss("bo")

    def test_a_form_opened_before_another_change_is_refused_for_each_field(self):
        tried = 0
        for url, row, page in self.forms():
            names = editable(page)
            for name in names if IS_PROVING else names[-1:]:
                with self.subTest(f"{url}: {name}"):
                    self.is_refused(url, row, page, name)
                    tried += 1
        assert tried >= amount(8, proving=30)

    def is_refused(self, url: str, row: Any, page: Any, name: str) -> None:
        mine, theirs = filled(self.ana, url), filled(self.bo, url)
        changed = theirs | {name: another(field_of(page, name), theirs.get(name, ""))}
        answer = self.bo.post(url, changed)
        assert answer.status_code == 302
        after = columns(row)

        answer = self.ana.post(url, mine)

        assert answer.status_code == 409
        assert columns(row) == after
        said = strip_tags(answer.content.decode())
        assert "changed while you had this form open" in said
        assert "bo, " in said

    def test_what_was_typed_is_kept_and_the_rest_shows_what_is_there_now(self):
        tried = 0
        for url, _, page in islice(self.forms(), amount(5, proving=99)):
            names = [name for name in editable(page) if "-" not in name]
            typed, theirs = names[0], names[-1]
            if typed == theirs:
                continue
            mine, changed = filled(self.ana, url), filled(self.bo, url)
            mine[typed] = another(field_of(page, typed), mine.get(typed, ""))
            changed[theirs] = another(field_of(page, theirs), changed.get(theirs, ""))
            assert self.bo.post(url, changed).status_code == 302

            again = form_in(self.ana.post(url, mine).content.decode())

            with self.subTest(url):
                assert again[typed] == mine[typed]
                assert again.get(theirs, "") == filled(self.bo, url).get(theirs, "")
                assert self.ana.post(url, again).status_code == 302
                assert filled(self.ana, url)[typed] == mine[typed]
            tried += 1
        assert tried >= amount(3, proving=6)

    def test_a_form_that_says_of_no_version_is_refused(self):
        for number, (url, row, _) in enumerate(self.forms()):
            for state in STATES if IS_PROVING or not number else STATES[:1]:
                form = filled(self.ana, url) | {"seen_state": state or ""}
                if state is None:
                    del form["seen_state"]
                before = columns(row)
                with self.subTest(f"{url}: {(state or '')[:9]}"):
                    assert self.ana.post(url, form).status_code == 409
                    assert columns(row) == before

    def test_a_row_that_was_changed_after_the_question_is_not_deleted(self):
        tried = 0
        for url, row, page in self.forms():
            delete = url.replace("/change/", "/delete/")
            asked = filled(self.ana, delete)
            if "seen_state" not in asked:  # it cannot be deleted at all
                continue
            name = editable(page)[0]
            changed = filled(self.bo, url)
            changed[name] = another(field_of(page, name), changed.get(name, ""))
            assert self.bo.post(url, changed).status_code == 302

            LogEntry.objects.all().delete()
            answer = self.ana.post(delete, asked, follow=True)

            with self.subTest(url):
                assert type(row)._default_manager.filter(pk=row.pk).exists()
                assert "Not deleted" in strip_tags(answer.content.decode())
                assert not LogEntry.objects.filter(user__username="ana").exists()
                assert send(self.ana, delete, {"post": "yes"}).status_code == 302
                assert not type(row)._default_manager.filter(pk=row.pk).exists()
            tried += 1
        assert tried >= 5

    def test_no_list_of_the_admin_is_edited_in_place(self):
        """Such a form would have to say for each of its rows what it showed."""
        for model_admin in admin.site._registry.values():
            with self.subTest(str(model_admin)):
                assert not model_admin.list_editable

    def forms(self) -> Iterator[tuple[str, Any, Any]]:
        """Yield each form in which a superuser can change something: address, row, context."""
        for model in admin.site._registry:
            label = f"{model._meta.app_label}_{model._meta.model_name}"
            row = self.rows[label]
            url = reverse(f"admin:{label}_change", args=[row.pk])
            context = self.ana.get(url).context or {}
            if context.get("has_change_permission") and "adminform" in context:
                yield url, row, context


def editable(context: Any) -> list[str]:
    """Return the names of the inputs that a page offers, those of its inlines' rows included."""
    names = [
        name
        for name, field in context["adminform"].form.fields.items()
        if name not in context["adminform"].readonly_fields and not field.disabled
    ]
    for inline in context["inline_admin_formsets"]:
        for form in inline.formset.initial_forms if inline.has_change_permission else []:
            own = {"id", inline.formset.fk.name, "DELETE"}
            names += [form.add_prefix(name) for name in form.fields if name not in own]
    return names


def field_of(context: Any, name: str) -> Any:
    if "-" not in name:
        return context["adminform"].form.fields[name]
    bare = name.rpartition("-")[2]
    return next(
        form.fields[bare]
        for inline in context["inline_admin_formsets"]
        for form in inline.formset.initial_forms
        if form.add_prefix(bare) == name
    )


@override_settings(SECURE_SSL_REDIRECT=False)
class TwoAtOnceTests(TransactionTestCase):
    def test_of_forms_sent_at_the_same_moment_exactly_one_is_saved(self):
        page = PlaybookPage.objects.create(title="Prices", text="old")
        url = reverse("admin:pipeline_playbookpage_change", args=[page.pk])
        people = {name: boss(name) for name in ("ana", "bo", "cy")}
        ready = {name: filled(client, url) | {"text": name} for name, client in people.items()}
        barrier = threading.Barrier(len(people))

        def save(name: str) -> int:
            barrier.wait(20)
            try:
                return people[name].post(url, ready[name]).status_code
            finally:
                connection.close()

        with ThreadPoolExecutor(len(people)) as executor:
            statuses = list(executor.map(save, people))

        page.refresh_from_db()
        assert sorted(statuses) == [302, 409, 409]
        assert page.text == list(people)[statuses.index(302)]

    def test_a_member_who_was_blocked_is_not_approved_again_by_an_older_form(self):
        dana = Member.objects.create(telegram_id=42, name="Dana", access="approved")
        url = reverse("admin:pipeline_member_change", args=[dana.pk])
        members = reverse("admin:pipeline_member_changelist")
        ana, bo = boss("ana"), boss("bo")
        form, listed = filled(ana, url) | {"name": "Dana B."}, filled(ana, members)
        bo.post(members, {"action": "block", "index": 0, "_selected_action": [dana.pk]})

        answer = ana.post(url, form)
        chosen = {"action": "approve_selected", "index": 0, "_selected_action": [dana.pk]}
        by_list = ana.post(members, listed | chosen, follow=True)

        dana.refresh_from_db()
        again = form_in(answer.content.decode())
        assert (dana.access, dana.name) == ("blocked", "Dana")
        assert (again["access"], again["name"]) == ("blocked", "Dana B.")
        assert "Skipped “Dana”: bo changed it" in by_list.content.decode()

    def test_what_the_bot_does_with_a_row_makes_no_form_stale(self):
        dana = Member.objects.create(telegram_id=42, name="Dana", access="waiting")
        url = reverse("admin:pipeline_member_change", args=[dana.pk])
        ana = boss("ana")
        form = filled(ana, url) | {"access": "approved"}
        Member.objects.filter(pk=dana.pk).update(memory_version=7, forgotten_runs=3)
        dana.facts.create(kind="goal", text="Lisbon", since_version=7)

        assert ana.post(url, form).status_code == 302

        dana.refresh_from_db()
        assert (dana.access, dana.memory_version, dana.forgotten_runs) == ("approved", 7, 3)

    def test_an_inlines_row_that_was_changed_is_not_overwritten(self):
        track = Track.objects.create(title="Discovery")
        lesson = Lesson.objects.create(track=track, level=1, title="One", text="old", task="task")
        url = reverse("admin:pipeline_track_change", args=[track.pk])
        ana = boss("ana")
        form = filled(ana, url) | {"title": "Discovery calls"}
        Lesson.objects.filter(pk=lesson.pk).update(text="new")

        answer = ana.post(url, form)
        again = ana.post(url, form_in(answer.content.decode()))

        lesson.refresh_from_db()
        assert (answer.status_code, again.status_code) == (409, 409)
        assert lesson.text == "new"
        assert "Rows below changed as well" in strip_tags(answer.content.decode())

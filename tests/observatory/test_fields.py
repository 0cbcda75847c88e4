"""Which fields of every form each role may change; no other column can be smuggled in."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Model

from tests.forms import filled
from tests.observatory.role_case import WHO, RoleCase
from tests.proving import IS_PROVING

# Who may change it, by page and field; an inline's are behind its model's name. A field that is not
# here may not be changed by anyone.
CHANGED_BY = {
    "agents_agentmodelconfig_add": dict.fromkeys(
        ("agent_name", "model_id", "on_failure", "is_active", "accept_unfit", "reason"), "OBS"
    ),
    "agents_agentmodelconfig_change": dict.fromkeys(
        ("model_id", "on_failure", "is_active", "accept_unfit", "reason"), "OBS"
    ),
    "agents_servedname_add": dict.fromkeys(
        ("provider", "requested_model", "served_model", "is_same"), "OBS"
    ),
    "agents_servedname_change": {"is_same": "OBS"},
    "pipeline_member_add": dict.fromkeys(("telegram_id", "name", "username", "access"), "OBS"),
    "pipeline_member_change": {"name": "OBS", "access": "OBS", "fact.DELETE": "BS"},
    "pipeline_budget_add": dict.fromkeys(("scope", "name", "member", "interval", "cap_usd"), "OBS"),
    "pipeline_budget_change": {"cap_usd": "OBS"},
    "pipeline_invite_add": {"note": "OBS"},
    "pipeline_playbookpage_add": dict.fromkeys(("title", "text", "position", "is_active"), "OBS"),
    "pipeline_scenario_add": dict.fromkeys(
        ("title", "difficulty", "text", "good_answer", "is_active"), "OBS"
    ),
    "pipeline_track_add": dict.fromkeys(
        (
            *("title", "summary", "position", "is_active"),
            *(f"lesson.{name}" for name in ("level", "title", "text", "task", "good_answer")),
        ),
        "OBS",
    ),
    "pipeline_casebookentry_add": dict.fromkeys(("title", "text", "is_approved", "is_active"), "S"),
    "pipeline_casebookentry_change": dict.fromkeys(
        ("title", "text", "is_approved", "is_active"), "BS"
    ),
    "auth_user_add": dict.fromkeys(("username", "usable_password", "password1", "password2"), "S"),
    "auth_user_change": dict.fromkeys(
        (
            *("first_name", "last_name", "email", "is_active", "is_staff", "is_superuser"),
            *("groups", "user_permissions"),
        ),
        "S",
    ),
    "auth_group_add": dict.fromkeys(("name", "permissions"), "S"),
    "auth_group_change": dict.fromkeys(("name", "permissions"), "S"),
}
for _model in ("playbookpage", "scenario", "track"):
    CHANGED_BY[f"pipeline_{_model}_change"] = CHANGED_BY[f"pipeline_{_model}_add"]
CHANGED_BY["pipeline_track_change"] = CHANGED_BY["pipeline_track_add"] | {"lesson.DELETE": "OBS"}

# What a form may change without having a field for it: the record of its own change.
OF_THE_RECORD = {
    "agents_agentmodelconfig": {"set_by", "version", "updated_at"},
    "agents_servedname": {"set_by"},
}
OTHER_VALUES = {True: "", False: "on"}


class FieldTests(RoleCase):
    def test_each_role_changes_its_fields_and_no_other(self):
        for page in self.pages():
            found: dict[str, str] = {}
            for name in WHO:
                for field in self.fields(name, page):
                    found[field] = found.get(field, "") + name
            with self.subTest(page):
                assert found == CHANGED_BY.get(page, {})

    def test_the_table_has_no_page_that_is_gone(self):
        assert set(CHANGED_BY) <= set(self.pages())

    def test_a_column_without_a_field_is_not_changed_by_what_is_sent_for_it(self):
        for name in WHO if IS_PROVING else "OS":
            for page in self.pages():
                label, _, kind = page.rpartition("_")
                if kind == "add":
                    continue
                allowed = {
                    field
                    for field, who in CHANGED_BY.get(page, {}).items()
                    if name in who and "." not in field
                }
                row = self.rows[label]
                before = columns(row)
                form = filled(self.clients[name], self.url(page))
                self.clients[name].post(self.url(page), forged(row, but=allowed) | form)
                changed = {key for key, value in columns(row).items() if value != before[key]}
                with self.subTest(f"{name}: {page}"):
                    assert changed <= OF_THE_RECORD.get(label, set()) | {"is_active"} & allowed

    def test_a_row_without_a_form_is_not_changed_by_one_of_somebody_elses(self):
        """What a superuser's form holds, sent by each of the others."""
        for page in self.pages():
            label, _, kind = page.rpartition("_")
            if kind == "add":
                continue
            row = self.rows[label]
            form = filled(self.clients["S"], self.url(page)) | forged(row, but=set())
            for name in WHO:
                allowed = {f for f, who in CHANGED_BY.get(page, {}).items() if name in who}
                if allowed:
                    continue
                before = columns(row)
                self.clients[name].post(self.url(page), form)
                with self.subTest(f"{name}: {page}"):
                    assert columns(row) == before

    @staticmethod
    def pages() -> list[str]:
        labels = [
            f"{model._meta.app_label}_{model._meta.model_name}" for model in admin.site._registry
        ]
        return [f"{label}_{kind}" for label in labels for kind in ("add", "change")]

    def fields(self, name: str, page: str) -> set[str]:
        """Return what an operator of that role can change on a page, as the page has it."""
        response = self.clients[name].get(self.url(page))
        context = response.context or {}
        if response.status_code != 200 or "adminform" not in context:
            return set()
        form, readonly = context["adminform"].form, context["adminform"].readonly_fields
        if not (context["has_change_permission"] or page.endswith("_add")):
            readonly = list(form.fields)
        found = {
            field
            for field in form.fields
            if field not in readonly and not form[field].field.disabled
        }
        for inline in context["inline_admin_formsets"]:
            found |= {f"{inline.opts.model._meta.model_name}.{one}" for one in _of_inline(inline)}
        return found


def _of_inline(inline: Any) -> set[str]:
    found: set[str] = set()
    if inline.has_change_permission or inline.has_add_permission:
        form = inline.formset.empty_form
        own = {form._meta.model._meta.pk.name, inline.formset.fk.name, "DELETE"}
        found = set(form.fields) - own - set(inline.readonly_fields)
    if inline.formset.can_delete and inline.has_delete_permission and inline.formset.forms:
        found |= {"DELETE"}
    return found


def columns(row: Model) -> dict[str, object]:
    manager = type(row)._base_manager
    values: dict[str, object] = dict(manager.filter(pk=row.pk).values().get())
    for field in row._meta.many_to_many:
        values[field.name] = set(getattr(row, field.name).values_list("pk", flat=True))
    return values


def forged(row: Model, *, but: set[str]) -> dict[str, str]:
    """Return another value for each column that is not among these."""
    fields = [field for field in row._meta.concrete_fields if field.name not in but]
    return {field.name: _another(getattr(row, field.attname)) for field in fields} | {
        "new_key": "sk-or-v1-forged-key-of-nobody-0001",
        "forget_key": "on",
    }


def _another(value: object) -> str:
    if isinstance(value, bool):
        return OTHER_VALUES[value]
    return str(value + 1) if isinstance(value, int) else "forged"

"""Operator, Analyst and Reader of texts: who may do what, to be given to people under Operators.

To give a role a permission of a model that comes later, add a migration with `roles.grant`.
"""

from django.db import migrations

from observatory import roles

OPERATOR = (
    roles.every("agents", ["agentmodelconfig"], ["view", "add", "change"])
    | roles.every("pipeline", ["member", "invite"], ["view", "add", "change"])
    | {"pipeline.delete_invite"}  # taking a link back
    | roles.every("pipeline", ["task"], ["view", "change"])
    | {"pipeline.view_pipelinerun"}
    | {"pipeline.run_again"}  # without effect for who is not a reader as well
    | roles.every(
        "pipeline",
        ["playbookpage", "track", "lesson", "scenario"],
        ["view", "add", "change", "delete"],
    )
    # Texts of members: without effect for who is not a reader as well.
    | roles.every("pipeline", ["casebookentry"], ["view", "change", "delete"])
)
ANALYST = {
    "agents.view_agentmodelconfig",
    "pipeline.view_pipelinerun",
    "pipeline.view_member",
}
READER = {"pipeline.view_texts", "pipeline.view_casebookentry"}


class Migration(migrations.Migration):
    dependencies = [
        ("agents", "0003_catalogue"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("pipeline", "0009_runs_at_a_glance"),
    ]

    operations = [
        roles.create("Operator", OPERATOR),
        roles.create("Analyst", ANALYST),
        roles.create("Reader of texts", READER),
    ]

from django.db import migrations, models


def approve_what_operators_wrote(apps, schema_editor):
    """Leave what members saved unapproved: nobody can tell whether an operator has read it."""
    cases = apps.get_model('pipeline', 'CasebookEntry').objects.using(schema_editor.connection.alias)
    cases.filter(member=None).update(is_approved=True)


class Migration(migrations.Migration):

    dependencies = [
        ('pipeline', '0011_upstream'),
    ]

    operations = [
        migrations.AddField(
            model_name='casebookentry',
            name='is_approved',
            # Code of before this migration inserts rows without the column.
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text='Until then only answers to the member who saved it use it',
                verbose_name='approved for everyone',
            ),
        ),
        migrations.RunPython(approve_what_operators_wrote, migrations.RunPython.noop),
    ]

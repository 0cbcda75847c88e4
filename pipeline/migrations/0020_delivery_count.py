# Names change in Python only: the column stays as it is.

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('pipeline', '0019_task_failures'),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RenameField(
                    model_name='task',
                    old_name='attempts',
                    new_name='delivery_count',
                ),
                migrations.AlterField(
                    model_name='task',
                    name='delivery_count',
                    field=models.PositiveSmallIntegerField(db_column='attempts', default=0),
                ),
                migrations.AlterField(
                    model_name='task',
                    name='status',
                    field=models.CharField(
                        choices=[
                            ('waiting', 'Queued'),
                            ('running', 'Running'),
                            ('done', 'Done'),
                            ('ignored', 'Ignored: nothing to do'),
                            ('merged', 'Part of the message before it, and answered with that'),
                            ('dead', 'Failed'),
                        ],
                        default='waiting',
                        max_length=8,
                    ),
                ),
            ],
        ),
    ]

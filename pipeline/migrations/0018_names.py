# Names change in Python only: tables, columns, indexes and constraints stay as they are.

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('pipeline', '0017_lost_messages'),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RenameModel(
                    old_name='PromptText',
                    new_name='TextBlob',
                ),
                migrations.AlterModelTable(
                    name='textblob',
                    table='pipeline_prompttext',
                ),
                migrations.RemoveConstraint(
                    model_name='figures',
                    name='figures_once',
                ),
                migrations.RemoveIndex(
                    model_name='steprun',
                    name='step_of_run',
                ),
                migrations.RemoveIndex(
                    model_name='steprun',
                    name='step_purse_started',
                ),
                migrations.AlterField(
                    model_name='figures',
                    name='purse',
                    field=models.CharField(blank=True, choices=[('shared', 'shared'), ('member', 'member')], db_column='purse', max_length=10),
                ),
                migrations.RenameField(
                    model_name='figures',
                    old_name='purse',
                    new_name='payer',
                ),
                migrations.AlterField(
                    model_name='llmcall',
                    name='purse',
                    field=models.CharField(choices=[('shared', 'shared'), ('member', 'member')], db_column='purse', max_length=10),
                ),
                migrations.RenameField(
                    model_name='llmcall',
                    old_name='purse',
                    new_name='payer',
                ),
                migrations.AlterField(
                    model_name='steprun',
                    name='purse',
                    field=models.CharField(blank=True, choices=[('shared', 'shared'), ('member', 'member')], db_column='purse', max_length=10),
                ),
                migrations.RenameField(
                    model_name='steprun',
                    old_name='purse',
                    new_name='payer',
                ),
                migrations.AddIndex(
                    model_name='steprun',
                    index=models.Index(fields=['payer', '-started_at'], name='step_purse_started'),
                ),
                migrations.AddIndex(
                    model_name='steprun',
                    index=models.Index(fields=['run', 'payer', 'agent', 'requested_model', 'started_at'], name='step_of_run'),
                ),
                migrations.AddConstraint(
                    model_name='figures',
                    constraint=models.UniqueConstraint(fields=('span', 'starts_at', 'agent', 'model_id', 'payer'), name='figures_once'),
                ),
            ],
        ),
    ]

# Names change in Python only: tables, columns, indexes and constraints stay as they are.

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('pipeline', '0017_lost_messages'),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RenameModel(
                    old_name='Figures',
                    new_name='UsageRollup',
                ),
                migrations.AlterModelTable(
                    name='usagerollup',
                    table='pipeline_figures',
                ),
                migrations.RenameModel(
                    old_name='ClosedSpan',
                    new_name='ClosedPeriod',
                ),
                migrations.AlterModelTable(
                    name='closedperiod',
                    table='pipeline_closedspan',
                ),
                migrations.RenameModel(
                    old_name='Chore',
                    new_name='PeriodicJob',
                ),
                migrations.AlterModelTable(
                    name='periodicjob',
                    table='pipeline_chore',
                ),
                migrations.RenameModel(
                    old_name='ToldConcern',
                    new_name='AlertNotification',
                ),
                migrations.AlterModelTable(
                    name='alertnotification',
                    table='pipeline_toldconcern',
                ),
                migrations.RenameModel(
                    old_name='PromptText',
                    new_name='TextBlob',
                ),
                migrations.AlterModelTable(
                    name='textblob',
                    table='pipeline_prompttext',
                ),
                migrations.RemoveConstraint(
                    model_name='usagerollup',
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
                    model_name='usagerollup',
                    name='purse',
                    field=models.CharField(blank=True, choices=[('shared', 'shared'), ('member', 'member')], db_column='purse', max_length=10),
                ),
                migrations.RenameField(
                    model_name='usagerollup',
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
                    model_name='usagerollup',
                    constraint=models.UniqueConstraint(fields=('span', 'starts_at', 'agent', 'model_id', 'payer'), name='figures_once'),
                ),
                migrations.AlterModelOptions(
                    name='usagerollup',
                    options={},
                ),
                migrations.RemoveConstraint(
                    model_name='closedperiod',
                    name='span_closed_once',
                ),
                migrations.RemoveConstraint(
                    model_name='usagerollup',
                    name='figures_once',
                ),
                migrations.AlterField(
                    model_name='closedperiod',
                    name='span',
                    field=models.CharField(choices=[('hour', 'Hour'), ('day', 'Day, in UTC')], db_column='span', max_length=4),
                ),
                migrations.RenameField(
                    model_name='closedperiod',
                    old_name='span',
                    new_name='period',
                ),
                migrations.AlterField(
                    model_name='usagerollup',
                    name='span',
                    field=models.CharField(choices=[('hour', 'Hour'), ('day', 'Day, in UTC')], db_column='span', max_length=4),
                ),
                migrations.RenameField(
                    model_name='usagerollup',
                    old_name='span',
                    new_name='period',
                ),
                migrations.AddConstraint(
                    model_name='closedperiod',
                    constraint=models.UniqueConstraint(fields=('period', 'starts_at'), name='span_closed_once'),
                ),
                migrations.AddConstraint(
                    model_name='usagerollup',
                    constraint=models.UniqueConstraint(fields=('period', 'starts_at', 'agent', 'model_id', 'payer'), name='figures_once'),
                ),
                migrations.AlterField(
                    model_name='periodicjob',
                    name='found',
                    field=models.JSONField(db_column='found', default=dict),
                ),
                migrations.RenameField(
                    model_name='periodicjob',
                    old_name='found',
                    new_name='last_result',
                ),
                migrations.AlterField(
                    model_name='alertnotification',
                    name='told_at',
                    field=models.DateTimeField(auto_now_add=True, db_column='told_at'),
                ),
                migrations.RenameField(
                    model_name='alertnotification',
                    old_name='told_at',
                    new_name='sent_at',
                ),
                migrations.AlterModelOptions(
                    name='textsread',
                    options={'ordering': ['-at'], 'verbose_name': 'text access', 'verbose_name_plural': 'access log'},
                ),
                migrations.AlterField(
                    model_name='textsread',
                    name='run',
                    field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='accesses', to='pipeline.pipelinerun'),
                ),
                migrations.AlterField(
                    model_name='textsread',
                    name='task',
                    field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='accesses', to='pipeline.task'),
                ),
                migrations.AlterField(
                    model_name='outgoingmessage',
                    name='sent_again_after',
                    field=models.JSONField(blank=True, db_column='sent_again_after', editable=False, null=True),
                ),
                migrations.RenameField(
                    model_name='outgoingmessage',
                    old_name='sent_again_after',
                    new_name='resent_after',
                ),
                migrations.AlterField(
                    model_name='pipelinerun',
                    name='again_of',
                    field=models.ForeignKey(blank=True, db_column='again_of_id', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='reruns', to='pipeline.pipelinerun'),
                ),
                migrations.RenameField(
                    model_name='pipelinerun',
                    old_name='again_of',
                    new_name='rerun_of',
                ),
            ],
        ),
    ]

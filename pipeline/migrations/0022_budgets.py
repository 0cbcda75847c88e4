"""Budgets, and the first of them: what SHARED_DOLLARS_PER_DAY says, for each member."""

import django.core.validators
import django.db.models.deletion
import django.db.models.expressions
from decimal import Decimal
from django.conf import settings
from django.db import migrations, models


def add_first_budget(apps, schema_editor):
    budgets = apps.get_model("pipeline", "Budget").objects.using(schema_editor.connection.alias)
    if not budgets.exists():
        cap_usd = settings.SHARED_DOLLARS_PER_DAY
        budgets.create(scope="each member", interval="day", cap_usd=cap_usd)


class Migration(migrations.Migration):

    dependencies = [
        ('pipeline', '0021_other_than_traffic'),
    ]

    operations = [
        migrations.AddField(
            model_name='pipelinerun',
            name='started_by',
            field=models.CharField(blank=True, db_default='', default='', max_length=150),
        ),
        migrations.CreateModel(
            name='Budget',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('scope', models.CharField(choices=[('shared key', 'All calls on the team key'), ('agent', 'One agent'), ('model', 'One model'), ('each member', 'Each member'), ('member', 'One member'), ('trials', "Each operator's trials and reruns")], max_length=12)),
                ('name', models.CharField(blank=True, help_text='Only for one agent, its name, and for one model, its ID.', max_length=200, verbose_name='agent or model')),
                ('interval', models.CharField(choices=[('day', 'Every day'), ('week', 'Every week, on Monday'), ('month', 'Every month'), ('once', 'Never')], default='day', max_length=5, verbose_name='starts again')),
                ('cap_usd', models.DecimalField(decimal_places=6, max_digits=12, validators=[django.core.validators.MinValueValidator(Decimal('0.000001'))], verbose_name='cap in dollars')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('member', models.ForeignKey(blank=True, help_text='Only for one member, for whom this replaces a budget for each member with the same interval.', null=True, on_delete=django.db.models.deletion.CASCADE, related_name='budgets', to='pipeline.member')),
            ],
            options={
                'ordering': ['scope', 'name', 'member', 'interval'],
            },
        ),
        migrations.CreateModel(
            name='BudgetPeriod',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.CharField(blank=True, max_length=150)),
                ('starts_at', models.DateTimeField()),
                ('ends_at', models.DateTimeField(blank=True, null=True)),
                ('cap_picousd', models.BigIntegerField()),
                ('reserved_picousd', models.BigIntegerField(default=0)),
                ('unknown_picousd', models.BigIntegerField(default=0)),
                ('spent_picousd', models.BigIntegerField(default=0)),
                ('over_picousd', models.BigIntegerField(default=0)),
                ('refusals', models.PositiveIntegerField(default=0)),
                ('last_refused_at', models.DateTimeField(blank=True, null=True)),
                ('budget', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='periods', to='pipeline.budget')),
            ],
            options={
                'ordering': ['-starts_at', 'budget', 'key'],
            },
        ),
        migrations.CreateModel(
            name='Reservation',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('call_id', models.UUIDField(editable=False)),
                ('picousd', models.BigIntegerField()),
                ('estimate_picousd', models.BigIntegerField(default=0)),
                ('state', models.CharField(choices=[('held', 'Set aside: the call is under way'), ('unknown', 'Set aside: it is not known whether the call was charged'), ('booked', 'Booked at its cost'), ('at most', 'Booked at what it can have cost: its cost was never found out'), ('released', 'Released: the call cost nothing')], default='held', max_length=8)),
                ('created_at', models.DateTimeField()),
                ('period', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='reservations', to='pipeline.budgetperiod')),
            ],
        ),
        migrations.AddConstraint(
            model_name='budget',
            constraint=models.UniqueConstraint(condition=models.Q(('member', None)), fields=('scope', 'name', 'interval'), name='budget_once', violation_error_message='There is such a budget already. Change its cap instead.'),
        ),
        migrations.AddConstraint(
            model_name='budget',
            constraint=models.UniqueConstraint(condition=models.Q(('member', None), _negated=True), fields=('member', 'interval'), name='budget_once_a_member', violation_error_message='This member has such a budget already. Change its cap instead.'),
        ),
        migrations.AddConstraint(
            model_name='budget',
            constraint=models.CheckConstraint(condition=models.Q(('cap_usd__gt', 0)), name='budget_cap_positive'),
        ),
        migrations.AddConstraint(
            model_name='budget',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('scope__in', ('agent', 'model')), models.Q(('name', ''), _negated=True)), models.Q(models.Q(('scope__in', ('agent', 'model')), _negated=True), ('name', '')), _connector='OR'), name='budget_name_where_needed', violation_error_message='A budget of one agent or model needs its name; others have none.'),
        ),
        migrations.AddConstraint(
            model_name='budget',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('member__isnull', False), ('scope', 'member')), models.Q(models.Q(('scope', 'member'), _negated=True), ('member', None)), _connector='OR'), name='budget_member_where_needed', violation_error_message='A budget of one member needs the member; others have none.'),
        ),
        migrations.AddIndex(
            model_name='budgetperiod',
            index=models.Index(fields=['starts_at'], name='budget_period_started'),
        ),
        migrations.AddConstraint(
            model_name='budgetperiod',
            constraint=models.UniqueConstraint(fields=('budget', 'key', 'starts_at'), name='budget_period_once'),
        ),
        migrations.AddConstraint(
            model_name='budgetperiod',
            constraint=models.CheckConstraint(condition=models.Q(('over_picousd__gte', 0), ('reserved_picousd__gte', 0), ('spent_picousd__gte', 0), ('unknown_picousd__gte', 0)), name='budget_period_not_negative'),
        ),
        migrations.AddConstraint(
            model_name='budgetperiod',
            constraint=models.CheckConstraint(condition=models.Q(('reserved_picousd__lte', django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(models.F('cap_picousd'), '+', models.F('over_picousd')), '-', models.F('unknown_picousd')), '-', models.F('spent_picousd')))), name='budget_period_within_cap'),
        ),
        migrations.AddIndex(
            model_name='reservation',
            index=models.Index(fields=['state', 'created_at'], name='reservation_state'),
        ),
        migrations.AddConstraint(
            model_name='reservation',
            constraint=models.UniqueConstraint(fields=('call_id', 'period'), name='reserved_once_a_period'),
        ),
        migrations.AddConstraint(
            model_name='reservation',
            constraint=models.CheckConstraint(condition=models.Q(('picousd__gte', 0)), name='reservation_not_negative'),
        ),
        migrations.RunPython(add_first_budget, migrations.RunPython.noop),
    ]

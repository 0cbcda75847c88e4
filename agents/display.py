"""How pages and the bot write amounts of money and moments.

Money has two decimals, and below one dollar four significant digits. A moment is told relative to
now. Where a page leaves digits or seconds out, the exact value is the element's title.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from django import template
from django.contrib.humanize.templatetags.humanize import naturaltime
from django.utils import timezone
from django.utils.html import format_html

register = template.Library()

NOT_REPORTED = "\N{EN DASH}"


def dollars(amount: Decimal) -> str:
    """Return an amount for people: "$1,234.50", "$0.01411", "$0"."""
    if amount >= 1:
        return f"${amount:,.2f}"
    return f"${Decimal(f'{amount:.4g}').normalize():f}" if amount else "$0"


@register.filter
def money(amount: Decimal | None) -> str:
    """Return the HTML of an amount with all its digits as a title; None is not reported."""
    if amount is None:
        return format_html('<span title="not reported">{}</span>', NOT_REPORTED)
    exact = f"${amount.normalize():f}" if amount else "$0"
    return format_html('<span class="money" title="{}">{}</span>', exact, dollars(amount))


@register.filter
def ago(moment: datetime | None) -> str:
    """Return the HTML of a moment as "3 minutes ago", with the moment itself as a title."""
    if moment is None:
        return NOT_REPORTED
    local = timezone.localtime(moment)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        local.isoformat(timespec="seconds"),
        f"{local:%Y-%m-%d %H:%M:%S %Z}",
        naturaltime(moment),
    )

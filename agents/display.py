"""Format amounts of money and times for pages and the bot.

Money has two decimals or, below one dollar, up to four significant digits. Times are relative to
now. If a page shortens a value, the element's title has the exact one.
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
    """Return an amount as text, such as "$1,234.50", "$0.01411" or "$0"."""
    if not amount:
        return "$0"
    if amount >= 1:
        return f"${amount:,.2f}"
    rounded = Decimal(f"{amount:.4g}").normalize()
    exponent = rounded.as_tuple().exponent
    digits = -exponent if isinstance(exponent, int) else 0
    return f"${rounded:.{max(2, digits)}f}"


@register.filter
def money(amount: Decimal | None) -> str:
    """Return the HTML of an amount with all its digits in the title; None means not reported."""
    if amount is None:
        return format_html('<span title="not reported">{}</span>', NOT_REPORTED)
    exact = f"${amount.normalize():f}" if amount else "$0"
    return format_html('<span class="money" title="{}">{}</span>', exact, dollars(amount))


@register.filter
def ago(moment: datetime | None) -> str:
    """Return the HTML of a time such as "3 minutes ago", with the exact time in the title."""
    if moment is None:
        return NOT_REPORTED
    local = timezone.localtime(moment)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        local.isoformat(timespec="seconds"),
        f"{local:%Y-%m-%d %H:%M:%S %Z}",
        naturaltime(moment),
    )

"""When a budget's interval ("day", "week", "month" or "once") begins and ends, in TIME_ZONE."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

from django.utils import timezone

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)  # of the one period of a budget that never ends


def starts_at(interval: str, now: datetime) -> datetime:
    """Return when the interval that contains `now` began."""
    if interval == "once":
        return BEGINNING
    day = timezone.localtime(now).date()
    if interval == "week":
        day -= timedelta(days=day.weekday())
    elif interval == "month":
        day = day.replace(day=1)
    return _midnight(datetime.combine(day, time()))


def ends_at(interval: str, start: datetime) -> datetime | None:
    """Return when the interval that began at `start` ends; None if never."""
    if interval == "once":
        return None
    day = timezone.localtime(start).date()
    if interval == "day":
        day += timedelta(days=1)
    elif interval == "week":
        day += timedelta(days=7)
    else:
        day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    return _midnight(datetime.combine(day, time()))


def starts_again(ends_at: datetime | None) -> str:
    """Return when a budget starts again, as a sentence."""
    if ends_at is None:
        return "The budget never starts again."
    local = timezone.localtime(ends_at)
    return f"The budget starts again on {local.day} {local:%B} at {local:%H:%M} ({local:%Z})."


def _midnight(naive: datetime) -> datetime:
    # In UTC, so that equal moments have one representation in the database and in this process.
    return timezone.make_aware(naive).astimezone(UTC)

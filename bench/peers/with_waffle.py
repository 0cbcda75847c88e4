"""django-waffle: one switch, looked up through its cache."""

from __future__ import annotations

import sys

from a_django_site import set_up
from laps import IS_TINY, each_us, serve, serve_saving, serve_watching

job, folder, cache_url = sys.argv[1:]
set_up(folder, cache_url, "waffle")

from django.core.cache import cache  # noqa: E402 - models exist once there is a site
from waffle import get_waffle_switch_model, switch_is_active  # noqa: E402

Switch = get_waffle_switch_model()
Switch.objects.get_or_create(name="strategist", defaults={"active": True})


def look_up() -> bool:
    return switch_is_active("strategist")


def look_up_cold() -> None:
    cache.clear()
    look_up()


def turn(_: str) -> None:
    switch = Switch.objects.get(name="strategist")
    switch.active = not switch.active
    switch.save()


def measure() -> dict[str, float]:
    hot, cold = (100, 5) if IS_TINY else (5_000, 100)
    look_up()
    return {"us": each_us(look_up, hot), "cold_us": each_us(look_up_cold, cold)}


if job == "look":
    serve(measure, "django-waffle")
elif job == "watch":
    serve_watching(look_up, "django-waffle")
else:
    serve_saving(turn, "django-waffle")

"""django-constance: one setting, looked up in the backend that the command line says."""

from __future__ import annotations

import sys

from a_django_site import set_up
from laps import IS_TINY, each_us, serve, serve_saving, serve_watching

job, folder, backend, redis_url = sys.argv[1:]
set_up(
    folder,
    "",
    "constance",
    CONSTANCE_BACKEND=f"constance.backends.{backend}",
    CONSTANCE_REDIS_CONNECTION=redis_url,
    CONSTANCE_CONFIG={"STRATEGIST": ("a/model", "the strategist's model")},
)

from constance import config  # noqa: E402 - it exists once there is a site

config.STRATEGIST = "another/model"


def look_up() -> str:
    return config.STRATEGIST


def save(word: str) -> None:
    config.STRATEGIST = word


if job == "look":
    count = 100 if IS_TINY else 5_000
    serve(lambda: {"us": each_us(look_up, count)}, "django-constance")
elif job == "watch":
    serve_watching(look_up, "django-constance")
else:
    serve_saving(save, "django-constance")

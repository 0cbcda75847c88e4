"""Run as a process: changes overrides as it is told, as the admin's process would."""

from __future__ import annotations

import json
import sys
import time

import django

django.setup()

from django.db import Error, close_old_connections, transaction  # noqa: E402

from agents.models import AgentModelConfig  # noqa: E402

AGENT, OPERATOR = "extraction", "olga"


def obey(order: dict[str, str]) -> None:
    if order["act"] == "upsert":
        AgentModelConfig.objects.upsert(AGENT, order["model"], OPERATOR)
    elif order["act"] == "deactivate":
        AgentModelConfig.objects.deactivate(AGENT, OPERATOR)
    else:
        with transaction.atomic():
            AgentModelConfig.objects.upsert(AGENT, order["model"], OPERATOR)
            time.sleep(0.15)  # long enough for every reader to look while it is uncommitted
            transaction.set_rollback(True)


def main() -> None:
    for line in sys.stdin:
        close_old_connections()  # as a request does
        error = ""
        try:
            obey(json.loads(line))
        except Error as failure:
            error = repr(failure)
        sys.stdout.write(json.dumps({"at": time.monotonic(), "error": error}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

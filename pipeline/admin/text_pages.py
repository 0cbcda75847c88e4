"""Pages that show what members and models wrote; they extend none of the theme's templates.

They load no scripts, and their Content-Security-Policy allows none; only a page with a button may
submit a form, to this site.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.http import HttpRequest
from django.template.response import TemplateResponse

from pipeline.models import PipelineRun, Task, TextsRead
from pipeline.models.access_log import AccessKind
from pipeline.models.runs import Source

_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; "
    "frame-ancestors {frames}; form-action {forms}"
)


def may_read_texts(request: HttpRequest) -> bool:
    """Tell whether this operator may read what members and models wrote."""
    return request.user.has_perm("pipeline.view_texts")


def may_read_texts_of(request: HttpRequest, run: PipelineRun) -> bool:
    """Tell whether this operator may read a run's texts.

    For a trial on a sample, the permission to change overrides is enough: its texts are an
    operator's own sample, the team's playbook and casebook, and the answer. Operators who may see
    only figures cannot read them, because the sample may be what a member wrote.
    """
    is_sample = run.source == Source.TRIAL and not run.has_recorded_texts
    may_try = request.user.has_perm("agents.change_agentmodelconfig")
    return may_read_texts(request) or (is_sample and may_try)


def log_access(
    request: HttpRequest,
    how: AccessKind,
    *,
    runs: Iterable[PipelineRun] = (),
    task: Task | None = None,
) -> None:
    """Log who accesses which texts; call it before they are sent, so that no access is missed."""
    user: Any = request.user
    who = {"operator_id": user.pk, "operator_name": user.get_username(), "how": how}
    rows = [TextsRead(run=run, **who) for run in runs]
    if task is not None:
        rows.append(TextsRead(task=task, **who))
    TextsRead.objects.bulk_create(rows, batch_size=500)


def text_page(
    request: HttpRequest,
    template: str,
    context: dict[str, Any],
    *,
    has_button: bool = False,
    is_framed: bool = False,
) -> TemplateResponse:
    """Return a page that may show texts, with a Content-Security-Policy that lets no script run.

    With `is_framed`, a page of this site may show it in a frame.
    """
    response = TemplateResponse(request, template, context)
    response["Content-Security-Policy"] = _POLICY.format(
        frames="'self'" if is_framed else "'none'", forms="'self'" if has_button else "'none'"
    )
    if is_framed:
        response["X-Frame-Options"] = "SAMEORIGIN"
    return response

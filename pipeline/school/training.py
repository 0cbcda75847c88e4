"""Sales training: choosing the next exercise, recording answers and scores, computing progress.

An exercise is a lesson or scenario given to a member. It is open until its answer arrives, the
member leaves it, or a day has passed; a member has one open exercise at a time. The trainer's score
is stored in the transaction that ends its step, so it counts once.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Any

from django.db import transaction
from django.db.models import Count, Max, Q, Sum
from django.utils import timezone

from agents.team.trainer import TrainerAgent
from pipeline.journal import hooks
from pipeline.models import (
    Exercise,
    Lesson,
    Member,
    OutgoingMessage,
    Scenario,
    StepRun,
    TelegramUpdate,
    Track,
)

AGENT = TrainerAgent.name
PASSES_AT = 60  # of 100: the score that unlocks the next level
XP_A_LEVEL = 100
STAYS_OPEN = timedelta(hours=24)  # a message on the next day is hardly an answer
HARDER_FROM, EASIER_BELOW = 75, 45  # average score at which the difficulty changes
JUDGED_BY = 5  # number of latest scenarios to look at for the difficulty
MAX_SHOWN = 14  # exercises in the chart
WEAK_BELOW = 7.0  # average out of 10 per criterion
MAX_WEAK = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A member's training progress."""

    xp: int
    answered: int
    average: int  # score, out of 100
    streak_days: int
    scores: Sequence[int]  # latest scores, out of 100, the newest last
    weak: Sequence[tuple[str, float]]  # criterion and its average out of 10, the weakest first

    @property
    def level(self) -> int:
        """The member's level: everyone starts at level 1, and every 100 XP add a level."""
        return 1 + self.xp // XP_A_LEVEL


# --- exercises ------------------------------------------------------------------------------------


def next_lesson(track: Track, member: Member) -> Lesson | None:
    """Return the lesson of the lowest level that a member has not passed.

    If all are passed, return the last lesson again; None if the track has no lessons.
    """
    passed = set(
        Exercise.objects.filter(member=member, lesson__track=track, score__gte=PASSES_AT)
        .values_list("lesson__level", flat=True)
        .distinct()
    )
    lessons = list(track.lessons.order_by("level"))
    return next(
        (one for one in lessons if one.level not in passed), lessons[-1] if lessons else None
    )


def next_scenario(member: Member, difficulty: int | None = None) -> Scenario | None:
    """Return a random scenario among those that the member has had least often; None without any.

    So no scenario is repeated before the member has had all others of its difficulty. `difficulty`
    (1 to 3) defaults to the one that fits the member; if it has no active scenarios, those of any
    difficulty are used.
    """
    active = Scenario.objects.filter(is_active=True)
    wanted = difficulty or fitting_difficulty(member)
    pool = active.filter(difficulty=wanted)
    if not pool.exists():
        pool = active
    had = Count("exercise", filter=Q(exercise__member=member))
    counted = list(pool.annotate(had=had))
    if not counted:
        return None
    least = min(scenario.had for scenario in counted)
    return secrets.choice([scenario for scenario in counted if scenario.had == least])


def fitting_difficulty(member: Member) -> int:
    """Return the difficulty, 1 to 3, of a member's next scenario.

    It is that of the last judged scenario, or one more or less, depending on the average score of
    those among the last 5 judged scenarios that had the same difficulty.
    """
    judged = Exercise.objects.filter(member=member, scenario__isnull=False, score__isnull=False)
    last = list(judged.select_related("scenario").order_by("-judged_at")[:JUDGED_BY])
    if not last or last[0].scenario is None:
        return 1
    same = [
        one
        for one in last
        if one.scenario and one.scenario.difficulty == last[0].scenario.difficulty
    ]
    average = sum(one.score or 0 for one in same) / len(same)
    step = 1 if average >= HARDER_FROM else -1 if average < EASIER_BELOW else 0
    return min(3, max(1, last[0].scenario.difficulty + step))


@transaction.atomic
def put(member: Member, task: Lesson | Scenario, row: TelegramUpdate) -> Exercise:
    """Open an exercise for a member, in reply to an update; leave the one that was open."""
    leave(member)
    exercise = Exercise(member=member, asked_by=row, asked_after=_newest_update())
    if isinstance(task, Lesson):
        exercise.lesson = task
    else:
        exercise.scenario = task
    exercise.save()
    return exercise


def _newest_update() -> int | None:
    newest: int | None = TelegramUpdate.objects.aggregate(newest=Max("pk"))["newest"]
    return newest


def leave(member: Member) -> bool:
    """Close the member's open exercise without an answer; False if there is none."""
    # Lock the member's row first, because "one open exercise" is a rule per member.
    Member.objects.select_for_update().get(pk=member.pk)
    return bool(Exercise.objects.filter(member=member, is_open=True).update(is_open=False))


# --- answers --------------------------------------------------------------------------------------


class Answers(Enum):
    """Whether a message is the answer to the open exercise."""

    YES = "yes"  # a reply to the exercise, or the member's next message
    PERHAPS = "perhaps"  # the member has sent or pressed something else since the exercise
    NO = "no"  # no exercise is open, or the message is older, or it replies to something else


def open_exercise(row: TelegramUpdate, *, now: datetime) -> Exercise | None:
    """Return the open exercise of the person who sent an update; None if there is none.

    An exercise older than 24 hours no longer counts as open.
    """
    if row.user_id is None:
        return None
    of_person = Exercise.objects.filter(member__telegram_id=row.user_id, is_open=True)
    return of_person.filter(asked_at__gt=now - STAYS_OPEN).first()


def answers(row: TelegramUpdate, exercise: Exercise | None, replied_to: int | None) -> Answers:
    """Tell whether a message answers an exercise.

    `replied_to` is the id of the message that it replies to, None if it is not a reply. Order is
    decided by the updates' row ids, because the clocks of two machines may be seconds apart.
    """
    if exercise is None:
        return Answers.NO
    if exercise.asked_after is None:  # opened by a release that stored only the time
        return Answers.YES if exercise.asked_at <= row.received_at else Answers.NO
    if replied_to is not None:
        asked = OutgoingMessage.objects.filter(
            update=exercise.asked_by_id, message_id=replied_to
        ).exists()
        return Answers.YES if asked else Answers.NO
    if row.pk <= exercise.asked_after:
        return Answers.NO  # the message was already queued when the exercise was opened
    between = TelegramUpdate.objects.filter(
        chat_id=row.chat_id, user_id=row.user_id, pk__gt=exercise.asked_after, pk__lt=row.pk
    )
    return Answers.PERHAPS if between.exists() else Answers.YES


def answered_by(row: TelegramUpdate) -> Exercise | None:
    """Return the exercise whose stored answer is this update; None if there is none."""
    return Exercise.objects.filter(answer=row).select_related("lesson", "scenario").first()


@transaction.atomic
def keep_answer(exercise_id: int, row: TelegramUpdate) -> Exercise | None:
    """Store an update as the answer of an open exercise, close the exercise and return it.

    None if the exercise is not open any more, for example because another answer was faster.
    """
    won = Exercise.objects.filter(pk=exercise_id, is_open=True)
    if not won.update(is_open=False, answer=row):
        return None
    return answered_by(row)


@transaction.atomic
def reopen(update_id: int) -> None:
    """Reopen an exercise whose answer, this update, could not be judged.

    Does nothing if the member has another open exercise.
    """
    exercise = Exercise.objects.filter(answer_id=update_id, score=None).first()
    if exercise is None:
        return
    Member.objects.select_for_update().get(pk=exercise.member_id)
    if not Exercise.objects.filter(member=exercise.member_id, is_open=True).exists():
        Exercise.objects.filter(pk=exercise.pk).update(
            answer=None, is_open=True, asked_after=_newest_update()
        )


def scenario_of(exercise: Exercise) -> str:
    """Return the text of an exercise for the trainer agent: title, lesson, task, good answer."""
    task = exercise.lesson or exercise.scenario
    if task is None:
        return ""
    parts = [task.title, task.task if isinstance(task, Lesson) else task.text]
    if isinstance(task, Lesson):
        parts.insert(1, f"The lesson was: {task.text}")
    if task.good_answer:
        parts.append(f"A good answer: {task.good_answer}")
    return "\n\n".join(parts)


def mark(step: StepRun, data: Mapping[str, Any]) -> None:
    """Store the trainer's score of an answer, in the caller's transaction; once per exercise.

    Does nothing if the run's update does not answer an exercise, or if it has a score already.
    """
    exercise = Exercise.objects.filter(answer__run=step.run_id, score=None).first()
    if exercise is None:
        return
    exercise.score = min(100, max(0, int(data.get("score", 0))))
    exercise.criteria = [
        [str(one.get("name", ""))[:80], int(one.get("score", 0))]
        for one in data.get("criteria", [])
    ]
    exercise.xp = _xp_of(exercise)
    exercise.judged_at = timezone.now()
    exercise.save(update_fields=["score", "criteria", "xp", "judged_at"])


def _xp_of(exercise: Exercise) -> int:
    """Return the XP: a tenth of the score, times a scenario's difficulty (1 to 3)."""
    if exercise.score is None:
        return 0
    weight = exercise.scenario.difficulty if exercise.scenario else 1
    return round(exercise.score * weight / 10)


# --- progress -------------------------------------------------------------------------------------


def standing(member: Member, *, today: date) -> Standing:
    """Return a member's progress, from all exercises that were judged."""
    judged = Exercise.objects.filter(member=member, score__isnull=False)
    totals = judged.aggregate(xp=Sum("xp"), count=Count("pk"), score=Sum("score"))
    last = list(judged.order_by("-judged_at")[: 2 * MAX_SHOWN])
    days = {
        timezone.localtime(at).date()
        for at in judged.filter(judged_at__isnull=False).values_list("judged_at", flat=True)
        if at is not None
    }
    count = totals["count"] or 0
    return Standing(
        xp=totals["xp"] or 0,
        answered=count,
        average=round((totals["score"] or 0) / count) if count else 0,
        streak_days=_streak(days, today),
        scores=[one.score or 0 for one in reversed(last[:MAX_SHOWN])],
        weak=_weak(last),
    )


def levels_passed(track: Track, member: Member) -> int:
    """Return the highest level of a track that a member has passed, 0 for none."""
    passed = Exercise.objects.filter(member=member, lesson__track=track, score__gte=PASSES_AT)
    return passed.aggregate(top=Max("lesson__level"))["top"] or 0


def _streak(days: set[date], today: date) -> int:
    """Return for how many days in a row, up to today or yesterday, an answer was judged."""
    day = today if today in days else today - timedelta(days=1)
    count = 0
    while day in days:
        count += 1
        day -= timedelta(days=1)
    return count


def _weak(exercises: Sequence[Exercise]) -> list[tuple[str, float]]:
    scores: dict[str, list[int]] = defaultdict(list)
    names: dict[str, str] = {}
    for exercise in exercises:
        for name, score in exercise.criteria:
            folded = name.casefold().strip()
            names.setdefault(folded, name.strip())
            scores[folded].append(score)
    averages = [(names[name], sum(of) / len(of)) for name, of in scores.items() if name]
    weak = [pair for pair in averages if pair[1] < WEAK_BELOW]
    return sorted(weak, key=lambda pair: pair[1])[:MAX_WEAK]


hooks.learn_from(AGENT, mark)

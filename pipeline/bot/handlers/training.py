"""Handlers of /learn, /train and /stats, and of the answers to lessons and scenarios.

A reply to an exercise counts as its answer, and so does the next message. If something else came in
between, the member is asked whether the message is the answer.
"""

from __future__ import annotations

import json
from functools import partial

from asgiref.sync import sync_to_async
from django.db import transaction
from django.utils import timezone
from telegram import CallbackQuery, Message
from telegram.constants import ChatType

from agents.base import Inputs
from pipeline.bot import texts
from pipeline.bot.handlers.requests import Ask, Gathering, in_command, in_message, words_of
from pipeline.bot.parsing import parse
from pipeline.bot.presses import answer
from pipeline.bot.static_reply import Buttons, StaticReply
from pipeline.bot.update_context import UpdateContext
from pipeline.models import Exercise, Lesson, Member, Scenario, Task, TelegramUpdate, Track
from pipeline.models.inbox import TaskKind
from pipeline.queue.base import AddTasks
from pipeline.school import training
from pipeline.school.charts import progress

LEARN, TRAIN = "learn:", "train:"  # prefixes of the callback data of these buttons
ANOTHER, LEAVE = f"{TRAIN}another", f"{TRAIN}leave"
WHICH = "which:"  # prefix of the "answer or question?" buttons' callback data
ANSWER, QUESTION = f"{WHICH}answer:", f"{WHICH}question:"
DIFFICULTIES = {"easy": 1, "medium": 2, "hard": 3, "1": 1, "2": 2, "3": 3}
LEAVE_BUTTON = [(texts.LEAVE_EXERCISE, LEAVE)]


async def read_learn(
    context: UpdateContext, message: Message, member: Member
) -> Ask | StaticReply | str:
    """Parse a /learn command: a question for the trainer, or without one the list of tracks."""
    question = words_of(message)
    if question:
        return Ask(pipeline="learn", question=Inputs(user_message=question))
    return await sync_to_async(_tracks)(member)


async def read_train(
    context: UpdateContext, message: Message, member: Member
) -> Ask | StaticReply | str:
    """Parse a /train command, with or without a difficulty, and return a scenario."""
    word = words_of(message).lower()
    if word and word not in DIFFICULTIES:
        return texts.TRAIN_WORDS
    return await sync_to_async(_scenario)(context.row, member, DIFFICULTIES.get(word))


async def read_answer(
    context: UpdateContext, message: Message, member: Member
) -> Ask | StaticReply | None:
    """Return a run to judge the message as an exercise's answer, or None if it is not an answer.

    If that is uncertain, return a static reply that asks the member.
    """
    if not message.text or message.forward_origin is not None:
        return None
    return await sync_to_async(_read_answer)(context, words_of(message))


def _read_answer(context: UpdateContext, words: str) -> Ask | StaticReply | None:
    row = context.row
    exercise = training.answered_by(row)  # stored by an earlier attempt
    if exercise is None:
        open_one = training.open_exercise(row, now=timezone.now())
        verdict = training.answers(row, open_one, context.replied_to)
        if open_one is None or verdict is training.Answers.NO:
            return None
        if verdict is training.Answers.PERHAPS:
            return StaticReply(texts.WHICH.format(title=_title(open_one)), _which_buttons(row))
        exercise = training.keep_answer(open_one.pk, row)
    return _judging(exercise, words) if exercise is not None else None


def _judging(exercise: Exercise, words: str) -> Ask:
    question = Inputs(user_message=words, scenario=training.scenario_of(exercise))
    return Ask(pipeline="lesson" if exercise.lesson_id else "train", question=question)


def _title(exercise: Exercise) -> str:
    task = exercise.lesson or exercise.scenario
    return task.title if task is not None else ""


def _which_buttons(row: TelegramUpdate) -> Buttons:
    return [
        [
            (texts.MY_ANSWER, f"{ANSWER}{row.pk}"),
            (texts.A_QUESTION, f"{QUESTION}{row.pk}"),
        ]
    ]


async def press_which(
    context: UpdateContext, member: Member, query: CallbackQuery, add_tasks: AddTasks
) -> StaticReply | None:
    """Queue a message again, as the answer or the question that the pressed button says it is."""
    data = query.data or ""
    is_first = await sync_to_async(_note_which)(context.row, member, data, add_tasks)
    await answer(query, texts.ON_IT if is_first else texts.NOT_YOURS)
    return None


@transaction.atomic
def _note_which(row: TelegramUpdate, member: Member, data: str, add_tasks: AddTasks) -> bool:
    number = data.removeprefix(ANSWER).removeprefix(QUESTION)
    if not number.isdecimal() or len(number) > 18:
        return False
    asked_about = TelegramUpdate.objects.filter(
        pk=int(number), chat_id=row.chat_id, user_id=row.user_id, kind="message", joined_to=None
    )
    # Joins the message to the first press, whose task answers it; a second finds none to join.
    if row.chat_id is None or not asked_about.update(joined_to=row):
        return False
    if data.startswith(QUESTION):
        training.leave(member)  # otherwise the bot would ask again about each further question
    add_tasks([Task(kind=TaskKind.MESSAGE, lane=f"{row.chat_id}:", update=row)])
    return True


async def wanted_by_press(
    context: UpdateContext, member: Member, query: CallbackQuery
) -> Ask | Gathering | str | None:
    """Return the request of a queued "answer or question?" press, for the message it is about.

    Returns a text if that is the whole reply, and None if there is no such message.
    """
    original = await context.row.joined.afirst()
    if original is None:
        return None
    message = parse(json.loads(original.raw), query.get_bot()).message
    if message is None:
        return None
    if (query.data or "").startswith(ANSWER):
        judged = await sync_to_async(_answer_pressed)(context.row, words_of(message))
        if judged is not None:
            return judged
    return await in_command(context, message, member)


def _answer_pressed(row: TelegramUpdate, words: str) -> Ask | None:
    exercise = training.answered_by(row)
    if exercise is None:
        open_one = training.open_exercise(row, now=timezone.now())
        exercise = training.keep_answer(open_one.pk, row) if open_one is not None else None
    return _judging(exercise, words) if exercise is not None else None


async def press_track(context: UpdateContext, member: Member, query: CallbackQuery) -> StaticReply:
    """Return the next lesson of the track whose button was pressed."""
    await answer(query)
    number = (query.data or "").removeprefix(LEARN)
    track_id = int(number) if number.isdecimal() and len(number) < 18 else 0
    return await sync_to_async(_lesson)(context.row, member, track_id)


async def press_training(
    context: UpdateContext, member: Member, query: CallbackQuery
) -> StaticReply:
    """Return another scenario, or leave the open exercise, depending on the button."""
    await answer(query)
    if query.data == LEAVE:
        return StaticReply(texts.EXERCISE_LEFT, also=partial(training.leave, member))
    return await sync_to_async(_scenario)(context.row, member, None)


async def show_stats(context: UpdateContext, member: Member) -> StaticReply:
    """Return XP, level, streak and weak areas, with a chart of the latest scores."""
    return await sync_to_async(_stats)(member)


async def in_message_or_answer(
    context: UpdateContext, message: Message, member: Member
) -> Ask | Gathering | StaticReply | str:
    """Parse a message as the answer to an open exercise, otherwise as a question."""
    if message.chat.type == ChatType.PRIVATE:
        judged = await read_answer(context, message, member)
        if judged is not None:
            return judged
    return await in_message(context, message, member)


def verdict_of(update_id: int) -> StaticReply | None:
    """Return the score line and buttons beneath an exercise's judgement; None without a score."""
    exercise = (
        Exercise.objects.filter(answer_id=update_id, score__isnull=False)
        .select_related("lesson__track", "scenario", "member")
        .first()
    )
    if exercise is None:
        return None
    earned = texts.EARNED.format(score=exercise.score, xp=exercise.xp)
    if exercise.lesson is None:
        return StaticReply(earned, [[(texts.ANOTHER_SCENARIO, ANOTHER)]])
    lesson, again = exercise.lesson, f"{LEARN}{exercise.lesson.track_id}"
    if (exercise.score or 0) < training.PASSES_AT:
        line = texts.NOT_PASSED.format(earned=earned, passes_at=training.PASSES_AT)
        return StaticReply(line, [[(texts.TRY_LESSON_AGAIN, again)]])
    following = lesson.track.lessons.filter(level__gt=lesson.level).order_by("level").first()
    if following is None:
        return StaticReply(texts.TRACK_DONE.format(earned=earned, track=lesson.track.title))
    line = texts.UNLOCKED.format(earned=earned, level=following.level, title=following.title)
    return StaticReply(line, [[(texts.NEXT_LESSON, again)]])


def _tracks(member: Member) -> StaticReply:
    tracks = list(Track.objects.filter(is_active=True, lessons__isnull=False).distinct())
    if not tracks:
        return StaticReply(texts.NO_TRACKS)
    lines, buttons = [texts.TRACKS], []
    for track in tracks:
        passed, count = training.levels_passed(track, member), track.lessons.count()
        lines.append(texts.TRACK.format(track=track, summary=track.summary, n=passed, of=count))
        buttons.append([(track.title[:40], f"{LEARN}{track.pk}")])
    return StaticReply("\n\n".join(lines), buttons)


def _lesson(row: TelegramUpdate, member: Member, track_id: int) -> StaticReply:
    track = Track.objects.filter(pk=track_id, is_active=True).first()
    lesson = training.next_lesson(track, member) if track is not None else None
    if track is None or lesson is None:
        return StaticReply(texts.NO_TRACKS)
    text = texts.LESSON.format(
        track=track, level=lesson.level, title=lesson.title, text=lesson.text, task=lesson.task
    )
    return _put(row, member, lesson, text, [LEAVE_BUTTON])


def _scenario(row: TelegramUpdate, member: Member, difficulty: int | None) -> StaticReply:
    scenario = training.next_scenario(member, difficulty)
    if scenario is None:
        return StaticReply(texts.NO_SCENARIOS)
    stars = "★" * scenario.difficulty + "☆" * (3 - scenario.difficulty)
    text = texts.SCENARIO.format(title=scenario.title, stars=stars, text=scenario.text)
    buttons = [[(texts.ANOTHER_SCENARIO, ANOTHER), *LEAVE_BUTTON]]
    return _put(row, member, scenario, text, buttons)


def _put(
    row: TelegramUpdate, member: Member, task: Lesson | Scenario, text: str, buttons: Buttons
) -> StaticReply:
    return StaticReply(text, buttons, also=partial(training.put, member, task, row))


def _stats(member: Member) -> StaticReply:
    stands = training.standing(member, today=timezone.localdate())
    if not stands.answered:
        return StaticReply(texts.NO_STATS)
    weak = ", ".join(f"{name} ({average:.0f}/10)" for name, average in stands.weak)
    text = texts.STATS.format(
        level=stands.level,
        xp=stands.xp,
        left=stands.level * training.XP_A_LEVEL - stands.xp,
        answered=stands.answered,
        average=stands.average,
        streak=stands.streak_days,
        days="day" if stands.streak_days == 1 else "days",
        weak=weak or texts.NOTHING_WEAK,
    )
    title = texts.STATS_TITLE.format(level=stands.level, xp=stands.xp)
    chart = progress(stands.scores, title=title, passes_at=training.PASSES_AT)
    return StaticReply(text, picture=chart)

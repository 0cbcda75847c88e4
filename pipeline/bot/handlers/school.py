"""Learning and training: lessons and scenarios are put to a member, the next message answers them."""

from __future__ import annotations

from functools import partial

from asgiref.sync import sync_to_async
from django.utils import timezone
from telegram import CallbackQuery, Message
from telegram.constants import ChatType

from pipeline import training
from pipeline.bot import texts
from pipeline.bot.handlers.asks import Ask, in_message, words_of
from pipeline.bot.handlers.control import answer
from pipeline.bot.lines import Buttons, Line
from pipeline.bot.turn import Turn
from pipeline.briefing import Question
from pipeline.charts import progress
from pipeline.models import Exercise, Lesson, Member, Scenario, Track

LEARN, TRAIN = "learn:", "train:"  # begin the data of these buttons
ANOTHER, LEAVE = f"{TRAIN}another", f"{TRAIN}leave"
DIFFICULTIES = {"easy": 1, "medium": 2, "hard": 3, "1": 1, "2": 2, "3": 3}
LEAVE_BUTTON = [(texts.LEAVE_EXERCISE, LEAVE)]


async def read_learn(turn: Turn, message: Message, member: Member) -> Ask | Line | str:
    """Read a /learn: a question for the trainer, or the wish to see the tracks."""
    question = words_of(message)
    if question:
        return Ask(pipeline="learn", question=Question(text=question))
    return await sync_to_async(_tracks)(member)


async def read_train(turn: Turn, message: Message, member: Member) -> Ask | Line | str:
    """Read a /train, with a difficulty or without."""
    wanted = DIFFICULTIES.get(words_of(message).lower())
    return await sync_to_async(_scenario)(member, wanted)


async def read_answer(turn: Turn, message: Message, member: Member) -> Ask | None:
    """Return the run that judges a message, if it answers an open exercise."""
    is_own = message.forward_origin is None and message.reply_to_message is None
    if not message.text or not is_own:
        return None
    exercise = await sync_to_async(training.answered_by)(turn.row, now=timezone.now())
    if exercise is None:
        return None
    question = Question(text=words_of(message), scenario=training.scenario_of(exercise))
    return Ask(pipeline="lesson" if exercise.lesson_id else "train", question=question)


async def press_track(turn: Turn, member: Member, query: CallbackQuery) -> Line:
    """Put the next lesson of the track whose button was pressed."""
    await answer(query)
    number = (query.data or "").removeprefix(LEARN)
    track_id = int(number) if number.isdecimal() and len(number) < 18 else 0
    return await sync_to_async(_lesson)(member, track_id)


async def press_training(turn: Turn, member: Member, query: CallbackQuery) -> Line:
    """Put another scenario, or leave the exercise that is open."""
    await answer(query)
    if query.data == LEAVE:
        return Line(texts.EXERCISE_LEFT, also=partial(training.leave, member))
    return await sync_to_async(_scenario)(member, None)


async def show_stats(turn: Turn, member: Member) -> Line:
    """Show XP, level, streak and weak areas, with the last scores as a picture."""
    return await sync_to_async(_stats)(member)


async def in_message_or_answer(turn: Turn, message: Message, member: Member) -> Ask | Line | str:
    """Read a message as the answer to an open exercise, else as a question."""
    if message.chat.type == ChatType.PRIVATE:
        judged = await read_answer(turn, message, member)
        if judged is not None:
            return judged
    return await in_message(turn, message, member)


def verdict_of(update_id: int) -> Line | None:
    """Return what is said beneath the judgement of an exercise; None where there is none."""
    exercise = (
        Exercise.objects.filter(answer_id=update_id, score__isnull=False)
        .select_related("lesson__track", "scenario", "member")
        .first()
    )
    if exercise is None:
        return None
    earned = texts.EARNED.format(score=exercise.score, xp=exercise.xp)
    if exercise.lesson is None:
        return Line(earned, [[(texts.ANOTHER_SCENARIO, ANOTHER)]])
    lesson, again = exercise.lesson, f"{LEARN}{exercise.lesson.track_id}"
    if (exercise.score or 0) < training.PASSES_AT:
        line = texts.NOT_PASSED.format(earned=earned, passes_at=training.PASSES_AT)
        return Line(line, [[(texts.TRY_LESSON_AGAIN, again)]])
    following = lesson.track.lessons.filter(level__gt=lesson.level).order_by("level").first()
    if following is None:
        return Line(texts.TRACK_DONE.format(earned=earned, track=lesson.track.title))
    line = texts.UNLOCKED.format(earned=earned, level=following.level, title=following.title)
    return Line(line, [[(texts.NEXT_LESSON, again)]])


def _tracks(member: Member) -> Line:
    tracks = list(Track.objects.filter(is_active=True, lessons__isnull=False).distinct())
    if not tracks:
        return Line(texts.NO_TRACKS)
    lines, buttons = [texts.TRACKS], []
    for track in tracks:
        passed, count = training.levels_passed(track, member), track.lessons.count()
        lines.append(texts.TRACK.format(track=track, summary=track.summary, n=passed, of=count))
        buttons.append([(track.title[:40], f"{LEARN}{track.pk}")])
    return Line("\n\n".join(lines), buttons)


def _lesson(member: Member, track_id: int) -> Line:
    track = Track.objects.filter(pk=track_id, is_active=True).first()
    lesson = training.next_lesson(track, member) if track is not None else None
    if track is None or lesson is None:
        return Line(texts.NO_TRACKS)
    text = texts.LESSON.format(
        track=track, level=lesson.level, title=lesson.title, text=lesson.text, task=lesson.task
    )
    return _put(member, lesson, text, [LEAVE_BUTTON])


def _scenario(member: Member, difficulty: int | None) -> Line:
    scenario = training.next_scenario(member, difficulty)
    if scenario is None:
        return Line(texts.NO_SCENARIOS)
    stars = "★" * scenario.difficulty + "☆" * (3 - scenario.difficulty)
    text = texts.SCENARIO.format(title=scenario.title, stars=stars, text=scenario.text)
    return _put(member, scenario, text, [[(texts.ANOTHER_SCENARIO, ANOTHER), *LEAVE_BUTTON]])


def _put(member: Member, task: Lesson | Scenario, text: str, buttons: Buttons) -> Line:
    return Line(text, buttons, also=partial(training.put, member, task))


def _stats(member: Member) -> Line:
    stands = training.standing(member, today=timezone.localdate())
    if not stands.answered:
        return Line(texts.NO_STATS)
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
    return Line(text, picture=chart)

"""What a member is asked next, what their answers were worth, and how they stand."""

from __future__ import annotations

import base64
import io
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import SimpleTestCase, TestCase
from django.utils import timezone
from PIL import Image

from pipeline.models import (
    Exercise,
    Lesson,
    Member,
    OutgoingMessage,
    PipelineRun,
    Scenario,
    StepRun,
    TelegramUpdate,
    Track,
)
from pipeline.school import training
from pipeline.school.charts import progress
from pipeline.school.training import Answers

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
TODAY = date(2026, 11, 26)


class TrainingCase(TestCase):
    def setUp(self) -> None:
        self.maya = Member.objects.create(telegram_id=1001, name="Maya")
        self.track = Track.objects.create(title="Discovery")
        for level in (1, 2, 3):
            Lesson.objects.create(
                track=self.track, level=level, title=f"L{level}", text="t", task="a"
            )
        for number in range(4):
            Scenario.objects.create(title=f"Easy {number}", difficulty=1, text="t")
        Scenario.objects.create(title="Medium", difficulty=2, text="t")
        self._updates = iter(range(1, 1000))

    def message(self, member: Member | None = None) -> TelegramUpdate:
        person = (member or self.maya).telegram_id
        return TelegramUpdate.objects.create(
            bot_id=1,
            update_id=next(self._updates),
            kind="message",
            raw="{}",
            user_id=person,
            chat_id=person,
        )

    def put(self, task: Lesson | Scenario) -> Exercise:
        """Have an exercise put in reply to a message of Maya's."""
        return training.put(self.maya, task, self.message())

    def verdict(
        self, row: TelegramUpdate, replied_to: int | None = None, *, now: datetime | None = None
    ) -> training.Answers:
        exercise = training.open_exercise(row, now=now or timezone.now())
        return training.answers(row, exercise, replied_to)

    def judged(
        self, task: Lesson | Scenario, score: int, *, at: datetime = NOW, **data: Any
    ) -> Exercise:
        """Have an exercise put, answered and judged."""
        exercise = self.put(task)
        row = self.message()
        assert training.keep_answer(exercise.pk, row) is not None
        run = PipelineRun.objects.create(
            pipeline="train", source="telegram", update=row, started_at=at
        )
        step = StepRun.objects.create(
            run=run, position=0, agent="trainer", mode="sequential", started_at=at
        )
        training.mark(step, {"score": score, "criteria": [], **data})
        Exercise.objects.filter(answer=row).update(judged_at=at)
        return Exercise.objects.get(answer=row)

    def lesson(self, level: int) -> Lesson:
        return Lesson.objects.get(track=self.track, level=level)


class LessonTests(TrainingCase):
    def test_a_level_opens_at_sixty_in_the_one_before(self):
        def level() -> int | None:
            following = training.next_lesson(self.track, self.maya)
            return following.level if following else None

        assert level() == 1
        self.judged(self.lesson(1), 59)
        assert level() == 1
        self.judged(self.lesson(1), 60)
        assert level() == 2
        self.judged(self.lesson(2), 100)
        self.judged(self.lesson(3), 61)
        assert level() == 3  # all are passed: the last one again
        assert training.levels_passed(self.track, self.maya) == 3

    def test_a_track_without_lessons_has_no_next_one(self):
        assert training.next_lesson(Track.objects.create(title="Empty"), self.maya) is None


class ScenarioTests(TrainingCase):
    def test_none_is_repeated_before_all_were_had(self):
        for _ in range(3):
            had = set()
            for _ in range(4):
                scenario = training.next_scenario(self.maya, 1)
                assert scenario is not None
                had.add(scenario.title)
                self.put(scenario)
            assert len(had) == 4

    def test_the_difficulty_follows_the_last_few_answers(self):
        assert training.fitting_difficulty(self.maya) == 1
        for _ in range(3):
            self.judged(Scenario.objects.filter(difficulty=1)[0], 80)
        assert training.fitting_difficulty(self.maya) == 2
        self.judged(Scenario.objects.get(title="Medium"), 30, at=NOW + timedelta(minutes=1))
        assert training.fitting_difficulty(self.maya) == 1

    def test_what_is_not_in_use_is_not_asked_and_an_empty_difficulty_has_others(self):
        Scenario.objects.filter(difficulty=1).update(is_active=False)
        scenario = training.next_scenario(self.maya, 1)
        assert scenario is not None
        assert scenario.title == "Medium"

        Scenario.objects.update(is_active=False)
        assert training.next_scenario(self.maya) is None


class AnswerTests(TrainingCase):
    def test_the_next_message_is_the_answer(self):
        self.put(self.lesson(1))

        assert self.verdict(self.message()) is Answers.YES

    def test_after_anything_else_the_member_is_asked(self):
        self.put(self.lesson(1))
        self.message()

        assert self.verdict(self.message()) is Answers.PERHAPS

    def test_what_others_write_meanwhile_does_not_matter(self):
        self.put(self.lesson(1))
        self.message(Member.objects.create(telegram_id=1002))

        assert self.verdict(self.message()) is Answers.YES

    def test_a_reply_to_the_exercise_is_the_answer_whatever_came_between(self):
        asked = self.message()
        training.put(self.maya, self.lesson(1), asked)
        OutgoingMessage.objects.create(update=asked, number=0, message_id=70)
        self.message()

        assert self.verdict(self.message(), replied_to=70) is Answers.YES
        assert self.verdict(self.message(), replied_to=71) is Answers.NO

    def test_an_answer_is_kept_once(self):
        exercise = self.put(self.lesson(1))
        first, second = self.message(), self.message()

        assert training.keep_answer(exercise.pk, first) == exercise
        assert training.answered_by(first) == exercise  # after a restart
        assert training.keep_answer(exercise.pk, second) is None

    def test_the_order_is_told_by_ids_and_by_no_clock(self):
        exercise = self.put(self.lesson(1))
        row = self.message()
        for apart in (timedelta(seconds=-60), timedelta(seconds=60)):
            with self.subTest(apart=apart):
                row.received_at = exercise.asked_at + apart
                row.save()
                assert self.verdict(row) is Answers.YES

    def test_one_that_an_earlier_release_put_is_answered_by_what_came_after_it(self):
        Exercise.objects.create(member=self.maya, lesson=self.lesson(1))

        assert self.verdict(self.message()) is Answers.YES

    def test_a_new_exercise_and_leaving_it_close_the_one_before(self):
        self.put(self.lesson(1))
        self.put(self.lesson(2))
        assert Exercise.objects.filter(is_open=True).get().lesson == self.lesson(2)

        assert training.leave(self.maya)
        assert not training.leave(self.maya)
        assert self.verdict(self.message()) is Answers.NO

    def test_one_exercise_is_open_at_most(self):
        Exercise.objects.create(member=self.maya, lesson=self.lesson(1))
        with pytest.raises(IntegrityError), transaction.atomic():
            Exercise.objects.create(member=self.maya, lesson=self.lesson(2))

    def test_another_members_message_and_one_of_the_next_day_answer_nothing(self):
        tom = Member.objects.create(telegram_id=1002)
        self.put(self.lesson(1))

        assert self.verdict(self.message(tom)) is Answers.NO
        later = timezone.now() + timedelta(hours=25)
        assert self.verdict(self.message(), now=later) is Answers.NO

    def test_a_message_from_before_it_was_put_is_no_answer(self):
        waited_in_line = self.message()
        self.put(self.lesson(1))

        assert self.verdict(waited_in_line) is Answers.NO
        assert self.verdict(self.message()) is Answers.YES

    def test_an_answer_that_nobody_could_judge_leaves_it_open_for_another(self):
        first = self.put(self.lesson(1))
        row = self.message()
        training.keep_answer(first.pk, row)
        training.reopen(row.pk)
        assert self.verdict(self.message()) is Answers.YES

        training.keep_answer(first.pk, row)
        self.put(self.lesson(2))
        training.reopen(row.pk)  # another one is open by now
        assert Exercise.objects.filter(is_open=True).get().lesson == self.lesson(2)

    def test_a_judgement_counts_once_and_within_bounds(self):
        exercise = self.judged(
            Scenario.objects.get(title="Medium"), 900, criteria=[{"name": "Clarity", "score": 4}]
        )
        assert (exercise.score, exercise.xp) == (100, 20)
        assert exercise.criteria == [["Clarity", 4]]

        step = StepRun.objects.get()
        training.mark(step, {"score": 1})
        exercise.refresh_from_db()
        assert exercise.score == 100


class StandingTests(TrainingCase):
    def test_nothing_is_level_one(self):
        stands = training.standing(self.maya, today=TODAY)

        assert (stands.level, stands.xp, stands.answered, stands.streak_days) == (1, 0, 0, 0)

    def test_xp_level_streak_and_weak_areas_come_from_what_was_judged(self):
        easy = Scenario.objects.filter(difficulty=1)[0]
        weak = [{"name": "Asks back", "score": 3}, {"name": "Tone", "score": 9}]
        for days_ago in (4, 2, 1):
            at = NOW - timedelta(days=days_ago)
            self.judged(easy, 60, at=at, criteria=weak)
        for _ in range(9):
            self.judged(easy, 100, criteria=[{"name": "asks back ", "score": 4}])

        stands = training.standing(self.maya, today=TODAY)
        assert stands.xp == 3 * 6 + 9 * 10
        assert stands.level == 2
        assert stands.streak_days == 3
        assert stands.average == 90
        assert list(stands.weak) == [("asks back", 3.75)]
        assert len(stands.scores) == 12
        assert training.standing(self.maya, today=TODAY + timedelta(days=1)).streak_days == 3
        assert training.standing(self.maya, today=TODAY + timedelta(days=2)).streak_days == 0


class ChartTests(SimpleTestCase):
    def test_a_chart_is_a_small_png_for_any_number_of_scores(self):
        for scores in ([], [0], [100, 59, 60], list(range(0, 101, 5))):
            with self.subTest(count=len(scores)):
                content = base64.b64decode(progress(scores, title="Level 1 · 0 XP", passes_at=60))
                picture = Image.open(io.BytesIO(content))
                assert (picture.format, picture.size) == ("PNG", (900, 420))
                assert len(content) < 60_000

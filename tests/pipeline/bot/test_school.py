"""Learning and training in the chat: what is asked, judged and opened, and the picture of it."""

from __future__ import annotations

from pipeline.models import Exercise, Lesson, PipelineRun, Scenario, Track
from tests.pipeline.bot.chatting import MAYA, TOM, BotCase, Chat, change_in_effect, choose
from tests.pipeline.cases import until

ANSWER = "I would ask her what nine days cost, and propose a call on Thursday."


async def add_track() -> Track:
    track = await Track.objects.acreate(title="Discovery", summary="From hello to a problem.")
    for level in (1, 2):
        await Lesson.objects.acreate(
            track=track,
            level=level,
            title=f"Lesson {level}",
            text=f"What there is to know, {level}.",
            task=f"Write to Marta, {level}.",
            good_answer="Uses her words.",
        )
    return track


async def score_last(score: int) -> None:
    """Have the last judgement be another: the sandbox's model gives what it likes."""
    exercise = await Exercise.objects.alatest("judged_at")
    exercise.score = score
    await exercise.asave()


class LearnTests(BotCase):
    async def test_a_lesson_is_put_answered_judged_and_opens_the_next(self):
        await add_track()
        async with self.bot() as chat:
            await chat.say(MAYA, "/learn")
            await chat.sees_text(MAYA, "0 of 2 levels passed")
            await chat.press(MAYA, "Discovery")
            lesson = await chat.sees_text(MAYA, "level 1: Lesson 1")
            assert "Write to Marta, 1." in lesson
            await chat.say(MAYA, ANSWER)
            verdict = await chat.sees_text(MAYA, "of 100, +")
            exercise = await Exercise.objects.select_related("answer__run").aget()
            assert f"{exercise.score} out of 100, +{exercise.xp} XP" in verdict
            calls = [call for call in await chat.calls() if call["agent"] == "trainer"]
            await score_last(75)
            await chat.say(MAYA, "/learn")
            await chat.sees_text(MAYA, "1 of 2 levels passed")
            await chat.press(MAYA, "Discovery")
            await chat.sees_text(MAYA, "level 2: Lesson 2")

        told = str(calls[0]["messages"])
        assert "The lesson was: What there is to know, 1." in told
        assert "A good answer: Uses her words." in told
        assert ANSWER in told
        assert exercise.answer is not None
        assert exercise.answer.run.pipeline == "lesson"

    async def test_a_question_after_learn_is_explained(self):
        async with self.bot() as chat:
            await chat.say(MAYA, "/learn How do I open a call?")
            await chat.sees_text(MAYA, "Your turn")

        assert (await PipelineRun.objects.aget()).pipeline == "learn"

    async def test_after_leaving_it_a_message_is_a_question_again(self):
        await add_track()
        async with self.bot() as chat:
            await chat.say(MAYA, "/learn")
            await chat.sees_text(MAYA, "levels passed")
            await chat.press(MAYA, "Discovery")
            await chat.sees_text(MAYA, "level 1")
            await chat.press(MAYA, "Skip")
            await chat.sees_text(MAYA, "Skipped. Ask me anything")
            await chat.say(MAYA, "A CFO went silent")
            await chat.sees_text(MAYA, "Draft to send")

        assert (await PipelineRun.objects.aget()).pipeline == "support"

    async def test_without_lessons_it_says_so_and_a_made_up_press_does_no_harm(self):
        async with self.bot() as chat:
            await chat.say(MAYA, "/learn")
            await chat.sees_text(MAYA, "no lessons yet")
            await chat.press_unseen(MAYA, 1, "learn:99999999999999999999")
            await chat.sees(MAYA, lambda seen: len(seen) == 2)


class TrainTests(BotCase):
    async def test_a_scenario_is_answered_by_trainer_and_strategist_and_the_picture_shows_it(self):
        await Scenario.objects.acreate(title="Silence", difficulty=2, text="He went silent.")
        async with self.bot() as chat:
            await chat.say(TOM, "/stats")
            await chat.sees_text(TOM, "Nothing to show yet")
            await chat.say(TOM, "/train medium")
            await chat.sees_text(TOM, "🎯 Silence ★★☆")
            await chat.say(TOM, ANSWER)
            verdict = await chat.sees_text(TOM, "of 100, +")
            await chat.say(TOM, "/stats")
            await until_photo(chat, TOM)
            stats = (await chat.messages_of_the_bot(TOM))[-1]
            await chat.press(TOM, "Another scenario")
            await chat.sees(TOM, lambda seen: sum("🎯" in text for text in seen) == 2)

        assert "Draft to send" in verdict
        assert "Level 1," in stats["caption"]
        assert "Streak: 1 day" in stats["caption"]
        assert stats["photo"][-1]["width"] == 900
        assert (await PipelineRun.objects.aget()).pipeline == "train"

    async def test_a_judgement_that_failed_can_be_tried_again_and_then_counts(self):
        await Scenario.objects.acreate(title="Silence", difficulty=1, text="He went silent.")
        await choose("trainer", "sandbox/retired")
        async with self.bot() as chat:
            await chat.say(TOM, "/train")
            await chat.sees_text(TOM, "🎯 Silence")
            await chat.say(TOM, ANSWER)
            await chat.sees_text(TOM, "(ref ")
            await choose("trainer", "openai/gpt-4.1")
            await change_in_effect()
            await chat.press(TOM, "↻ Try again")
            await chat.sees_text(TOM, "of 100, +")

        assert await Exercise.objects.filter(score__isnull=False).acount() == 1


class TrapTests(BotCase):
    """While an exercise is open, a real prospect is not judged as its answer."""

    async def asked(self, chat: Chat) -> int:
        """Put a scenario to Tom and return the number of its message."""
        await Scenario.objects.acreate(title="Silence", difficulty=1, text="He went silent.")
        await chat.say(TOM, "/train")
        await chat.sees_text(TOM, "🎯 Silence")
        return int((await chat.messages_of_the_bot(TOM))[-1]["message_id"])

    async def pipelines(self) -> list[str]:
        return [run.pipeline async for run in PipelineRun.objects.order_by("started_at")]

    async def test_after_a_question_the_member_says_which_it_is(self):
        async with self.bot() as chat:
            await self.asked(chat)
            await chat.say(TOM, "/support CFO, went silent")
            await chat.sees_text(TOM, "Draft to send")
            await chat.say(TOM, "VP of Strategy at a bank")
            await chat.sees_text(TOM, "Is this your answer to “Silence”")
            await chat.press(TOM, "A new question")
            await chat.sees(TOM, lambda seen: sum("Draft to send" in one for one in seen) == 2)
            told = str((await chat.calls())[-2:])
            await chat.press(TOM, "My answer")  # too late: it is answered
            await chat.say(TOM, "And a COO")
            await chat.sees(TOM, lambda seen: sum("Draft to send" in one for one in seen) == 3)

        assert "VP of Strategy at a bank" in told
        assert await self.pipelines() == ["support"] * 3
        assert not await Exercise.objects.filter(answer__isnull=False).aexists()

    async def test_an_answer_after_a_question_is_judged_once_it_is_said_to_be_one(self):
        async with self.bot() as chat:
            await self.asked(chat)
            await chat.say(TOM, "/learn How do I open a call?")
            await chat.sees_text(TOM, "Your turn")
            await chat.say(TOM, ANSWER)
            await chat.sees_text(TOM, "Is this your answer")
            for _ in range(2):
                await chat.press(TOM, "My answer")
            await chat.sees_text(TOM, "of 100, +")
            told = str((await chat.calls())[-2:])

        assert ANSWER in told
        assert await self.pipelines() == ["learn", "train"]

    async def test_a_reply_to_the_exercise_is_judged_whatever_came_between(self):
        async with self.bot() as chat:
            exercise = await self.asked(chat)
            await chat.say(TOM, "/help")
            await chat.sees_text(TOM, "/support VP")
            await chat.say(TOM, ANSWER, reply_to=exercise)
            await chat.sees_text(TOM, "of 100, +")

        assert await self.pipelines() == ["train"]

    async def test_cancel_leaves_the_exercise(self):
        async with self.bot() as chat:
            await self.asked(chat)
            await chat.say(TOM, "/cancel")
            await chat.sees_text(TOM, "Skipped. Ask me anything")
            await chat.say(TOM, "CFO, went silent")
            await chat.sees_text(TOM, "Draft to send")

        assert await self.pipelines() == ["support"]

    async def test_an_unknown_difficulty_is_answered_with_those_there_are(self):
        await Scenario.objects.acreate(title="Silence", difficulty=1, text="He went silent.")
        async with self.bot() as chat:
            await chat.say(TOM, "/train nonsense")
            await chat.sees_text(TOM, "/train easy, /train medium or /train hard")
            await chat.say(TOM, "CFO, went silent")
            await chat.sees_text(TOM, "Draft to send")

        assert not await Exercise.objects.aexists()


async def until_photo(chat: object, person: int) -> None:
    async def has_photo() -> bool:
        return "photo" in (await chat.messages_of_the_bot(person))[-1]  # type: ignore[attr-defined]

    await until(has_photo)

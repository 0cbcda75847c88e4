"""Everything the bot says on its own account, in one place and one tone."""

from __future__ import annotations

WELCOME = """Hi {name}. I am your sales co-pilot.
Tell me about a prospect in your own words, or send a screenshot of the conversation.
I answer with an analysis, a closing strategy, next steps and a draft to copy.

{payer}"""
PAYS_OWN = "Your own {provider} key ({fingerprint}) pays for your answers."
PAYS_SHARED = "The team's key pays for your answers. You can use your own instead:"
PAYS_NOBODY = "Before you begin, choose whose API key is to pay for your answers:"
OWN_KEY = "My {provider} key"
TEAM_KEY = "The team's key"
SEND_KEY = """Send me your {provider} key, in a message with nothing else in it.
You get one at {page}. I ask {provider} whether it works, store it encrypted and delete your message."""  # noqa: E501
ON_TEAM_KEY = "The team's key pays for your answers. Tell me about your prospect."
TEAM_KEY_CLOSED = "The team's key is not for members here. Please use a key of your own."
STILL_OWN_KEY = "Your own {provider} key ({fingerprint}) pays. You can remove it: /settings."
LET_IN = "✅ You are in. {welcome}"

HELP = """Describe a prospect, send a screenshot, or forward me what they wrote. For example:
/support VP of Strategy at a mid-size bank, worried about switching cost

Reply to an answer of mine to go on from it. The buttons beneath it make it anew, make it shorter, save the case for \
the team, or tell why these models answered.

/support: analysis, strategy, steps and a draft
/learn: lessons, level by level; with a question, the trainer explains
/train: a scenario to answer; also /train easy, medium or hard
/stats: your level, streak and weak areas
/model: which models answer now, and who pays
/why: why these models answered; also as a reply to an answer
/memory: what I remember of you
/settings: your API key and model
/forget: erase your key, memory and texts
/cancel: stop what I am working on
/start: what I do
/help: this list"""  # noqa: E501

PLACEHOLDER = "👀 One moment…"
IN_LINE = "⏳ In line: your earlier message comes first…"
NOTHING_TO_DO = """Tell me about the prospect after the command, for example:
/support CFO of a logistics firm, went silent after the price"""
NOT_UNDERSTOOD = (
    "I can read text and pictures, not this. Write your question as a message, or send a "
    "screenshot."
)
ANONYMOUS = (
    "I cannot tell who you are while you write as the group or a channel. Write as yourself, or in "
    "our private chat."
)
ONE_PICTURE = "I read one picture at a time: the first of these. Send the others one by one."
UNKNOWN_COMMAND = "I do not know that command. /help lists those I know."
WAITING = (
    "This bot is for our team. I have asked an operator to let you in, and tell you here once "
    "they have."
)
STILL_WAITING = "An operator has not let you in yet."
NOT_INVITED = "This bot is for our team. Ask an operator for an invite link."
INVITE_REFUSED = (
    "This invite link is used up or too old. Ask an operator for a new one; each is for one person."
)
BLOCKED = "You cannot use this bot. Ask an operator if you think this is a mistake."
LOOKS_LIKE_A_KEY = (
    "That holds what looks like an API key, so I have read no further and kept nothing. {deleted} "
    "To use a key for your answers, copy it whole from the page of {providers}, and send it to me "
    "in our private chat, with nothing else in the message."
)
KEY_KEPT = (
    "✅ {provider} accepts this key. It pays for your answers from now on, stored encrypted; "
    "you know it by its fingerprint {fingerprint}. {deleted}"
)
KEY_REFUSED = (
    "⚠️ {provider} does not accept this key (fingerprint {fingerprint}), so I have not kept it. "
    "{deleted} Please check it at {page} and send it again."
)
KEY_UNCHECKED = (
    "⚠️ {provider} did not answer, so I could not check this key and have not kept it. {deleted} "
    "Please send it again in a few minutes."
)
DELETED = "I have deleted your message."
NOT_DELETED = "I could not delete your message: please delete it yourself, and then make a new key."
NO_ANSWER = "⚠️ {line} (incident {incident})"
IN_FILE = "This is too long for a message: it comes as a file."
REFUSED = "⚠️ Telegram did not take my answer. Please try again. (incident {incident})"
REST_REFUSED = "⚠️ The rest of this answer could not be sent. (incident {incident})"
GIVEN_UP = (
    "⚠️ I tried {attempts} times and could not answer this. Please ask again. (incident {incident})"
)
UNREADABLE = (
    "⚠️ I could not read this message. Please write it again in words of your own. "
    "(incident {incident})"
)
PRESS_FAILED = "That did not work. Please try again."
OLD_BUTTON = "This button is no longer in use."
SHORTER_WANTED = "The same in fewer words, please."
ON_IT = "On it…"
DONE_BEFORE = "I have done that already: see below."
SAVED = (
    "📌 Saved. Your answers use this case from now on, and everyone's once an operator approves it."
)
ONLY_IN_PRIVATE = "That is between you and me: ask me in our private chat."
NOT_YOURS = "This button is not for you, or its answer is no longer kept."
TRACKS = (
    "What do you want to learn? A level opens when you have reached 60 of 100 in the one before."
)
TRACK = "{track}: {summary} ({n} of {of} levels passed)"
NO_TRACKS = "There are no lessons here yet. Ask me about selling instead: /learn and your question."
NO_SCENARIOS = "There are no scenarios here yet. Ask an operator to add some."
ANSWER_NEXT = (
    "Your next message is your answer, and so is a reply to this one. To leave it: /cancel"
)
TRAIN_WORDS = (
    "I know /train easy, /train medium and /train hard. For a scenario that fits you: /train"
)
WHICH = "Is this your answer to “{title}”, or a new question? A question leaves the exercise."
MY_ANSWER = "My answer"
A_QUESTION = "A new question"
LESSON = (
    """📘 {track}, level {level}: {title}

{text}

✍️ {task}

"""
    + ANSWER_NEXT
)
SCENARIO = (
    """🎯 {title} {stars}

{text}

"""
    + ANSWER_NEXT
)
LEAVE_EXERCISE = "Leave it"
EXERCISE_LEFT = (
    "Left. Your next message is a question again; /learn and /train are there when you like."
)
ANOTHER_SCENARIO = "Another scenario"
NEXT_LESSON = "Next lesson"
TRY_LESSON_AGAIN = "Try again"
EARNED = "{score} of 100, +{xp} XP"
NOT_PASSED = "{earned}. {passes_at} opens the next level."
UNLOCKED = "🔓 {earned}. Level {level} is open: {title}."
TRACK_DONE = "🏁 {earned}. You have passed all levels of {track}."
NO_STATS = "Nothing to show yet: answer a lesson (/learn) or a scenario (/train) first."
STATS_TITLE = "Level {level} · {xp} XP"
STATS = """Level {level}, {xp} XP; {left} more to the next.
{answered} answers, {average} of 100 on average. Streak: {streak} {days}.
To work on: {weak}."""
NOTHING_WEAK = "nothing below 7 of 10"
TRY_AGAIN = "↻ Try again"
MODELS_NOW = "If you asked now:"
NO_ANSWER_TO_EXPLAIN = "There is no answer of mine to explain here. Reply with /why to one of them."
SETTINGS = """{payer}
Your model: {model}. Where an operator has chosen a model for an agent, that one runs on the team's key: see /model."""  # noqa: E501
DEFAULT_MODEL = "the provider's usual one"
FORGET_KEY = "Remove my {provider} key"
KEY_FORGOTTEN = "Your key is removed. Send /start to choose whose key is to pay."
NOTHING_REMEMBERED = (
    "I remember nothing of you yet. I note what you tell me about yourself and your work."
)
REMEMBERED = "What I remember of you (version {version}):"
FORGET_MEMORY = "Forget all of this"
MEMORY_FORGOTTEN = "Forgotten. I remember nothing of you now."
FORGET = """This erases your API key, what I remember of you, your saved cases, and the texts of everything you asked and I \
answered. Figures of cost stay, without your name. It cannot be undone; messages in this chat are yours to delete."""  # noqa: E501
FORGET_ALL = "Erase everything"
ALL_FORGOTTEN = "Erased: your key, memory, cases and texts. You may go on at any time: send /start."
CUT_OFF = "⚠️ I was cut off while sending you a message. If it did not arrive, let me show it here."
SHOW_AGAIN = "Show it here"
NOTHING_TO_SHOW = "This message is no longer kept."
EXERCISE_LEFT_TOO = "I have left the exercise, too."
STOPPING = "⏹ Stopping…"
NO_ANSWER_STOPPED = "⏹ Stopped: no answer to this message."
NOTHING_TO_STOP = "There is nothing to stop: I am not working on a message of yours."
PICTURE_GONE = "Telegram does not hand out this picture any more. Please send it again."
FELL_BACK = "The model chosen for {agent} failed, so {model} answered."

"""Every fixed text that the bot sends to members."""

from __future__ import annotations

WELCOME = """Hi {name}, I'm your sales co-pilot.
Tell me about a prospect in your own words, or send a screenshot of the conversation.
You'll get an analysis, a closing strategy, next steps and a draft you can copy.

{payer}"""
PAYS_OWN = "Your own {provider} key ({fingerprint}) pays for your answers."
PAYS_SHARED = "The team's key pays for your answers. You can also use your own:"
NO_PAYER = "To get started, choose which API key pays for your answers:"
OWN_KEY = "My {provider} key"
TEAM_KEY = "The team's key"
SEND_KEY = """Send me your {provider} key in a message of its own.
Get one at {page}. I'll check it with {provider}, store it encrypted and delete your message."""
ON_TEAM_KEY = "The team's key pays for your answers. Tell me about your prospect."
TEAM_KEY_CLOSED = "You can't use the team's key here. Please use your own."
STILL_OWN_KEY = (
    "Your requests are still billed to your own {provider} key ({fingerprint}). You can remove it"
    " in /settings."
)
LET_IN = "✅ You're in. {welcome}"

HELP = """Describe a prospect, send a screenshot, or forward me what they wrote. For example:
/support VP of Strategy at a mid-size bank, worried about switching cost

Reply to one of my answers to follow up. The buttons below it regenerate it, shorten it, save the \
case for your team, or show which models answered and why.

/support: analysis, strategy, next steps and a draft
/learn: lessons, level by level, or ask the trainer a question
/train: practice on a scenario; add easy, medium or hard to choose
/stats: your level, streak and weak spots
/model: which models would answer now, and who pays
/why: which models answered, and why; works as a reply, too
/memory: what I remember about you
/settings: your API key and model
/forget: erase your key, memory and texts
/cancel: stop what I'm working on
/start: what I do
/help: this list"""

PLACEHOLDER = "👀 One moment…"
IN_LINE = "⏳ Queued: I'll answer your earlier message first…"
NOTHING_TO_DO = """Add a few words about the prospect after the command, for example:
/support CFO of a logistics firm, went quiet after hearing the price"""
NOT_UNDERSTOOD = (
    "I can only read text and pictures. Type your question, or send a screenshot instead."
)
ANONYMOUS = (
    "I can't tell who you are when you write as the group or a channel. Write as yourself, or "
    "message me in our private chat."
)
ONE_PICTURE = (
    "I can only read one picture at a time, so I took the first. Send the others one by one."
)
UNKNOWN_COMMAND = "I don't know that command. Send /help for the full list."
WAITING = (
    "This bot is for our team only. I've asked an admin to let you in, and I'll message you here "
    "when they do."
)
STILL_WAITING = "You're still waiting for an admin to let you in."
NOT_INVITED = "This bot is for our team only. Ask an admin for an invite link."
INVITE_REFUSED = (
    "This invite link has been used or has expired. Ask an admin for a new one; each link works "
    "for one person."
)
BLOCKED = "You can't use this bot. If you think that's a mistake, ask an admin."
LOOKS_LIKE_A_KEY = (
    "That looks like an API key, so I stopped reading and kept nothing. {deleted} "
    "To use a key for your answers, copy all of it from {providers} and send it to me in our "
    "private chat, in a message of its own."
)
KEY_KEPT = (
    "✅ {provider} accepted this key. It's stored encrypted and pays for your answers from now on. "
    "You'll see it as {fingerprint}. {deleted}"
)
KEY_REFUSED = (
    "⚠️ {provider} didn't accept this key ({fingerprint}), so I haven't kept it. {deleted} "
    "Please check it at {page} and send it again."
)
KEY_UNCHECKED = (
    "⚠️ {provider} isn't responding, so I couldn't check this key and haven't kept it. {deleted} "
    "Please send it again in a few minutes."
)
DELETED = "I've deleted your message."
NOT_DELETED = "I couldn't delete your message: please delete it yourself, then create a new key."
NO_ANSWER = "⚠️ {line} (ref {incident})"
IN_FILE = "This answer is too long for a message, so I'm sending it as a file."
REFUSED = "⚠️ Telegram didn't accept my answer. Please try again. (ref {incident})"
REST_REFUSED = "⚠️ I couldn't send the rest of this answer. (ref {incident})"
GIVEN_UP = "⚠️ I tried {attempts} times and couldn't answer this. Please ask again. (ref {incident})"
UNREADABLE = "⚠️ I couldn't read this message. Please type it out as a new message. (ref {incident})"
PRESS_FAILED = "That didn't work. Please try again."
OLD_BUTTON = "This button no longer works."
SHORTER_WANTED = "The same in fewer words, please."
ON_IT = "On it…"
DONE_BEFORE = "Already done: see below."
SAVED = (
    "📌 Saved. I'll use this case for you from now on, and for everyone once an admin approves it."
)
ONLY_IN_PRIVATE = "That's between you and me: ask me in our private chat."
NOT_YOURS = "This button isn't for you, or its answer is no longer available."
TRACKS = "What do you want to learn? Score 60 out of 100 on a level to unlock the next one."
TRACK = "{track}: {summary} ({n} of {of} levels passed)"
NO_TRACKS = (
    "There are no lessons yet. You can still ask me about selling: /learn and your question."
)
NO_SCENARIOS = "There are no scenarios yet. Ask an admin to add some."
ANSWER_NEXT = "To answer, send your next message or reply to this one. To stop: /cancel"
TRAIN_WORDS = (
    "Choose /train easy, /train medium or /train hard, or just /train for one that fits you."
)
WHICH = (
    "Is this your answer to “{title}”, or a new question? If it's a question, I'll end the "
    "exercise."
)
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
LEAVE_EXERCISE = "Skip"
EXERCISE_LEFT = "Skipped. Ask me anything, or come back to /learn and /train any time."
ANOTHER_SCENARIO = "Another scenario"
NEXT_LESSON = "Next lesson"
TRY_LESSON_AGAIN = "Try again"
EARNED = "{score} out of 100, +{xp} XP"
NOT_PASSED = "{earned}. You need {passes_at} to unlock the next level."
UNLOCKED = "🔓 {earned}. You've unlocked level {level}: {title}."
TRACK_DONE = "🏁 {earned}. You've passed every level of {track}."
NO_STATS = "Nothing to show yet. Start with a lesson (/learn) or a scenario (/train)."
STATS_TITLE = "Level {level} · {xp} XP"
STATS = """Level {level}, {xp} XP; {left} more to level up.
Answers: {answered}. Average: {average} out of 100. Streak: {streak} {days}.
To work on: {weak}."""
NOTHING_WEAK = "nothing below 7 out of 10"
TRY_AGAIN = "↻ Try again"
MODELS_NOW = "If you asked me now:"
NO_ANSWER_TO_EXPLAIN = "I have no answer to explain here. Reply with /why to one of my answers."
SETTINGS = """{payer}
Your model: {model}. Where an admin has chosen a model for an agent, that model runs and the team \
pays: see /model."""
DEFAULT_MODEL = "the provider's default"
FORGET_KEY = "Remove my {provider} key"
KEY_FORGOTTEN = "I've removed your key. Send /start to choose who pays from now on."
NOTHING_REMEMBERED = (
    "I don't remember anything about you yet. I take notes when you tell me about yourself and "
    "your work."
)
REMEMBERED = "What I remember about you (version {version}):"
FORGET_MEMORY = "Forget all of this"
MEMORY_FORGOTTEN = "Forgotten. I no longer remember anything about you."
FORGET = """This erases your API key, what I remember about you, your saved cases, and the text of \
your questions and my answers. Cost figures stay, without your name. You can't undo it. To clear \
this chat, delete its messages yourself."""
FORGET_ALL = "Erase everything"
ALL_FORGOTTEN = "I've erased your key, memory, cases and texts. To start again, send /start."
CUT_OFF = "⚠️ I was interrupted while sending you a message. If it's missing, I can show it here."
SHOW_AGAIN = "Show it here"
NOTHING_TO_SHOW = "This message is no longer available."
EXERCISE_LEFT_TOO = "I've ended the exercise, too."
STOPPING = "⏹ Stopping…"
NO_ANSWER_STOPPED = "⏹ Stopped. There's no answer to this message."
NOTHING_TO_STOP = "Nothing to stop right now."
PICTURE_GONE = "This picture is no longer available from Telegram. Please send it again."
FELL_BACK = "The model chosen for {agent} couldn't be used, so {model} answered instead."
LINKED = (
    "✅ Linked to the admin account {account}. The Undo buttons under alerts now work for you, if "
    "that account may change overrides. To unlink: in the admin, click your name, then Telegram."
)
CODE_NOT_VALID = (
    "I need a valid code, as in /link CODE. Each code works once, within ten minutes. To make one, "
    "open the admin and click your name, then Telegram."
)
CODE_SHOWN = (
    "Others could read this code here, so it no longer works. Make a new one in the admin, and "
    "send it to me in our private chat."
)
UNDO_NOT_LINKED = (
    "Only operators can undo. Link your admin account first: in the admin, click your name, then "
    "Telegram."
)
UNDO_NOT_ALLOWED = "The admin account {account} may not change overrides."
UNDONE = "Undone: {agent} is as it was before v{version}."
UNDONE_BEFORE = "v{version} was already undone by {by} (v{now})."
CHANGED_SINCE = "Not undone: {agent} has changed since v{version} (v{now} by {by})."
UNDO_TOO_OLD = (
    "Not undone: the change is more than a day old. Restore a state from the history in the admin."
)
UNDO_INVALID = "Not undone: {why}"

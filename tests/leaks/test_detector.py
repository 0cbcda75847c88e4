"""The detector alone: whatever is bent is found, to its last letter, and what is no key stays.

OBSERVATORY_PROVE=1 bends 10,000 keys of each vendor and looks at texts of a megabyte.
"""

# ruff: noqa: RUF001 - letters that look like others are what this file is about

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable
from functools import partial
from uuid import UUID

from django.test import SimpleTestCase

from agents.llm import secrets
from agents.llm.key_shapes import SHAPES
from agents.llm.router import PROVIDERS, provider_of_key
from agents.llm.secrets import HIDDEN, holds_key, look_out_for, scrub, straightened
from tests.leaks.ordinary_texts import encoded, hashes, sentences
from tests.leaks.pasted_keys import BENDINGS, VENDORS, pasted
from tests.proving import amount, closing_line

SEED = 20_261_129
OF_EACH = amount(4, proving=340)  # of 30 bendings
CHARACTERS = amount(100_000, quickly=30_000, proving=1_000_000)
OPENROUTER = "sk-or-v1-0f3a9c5e7b1d2468ace013579bdf02468ace13579bdf0123456789abcdef0123"
MISTRAL = "kT4vQz81LmNp0RsWx2YbCdEf3GhJ5uVa"
# CASES from outside, that went through to a model, and what of them must be nowhere.
FROM_OUTSIDE = [
    ("Sk-or-v1-" + OPENROUTER[9:], OPENROUTER[9:]),
    ("SK-" + OPENROUTER[3:], OPENROUTER[9:]),
    ("sk-or-v1-\n" + OPENROUTER[9:], OPENROUTER[9:]),
    ("sk-\u200bor-v1-" + OPENROUTER[9:], OPENROUTER[9:]),
    ("sk-\u00a0or-v1-" + OPENROUTER[9:], OPENROUTER[9:]),
    ("sk\u00ad-or-v1-" + OPENROUTER[9:], OPENROUTER[9:]),
    ("sk\u00ador\u00adv1\u00ad" + OPENROUTER[9:], OPENROUTER[9:]),
    *((OPENROUTER.replace("-", dash), OPENROUTER[9:]) for dash in "–—−‑－"),
    ("sк-or-v1-" + OPENROUTER[9:], OPENROUTER[9:]),
    ("ѕk-or-v1-" + OPENROUTER[9:], OPENROUTER[9:]),
    (OPENROUTER.replace("-", "%2D"), OPENROUTER[9:]),
    (OPENROUTER.replace("-", "%252d"), OPENROUTER[9:]),
    (f"key:{OPENROUTER}", OPENROUTER),
    (f"my{OPENROUTER}", OPENROUTER),
    (f"{OPENROUTER[:40]}\n{OPENROUTER[40:]}", OPENROUTER[40:]),
    (f"{OPENROUTER[:40]}\n  {OPENROUTER[40:]}\nthanks", OPENROUTER[40:]),
    (f"{OPENROUTER[:40]} {OPENROUTER[40:]}", OPENROUTER[40:]),
    ("sk-or-v1- " + OPENROUTER[9:], OPENROUTER[9:]),
    (f"{OPENROUTER} {OPENROUTER}", OPENROUTER[9:]),
    (MISTRAL, MISTRAL),
    (f"{MISTRAL[:20]}\n{MISTRAL[20:]}", MISTRAL[20:]),
    (f"Here is the Mistral one: {MISTRAL}. It works.", MISTRAL),
    (f"Der Schlüssel lautet {MISTRAL}", MISTRAL),
    (f"/start {MISTRAL}", MISTRAL),
    ("AZURE_OPENAI_API_KEY=" + OPENROUTER[9:41], OPENROUTER[9:41]),
    ("the Together token is " + OPENROUTER[9:], OPENROUTER[9:]),
    ("Authorization: Bearer " + OPENROUTER[9:], OPENROUTER[9:]),
]
ORDINARY = [
    *(
        "risk-averse buyers",
        "task-oriented-selling",
        "12:30 in Berlin",
        "a sk- b",
        "sk-learn-compatible",
    ),
    *(
        "a desk-or-table question",
        "SK-Hynix-Semiconductors",
        "order SK-20240001-A",
        "key takeaways",
    ),
    *(
        "https://example.com/risk-management-2024-software-comparison-guide",
        "token-based-pricing-model",
    ),
    *("a commit 0f3a9c5e7b1d2468ace013579bdf02468ace1357 of the key account", OPENROUTER[9:]),
    *(
        "anthropic/claude-sonnet-4.5",
        "meta-llama/llama-3.3-70b-instruct:free",
        "gpt-4.1-mini-2025-04-14",
    ),
    *("550e8400e29b41d4a716446655440000", "550e8400-e29b-41d4-a716-446655440000", "eyJust kidding"),
]


class FindingTests(SimpleTestCase):
    def test_of_every_vendors_key_nothing_is_left_however_it_is_bent(self):
        left = []
        for vendor in VENDORS:
            for bending in BENDINGS:
                chance = random.Random(f"{SEED} {vendor} {bending}")
                for _ in range(OF_EACH):
                    paste = pasted(chance, vendor, bending)
                    scrubbed = scrub(paste.text, alone=True)
                    if HIDDEN not in scrubbed or paste.is_in(scrubbed):
                        left.append((vendor, bending, paste.text, scrubbed))

        assert not left, (len(left), left[:3])
        tried = len(VENDORS) * len(BENDINGS) * OF_EACH
        closing_line(f"detector: {tried} bent keys of {len(VENDORS)} vendors, left=0")

    def test_what_came_in_from_outside_is_found(self):
        for text, secret in FROM_OUTSIDE:
            with self.subTest(text):
                scrubbed = scrub(text, alone=True)

                assert HIDDEN in scrubbed
                assert secret not in scrubbed
                assert holds_key(text)

    def test_exactly_the_key_is_blotted_out(self):
        table = [
            (f"is {OPENROUTER} still good?", f"is {HIDDEN} still good?"),
            (f"«{OPENROUTER}», then", f"«{HIDDEN}», then"),
            (f"привет: ѕк–{OPENROUTER[3:]}, да", f"привет: {HIDDEN}, да"),
            (f"a=1&key={OPENROUTER.replace('-', '%2D')}&b=2", f"a=1&key={HIDDEN}&b=2"),
            (f"{OPENROUTER[:30]}\n{OPENROUTER[30:]} and so on", f"{HIDDEN} and so on"),
            (f"{OPENROUTER[:30]}\u200b{OPENROUTER[30:]}\u200b.", f"{HIDDEN}\u200b."),
            (f"mykey{OPENROUTER}!", f"mykey{HIDDEN}!"),
            (f"{OPENROUTER}, {OPENROUTER}", f"{HIDDEN}, {HIDDEN}"),
        ]
        for text, expected in table:
            with self.subTest(text):
                assert scrub(text) == expected

    def test_a_scrubbed_text_stays_as_it_is_and_json_stays_json(self):
        for text, _ in FROM_OUTSIDE:
            as_json = json.dumps({"text": f"one {text}\nTwo", "n": 1})
            with self.subTest(text):
                assert scrub(scrub(text)) == scrub(text)
                assert set(json.loads(scrub(as_json))) == {"text", "n"}

    def test_a_new_providers_keys_are_found_from_its_shape(self):
        self.addCleanup(secrets._shapes.__setitem__, slice(None), list(secrets._shapes))
        key = "zq9t_" + MISTRAL
        assert scrub(f"it is {key}") == f"it is {key}"

        look_out_for([r"zq9t_[A-Za-z0-9]{20,}"])

        assert scrub(f"it is {key}") == f"it is {HIDDEN}"


class SparingTests(SimpleTestCase):
    def test_ordinary_texts_stay(self):
        for text in ORDINARY:
            with self.subTest(text):
                assert scrub(text) == text
                assert not holds_key(text)

    def test_among_twelve_thousand_sentences_and_hashes_there_is_at_most_one_false_alarm(self):
        chance = random.Random(SEED)
        texts = [*sentences(10_000, chance), *hashes(1_000, chance), *encoded(1_000, chance)]

        hidden = [text for text in texts if scrub(text) != text]

        assert len(set(texts)) > 11_000
        assert len(hidden) <= 1, hidden

    def test_an_id_or_a_hash_in_which_a_prefix_occurs_by_chance_stays(self):
        chance = random.Random(SEED)
        prefixes = [shape.literal for shape in SHAPES if re.fullmatch("[0-9a-f]+", shape.literal)]
        assert prefixes == ["acca"]
        for _ in range(500):
            for prefix in prefixes:
                drawn = f"{chance.getrandbits(256):064x}"
                place = chance.randrange(32 - len(prefix))
                drawn = drawn[:place] + prefix + drawn[place + len(prefix) :]
                for text in (drawn, drawn[:32], str(UUID(drawn[:32])), drawn[:40].upper()):
                    assert scrub(f"/runs/{text}/") == f"/runs/{text}/"

    def test_no_text_takes_long(self):
        parts = [
            *(
                "a",
                "sk-",
                "sk-or-v1-",
                "eyJ",
                "a1-",
                "\\",
                "\\u",
                "%",
                "%25",
                " ",
                "\n",
                " \n",
                "- ",
            ),
            *(
                "１",
                "AIza",
                "123456:",
                "key=",
                "aB3",
                "&",
                "&abc;",
                "sk-or-v1-abc ",
                "\u200b",
                "Abc",
            ),
            *(
                "aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3a ",
                "key aB3gaB3gaB3gaB3gaB3gaB3gaB3gaB3g ",
                "=",
                "-_",
            ),
            *("a\n", "/ab-1", "sk-aaaaaaa.", "Ab1", "xoxb-1", "akia", "eyJaaaaaaaaa.", "\u00a0a1"),
        ]
        for part in parts:
            text = (part * CHARACTERS)[:CHARACTERS]
            with self.subTest(part):
                assert _cpu_s(partial(scrub, text, alone=True)) < 3.0


class StraighteningTests(SimpleTestCase):
    def test_a_bent_key_that_is_all_of_a_message_is_as_its_vendor_wrote_it(self):
        names = {"openrouter": "openrouter", "anthropic": "claude", "openai, of old": "openai"}
        ways = (
            *("plain", "capital by autocorrection", "break after the start", "in three lines"),
            *("hidden character", "hidden characters everywhere", "no-break space", "cyrillic"),
            *("full width", "url-encoded"),
        )
        assert set(names.values()) <= set(PROVIDERS)
        for vendor, provider in names.items():
            for way in ways:
                chance = random.Random(f"{SEED} {vendor} {way}")
                with self.subTest(vendor=vendor, way=way):
                    key = VENDORS[vendor](chance)
                    bent = BENDINGS[way](chance, key).text

                    assert straightened(bent) == key
                    assert provider_of_key(straightened(bent)) == provider

    def test_what_is_more_than_one_key_is_not_made_one(self):
        for text in (
            f"{OPENROUTER}\nThanks",
            f"{OPENROUTER}\n{OPENROUTER}",
            f"{OPENROUTER} {OPENROUTER}",
            f"key:{OPENROUTER}",
            f"my{OPENROUTER}",
            f"{OPENROUTER[:40]} {OPENROUTER[40:]}",
        ):
            with self.subTest(text):
                assert provider_of_key(straightened(text)) is None


def _cpu_s(work: Callable[[], object]) -> float:
    started = time.thread_time()
    work()
    return time.thread_time() - started

"""Texts without a key: sentences of the product's own papers and examples, sales talk, and hashes.

The papers hold what comes nearest to a key in ordinary writing: names of settings and models,
addresses, versions, long words with hyphens. Hashes, ids and encoded data are what people paste
that looks drawn at random, and is no key.
"""

# ruff: noqa: RUF001 - some of the languages use letters that look like others

from __future__ import annotations

import base64
import hashlib
import random
import re
from pathlib import Path
from uuid import UUID

ROOT = Path(__file__).parents[2]
PAPERS = ("*.md", "deploy/*.md", "bench/*.md", "pipeline/example/**/*.*", "tests/golden/*.yaml")
CODE = ("agents/**/*.py", "pipeline/**/*.py")
SANDBOX_KEYS = "sk-or-v1-sandbox"  # its code holds some, and those are keys
_ENDS = re.compile(r"(?<=[.!?:|])\s+|\n{2,}|\n(?=[-#|])")
PEOPLE = (
    *(
        "The CFO of a logistics firm",
        "Die Einkaufsleiterin eines Maschinenbauers",
        "Le directeur IT",
    ),
    *("La responsable de compras", "Директор по закупкам", "Il direttore vendite", "O gerente"),
    *(
        "采购经理",
        "購買部長",
        "Kierownik działu zakupów",
        "Satın alma müdürü",
        "De inkoper",
        "مدير المشتريات",
    ),
)
ACTS = (
    *("went silent after the price", "fragt nach der Rahmenvertragsverhandlungs-Vorlage 2026"),
    *("a demandé un rendez-vous la semaine prochaine", "quiere un descuento del 12,5 %"),
    *("просит скидку — 10 % — до пятницы", "chiede perché gpt-4.1-mini costa meno"),
    *(
        "quer falar com o time de segurança (ISO-27001)",
        "认为合同条款太长，希望下周再谈",
        "導入費用を心配している",
    ),
    *("pyta o Data-Processing-Agreement_v2-final.docx", "önce pilot istiyor", "يريد عرضاً جديداً"),
    *(
        (
            "wil eerst https://example.com/products/task-management-software"
            "?utm_source=mail-2026-11 zien"
        ),
    ),
    *("says the key account needs a risk-assessment-and-mitigation-plan-for-2027",),
    *("called from +49 30 1234567 about order SK-20240001-A, token budget and API key rotation",),
    *("asked why claude-sonnet-4-5-20250929 and meta-llama/llama-3.3-70b-instruct:free differ",),
)
ENDS = (".", "!", "…", "?", " 🙂", ".\u00a0", " – und nun?", " —\nthen nothing.")
AROUND = (
    *("{}", "commit {} broke it", "the checksum is {}.", "id={}", "file {}.pdf", "sha256:{}"),
    *(
        "see https://example.com/{}",
        '{{"id": "{}", "etag": "{}"}}',
        "Attached:\n{}\nRegards",
        "{} or {}?",
    ),
)


def sentences(count: int, chance: random.Random) -> list[str]:
    """Return so many different sentences: all that are on record, and sales talk."""
    found = {sentence for each in _papers() for sentence in _ENDS.split(each)}
    found = {each for each in found if each.strip() and SANDBOX_KEYS not in each}
    kept = chance.sample(sorted(found), min(len(found), count // 2))
    while len(kept) < count:
        number = chance.randrange(10_000)
        kept.append(
            f"{chance.choice(PEOPLE)} {chance.choice(ACTS)} ({number}){chance.choice(ENDS)}"
        )
    return kept


def hashes(count: int, chance: random.Random) -> list[str]:
    """Return sentences with hashes and with ids without their dashes."""
    kinds = (
        lambda: hashlib.md5(chance.randbytes(8), usedforsecurity=False).hexdigest(),
        lambda: hashlib.sha1(chance.randbytes(8), usedforsecurity=False).hexdigest(),
        lambda: hashlib.sha256(chance.randbytes(8)).hexdigest(),
        lambda: UUID(int=chance.getrandbits(128), version=4).hex,
        lambda: UUID(int=chance.getrandbits(128), version=4).hex.upper(),
    )
    return [_placed(chance, chance.choice(kinds)()) for _ in range(count)]


def encoded(count: int, chance: random.Random) -> list[str]:
    """Return sentences with binary data in base64, in either alphabet."""
    kinds = (base64.b64encode, base64.urlsafe_b64encode)
    return [
        _placed(chance, chance.choice(kinds)(chance.randbytes(chance.randrange(6, 120))).decode())
        for _ in range(count)
    ]


def _placed(chance: random.Random, word: str) -> str:
    pattern = chance.choice(AROUND)
    return pattern.format(*[word] * pattern.count("{}"))


def _papers() -> list[str]:
    paths = {path for pattern in (*PAPERS, *CODE) for path in ROOT.glob(pattern)}
    return [path.read_text(encoding="utf-8") for path in sorted(paths) if path.is_file()]

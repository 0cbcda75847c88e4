"""Released migrations are never edited: each digest is kept, with what they import of ours."""

from __future__ import annotations

import hashlib

from django.test import SimpleTestCase

from tests.upgrades.databases import ROOT

KEPT = ROOT / "tests" / "data" / "migrations.sha256"


def digest_line(path: str) -> str:
    """Return the line of a file as `sha256sum` prints it."""
    return f"{hashlib.sha256((ROOT / path).read_bytes()).hexdigest()}  {path}"


class FrozenMigrationsTests(SimpleTestCase):
    def setUp(self) -> None:
        self.kept = KEPT.read_text(encoding="utf-8").splitlines()
        self.paths = [line.partition("  ")[2] for line in self.kept]

    def test_released_migrations_are_as_they_were_released(self):
        edited = [
            path
            for path, line in zip(self.paths, self.kept, strict=True)
            if not (ROOT / path).is_file() or digest_line(path) != line
        ]

        assert edited == [], (
            f"{', '.join(edited)}: released migrations are never edited; add a new one. "
            "Installations have applied what was there, and would never see the change."
        )

    def test_every_migration_has_a_digest(self):
        there = {
            str(path.relative_to(ROOT))
            for app in ("agents", "observatory", "pipeline")
            for path in (ROOT / app / "migrations").glob("0*.py")
        }
        new = sorted(there.difference(self.paths))

        assert new == [], (
            f"From now on these stay as they are. Add to {KEPT.relative_to(ROOT)}, which "
            "`sha256sum FILE` prints:\n" + "\n".join(digest_line(path) for path in new)
        )

    def test_the_list_is_sorted_and_says_each_file_once(self):
        assert self.paths == sorted(set(self.paths)), "sort -u -k2 -o FILE FILE mends it"

"""A contest: who takes part says so, is asked in turns, and nobody's failure is kept quiet."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.contest import PEERS, Contender, ContenderFailed, results_of
from bench.table import Column, show

COUNTING = f"""
import itertools, sys
sys.path.insert(0, {str(PEERS)!r})
from laps import serve
numbers = itertools.count(1)
serve(lambda: {{"ms": next(numbers)}}, "pytest")
"""


def contender(name: str, script: str, python: str = sys.executable) -> Contender:
    return Contender(name=name, command=(python, "-c", script), environment={})


def test_each_round_asks_every_contender_once() -> None:
    results = results_of([contender("a", COUNTING), contender("b", COUNTING)], rounds=3)

    assert [result.figures for result in results] == [{"ms": [1, 2, 3]}] * 2
    assert results[0].versions == f"pytest {pytest.__version__}"


def test_a_contender_that_breaks_off_fails_the_bench_with_its_last_words() -> None:
    with pytest.raises(ContenderFailed, match="what is wrong"):
        results_of([contender("a", "raise SystemExit('what is wrong')")], rounds=1)


def test_a_peer_sees_nothing_of_this_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.contest.PEERS_PYTHON", Path(sys.executable))
    script = 'import pathlib; print(\'{"versions": "%s"}\' % pathlib.Path.cwd())'
    peer = Contender(name="a", command=(sys.executable, "-c", script), environment={}, is_peer=True)

    [result] = results_of([peer], rounds=0)

    folder = Path(result.versions)
    assert folder.is_absolute()
    assert not folder.is_relative_to(PEERS.parents[1])


def test_a_peer_that_is_not_installed_is_a_line_without_figures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.contest.PEERS_PYTHON", Path("/nowhere/python"))
    peer = Contender(name="far", command=("/nowhere/python",), environment={}, is_peer=True)

    show("Times", results_of([contender("a", COUNTING), peer], rounds=1), [COLUMN])

    assert "far (not installed: make peers)" in capsys.readouterr().out


def test_the_table_has_medians_their_spread_and_ratios(capsys: pytest.CaptureFixture[str]) -> None:
    show("Times", results_of([contender("a", COUNTING)], rounds=5), [COLUMN])

    assert "| a |  3 | 2 |  1.00 |" in capsys.readouterr().out


COLUMN = Column(kind="ms", heading="ms", ratio_to="a")

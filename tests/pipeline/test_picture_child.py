"""The child that decodes pictures: it may crash, hang and swell, and the bot stays as it is."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from django.test import SimpleTestCase
from PIL import Image

from pipeline.people import pictures
from pipeline.people.picture_decoder import CPU_S, MEMORY_BYTES
from pipeline.people.pictures import PictureReader, PictureRefused
from tests.canaries import SHARED_KEY
from tests.pipeline.picture_mutants import bombs, mutants, seeds
from tests.proving import amount, closing_line

GROWS_BY_MB = 400
PATIENCE_S = 30.0
# Answers as the decoder does; "hang" and "crash" do what they say.
STUB = """
import os, sys, time
while head := sys.stdin.buffer.read(4):
    content = sys.stdin.buffer.read(int.from_bytes(head, "big"))
    if content == b"hang": time.sleep(600)
    if content == b"crash": os.kill(os.getpid(), 11)
    if content == b"half": os.write(1, b"P\\0\\0"); os._exit(0)
    os.write(1, b"P\\0\\0\\0\\2ok")
"""
has_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "what was waited for never came"
        time.sleep(0.01)


def is_alive(pid: int | None) -> bool:
    """Tell whether a process is there and no zombie."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    return "State:\tZ" not in status


def memory_mb(pid: int, name: str) -> float:
    """Return VmRSS, what a process holds now, or VmHWM, the most it ever held."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (value,) = (line.split()[1] for line in lines if line.startswith(f"{name}:"))
    return int(value) / 1024


def clear_peak() -> None:
    """Have VmHWM of this process count from here on."""
    Path("/proc/self/clear_refs").write_text("5")


class ReaderCase(SimpleTestCase):
    def reader(self, **changes: float) -> PictureReader:
        made = PictureReader(**{"pictures_a_child": 10**9, **changes})  # type: ignore[arg-type]
        self.addCleanup(made.close)
        return made

    def stub(self, **changes: float) -> PictureReader:
        made = PictureReader((sys.executable, "-I", "-c", STUB), **changes)  # type: ignore[arg-type]
        self.addCleanup(made.close)
        return made


class MisfortuneTests(ReaderCase):
    def test_a_picture_that_hangs_the_child_is_refused_and_a_next_one_is_read(self):
        reader = self.stub(within_s=0.5)
        with self.assertLogs("pipeline.people.pictures", "WARNING"):
            with pytest.raises(PictureRefused, match="can't read"):
                reader.read(b"hang")
            assert reader.child_pid is None

            def is_read() -> bool:  # a busy machine may not start a child within half a second
                with suppress(PictureRefused):
                    return reader.read(b"a good one") == b"ok"
                return False

            until(is_read)

    def test_a_picture_that_crashes_the_child_is_refused_and_the_next_is_read(self):
        reader = self.stub()
        for fatal in (b"crash", b"half"):
            with self.subTest(fatal), self.assertLogs("pipeline.people.pictures", "WARNING"):
                with pytest.raises(PictureRefused, match="can't read"):
                    reader.read(fatal)

                assert reader.child_pid is None
                assert reader.read(b"a good one") == b"ok"

    def test_a_child_that_was_killed_between_two_pictures_is_no_pictures_fault(self):
        reader = self.stub()
        reader.read(b"one")
        pid = reader.child_pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda: not is_alive(pid))

        assert reader.read(b"two") == b"ok"
        assert reader.child_pid != pid

    def test_without_a_child_the_error_is_not_the_pictures(self):
        reader = PictureReader(("/nonexistent/python",))

        with pytest.raises(OSError, match="nonexistent"):
            reader.read(b"a good one")

    async def test_a_cancelled_picture_gives_way_at_once_and_the_loop_never_waits(self):
        reader = self.stub(within_s=600)
        hanging = asyncio.create_task(reader.aread(b"hang"))
        queued = [asyncio.create_task(reader.aread(b"queued")) for _ in range(5)]
        dropped = asyncio.create_task(reader.aread(b"never asked for"))
        async with asyncio.timeout(PATIENCE_S):
            while reader.child_pid is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)  # it would not come to this if the loop waited
        dropped.cancel()
        hanging.cancel()

        assert await asyncio.wait_for(asyncio.gather(*queued), PATIENCE_S) == [b"ok"] * 5
        assert hanging.cancelled() or (await asyncio.gather(hanging, return_exceptions=True))
        assert dropped.cancelled()


class LifeTests(ReaderCase):
    def test_one_child_reads_one_picture_after_the_other_and_makes_room_for_the_next(self):
        reader, pids = self.stub(pictures_a_child=3), []
        for _ in range(6):
            reader.read(b"a good one")
            pids.append(reader.child_pid)

        assert pids[0] == pids[1]
        assert pids[2] is pids[5] is None
        assert pids[3] == pids[4] != pids[0]

    @has_proc
    def test_an_idle_bot_has_no_child(self):
        reader = self.stub(idle_s=0.05)
        assert reader.read(b"a good one") == b"ok"
        until(lambda: reader.child_pid is None)

        assert reader.read(b"another one") == b"ok"

    @has_proc
    def test_the_child_knows_no_key_and_is_bounded_by_the_kernel(self):
        os.environ["OPENROUTER_API_KEY"] = SHARED_KEY
        self.addCleanup(os.environ.pop, "OPENROUTER_API_KEY")
        reader = self.reader()
        reader.read(seeds()[0])
        about = Path(f"/proc/{reader.child_pid}")

        assert (about / "environ").read_bytes() == b""
        limits = {
            line[:26].strip(): line[26:].split()[0]
            for line in (about / "limits").read_text().splitlines()
        }
        assert limits["Max address space"] == str(MEMORY_BYTES)
        assert 0 < int(limits["Max cpu time"]) <= CPU_S + 2
        assert limits["Max file size"] == limits["Max core file size"] == "0"

    @has_proc
    def test_a_signal_to_the_group_ends_the_bots_work_not_the_childs(self):
        reader = self.reader()
        reader.read(seeds()[0])
        pid = reader.child_pid
        assert pid is not None
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(pid, number)

        assert reader.read(seeds()[1])
        assert reader.child_pid == pid

    @has_proc
    def test_the_child_ends_with_a_bot_that_was_killed(self):
        program = (
            "import sys, time\n"
            "from pipeline.people.pictures import reader\n"
            "from tests.pipeline.picture_mutants import seeds\n"
            "reader.read(seeds()[0])\n"
            "print(reader.child_pid, flush=True)\n"
            "time.sleep(600)\n"
        )
        root = Path(pictures.__file__).parents[2]
        with subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=root
        ) as bot:
            assert bot.stdout is not None
            child = int(bot.stdout.readline())
            assert is_alive(child)
            bot.kill()

        until(lambda: not is_alive(child))


class BentPictureTests(ReaderCase):
    def test_every_mutant_is_a_picture_or_refused_politely(self):
        reader, seen, lines = self.reader(), {"picture": 0, "refused": 0}, set()
        reader.read(seeds()[0])
        pids: set[int | None] = set()
        for mutant in mutants(amount(1_000, quickly=500, proving=100_000), seed=14):
            pids.add(reader.child_pid)
            try:
                jpeg = reader.read(mutant)
            except PictureRefused as refusal:
                seen["refused"] += 1
                lines.add(str(refusal))
            else:
                seen["picture"] += 1
                with Image.open(io.BytesIO(jpeg)) as picture:
                    assert picture.format == "JPEG"
                    assert not picture.getexif()

        assert min(seen.values()) > 100, seen  # else they test one way only
        assert pids == {reader.child_pid}, "one child for all of them"
        assert lines <= {pictures.NOT_READ, pictures.TOO_MANY_PIXELS}
        closing_line(f"pictures: {sum(seen.values())} mutants in one child, escaped=0, {seen}")

    def test_an_orientation_that_is_no_number_leaves_the_picture(self):
        reader, sound = self.reader(), seeds()[0]
        entry = b"\x01\x12\x00\x03\x00\x00\x00\x01"  # tag, type short, one value
        assert entry in sound
        for kind in (1, 2, 5, 7, 12, 99):
            bent = sound.replace(entry, entry[:3] + bytes([kind]) + entry[4:])
            with self.subTest(kind):
                assert reader.read(bent).startswith(b"\xff\xd8")

    def test_a_bent_exif_block_leaves_the_picture(self):
        reader, sound = self.reader(), seeds()[0]
        at = sound.index(b"Exif\0\0") + 6
        for length in range(2, 40):
            bent = sound[:at] + b"\x4d\x4d\xff" + sound[at + 3 : at + length]
            rest = sound[at + length :]
            with self.subTest(length):
                assert reader.read(bent + rest).startswith(b"\xff\xd8")


@has_proc
class BombTests(ReaderCase):
    async def test_six_bombs_at_once_grow_bot_and_child_by_little(self):
        reader, all_of_them = self.reader(), bombs()
        assert len(all_of_them) == 6
        before = memory_mb(os.getpid(), "VmRSS")
        clear_peak()

        ended = await asyncio.gather(
            *(reader.aread(bomb) for bomb in all_of_them.values()), return_exceptions=True
        )

        assert reader.child_pid is not None, "none of them crashes the child"
        of_child = memory_mb(reader.child_pid, "VmHWM")
        peak = memory_mb(os.getpid(), "VmHWM")
        grown = peak - before + of_child
        assert grown <= GROWS_BY_MB, f"{grown:.0f} MB, of which the child has {of_child:.0f}"
        for name, end in zip(all_of_them, ended, strict=True):
            with self.subTest(name):
                assert isinstance(end, bytes | PictureRefused)
        assert isinstance(ended[1], bytes)
        assert isinstance(ended[3], bytes)
        assert str(ended[0]) == str(ended[2]) == pictures.TOO_MANY_PIXELS

"""What a run and its ledger make of a full disk, foreign files, missing rights, and each other."""

import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.contract import OUTCOME_COLUMNS
from tests.processes import (
    BULKLOAD,
    NOBODY,
    OUTCOMES,
    Case,
    Forks,
    Ran,
    RecordingHub,
    Started,
    counts,
    folded,
    installation,
    names,
    rows,
    run,
    wait_for,
    waits,
    write,
)

# Takes the rights from root by which it reads and writes what modes forbid (capabilities(7): bounding set), and goes on
# as the command that follows.
WITHOUT_OVERRIDE = """
import ctypes, os, sys
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
    if ctypes.CDLL(None, use_errno=True).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
        sys.exit(os.strerror(ctypes.get_errno()))
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture
def recording() -> Iterator[RecordingHub]:
    with RecordingHub() as hub:
        yield hub


@dataclass
class SmallDisk:
    """A folder that takes so much and no more: a file system of its own, or else a limit on the size of a file."""

    path: Path
    is_mounted: bool
    program: list[str] = field(default_factory=lambda: [*BULKLOAD])

    def leave(self, size: int) -> None:
        """Have room for `size` bytes."""
        if self.is_mounted:
            (self.path / "ballast").write_bytes(b"-" * (shutil.disk_usage(self.path).free - size))
        else:
            # In blocks of 512 bytes, says POSIX.
            self.program = ["sh", "-c", f'ulimit -f {size // 512}; exec "$@"', "sh", *BULKLOAD]

    def make_room(self) -> None:
        (self.path / "ballast").unlink(missing_ok=True)
        self.program = [*BULKLOAD]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    is_mounted = os.geteuid() == 0 and _succeeds("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder))
    yield SmallDisk(folder, is_mounted)
    if is_mounted:
        subprocess.run(["umount", "-l", folder], check=True)


class TestAFullDisk:
    def test_stops_the_run_and_claims_nothing_that_is_not_there(
        self, tmp_path: Path, commands: Forks, disk: SmallDisk
    ) -> None:
        lines = [installation(f"id-{n % 2500}", tags=[f"n{n}"]) for n in range(4000)]
        (tmp_path / "d.ndjson").write_bytes(b"\n".join([*lines, b"{", b"[]"]))
        load = ("load", str(tmp_path / "d.ndjson"), "--json", "--ledger")
        ledger = disk.path / "d.ledger"
        with RecordingHub() as hub:
            disk.leave(180_000)
            # Slow enough for the disk to fill before everything is sent.
            full = run(*load, "d.ledger", "--rate", "2000", program=disk.program, cwd=disk.path, env=hub.env)
            assert full.code == 4, full.err
            assert len(full.err.splitlines()) == 1
            summary = full.summary
            assert "d.ledger" in summary["reason"]
            assert "make room" in summary["reason"]
            # While the disk is still full: what the summary says is what the ledger shows.
            status = commands.run("status", "d.ledger", "--json", cwd=disk.path)
            assert status.code == 0, status.err
            assert _without_skipped(status.summary) == _without_skipped(summary)
            shown = counts(ledger)
            assert shown == {
                outcome: summary["records"][outcome] for outcome in OUTCOMES if summary["records"][outcome]
            }
            assert shown["accepted"] <= len(hub.puts) < 4000

            disk.make_room()
            ended = commands.run(*load, "d.ledger", cwd=disk.path, env=hub.env)
            assert ended.code == 1, ended.err
            assert ended.summary["records"]["skipped"] == sum(shown.values())
            assert hub.installations == {f"id-{n % 2500}": line for n, line in enumerate(lines)}
            assert commands.run(*load, "whole.ledger", cwd=disk.path, env=hub.env).code == 1
        assert folded(ledger) == folded(disk.path / "whole.ledger")

    @pytest.mark.parametrize("pages", [0, 4])
    def test_at_the_start_leaves_nothing_in_the_way(
        self, tmp_path: Path, commands: Forks, disk: SmallDisk, recording: RecordingHub, pages: int
    ) -> None:
        if not disk.is_mounted:
            pytest.skip("a file system of its own cannot be mounted here")
        write(tmp_path / "d.ndjson", names("start", 5))
        load = ("load", str(tmp_path / "d.ndjson"), "--ledger", "d.ledger")
        disk.leave(pages * os.sysconf("SC_PAGE_SIZE"))
        full = commands.run(*load, cwd=disk.path, env=recording.env)
        assert full.code == 4, full.err
        assert "d.ledger" in full.err
        assert "make room" in full.err
        disk.make_room()
        ended = commands.run(*load, cwd=disk.path, env=recording.env)
        assert ended.code == 0, ended.err
        assert counts(disk.path / "d.ledger") == {"accepted": 5}

    def test_of_one_ledger_spares_a_run_that_needs_no_room(
        self, tmp_path: Path, commands: Forks, disk: SmallDisk
    ) -> None:
        """A finished ledger answers on a full disk, too."""
        write(tmp_path / "d.ndjson", names("done", 5))
        load = ("load", str(tmp_path / "d.ndjson"), "--ledger", "d.ledger")
        with RecordingHub() as hub:
            assert commands.run(*load, cwd=disk.path, env=hub.env).code == 0
            if not disk.is_mounted:
                pytest.skip("a file system of its own cannot be mounted here")
            disk.leave(0)
            status, again = commands.run_all([Case(("status", "d.ledger")), Case(load, hub.env)], cwd=disk.path)
        assert status.code == 0, status.err
        assert again.code == 0, again.err


class TestAForeignFile:
    def test_is_refused_in_one_line_and_left_as_it_is(
        self, tmp_path: Path, commands: Forks, recording: RecordingHub
    ) -> None:
        write(tmp_path / "d.ndjson", names("foreign", 5))
        write(tmp_path / "other.ndjson", names("other", 5))
        (tmp_path / "text.ledger").write_text("to whom it may concern\n" * 100)
        with closing(sqlite3.connect(tmp_path / "sqlite.ledger")) as connection:
            connection.execute("CREATE TABLE customers (name TEXT)")
        assert commands.run("load", "d.ndjson", "--ledger", "good.ledger", cwd=tmp_path, env=recording.env).code == 0
        whole = (tmp_path / "good.ledger").read_bytes()
        (tmp_path / "cut.ledger").write_bytes(whole[: len(whole) // 2])
        (tmp_path / "newer.ledger").write_bytes(whole)
        with closing(sqlite3.connect(tmp_path / "newer.ledger")) as connection:
            connection.execute("PRAGMA user_version = 99")
        (tmp_path / "folder.ledger").mkdir()
        files = [path for path in tmp_path.iterdir() if path.is_file()]
        before = [path.read_bytes() for path in files]

        words = {
            "text.ledger": "not a ledger",
            "sqlite.ledger": "not a ledger",
            "newer.ledger": "newer",
            "cut.ledger": "cut.ledger",
            "folder.ledger": "folder.ledger",
            "d.ndjson": "d.ndjson",
        }
        cases = [
            *((Case(("load", "d.ndjson", "--ledger", name), recording.env), word) for name, word in words.items()),
            *((Case(("status", name)), word) for name, word in words.items()),
            (Case(("load", "d.ndjson", "--ledger", "no/where.ledger"), recording.env), "no/where.ledger"),
            (Case(("status", "missing.ledger")), "missing.ledger"),
            (Case(("load", "other.ndjson", "--ledger", "good.ledger"), recording.env), "another source"),
            (Case(("load", "d.ndjson", "--ledger", "good.ledger"), NOBODY), "hub"),
        ]
        for ran, (case, word) in zip(commands.run_all((case for case, _ in cases), cwd=tmp_path), cases, strict=True):
            assert ran.code == 2, f"{case.arguments}: {ran.err}"
            assert word in ran.complaint
        assert [path.read_bytes() for path in files] == before
        assert {path for path in tmp_path.iterdir() if path.is_file()} == {*files}
        assert len(recording.puts) == 5

    def test_that_is_none_is_no_full_disk(self, tmp_path: Path, commands: Forks) -> None:
        write(tmp_path / "d.ndjson", ["a"])
        ran = commands.run("load", "d.ndjson", "--ledger", "/dev/null", cwd=tmp_path, env=NOBODY)
        assert ran.code == 2
        assert "/dev/null" in ran.complaint

    def test_damaged_within_is_refused_without_a_traceback(
        self, tmp_path: Path, commands: Forks, recording: RecordingHub
    ) -> None:
        write(tmp_path / "d.ndjson", names("damaged", 500))
        load = ("load", "d.ndjson", "--limit", "400")
        assert commands.run(*load, cwd=tmp_path, env=recording.env).code == 5
        data = bytearray((tmp_path / "d.ndjson.ledger").read_bytes())
        # All but the first page, which says what it is and lists the tables.
        data[4096:] = b"\xff" * (len(data) - 4096)
        (tmp_path / "d.ndjson.ledger").write_bytes(data)
        for ran in commands.run_all([Case(("status", "d.ndjson.ledger")), Case(load, recording.env)], cwd=tmp_path):
            assert ran.code in (2, 4), ran.err
            assert "d.ndjson.ledger" in ran.complaint

    def test_that_a_killed_session_had_begun_to_make_is_made(
        self, tmp_path: Path, commands: Forks, recording: RecordingHub
    ) -> None:
        write(tmp_path / "d.ndjson", names("begun", 5))
        ledgers = [tmp_path / "1.ledger", tmp_path / "2.ledger"]
        _begin(ledgers[0], is_empty=True)
        _begin(ledgers[1], is_empty=False)
        given = (Case(("load", "d.ndjson", "--ledger", ledger.name), recording.env) for ledger in ledgers)
        for ran, ledger in zip(commands.run_all(given, cwd=tmp_path), ledgers, strict=True):
            assert ran.code == 0, ran.err
            assert counts(ledger) == {"accepted": 5}

    def test_is_not_what_a_killed_session_had_begun_to_make(self, tmp_path: Path, commands: Forks) -> None:
        _begin(tmp_path / "1.ledger", is_empty=True)
        _begin(tmp_path / "2.ledger", is_empty=False)
        for ran in commands.run_all([Case(("status", "1.ledger")), Case(("status", "2.ledger"))], cwd=tmp_path):
            assert ran.code in (0, 2)
            assert "another program" not in ran.err


@pytest.fixture(scope="module")
def as_user() -> Iterator[Forks]:
    """Commands of somebody for whom the modes of files count."""
    through = [sys.executable, "-S", "-c", WITHOUT_OVERRIDE] if os.geteuid() == 0 else []
    if through and not _succeeds(*through, "/bin/true"):
        pytest.skip("root cannot give up its rights here")
    with Forks(through=through) as forks:
        yield forks


class TestMissingRights:
    def test_are_told_in_one_line(self, tmp_path: Path, as_user: Forks, recording: RecordingHub) -> None:
        write(tmp_path / "d.ndjson", names("rights", 50))
        write(tmp_path / "unreadable.ndjson", ["a"]).chmod(0)
        begin = ("load", "d.ndjson", "--limit", "10", "--ledger", "begun.ledger")
        assert as_user.run(*begin, cwd=tmp_path, env=recording.env).code == 5
        sent = len(recording.puts)
        tmp_path.chmod(0o555)
        unreadable, unwritable, unloggable, status = as_user.run_all(
            [
                Case(("load", "unreadable.ndjson", "--ledger", "begun.ledger"), recording.env),
                Case(("load", "d.ndjson"), recording.env),
                Case(("load", "d.ndjson", "--ledger", "begun.ledger"), recording.env),
                Case(("status", "begun.ledger", "--json")),
            ],
            cwd=tmp_path,
        )
        assert unreadable.code == unwritable.code == unloggable.code == 2
        assert "unreadable.ndjson" in unreadable.complaint
        assert "d.ndjson.ledger" in unwritable.complaint
        assert "--ledger" in unwritable.complaint
        # It can be opened, but SQLite may not put its log beside it; no room that is made would help.
        assert "begun.ledger" in unloggable.complaint
        assert "make room" not in unloggable.complaint
        assert len(recording.puts) == sent
        # A ledger that is one file can be read where nothing can be written.
        assert status.code == 0, status.err
        assert status.summary["records"]["accepted"] == 10


class TestTwoRuns:
    def test_never_share_a_ledger(self, tmp_path: Path, commands: Forks, recording: RecordingHub) -> None:
        ids = names("two", 400)
        write(tmp_path / "d.ndjson", ids)
        ledger = tmp_path / "d.ndjson.ledger"
        # A mask that forbids nothing, so that the modes are bulkload's own choice.
        program = ["sh", "-c", 'umask 0; exec "$@"', "sh", *BULKLOAD]
        with Started("load", "d.ndjson", "--rate", "200", program=program, cwd=tmp_path, env=recording.env) as first:
            recording.wait_for(100)
            recording.is_held = True
            # What is settled comes to the disk though nothing further happens.
            wait_for(lambda: len(rows(ledger)) >= 100, "the answered requests are in the ledger", within=10)
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("*.ledger*")}
            assert modes.keys() >= {"d.ndjson.ledger", "d.ndjson.ledger-wal"}
            assert set(modes.values()) == {0o600}

            second, waited, told, shown = commands.run_all(
                [
                    Case(("load", "d.ndjson"), recording.env),
                    Case(("load", "d.ndjson", "--wait-lock", "0.5s", "--json"), recording.env),
                    Case(("status", "d.ndjson.ledger")),
                    Case(("status", "d.ndjson.ledger", "--json")),
                ],
                cwd=tmp_path,
            )
            for ran in (second, waited):
                assert ran.code == 75, ran.err
                assert "d.ndjson.ledger" in ran.complaint
                assert "--wait-lock" in ran.complaint
            assert waited.seconds >= 0.5
            # Others may read during a run.
            assert told.code == shown.code == 0
            assert not told.err
            assert "d.ndjson.ledger" in told.out
            assert 100 <= shown.summary["records"]["accepted"] < 400

            waiting_run = ("load", "d.ndjson", "--wait-lock", "1h", "--json")
            with Started(*waiting_run, cwd=tmp_path, env=recording.env) as waiting:
                wait_for(lambda: waits(waiting), "it waits for the ledger")
                assert first.is_running
                recording.release()
                assert first.finish().code == 0
                after = waiting.finish()
        assert after.code == 0
        assert after.summary["records"]["skipped"] == 400
        assert sorted(recording.ids) == sorted(ids)


class TestAClosedLedger:
    def test_that_is_not_there_any_more_is_not_claimed(self, tmp_path: Path, recording: RecordingHub) -> None:
        write(tmp_path / "d.ndjson", names("removed", 100))
        with Started("load", "d.ndjson", cwd=tmp_path, env=recording.env) as started:
            recording.is_held = True
            recording.wait_for(1)
            (tmp_path / "d.ndjson.ledger").unlink()
            recording.release()
            ran = started.finish()
        assert ran.code == 4
        assert "d.ndjson.ledger" in ran.err

    def test_is_one_file_that_anybody_with_sqlite_can_read(self, tmp_path: Path, recording: RecordingHub) -> None:
        (tmp_path / "d.ndjson").write_bytes(b"\n".join([installation("a"), b"{", installation("b")]))
        assert run("load", "d.ndjson", cwd=tmp_path, env=recording.env).code == 1
        assert {path.name for path in tmp_path.iterdir()} == {
            "d.ndjson",
            "d.ndjson.ledger",
            "d.ndjson.ledger.dead.ndjson",
        }
        ledger = tmp_path / "d.ndjson.ledger"
        assert stat.S_IMODE(ledger.stat().st_mode) == 0o600
        with closing(sqlite3.connect(f"{ledger.as_uri()}?immutable=1", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            accepted, invalid, _ = connection.execute("SELECT * FROM outcomes ORDER BY position").fetchall()
            assert set(accepted.keys()) == set(OUTCOME_COLUMNS)
            assert connection.execute("PRAGMA user_version").fetchone()[0] >= 1
            for table in ("runs", "sessions", "sources", "samples"):
                assert connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] >= 1
        assert (accepted["installation_id"], accepted["outcome"], accepted["attempts"]) == ("a", "accepted", 1)
        assert accepted["hub"] == f"127.0.0.1:{recording.port}/devices"
        assert 0 < accepted["latency"] < 30
        assert (accepted["detail"], accepted["tracking_id"]) == (None, None)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", accepted["settled_at"])
        assert (invalid["outcome"], invalid["attempts"], invalid["latency"]) == ("invalid", 0, None)
        assert "line 2" in invalid["detail"]

    def test_that_was_made_for_all_to_read_is_closed_to_them(
        self, tmp_path: Path, commands: Forks, recording: RecordingHub
    ) -> None:
        write(tmp_path / "d.ndjson", ["a"])
        (tmp_path / "d.ndjson.ledger").touch(0o644)
        assert commands.run("load", "d.ndjson", cwd=tmp_path, env=recording.env).code == 0
        assert stat.S_IMODE((tmp_path / "d.ndjson.ledger").stat().st_mode) == 0o600


class TestStatus:
    def test_tells_of_finished_stopped_and_killed_runs(
        self, tmp_path: Path, commands: Forks, recording: RecordingHub
    ) -> None:
        write(tmp_path / "d.ndjson", names("status", 100))
        (tmp_path / "bad.ndjson").write_bytes(installation("b") + b"\n{\n")
        load = ("load", "d.ndjson", "--json", "--ledger")
        loaded = commands.run_all(
            [
                Case((*load, "complete.ledger"), recording.env),
                Case(("load", "bad.ndjson", "--json", "--ledger", "partial.ledger"), recording.env),
                Case((*load, "stopped.ledger", "--limit", "10"), recording.env),
            ],
            cwd=tmp_path,
        )
        with Started(*load, "killed.ledger", "--rate", "50", cwd=tmp_path, env=recording.env) as started:
            wait_for(lambda: _has_rows(tmp_path / "killed.ledger"), "a commit")
            started.kill()
        ledgers = [f"{name}.ledger" for name in ("complete", "partial", "stopped", "killed")]
        given = [Case(("status", name, *option)) for option in (("--json",), ()) for name in ledgers]
        ran_all = commands.run_all(given, cwd=tmp_path)
        shown, told = ran_all[:4], ran_all[4:]
        for ran in (*shown, *told):
            assert (ran.code, ran.err) == (0, "")
        for ran, before in zip(shown, loaded, strict=False):
            assert _keys(ran.summary) == _keys(before.summary)
            for key in ("outcome", "exit_code", "reason", "sources", "ledger", "resume"):
                assert ran.summary[key] == before.summary[key], key
            assert _without_skipped(ran.summary) == _without_skipped(before.summary)
            assert set(ran.summary["requests"].values()) == set(ran.summary["latency"].values()) == {None}
            assert ran.summary["records"]["skipped"] is None
            assert ran.summary["elapsed"] is None
        complete, partial_, stopped, killed = (ran.summary for ran in shown)
        assert [one["exit_code"] for one in (complete, partial_, stopped, killed)] == [0, 1, 5, 5]
        assert killed["outcome"] == "stopped"
        assert killed["resume"] == "bulkload load d.ndjson --json --ledger killed.ledger --rate 50"
        assert 0 < killed["records"]["accepted"] <= len(recording.puts)
        for ran, name in zip(told, ledgers, strict=True):
            assert f"ledger: {name}" in ran.out
        assert [("to continue: " in ran.out) for ran in told] == [False, False, True, True]


def _begin(ledger: Path, *, is_empty: bool) -> None:
    """What a session leaves that is killed while it makes its ledger."""
    if is_empty:
        ledger.touch(0o600)
        return
    # The moment after the file was told to keep a write-ahead log, before its tables are there.
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")


def _has_rows(ledger: Path) -> bool:
    """Whether a ledger that is being made shows something as settled."""
    try:
        return bool(rows(ledger))
    except sqlite3.OperationalError:
        return False


def _keys(value: Any) -> Any:
    """The keys of a document, at every depth."""
    return {key: _keys(within) for key, within in value.items()} if isinstance(value, dict) else None


def _without_skipped(summary: dict[str, Any]) -> dict[str, int]:
    """What a summary counts over the run's life."""
    return {key: count for key, count in summary["records"].items() if key != "skipped"}


def _succeeds(*command: str) -> bool:
    """Whether a command can be carried out."""
    try:
        ended = subprocess.run(command, capture_output=True, check=False)
    except OSError:
        return False
    return ended.returncode == 0


class TestALimitOfOpenFiles:
    def limited(self, tmp_path: Path, hub: RecordingHub, limit: str) -> Ran:
        write(tmp_path / "d.ndjson", names("id", 500))
        program = ["sh", "-c", f'{limit}; exec "$@"', "sh", *BULKLOAD]
        return run("load", "d.ndjson", "--json", program=program, cwd=tmp_path, env=hub.env)

    def test_that_is_too_low_costs_connections_and_no_record(self, tmp_path: Path) -> None:
        with RecordingHub(delay=0.1) as hub:
            ran = self.limited(tmp_path, hub, "ulimit -n 100")
            assert ran.code == 0, ran.err
            assert ran.summary["requests"]["failed"] == 0
            assert 30 <= hub.most_in_flight <= 36
        assert "this process may open 100 files, so at most 36 requests are in flight instead of 800" in ran.err

    def test_that_may_be_raised_is_raised(self, tmp_path: Path) -> None:
        with RecordingHub(delay=0.1) as hub:
            ran = self.limited(tmp_path, hub, "ulimit -Sn 70")
            assert ran.code == 0, ran.err
            assert hub.most_in_flight > 36
        assert "may open" not in ran.err

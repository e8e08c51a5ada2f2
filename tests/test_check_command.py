"""`bulkload check` in real processes: what it prints, writes and exits with."""

import csv
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import BULKLOAD, CHANNEL, Forks, Started, installation, names, ndjson, run, wait_for, write

KEYS = {
    "schema", "outcome", "exit_code", "reason", "records", "rules", "platforms", "tags", "duplicates", "load",
    "warnings", "shown", "elapsed", "sources", "invalid_file",
}  # fmt: skip


class TestTheReport:
    def test_of_clean_records_exits_with_0(self, tmp_path: Path, commands: Forks) -> None:
        write(tmp_path / "d.ndjson", names("clean", 5))
        ran = commands.run("check", "d.ndjson", "--rate", "2", cwd=tmp_path)
        assert (ran.code, ran.err) == (0, "")
        assert "5 records of d.ndjson, none invalid" in ran.out
        assert "5 requests, 2.5 s at 2 requests per second" in ran.out
        assert {path.name for path in tmp_path.iterdir()} == {"d.ndjson"}

    def test_of_flaws_exits_with_1_and_names_them(self, tmp_path: Path, commands: Forks) -> None:
        lines = [installation("good"), installation("bad id"), b"{", installation("good")]
        (tmp_path / "d.ndjson").write_bytes(b"\n".join(lines))
        ran = commands.run("check", "d.ndjson", cwd=tmp_path)
        assert ran.code == 1
        for words in ("id-characters", "not-json", "d.ndjson:2  bad id", "d.ndjson:3", "1 id, 1 record superseded"):
            assert words in ran.out
        assert "d.ndjson:1  good  again at d.ndjson:4" in ran.out

    def test_in_json_is_one_line_with_these_keys(self, tmp_path: Path, commands: Forks) -> None:
        (tmp_path / "d.ndjson").write_bytes(installation("bad id"))
        ran = commands.run("check", "d.ndjson", "--json", cwd=tmp_path)
        assert ran.code == 1
        assert ran.summary.keys() == KEYS
        assert ran.summary["schema"] == 1
        assert ran.summary["exit_code"] == 1

    def test_is_not_written_when_quiet_and_clean(self, tmp_path: Path, commands: Forks) -> None:
        write(tmp_path / "d.ndjson", names("quiet", 2))
        clean = commands.run("check", "d.ndjson", "--quiet", cwd=tmp_path)
        assert (clean.code, clean.out, clean.err) == (0, "", "")
        (tmp_path / "d.ndjson").write_bytes(b"{")
        assert "not-json" in commands.run("check", "d.ndjson", "--quiet", cwd=tmp_path).out

    def test_shows_the_first_objects_before_and_after(self, tmp_path: Path) -> None:
        (tmp_path / "d.csv").write_text("id,os,token\na,ANDROID,t\nb,,t\nc,palm,t\n")
        ran = run(
            *("check", "d.csv", "--show", "3", "--map", "installationId=id", "--map", "platform=os"),
            *("--map", "pushChannel=token", "--map-value", "platform:android=fcmv1", "--where", "os != ''"),
            cwd=tmp_path,
        )
        assert '"os": "ANDROID"' in ran.out
        assert '"platform":"fcmv1"' in ran.out
        assert "filtered: nothing is sent of it" in ran.out
        assert "invalid  platform-unknown" in ran.out

    @pytest.mark.parametrize("width", [60, 80, 120])
    def test_fits_a_terminal_of_any_width(self, tmp_path: Path, commands: Forks, width: int) -> None:
        lines = [installation(f"id-{number}", tags=["a b", "x" * 200], own=1) for number in range(5)]
        (tmp_path / "d.ndjson").write_bytes(b"\n".join(lines))
        ran = commands.run("check", "d.ndjson", cwd=tmp_path, env={"COLUMNS": str(width)})
        tables = [line for line in ran.out.splitlines() if not line.startswith("  ")]
        assert max(map(len, tables)) <= width


class TestInvalidRecords:
    def test_are_written_as_dead_letters_that_load_once_they_are_mended(self, tmp_path: Path, commands: Forks) -> None:
        lines = [installation("good"), installation("bad id"), b"{"]
        (tmp_path / "d.ndjson").write_bytes(b"\n".join(lines))
        assert commands.run("check", "d.ndjson", "--invalid", "bad", cwd=tmp_path).code == 1
        first, second = [json.loads(line) for line in (tmp_path / "bad").read_bytes().splitlines()]
        assert first["_bulkload"]["source"] == "d.ndjson"
        assert (first["_bulkload"]["position"], first["_bulkload"]["outcome"]) == (1, "invalid")
        assert "id-characters" in first["_bulkload"]["reason"]
        assert first["record"]["installationId"] == "bad id"
        assert second["base64"] == "ew=="
        assert stat.S_IMODE((tmp_path / "bad").stat().st_mode) == 0o600
        again = commands.run("check", "bad", "--json", cwd=tmp_path)
        assert again.summary["records"]["invalid"] == 2
        (tmp_path / "bad").write_bytes((tmp_path / "bad").read_bytes().splitlines()[0].replace(b"bad id", b"bad-id"))
        (tmp_path / "bad").write_bytes((tmp_path / "bad").read_bytes().replace(f"{CHANNEL}bad-id".encode(), b"t"))
        assert commands.run("check", "bad", cwd=tmp_path).code == 0

    def test_of_csv_are_rows(self, tmp_path: Path, commands: Forks) -> None:
        (tmp_path / "d.csv").write_text("installationId,platform,pushChannel\na,gcm,t\nb c,gcm,t\nd,gcm\n")
        assert commands.run("check", "d.csv", "--invalid", "bad.csv", cwd=tmp_path).code == 1
        with (tmp_path / "bad.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [(row["installationId"], row["_bulkload_position"]) for row in rows] == [("b c", "1"), ("", "2")]
        assert rows[1]["_bulkload_row"] == "d,gcm"
        assert "cells-too-few" in rows[1]["_bulkload_reason"]

    def test_leave_an_empty_file_where_there_are_none(self, tmp_path: Path, commands: Forks) -> None:
        write(tmp_path / "d.ndjson", ["a"])
        assert commands.run("check", "d.ndjson", "--invalid", "bad", cwd=tmp_path).code == 0
        assert (tmp_path / "bad").read_bytes() == b""

    def test_are_not_written_over_their_source(self, tmp_path: Path, commands: Forks) -> None:
        write(tmp_path / "d.ndjson", ["a"])
        ran = commands.run("check", "d.ndjson", "--invalid", "d.ndjson", cwd=tmp_path)
        assert ran.code == 2
        assert "is a source itself" in ran.complaint
        assert (tmp_path / "d.ndjson").read_bytes() == ndjson(["a"])

    def test_of_several_forms_are_in_files_of_their_own_and_never_over_a_source(
        self, tmp_path: Path, commands: Forks
    ) -> None:
        (tmp_path / "a.csv").write_text("installationId,platform,pushChannel\nb c,gcm,t\n")
        (tmp_path / "mend.ndjson").write_bytes(installation("bad id"))
        ran = commands.run("check", "a.csv", "mend.ndjson", "--invalid", "mend", cwd=tmp_path)
        assert ran.code == 2
        assert "mend.ndjson is a source itself" in ran.complaint
        assert (tmp_path / "mend.ndjson").read_bytes() == installation("bad id")
        assert commands.run("check", "a.csv", "mend.ndjson", "--invalid", "bad", cwd=tmp_path).code == 1
        assert {path.name for path in tmp_path.iterdir()} == {"a.csv", "mend.ndjson", "bad", "bad.ndjson"}

    def test_of_an_earlier_check_stay_where_nothing_can_be_checked(self, tmp_path: Path, commands: Forks) -> None:
        (tmp_path / "bad").write_text("of an earlier check")
        write(tmp_path / "d.ndjson", ["a"])
        assert commands.run("check", "d.ndjson", "--format", "parquet", "--invalid", "bad", cwd=tmp_path).code == 2
        assert (tmp_path / "bad").read_text() == "of an earlier check"


class TestWhatCannotBeChecked:
    def test_is_one_line(self, tmp_path: Path, commands: Forks) -> None:
        (tmp_path / "d.ndjson").write_bytes(installation("a"))
        for arguments, words in ((["missing"], "does not exist"), (["d.ndjson", "--rate", "0"], "--rate")):
            ran = commands.run("check", *arguments, cwd=tmp_path)
            assert ran.code == 2
            assert words in ran.complaint

    def test_to_its_end_is_reported_as_far_as_it_was_read(self, tmp_path: Path, commands: Forks) -> None:
        import gzip

        whole = gzip.compress(ndjson(names("cut", 5000)))
        (tmp_path / "d.gz").write_bytes(whole[: len(whole) // 2])
        ran = commands.run("check", "d.gz", "--json", cwd=tmp_path)
        assert ran.code == ran.summary["exit_code"] == 4
        assert ran.summary["outcome"] == "stopped"
        assert "breaks off" in ran.summary["reason"]
        assert 0 < ran.summary["records"]["valid"] < 5000

    def test_for_want_of_room_is_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "d.ndjson").write_bytes(ndjson(names("room", 120_000)))
        ran = run("check", "d.ndjson", cwd=tmp_path, env={"TMPDIR": str(tmp_path / "gone"), "HOME": "/"})
        # Where no folder of the usual ones can be used either; else it is checked.
        assert ran.code in (0, 4)
        if ran.code == 4:
            assert "TMPDIR" in ran.complaint

    def test_is_told_though_nobody_listens(self, tmp_path: Path) -> None:
        (tmp_path / "d.ndjson").write_bytes(installation("bad id"))
        command = [sys.executable, "-m", "bulkload", "check", "d.ndjson"]
        shell = ["/bin/sh", "-c", '"$@" >&-', "sh", *command]
        ran = subprocess.run(shell, cwd=tmp_path, capture_output=True, check=False)
        assert (ran.returncode, ran.stderr) == (1, b"")

    def test_is_told_to_the_end_to_a_slow_reader(self, tmp_path: Path) -> None:
        lines = [installation(f"bad {number}", userId="u" * 500) for number in range(500)]
        (tmp_path / "d.ndjson").write_bytes(b"\n".join(lines))
        command = [sys.executable, "-u", "-m", "bulkload", "check", "d.ndjson", "--json", "--show", "500"]
        with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            os.set_blocking(process.stdout.fileno(), True)
            time.sleep(1)
            report = json.loads(process.stdout.read())
        assert len(report["shown"]) == 500


class TestAnInterruption:
    def test_of_a_function_that_never_returns_ends_at_the_second_signal(self, tmp_path: Path) -> None:
        (tmp_path / "d.ndjson").write_bytes(installation("a"))
        (tmp_path / "own.py").write_text(
            "def transform(o):\n    open('begun', 'w').close()\n    while True:\n        pass\n"
        )
        with Started("check", "d.ndjson", "--transform", "own.py", cwd=tmp_path) as started:
            wait_for((tmp_path / "begun").exists, "the function is called")
            started.signal(signal.SIGINT)
            # Told apart, so that the two do not become one.
            time.sleep(0.3)
            started.signal(signal.SIGTERM)
            assert started.finish().code == 143

    def test_what_a_function_prints_is_not_in_the_report(self, tmp_path: Path, commands: Forks) -> None:
        (tmp_path / "d.ndjson").write_bytes(installation("a"))
        (tmp_path / "own.py").write_text("print('x')\ndef transform(o):\n    print('y')\n    yield o\n")
        ran = commands.run("check", "d.ndjson", "--transform", "own.py", "--json", cwd=tmp_path)
        assert ran.summary["records"]["valid"] == 1
        assert ran.err.split() == ["x", "y"]

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_ends_with_a_report_of_what_was_read(self, tmp_path: Path, number: signal.Signals, code: int) -> None:
        reading, writing = os.pipe()
        with Started("check", "-", "--json", cwd=tmp_path, stdin=reading) as started:
            os.close(reading)
            os.write(writing, ndjson(names("pipe", 100)))
            wait_for(lambda: _has_opened(started.process.pid), "it reads")
            started.signal(number)
            ran = started.finish()
            os.close(writing)
        assert ran.code == code
        assert ran.summary["outcome"] == "stopped"
        assert f"{number.name} was received" in ran.summary["reason"]


def _has_opened(pid: int) -> bool:
    """Whether a process obeys signals by itself by now."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")), 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak is counted in bytes")
def test_memory_does_not_grow_with_the_records(tmp_path: Path) -> None:
    def peak(number: int) -> int:
        with (tmp_path / "d.ndjson").open("wb") as file:
            for start in range(0, number, 1000):
                file.writelines(
                    installation(f"{each:032x}", tags=[f"user:{each}", "all"]) + b"\n"
                    for each in range(start, start + 1000)
                )
        code = (
            "import resource, subprocess, sys\n"
            f"done = subprocess.run([*{BULKLOAD!r}, 'check', 'd.ndjson', '--json'], stdout=subprocess.DEVNULL)\n"
            "print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)\n"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
        exit_code, megabytes = map(int, done.stdout.split())
        assert exit_code == 0
        return megabytes

    assert resource.getpagesize()
    # Every tag of a user's own is another one: both are past what is held in memory.
    assert peak(900_000) < peak(300_000) + 40

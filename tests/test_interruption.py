"""Whatever ends a run early, the next one continues it, and they end as one uninterrupted run would have."""

import csv
import json
import os
import random
import re
import shlex
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from tests.moods import Moods, last_valid, shuffled
from tests.processes import (
    BULKLOAD,
    OUTCOMES,
    PATIENCE,
    Forks,
    RecordingHub,
    Reply,
    Started,
    counts,
    folded,
    is_listening,
    names,
    ndjson,
    refusal,
    rows,
    run_line,
    wait_for,
    waits,
    write,
)

SOFT = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]

# A name that a shell and an address would both take apart.
AWKWARD = "my 'new' #1 devices?100%.ndjson"


@pytest.fixture
def slow_hub() -> Iterator[RecordingHub]:
    """A hub that gives every test time to interrupt: 64 workers bring it some 3,000 requests a second."""
    with RecordingHub(delay=0.02) as hub:
        yield hub


class TestASoftStop:
    @pytest.mark.parametrize("number", SOFT, ids=[number.name for number in SOFT])
    def test_lets_what_is_in_flight_settle_and_tells_how_to_continue(
        self, tmp_path: Path, slow_hub: RecordingHub, number: signal.Signals
    ) -> None:
        ids = names(number.name, 800)
        write(tmp_path / AWKWARD, ids)
        with Started("load", AWKWARD, "--rate", "1000", cwd=tmp_path, env=slow_hub.env) as started:
            slow_hub.wait_for(100)
            started.signal(number)
            ran = started.finish()
        assert ran.code == 5, ran.err
        assert not ran.out
        assert number.name in ran.err
        sent = len(slow_hub.puts)
        assert 100 <= sent < 800
        # What is settled is what the hub has answered, to the last request.
        assert sorted(row.installation_id or "" for row in rows(tmp_path / f"{AWKWARD}.ledger")) == sorted(slow_hub.ids)
        # Nothing but the ledger is left beside the source.
        assert {path.name for path in tmp_path.iterdir()} == {AWKWARD, f"{AWKWARD}.ledger"}
        assert shlex.split(ran.resume) == ["bulkload", "load", AWKWARD, "--rate", "1000"]

        ended = run_line(ran.resume.replace(" --rate 1000", ""), cwd=tmp_path, env=slow_hub.env)
        assert ended.code == 0, ended.err
        assert f"continues after {sent:,} settled" in ended.err.splitlines()[0]
        assert sorted(slow_hub.ids) == sorted(ids)

    def test_waits_no_longer_than_the_grace(self, tmp_path: Path, commands: Forks) -> None:
        write(tmp_path / "d.ndjson", names("grace", 50))
        with RecordingHub(is_held=True) as hub:
            with Started("load", "d.ndjson", "--grace", "0.2s", "--json", cwd=tmp_path, env=hub.env) as started:
                hub.wait_for(1)
                started.signal(signal.SIGTERM)
                ran = started.finish(within=10)
            assert ran.code == 5
            assert ran.summary["records"]["accepted"] == 0
            hub.release()
            assert commands.run("load", "d.ndjson", cwd=tmp_path, env=hub.env).code == 0
            assert hub.installations.keys() == set(names("grace", 50))

    @pytest.mark.parametrize("case", ["throttled", "backing off", "unreached"])
    def test_does_not_wait_for_what_rests(self, tmp_path: Path, case: str) -> None:
        replies = {"throttled": refusal(429, "slow down", "Retry-After: 120"), "backing off": refusal(503, "later")}
        reply = replies.get(case, Reply(None))
        write(tmp_path / "d.ndjson", names("rests", 10))
        with RecordingHub(lambda put: reply) as hub:
            with Started("load", "d.ndjson", cwd=tmp_path, env=hub.env) as started:
                hub.wait_for(1)
                started.signal(signal.SIGINT)
                ran = started.finish(within=10)
            # A hub that breaks every connection may have been given up by then.
            assert ran.code == 5 or (case == "unreached" and ran.code == 4)
            assert not rows(tmp_path / "d.ndjson.ledger")

    @pytest.mark.parametrize("is_empty", [True, False])
    def test_ends_a_read_of_a_silent_pipe(self, tmp_path: Path, slow_hub: RecordingHub, is_empty: bool) -> None:
        # More than the first 64 KiB, by which standard input is told apart, and more than one read.
        given = b"" if is_empty else ndjson(names("piped", 1500))
        reading, writing = os.pipe()
        with closing(os.fdopen(writing, "wb")) as pipe:
            load = ("load", "-", "--ledger", "s.ledger", "--json")
            with Started(*load, cwd=tmp_path, env=slow_hub.env, stdin=reading) as started:
                os.close(reading)
                pipe.write(given)
                pipe.flush()
                if is_empty:
                    # Its handlers are in place once it waits for the pipe.
                    wait_for(lambda: waits(started), "the command reads")
                else:
                    slow_hub.wait_for(800)
                    wait_for(lambda: _stands_still(slow_hub), "all that was given is sent")
                started.signal(signal.SIGINT)
                ran = started.finish(within=10)
        assert ran.code == 5, ran.err
        assert ran.summary["resume"] == "bulkload load - --ledger s.ledger --json"
        assert ran.summary["records"]["accepted"] == len(slow_hub.puts)
        assert (len(slow_hub.puts) == 0) is is_empty

    def test_by_max_duration_ends_a_read_of_a_silent_pipe(self, tmp_path: Path, slow_hub: RecordingHub) -> None:
        reading, writing = os.pipe()
        load = ("load", "-", "--ledger", "s.ledger", "--max-duration", "0.2s")
        with (
            closing(os.fdopen(writing, "wb")),
            Started(*load, cwd=tmp_path, env=slow_hub.env, stdin=reading) as started,
        ):
            os.close(reading)
            ran = started.finish(within=10)
        assert ran.code == 5
        assert "--max-duration" in ran.err

    def test_ends_a_wait_for_the_lock(self, tmp_path: Path) -> None:
        write(tmp_path / "d.ndjson", ["a"])
        with RecordingHub(is_held=True) as hub, Started("load", "d.ndjson", cwd=tmp_path, env=hub.env) as holding:
            hub.wait_for(1)
            load = ("load", "d.ndjson", "--wait-lock", "1h")
            with Started(*load, cwd=tmp_path, env=hub.env) as waiting:
                wait_for(lambda: waits(waiting), "the command waits")
                waiting.signal(signal.SIGTERM)
                assert waiting.finish(within=10).code == 5
            hub.release()
            assert holding.finish().code == 0


class TestASecondSignal:
    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_leaves_at_once(self, tmp_path: Path, commands: Forks, number: signal.Signals, code: int) -> None:
        ids = names("second", 30)
        write(tmp_path / "d.ndjson", ids)
        with RecordingHub(is_held=True) as hub:
            with Started("load", "d.ndjson", "--grace", "1h", cwd=tmp_path, env=hub.env) as started:
                hub.wait_for(1)
                # Two that come together count as one, so it is told until it hears.
                give_up = time.monotonic() + PATIENCE
                while started.is_running and time.monotonic() < give_up:
                    started.signal(number)
                    threading.Event().wait(0.05)
                ran = started.finish()
            assert ran.code == code
            hub.release()
            assert commands.run("load", "d.ndjson", cwd=tmp_path, env=hub.env).code == 0
            assert hub.installations.keys() == set(ids)


class TestAHangup:
    def test_that_comes_again_and_again_ends_with_a_summary(self, tmp_path: Path, slow_hub: RecordingHub) -> None:
        write(tmp_path / "d.ndjson", names("hups", 300))
        with Started("load", "d.ndjson", "--json", cwd=tmp_path, env=slow_hub.env) as started:
            slow_hub.wait_for(20)
            give_up = time.monotonic() + PATIENCE
            while started.is_running and time.monotonic() < give_up:
                started.signal(signal.SIGHUP)
                threading.Event().wait(0.01)
            ran = started.finish()
        assert ran.code == 5
        assert ran.summary["reason"] == "SIGHUP was received"
        assert "leaves at once" not in ran.err

    def test_is_ignored_under_nohup(self, tmp_path: Path, slow_hub: RecordingHub) -> None:
        ids = names("nohup", 300)
        write(tmp_path / "d.ndjson", ids)
        load = ("load", "d.ndjson", "--rate", "500")
        with Started(*load, program=["nohup", *BULKLOAD], cwd=tmp_path, env=slow_hub.env) as started:
            slow_hub.wait_for(10)
            started.signal(signal.SIGHUP)
            ran = started.finish()
        assert ran.code == 0, ran.err
        assert sorted(slow_hub.ids) == sorted(ids)

    def test_of_a_closed_terminal_stops_softly(self, tmp_path: Path, commands: Forks, slow_hub: RecordingHub) -> None:
        """The window is closed: SIGHUP comes, and whatever is written to the terminal fails."""
        ids = names("hangup", 1000)
        write(tmp_path / "d.ndjson", ids)
        master, slave = os.openpty()
        # The first terminal that a session's first process opens becomes its own.
        shell = f"exec <>{os.ttyname(slave)} >&0 2>&0; exec {shlex.join(BULKLOAD)} load d.ndjson --rate 500"
        # A terminal that can be drawn on, so that the bar is at work as well.
        env = {**slow_hub.env, "TERM": "xterm"}
        with Started("-c", shell, program=["sh"], cwd=tmp_path, env=env, own_session=True) as started:
            os.close(slave)
            slow_hub.wait_for(50)
            os.close(master)
            ran = started.finish()
        assert ran.code == 5
        assert len(rows(tmp_path / "d.ndjson.ledger")) == len(slow_hub.puts) < 1000
        assert commands.run("load", "d.ndjson", cwd=tmp_path, env=slow_hub.env).code == 0
        assert sorted(slow_hub.ids) == sorted(ids)


class TestAKill:
    @pytest.mark.slow
    def test_again_and_again_ends_as_an_uninterrupted_run(self, tmp_path: Path, commands: Forks) -> None:
        seed = random.randrange(2**32)
        dice = random.Random(seed)
        (tmp_path / "d.ndjson").write_bytes(b"\n".join(shuffled(dice)))
        with RecordingHub(Moods()) as hub:
            assert commands.run("load", "d.ndjson", "--ledger", "whole.ledger", cwd=tmp_path, env=hub.env).code == 1
            expected = hub.installations
        assert expected == last_valid(tmp_path / "d.ndjson")

        ledger = tmp_path / "killed.ledger"
        load = ("load", "d.ndjson", "--ledger", "killed.ledger", "--rate", "2000")
        with RecordingHub(Moods(), delay=0.005) as hub:
            for kill in range(10):
                target = len(hub.puts) + dice.choice([1, 50, 150, 300, 500])
                with Started(*load, cwd=tmp_path, env=hub.env) as started:
                    if kill % 4:
                        wait_for(partial(_is_reached, started, hub, target), f"{target} PUTs")
                    else:
                        # While it starts: at the latest just after its ledger is there.
                        threading.Event().wait(dice.random() * 0.8)
                        wait_for(ledger.exists, "a ledger")
                    started.kill()
                status = commands.run("status", "killed.ledger", "--json", cwd=tmp_path)
                if status.code == 2 and "did not begin" in status.complaint:
                    continue
                assert status.code == 0, f"seed {seed}, kill {kill}: {status.err}"
                records = status.summary["records"]
                # Nothing is claimed that the hub has not got, and the rows are what the counts say.
                assert records["accepted"] <= len(hub.puts)
                assert counts(ledger) == {outcome: records[outcome] for outcome in OUTCOMES if records[outcome]}
            ended = commands.run(*load, cwd=tmp_path, env=hub.env)
            assert ended.code == 1, f"seed {seed}: {ended.err}"
            assert folded(ledger) == folded(tmp_path / "whole.ledger"), f"seed {seed}"
            assert hub.installations == expected, f"seed {seed}"
        bad = {row.position: row.outcome for row in rows(ledger) if row.outcome not in ("accepted", "superseded")}
        letters = [json.loads(line)["_bulkload"] for line in Path(f"{ledger}.dead.ndjson").read_bytes().splitlines()]
        assert len(letters) == len(bad) > 0, f"seed {seed}"
        assert {letter["position"]: letter["outcome"] for letter in letters} == bad, f"seed {seed}"

    @pytest.mark.slow
    def test_of_a_mapped_table_again_and_again_ends_as_an_uninterrupted_run(
        self, tmp_path: Path, commands: Forks
    ) -> None:
        seed = random.randrange(2**32)
        dice = random.Random(seed)
        with (tmp_path / "d.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["owner", "devices", "note"])
            for owner in range(900):
                ids = [f"{owner}-{number}{' bad' * (dice.random() < 0.1)}" for number in range(dice.randrange(4))]
                note = dice.choice(["", 'a "quoted" note', "two\nlines", "a; b, c"])
                writer.writerow([owner, json.dumps([{"id": id_} for id_ in ids]), note])
                if dice.random() < 0.02:
                    file.write(f"too,few-{owner}\n")
        flags = (
            *("--json-column", "devices", "--each", "devices", "--where", "_parent.owner != '13'"),
            *("--map", "installationId=id", "--map", "userId=_parent.owner", "--set", "platform=gcm"),
            *("--map", "pushChannel=_parent.owner", "--rate", "1500"),
        )
        with RecordingHub() as hub:
            whole = commands.run("load", "d.csv", *flags, "--ledger", "whole", "--json", cwd=tmp_path, env=hub.env)
            expected = hub.installations
        assert whole.code == 1, whole.err
        load = ("load", "d.csv", *flags, "--ledger", "killed", "--json")
        with RecordingHub(delay=0.005) as hub:
            for _ in range(5):
                target = len(hub.puts) + dice.choice([1, 100, 250])
                with Started(*load, cwd=tmp_path, env=hub.env) as started:
                    wait_for(partial(_is_reached, started, hub, target), f"{target} PUTs")
                    started.kill()
            ended = commands.run(*load, cwd=tmp_path, env=hub.env)
        assert ended.code == 1, f"seed {seed}: {ended.err}"
        assert hub.installations == expected, f"seed {seed}"
        assert folded(tmp_path / "killed") == folded(tmp_path / "whole"), f"seed {seed}"
        counted = [{**ran.summary["records"], "skipped": 0} for ran in (whole, ended)]
        assert counted[0] == counted[1], f"seed {seed}"
        # A row of which several records settled badly stands among the dead letters once, as it came.
        letters = [sorted(set(_rows_of(tmp_path / f"{name}.dead.csv"))) for name in ("whole", "killed")]
        assert letters[0] == letters[1], f"seed {seed}"
        assert len(letters[1]) == len(_rows_of(tmp_path / "killed.dead.csv")), f"seed {seed}"

    def test_costs_about_a_second_of_work(self, tmp_path: Path, commands: Forks) -> None:
        rate, workers = 400, 64
        write(tmp_path / "d.ndjson", names("second", 1200))
        load = ("load", "d.ndjson", "--rate", str(rate), "--workers", str(workers))
        with RecordingHub() as hub:
            with Started(*load, cwd=tmp_path, env=hub.env) as started:
                hub.wait_for(600)
                started.kill()
            sent = len(hub.puts)
            assert len(rows(tmp_path / "d.ndjson.ledger")) >= sent - rate - workers
            assert commands.run("load", "d.ndjson", cwd=tmp_path, env=hub.env).code == 0
            assert len(hub.puts) <= 1200 + rate + workers
            assert hub.installations.keys() == set(names("second", 1200))

    def test_ends_the_embedded_hub_as_well(self, tmp_path: Path) -> None:
        write(tmp_path / "d.ndjson", names("alone", 1000))
        with Started("load", "d.ndjson", "--emulator", "--rate", "20", cwd=tmp_path) as started:
            wait_for(lambda: "\n" in started.err, "the run's first line")
            [port] = re.findall(r"127\.0\.0\.1:(\d+)", started.err)
            assert is_listening(int(port))
            started.kill()
        wait_for(lambda: not is_listening(int(port)), "the embedded hub is gone")


def _rows_of(letters: Path) -> list[tuple[str, ...]]:
    """The rows of dead letters without what tells of the record that was the first to settle badly."""
    with letters.open(newline="") as file:
        return [(row["owner"], row["devices"], row["note"], row["_bulkload_row"]) for row in csv.DictReader(file)]


def _is_reached(started: Started, hub: RecordingHub, number: int) -> bool:
    """Whether a hub has got so many PUTs, or nobody is left to send them."""
    return len(hub.puts) >= number or not started.is_running


def _stands_still(hub: RecordingHub) -> bool:
    """Whether nothing has come for a while."""
    return time.monotonic() - hub.puts[-1].at > 0.3

"""Several processes end a run as one would: the same ledger, the same letters, and whoever dies is replaced."""

import gzip
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bulkload
from bulkload.fleet.claims import Claims, Turn, digest, packed, unpacked
from bulkload.fleet.leases import AHEAD, AT_ONCE, BY_AND_BY, SOON, LeasedPace
from bulkload.fleet.leasing import Leasing
from bulkload.fleet.member import Member
from bulkload.fleet.messages import Failed, Lease, Message, Report, Taken, Throttled
from bulkload.fleet.parcel import Parcel
from bulkload.load import Loader, Settings
from bulkload.pace import Pacer
from bulkload.pace.concurrency import FIRST
from bulkload.reading import Reading
from bulkload.source import START, Place
from bulkload.source.lines import Chunk, Unsplit
from tests.moods import Moods, last_valid, shuffled
from tests.processes import (
    BULKLOAD,
    CONNECTION_STRING,
    KEY,
    OK,
    PATIENCE,
    Forks,
    Put,
    RecordingHub,
    Reply,
    Started,
    folded,
    free_port,
    installation,
    names,
    ndjson,
    refusal,
    rows,
    run,
    run_line,
    wait_for,
    write,
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="one process is all that there is")


def uploaders(started: Started) -> list[int]:
    """The processes that a command has started."""
    found = subprocess.run(["pgrep", "-P", str(started.process.pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def is_there(pid: int) -> bool:
    """Whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def letters(path: Path) -> list[tuple[int, str, str]]:
    """The dead letters beside a ledger: which record, how it ended, and what it came as."""
    told = [json.loads(line) for line in path.read_bytes().splitlines()]
    return sorted(
        (one["_bulkload"]["position"], one["_bulkload"]["outcome"], json.dumps({**one, "_bulkload": None}))
        for one in told
    )


class TestTheSameAsOne:
    def test_of_a_source_with_flaws_and_a_hub_with_moods(self, tmp_path: Path, commands: Forks) -> None:
        seed = random.randrange(2**32)
        (tmp_path / "d.ndjson").write_bytes(b"\n".join(shuffled(random.Random(seed), number=4000, ids=1500)))
        found = {}
        for processes in ("1", "3"):
            load = ("load", "d.ndjson", "--ledger", processes, "--processes", processes, "--json")
            with RecordingHub(Moods()) as hub:
                ran = commands.run(*load, cwd=tmp_path, env=hub.env)
                assert hub.installations == last_valid(tmp_path / "d.ndjson"), f"seed {seed}"
            records = ran.summary["records"]
            records["good"] = records.pop("accepted") + records.pop("superseded")
            dead = letters(tmp_path / f"{processes}.dead.ndjson")
            found[processes] = (ran.code, records, folded(tmp_path / processes), dead)
            assert (ran.summary["processes"], ran.summary["transport"]) == (int(processes), "wire")
            details = {row.detail for row in rows(tmp_path / processes) if row.outcome == "invalid"}
            assert all(re.match(r"line \d+: ", detail or "") for detail in details)
        assert found["1"] == found["3"], f"seed {seed}"

    @pytest.mark.parametrize("form", ["csv", "json", "gz", "stdin"])
    def test_of_every_form_and_a_mapping(self, tmp_path: Path, commands: Forks, form: str) -> None:
        (tmp_path / "transform.py").write_text(
            "def transform(row):\n"
            "    print('not for standard output')\n"
            "    for id_ in row['devices'].split(','):\n"
            "        if id_:\n"
            "            yield {'installationId': id_, 'pushChannel': row['owner'], 'platform': 'gcm'}\n"
        )
        objects = [
            {
                "owner": f"o{owner}",
                "devices": ",".join(f"{owner}{'?' if owner % 9 else '-'}{one}" for one in range(owner % 4)),
            }
            for owner in range(2000)
        ]
        source, stdin = _given(form, objects, tmp_path)
        found = {}
        for processes in ("1", "2"):
            load = ("load", source, "--transform", "transform.py", "--ledger", processes, "--processes", processes)
            with RecordingHub() as hub:
                ran = commands.run(*load, "--json", cwd=tmp_path, env=hub.env, stdin=stdin)
                installations = hub.installations
            assert ran.code == 1, ran.err
            found[processes] = (ran.summary["records"], folded(tmp_path / processes), installations)
        assert found["1"] == found["2"]
        assert found["1"][0]["filtered"] == 500
        assert found["1"][0]["invalid"] > 0

    def test_where_nothing_comes_of_it(self, tmp_path: Path, commands: Forks) -> None:
        (tmp_path / "empty.ndjson").touch()
        (tmp_path / "blank.ndjson").write_bytes(b"\n" * 1000)
        (tmp_path / "bad.ndjson").write_bytes(b"{\n" * 1000)
        with RecordingHub() as hub:
            for name, code in (("empty", 0), ("blank", 0), ("bad", 1)):
                ran = commands.run("load", f"{name}.ndjson", "--processes", "2", cwd=tmp_path, env=hub.env)
                assert ran.code == code, ran.err
            again = commands.run("load", "bad.ndjson", "--processes", "2", "--json", cwd=tmp_path, env=hub.env)
        assert not hub.puts
        assert (again.code, again.summary["records"]["skipped"]) == (1, 1000)

    def test_of_a_mapping_that_makes_thousands_of_each_object(self, tmp_path: Path, commands: Forks) -> None:
        (tmp_path / "many.py").write_text(
            "def transform(row):\n"
            "    for number in range(900):\n"
            "        id_ = f\"{row['owner'] % 7}-{number}\" if number % 100 else 'a b'\n"
            "        user = str(row['owner'])\n"
            "        yield {'installationId': id_, 'pushChannel': 'c', 'platform': 'gcm', 'userId': user}\n"
        )
        (tmp_path / "d.ndjson").write_bytes(b"".join(b'{"owner": %d}\n' % owner for owner in range(12)))
        found = {}
        for processes in ("1", "2"):
            load = ("load", "d.ndjson", "--transform", "many.py", "--ledger", processes, "--processes", processes)
            with RecordingHub() as hub:
                stopped = commands.run(*load, "--limit", "5000", "--json", cwd=tmp_path, env=hub.env)
                assert (stopped.code, stopped.summary["records"]["read"]) == (5, 5000), stopped.err
                ran = commands.run(*load, cwd=tmp_path, env=hub.env)
                found[processes] = (folded(tmp_path / processes), hub.installations)
            assert ran.code == 1, ran.err
        assert found["1"] == found["2"]

    def test_of_an_id_that_comes_again_and_again(self, tmp_path: Path, commands: Forks) -> None:
        seed = random.randrange(2**32)
        dice = random.Random(seed)
        lines = [
            installation(f"id-{dice.randrange(40)}", tags=[f"n{number}"], userId="u" * 300) for number in range(8000)
        ]
        (tmp_path / "d.ndjson").write_bytes(b"\n".join(lines))
        with RecordingHub(Moods(), delay=0.002) as hub:
            ran = commands.run("load", "d.ndjson", "--processes", "3", "--json", cwd=tmp_path, env=hub.env)
            assert hub.installations == last_valid(tmp_path / "d.ndjson"), f"seed {seed}"
            order = defaultdict(list)
            for put in hub.puts:
                order[put.id].append(int(json.loads(put.body)["tags"][0][1:]))
        assert ran.code == 0, ran.err
        assert ran.summary["records"]["superseded"] > 4000
        # Nothing that comes later in the source was sent before what comes earlier.
        assert all(numbers == sorted(numbers) for numbers in order.values()), f"seed {seed}"


class TestEnds:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
    def test_softly_and_go_on(self, tmp_path: Path, number: signal.Signals) -> None:
        ids = names("soft", 4000)
        write(tmp_path / "d.ndjson", ids)
        with RecordingHub(delay=0.02) as hub:
            load = ("load", "d.ndjson", "--processes", "2", "--rate", "1500")
            with Started(*load, cwd=tmp_path, env=hub.env, own_session=True) as started:
                hub.wait_for(300)
                held = uploaders(started)
                # As a terminal and a service manager do it: all processes are told.
                os.killpg(started.process.pid, number)
                ran = started.finish()
            assert ran.code == 5, ran.err
            assert len(held) == 2
            wait_for(lambda: not any(map(is_there, held)), "the uploaders end")
            # What is settled is what the hub has answered, to the last request.
            assert sorted(row.installation_id or "" for row in rows(tmp_path / "d.ndjson.ledger")) == sorted(hub.ids)
            ended = run_line(ran.resume.replace(" --rate 1500", ""), cwd=tmp_path, env=hub.env)
            assert ended.code == 0, ended.err
            assert sorted(hub.ids) == sorted(ids)

    def test_after_so_many_records(self, tmp_path: Path, commands: Forks) -> None:
        ids = names("limit", 3000)
        write(tmp_path / "d.ndjson", ids)
        with RecordingHub() as hub:
            for limit in (1000, 1001, 998):
                load = ("load", "d.ndjson", "--processes", "2", "--limit", str(limit), "--json")
                before = len(hub.puts)
                ran = commands.run(*load, cwd=tmp_path, env=hub.env)
                assert (ran.code, len(hub.puts) - before) == (5, limit), ran.err
                assert ran.summary["records"]["pending"] == 0
            ran = commands.run(*load[:-3], "--limit", "1", "--json", cwd=tmp_path, env=hub.env)
            assert (ran.code, len(hub.puts), ran.summary["records"]["skipped"]) == (0, 3000, 2999)
        assert [row.position for row in rows(tmp_path / "d.ndjson.ledger")] == list(range(3000))

    def test_after_too_many_errors(self, tmp_path: Path, commands: Forks) -> None:
        (tmp_path / "d.ndjson").write_bytes(b"{\n" * 3 + ndjson(names("after", 2000)))
        load = ("load", "d.ndjson", "--processes", "2")
        with RecordingHub() as hub:
            ran = commands.run(*load, "--max-errors", "2", "--json", cwd=tmp_path, env=hub.env)
            assert (ran.code, ran.summary["records"]["invalid"]) == (3, 3), ran.err
            assert commands.run(*load, cwd=tmp_path, env=hub.env).code == 1
            assert hub.installations.keys() == set(names("after", 2000))

    def test_where_the_hub_refuses_the_run(self, tmp_path: Path, commands: Forks) -> None:
        write(tmp_path / "d.ndjson", names("refused", 500))
        key = f"SharedAccessKeyName=w;SharedAccessKey={KEY};EntityPath=devices"
        nobody = {CONNECTION_STRING: f"Endpoint=http://127.0.0.1:{free_port()}/;{key}"}
        with RecordingHub(lambda _: refusal(401, "no")) as hub:
            for env, words in ((hub.env, "key"), (nobody, "cannot be reached")):
                ran = commands.run("load", "d.ndjson", "--processes", "2", cwd=tmp_path, env=env)
                assert ran.code == 4, ran.err
                [line] = [line for line in ran.err.splitlines() if line.startswith("stopped")]
                assert words in line
                [sent] = re.findall(r"^requests: (\d+) sent", ran.err, re.MULTILINE)
                assert int(sent) <= 6
        assert not rows(tmp_path / "d.ndjson.ledger")

    def test_with_a_user_s_function_that_never_returns(self, tmp_path: Path) -> None:
        (tmp_path / "endless.py").write_text("def transform(row):\n    while True:\n        pass\n")
        write(tmp_path / "d.ndjson", names("endless", 10))
        load = ("load", "d.ndjson", "--processes", "2", "--transform", "endless.py", "--grace", "0.2s")
        with RecordingHub() as hub, Started(*load, cwd=tmp_path, env=hub.env) as started:
            wait_for(lambda: len(uploaders(started)) == 2, "two uploaders")
            held = uploaders(started)
            wait_for(lambda: any(map(_is_busy, held)), "one of them is in the function")
            started.signal(signal.SIGINT)
            ran = started.finish()
            assert ran.code == 5, ran.err
            assert not any(map(is_there, held))


class TestAnUploader:
    @pytest.mark.slow
    def test_that_is_killed_is_replaced(self, tmp_path: Path, commands: Forks) -> None:
        seed = random.randrange(2**32)
        dice = random.Random(seed)
        (tmp_path / "d.ndjson").write_bytes(b"\n".join(shuffled(dice, number=4000, ids=2500)))
        with RecordingHub(Moods()) as hub:
            assert commands.run("load", "d.ndjson", "--ledger", "whole", cwd=tmp_path, env=hub.env).code == 1
        load = ("load", "d.ndjson", "--ledger", "killed", "--processes", "3", "--json")
        with RecordingHub(Moods(), delay=0.01) as hub, Started(*load, cwd=tmp_path, env=hub.env) as started:
            for _ in range(6):
                target = len(hub.puts) + dice.choice([1, 100, 400])
                hub.wait_for(target)
                os.kill(dice.choice(uploaders(started)), signal.SIGKILL)
            ran = started.finish(within=4 * PATIENCE)
            assert hub.installations == last_valid(tmp_path / "d.ndjson"), f"seed {seed}"
        assert ran.code == 1, ran.err
        assert ran.err.count("was killed by signal 9: another one takes over") == 6, ran.err
        assert folded(tmp_path / "killed") == folded(tmp_path / "whole"), f"seed {seed}"
        assert letters(tmp_path / "killed.dead.ndjson") == letters(tmp_path / "whole.dead.ndjson"), f"seed {seed}"

    def test_that_is_killed_while_it_reads_is_granted_once(self, tmp_path: Path) -> None:
        (tmp_path / "slow.py").write_text(
            "import time\ndef transform(row):\n    time.sleep(row.pop('pause', 0))\n    yield row\n"
        )
        lines = [json.loads(installation(f"id-{number}", userId="u" * 300)) for number in range(2000)]
        lines[0]["pause"] = 1.5
        (tmp_path / "d.ndjson").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        load = ("load", "d.ndjson", "--transform", "slow.py", "--processes", "2")
        with RecordingHub() as hub, Started(*load, cwd=tmp_path, env=hub.env) as started:
            wait_for(lambda: len(uploaders(started)) == 2, "two uploaders")
            # One reads the first parcel for a while, and nothing is sent before; the other one has read the next.
            threading.Event().wait(1.2)
            for pid in uploaders(started)[1:]:
                os.kill(pid, signal.SIGKILL)
            assert started.finish().code == 0
            assert Counter(hub.ids) == Counter(f"id-{number}" for number in range(2000))

    def test_that_outlives_its_coordinator_ends_within_a_second(self, tmp_path: Path, commands: Forks) -> None:
        ids = names("orphan", 3000)
        write(tmp_path / "d.ndjson", ids)
        load = ("load", "d.ndjson", "--processes", "2")
        with RecordingHub(delay=0.02) as hub:
            with Started(*load, "--rate", "1000", cwd=tmp_path, env=hub.env) as started:
                hub.wait_for(300)
                held = uploaders(started)
                started.kill()
                wait_for(lambda: not any(map(is_there, held)), "the uploaders end", within=1)
            assert len(held) == 2
            assert commands.run(*load, cwd=tmp_path, env=hub.env).code == 0
            assert hub.installations.keys() == set(ids)
        assert [row.position for row in rows(tmp_path / "d.ndjson.ledger")] == list(range(3000))

    def test_that_dies_of_each_record_ends_the_run(self, tmp_path: Path) -> None:
        (tmp_path / "deadly.py").write_text("import os\ndef transform(row):\n    os._exit(9)\n")
        write(tmp_path / "d.ndjson", names("deadly", 10))
        with RecordingHub() as hub:
            load = ("load", "d.ndjson", "--processes", "2", "--transform", "deadly.py")
            with Started(*load, cwd=tmp_path, env=hub.env) as started:
                ran = started.finish()
        assert ran.code == 4, ran.err
        assert "end one after the other: the last one ended with status 9, reading lines 1 to 10" in ran.err
        assert not hub.puts

    def test_whose_function_is_interrupted_ends_the_run_as_an_interrupt_does(self, tmp_path: Path) -> None:
        (tmp_path / "own.py").write_text("def transform(row):\n    raise KeyboardInterrupt\n")
        write(tmp_path / "d.ndjson", names("interrupted", 10))
        with RecordingHub() as hub:
            load = ("load", "d.ndjson", "--processes", "2", "--transform", "own.py")
            ran = run(*load, cwd=tmp_path, env=hub.env)
        assert ran.code == 130, ran.err

    @pytest.mark.parametrize("text", [None, "def transform(row):\n    yield {}\n"], ids=["is gone", "is another"])
    def test_whose_mapping_has_changed_meanwhile_is_refused(self, tmp_path: Path, text: str | None) -> None:
        function = tmp_path / "own.py"
        function.write_text("def transform(row):\n    yield row\n")
        write(tmp_path / "d.ndjson", names("changed", 3000))
        load = ("load", "d.ndjson", "--processes", "2", "--rate", "500", "--transform", "own.py")
        with RecordingHub() as hub, Started(*load, cwd=tmp_path, env=hub.env) as started:
            hub.wait_for(100)
            function.unlink()
            if text is not None:
                function.write_text(text)
            os.kill(uploaders(started)[0], signal.SIGKILL)
            ran = started.finish()
        assert ran.code == 4, ran.err
        [line] = [line for line in ran.err.splitlines() if line.startswith("stopped")]
        assert "own.py" in line if text is None else "the mapping has changed" in line
        assert ran.resume

    def test_that_cannot_be_started_is_told_in_a_line(self, tmp_path: Path) -> None:
        write(tmp_path / "d.ndjson", names("few", 10))
        command = shlex.join([*BULKLOAD, "load", "d.ndjson", "--processes", "64"])
        with RecordingHub() as hub:
            ran = run("-c", f"ulimit -n 60; exec {command}", program=["sh"], cwd=tmp_path, env=hub.env)
        assert ran.code == 4, ran.err
        assert "no further process can be started: Too many open files" in ran.err

    def test_that_stands_still_for_a_while_holds_nobody_up(self, tmp_path: Path) -> None:
        ids = names("still", 8000)
        (tmp_path / "d.ndjson").write_bytes(b"\n".join(installation(id_, userId="u" * 300) for id_ in ids))
        load = ("load", "d.ndjson", "--processes", "2", "--rate", "1000", "--workers", "8", "--json")
        with RecordingHub() as hub, Started(*load, cwd=tmp_path, env=hub.env) as started:
            hub.wait_for(300)
            one = uploaders(started)[0]
            os.kill(one, signal.SIGSTOP)
            before = len(hub.puts)
            hub.wait_for(before + 2000)
            os.kill(one, signal.SIGCONT)
            ran = started.finish()
            times = sorted(put.at for put in hub.puts)
        assert ran.code == 0, ran.err
        assert hub.installations.keys() == set(ids)
        assert _most_in_a_second(times) <= 1000 + 2 * 8


class TestTheSum:
    def test_stays_under_the_cap_in_every_second_and_near_it(self, tmp_path: Path, commands: Forks) -> None:
        write(tmp_path / "d.ndjson", names("cap", 2500))
        with RecordingHub(_Failing()) as hub:
            load = ("load", "d.ndjson", "--processes", "3", "--rate", "500", "--workers", "4", "--json")
            ran = commands.run(*load, cwd=tmp_path, env=hub.env)
            times = sorted(put.at for put in hub.puts)
        assert ran.code == 0, ran.err
        # What left before a second began and came within it was in flight.
        assert _most_in_a_second(times) <= 500 + 3 * 4
        # Without the beginning, which is a ramp.
        assert len([at for at in times if times[0] + 1.5 <= at < times[0] + 3.5]) >= 0.85 * 1000
        assert ran.summary["limited_by"] == "cap"

    def test_finds_one_ceiling(self, tmp_path: Path, commands: Forks) -> None:
        lock = threading.Lock()
        seconds: Counter[int] = Counter()

        def answer(_: Put) -> Reply:
            with lock:
                seconds[int(time.monotonic() * 10)] += 1
                return OK if seconds[int(time.monotonic() * 10)] <= 20 else refusal(429, "slow down")

        write(tmp_path / "d.ndjson", names("ceiling", 1500))
        with RecordingHub(answer, delay=0.01) as hub:
            load = ("load", "d.ndjson", "--processes", "2", "--json")
            ran = commands.run(*load, cwd=tmp_path, env=hub.env)
        assert ran.code == 0, ran.err
        requests, rate = ran.summary["requests"], ran.summary["rate"]
        assert requests["throttled"] <= 0.1 * requests["sent"]
        assert 130 <= rate["ceiling"] <= 240
        assert len(hub.installations) == 1500


class TestTheFlag:
    @pytest.mark.parametrize("value", ["0", "-1", "many", "257", "1.5"])
    def test_refuses_what_is_no_number(self, tmp_path: Path, commands: Forks, value: str) -> None:
        write(tmp_path / "d.ndjson", ["a"])
        with RecordingHub() as hub:
            ran = commands.run("load", "d.ndjson", "--processes", value, cwd=tmp_path, env=hub.env)
        assert ran.code == 2
        assert "--processes is a number from 1 to 256, or auto" in ran.complaint

    def test_auto_is_one_for_each_core(self, tmp_path: Path) -> None:
        write(tmp_path / "d.ndjson", names("auto", 10))
        cores = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []
        with RecordingHub() as hub:
            load = ("load", "d.ndjson", "--processes", "auto", "--json")
            ran = run(*load, cwd=tmp_path, env=hub.env)
            assert (ran.code, ran.summary["processes"]) == (0, len(cores) or os.cpu_count())

    def test_a_python_function_is_refused_with_several_and_keeps_auto_at_one(self, tmp_path: Path) -> None:
        hub = bulkload.Hub.from_connection_string(
            f"Endpoint=http://127.0.0.1:1/;SharedAccessKeyName=w;SharedAccessKey={KEY};EntityPath=d"
        )
        reading = Reading.of({"transform": lambda row: [row]})
        with pytest.raises(bulkload.InputError, match="--processes 2: a Python function cannot be given"):
            Loader([[]], hub=hub, ledger=tmp_path / "l", settings=Settings(processes=2), reading=reading)
        assert Loader([[]], hub=hub, ledger=tmp_path / "l", settings=Settings(processes="auto"), reading=reading)


@given(st.lists(st.sets(st.integers(0, 12), max_size=8), max_size=8), st.randoms(use_true_random=False))
def test_an_id_is_one_parcel_s_at_a_time_and_in_their_order(parcels: list[set[int]], dice: random.Random) -> None:
    claims = Claims()
    entered: list[int] = []
    waiting: dict[int, set[int]] = {}
    done: dict[int, set[int]] = {}
    left = list(enumerate(parcels))

    def take(turns: list[Turn]) -> None:
        for turn in turns:
            waiting[turn.parcel].discard(turn.digest)

    while left or entered:
        if left and (not entered or dice.random() < 0.5):
            number, digests = left.pop(0)
            claims.enter(number, set(digests))
            waiting[number] = set(claims.waits(number))
            # It waits for just those that an earlier one has and is not done with.
            assert waiting[number] == {
                each for each in digests if any(each in parcels[one] and each not in done[one] for one in entered)
            }
            done[number] = set()
            entered.append(number)
            continue
        number = dice.choice(entered)
        free = {each for each in parcels[number] - waiting[number] - done[number] if claims.is_waited_for(each)}
        if free and dice.random() < 0.7:
            each = dice.choice(sorted(free))
            done[number].add(each)
            take([turn] if (turn := claims.release(number, each)) is not None else [])
        elif not waiting[number] or dice.random() < 0.1:
            # It may have nothing to send of what it waits for.
            entered.remove(number)
            done[number] = set(parcels[number])
            take(claims.leave(number))
    assert repr(claims) == "<Claims of 0 parcels, 0 waited for>"


def test_digests_are_the_same_there_and_here() -> None:
    ids = ["a", "é", "0" * 900]
    assert unpacked(packed(map(digest, ids))) == {digest(id_) for id_ in ids}
    assert digest("a") == 0xE6C632B61E964E1F


def test_a_parcel_is_told_of_without_splitting_its_lines() -> None:
    parcel = Parcel(0, Unsplit(Chunk(b"{}\n{}\n", START, Place(6, 3))), START)
    assert repr(parcel) == "<Parcel -1 of source 0, from line 1>"
    assert parcel.batch.text == b"{}\n{}\n"
    assert len(parcel.batch.data) == 2
    assert parcel.batch.text is None


class TestALease:
    @pytest.fixture
    def told(self) -> list[float]:
        return []

    def pace(self, told: list[float], *, is_capped: bool = False) -> LeasedPace:
        return LeasedPace(is_capped=is_capped, now=0.0, tell=told.append)

    def test_lets_leave_what_was_leased_and_says_which_lease_it_was(self, told: list[float]) -> None:
        pace = self.pace(told)
        assert pace.room(0.0) == 0
        assert told == [SOON]
        # The first request leaves alone.
        assert pace.asks(20, 0.0) == 1
        pace.take(_lease(3, at=100.0), 0.0)
        assert pace.room(0.1) == 3
        pace.leave(3)
        pace.taken(0.1, 0.225)
        pace.taken(0.1, 0.475)
        pace.failed(0.1, 0.5)
        assert pace.events == [Taken(100.0, 2, 0.25), Failed(100.0, None)]
        assert pace.asks(20, 0.5) == 11

    def test_lets_no_more_be_in_flight_than_it_says_whatever_was_leased(self, told: list[float]) -> None:
        pace = self.pace(told)
        pace.take(_lease(20), 0.0)
        assert pace.room(0.0) == 8
        pace.leave(8)
        assert (pace.room(0.0), pace.constraint) == (0, "in flight")
        pace.taken(0.0, 0.1, 3)
        # A request that was answered makes room for the next one without a word.
        assert pace.room(0.1) == 3
        pace.take(_lease(0, limit=6), 0.1)
        assert (pace.room(0.1), pace.in_hand) == (1, 12)

    def test_that_is_not_used_in_time_is_given_back(self, told: list[float]) -> None:
        pace = self.pace(told)
        pace.take(_lease(5), 0.5)
        assert pace.room(1.5) == 0
        assert (pace.given_back, pace.in_hand) == (5, 0)

    def test_is_given_back_where_the_hub_throttles(self, told: list[float]) -> None:
        pace = self.pace(told)
        pace.take(_lease(5), 0.0)
        assert pace.room(0.1) == 5
        pace.leave(1)
        pace.throttled(0.1, 0.2, 3.0)
        assert (pace.given_back, pace.room(0.2)) == (4, 0)
        assert pace.events == [Throttled(0.0, 3.0, False)]
        assert AT_ONCE in told

    def test_of_what_is_throttled_for_its_own_sake_is_kept(self, told: list[float]) -> None:
        pace = self.pace(told)
        pace.take(_lease(5), 0.0)
        assert pace.room(0.1) == 5
        pace.leave(1)
        pace.throttled(0.1, 0.2, is_its_own=True)
        assert (pace.given_back, pace.room(0.2)) == (0, 4)
        assert AT_ONCE not in told

    @pytest.mark.parametrize("is_capped", [False, True])
    def test_is_asked_for_ahead_unless_there_is_a_cap(self, told: list[float], is_capped: bool) -> None:
        pace = self.pace(told, is_capped=is_capped)
        for number in range(10):
            pace.take(_lease(8), number * 0.01)
            assert pace.room(number * 0.01) == 8
            pace.leave(8)
            pace.taken(number * 0.01, number * 0.01 + 0.005, 8)
        ahead = 0 if is_capped else int(8 * 10 / 0.1 * AHEAD)
        assert pace.asks(100, 0.1) == 80 + 8 + ahead

    def test_is_asked_for_soon_where_half_of_what_was_in_flight_has_ended(self, told: list[float]) -> None:
        pace = self.pace(told)
        pace.take(_lease(4), 0.0)
        assert pace.room(0.0) == 4
        pace.leave(4)
        pace.taken(0.0, 0.1)
        assert (pace.room(0.1), told) == (0, [BY_AND_BY])
        pace.taken(0.0, 0.1)
        assert (pace.room(0.1), told) == (0, [BY_AND_BY, SOON])


class TestLeasing:
    """What may be in flight is one number for all, shared out to those that have something to send."""

    def test_shares_out_what_may_be_in_flight(self) -> None:
        members = [_Recorded() for _ in range(3)]
        leasing = Leasing(
            list[Member](members),
            Pacer(workers=100, now=0.0),
            lasts=1.0,
            is_accepted=False,
            clock=lambda: 0.0,
            broke=_raise,
        )
        for member in members[:2]:
            member.in_hand = 500
        leasing.hear(members[0], _report(asked=10), 0.0)
        assert [(one.number, one.limit) for one in members[0].leases] == [(1, FIRST // 2)]
        assert [(one.number, one.limit) for one in members[1].leases] == [(0, FIRST // 2)]
        assert members[2].leases == []

        members[1].in_hand = 0
        leasing.hear(members[0], _report(asked=10), 0.1)
        assert members[0].leases[-1].limit == FIRST


class _Recorded(Member):
    """A member of whom only what it is told is looked at."""

    def __init__(self) -> None:
        super().__init__(lambda _member, _message: None, lambda _member: None)
        self.leases: list[Lease] = []

    def say(self, message: Message) -> None:
        assert isinstance(message, Lease)
        self.leases.append(message)


def _raise(exc: Exception) -> None:
    raise exc


def _report(*, asked: int) -> Report:
    """Nothing but what is asked for."""
    return Report(
        rows=[],
        settled=[],
        finished=[],
        released=[],
        events=[],
        accepted=0,
        rejected=0,
        throttled=0,
        failed=0,
        retried=0,
        in_flight=0,
        asked=asked,
        given_back=0,
        constraint=None,
        processor=0.0,
    )


def _lease(number: int, *, at: float = 0.0, limit: int = 8) -> Lease:
    return Lease(at, number, 1.0, limit, is_reached=True, is_accepted=False)


def _given(form: str, objects: list[dict[str, str]], folder: Path) -> tuple[str, bytes]:
    """A source of these objects, and what is on standard input."""
    lines = b"".join(json.dumps(one).encode() + b"\n" for one in objects)
    match form:
        case "stdin":
            return "-", lines
        case "csv":
            text = "owner,devices\n" + "".join(f'{one["owner"]},"{one["devices"]}"\n' for one in objects)
            (folder / "d.csv").write_text(text)
            return "d.csv", b""
        case "json":
            (folder / "d.json").write_text(json.dumps(objects))
            return "d.json", b""
    (folder / "d.ndjson.gz").write_bytes(gzip.compress(lines))
    return "d.ndjson.gz", b""


class _Failing:
    """Answers of a hub that fails every fourth record once."""

    def __init__(self) -> None:
        self._failed: set[str] = set()

    def __call__(self, put: Put) -> Reply:
        if put.id in self._failed or int(put.id.rpartition("-")[2]) % 4:
            return OK
        self._failed.add(put.id)
        return refusal(503, "later")


def _begins(owner: int) -> str:
    """How the ids of an owner's devices begin: with some it is what no id may hold."""
    return f"{owner}{'-' if owner % 9 else '?'}"


def _is_busy(pid: int) -> bool:
    """Whether a process has used more than a start takes."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return int(user) + int(system) > 3 * os.sysconf("SC_CLK_TCK")


def _most_in_a_second(times: list[float]) -> int:
    """How many there are in the fullest second of all."""
    most = first = 0
    for number, at in enumerate(times):
        while times[first] <= at - 1:
            first += 1
        most = max(most, number - first + 1)
    return most

"""`bulkload retry` from outside: what failed is sent again, its rows replaced, its dead letters written anew."""

import csv
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from bulkload.ledger import schema
from tests.processes import (
    CHANNEL,
    CONNECTION_STRING,
    NOBODY,
    OK,
    Forks,
    Put,
    Ran,
    RecordingHub,
    Reply,
    Started,
    counts,
    installation,
    names,
    ndjson,
    refusal,
    rows,
    wait_for,
    write,
)

FAILING = refusal(500, "not now")
ONCE = ("--max-attempts", "1")
LEDGER = "d.ndjson.ledger"


@pytest.fixture
def hub() -> Iterator[RecordingHub]:
    """A hub that has the ids which begin with ``bad`` fail, until it is told otherwise."""
    with RecordingHub(failing("bad")) as hub:
        yield hub


def failing(prefix: str, reply: Reply = FAILING) -> Callable[[Put], Reply]:
    return lambda put: reply if put.id.startswith(prefix) else OK


class Folder:
    """A folder in which commands run against a hub, what they left there, and that they told it."""

    def __init__(self, path: Path, commands: Forks, hub: RecordingHub) -> None:
        self.path = path
        self.hub = hub
        self._commands = commands

    def run(self, *arguments: str, stdin: bytes = b"", code: int, cwd: Path | None = None) -> Ran:
        ran = self._commands.run(*arguments, "--json", cwd=cwd or self.path, env=self.hub.env, stdin=stdin)
        assert ran.code == code, ran.err
        records = ran.summary["records"]
        ledger = (cwd or self.path) / ran.summary["ledger"]
        found = rows(ledger)
        assert len({(row.source, row.position) for row in found}) == len(found)
        assert counts(ledger) == {
            outcome: records[outcome]
            for outcome in ("accepted", "invalid", "rejected", "exhausted", "superseded")
            if records[outcome]
        }
        return ran

    def refused(self, *arguments: str, env: dict[str, str] | None = None) -> str:
        ran = self._commands.run(*arguments, cwd=self.path, env=env or self.hub.env)
        assert ran.code == 2, ran.err
        return ran.complaint

    def mend(self) -> None:
        """From now on the hub takes all, and remembers nothing."""
        self.hub.answer = lambda put: OK
        self.hub.puts.clear()

    def bad(self, ledger: str = LEDGER) -> dict[int, str]:
        return {
            row.position: row.outcome
            for row in rows(self.path / ledger)
            if row.outcome not in ("accepted", "superseded")
        }

    def letters(self, ledger: str = LEDGER) -> dict[int, str]:
        """What the dead letters tell, by their positions."""
        file = self.path / f"{ledger}.dead.ndjson"
        if not file.exists():
            return {}
        told = [json.loads(line)["_bulkload"] for line in file.read_bytes().splitlines()]
        assert len({each["position"] for each in told}) == len(told)
        details = {row.position: row.detail for row in rows(self.path / ledger)}
        assert all(each["reason"] == details[each["position"]] for each in told)
        return {each["position"]: each["outcome"] for each in told}


@pytest.fixture
def folder(tmp_path: Path, commands: Forks, hub: RecordingHub) -> Folder:
    return Folder(tmp_path, commands, hub)


def some(bad: int, good: int) -> list[str]:
    return [*names("good", good), *names("bad", bad)]


class TestWhatIsExhausted:
    def test_is_sent_again_and_nothing_else(self, folder: Folder) -> None:
        write(folder.path / "d.ndjson", some(3, 5))
        loaded = folder.run("load", "d.ndjson", *ONCE, code=1)
        assert loaded.summary["records"]["exhausted"] == 3
        assert folder.letters() == dict.fromkeys((5, 6, 7), "exhausted")
        folder.mend()
        ran = folder.run("retry", LEDGER, code=0)
        assert sorted(folder.hub.ids) == names("bad", 3)
        assert {put.body for put in folder.hub.puts} == {installation(id_) for id_ in names("bad", 3)}
        began, *_ = ran.err.splitlines()
        where = f"127.0.0.1:{folder.hub.port}"
        assert began == f"d.ndjson to hub devices at {where}, ledger {LEDGER}: retries 3 records"
        records = ran.summary["records"]
        assert (records["accepted"], records["exhausted"], records["read"], records["skipped"]) == (8, 0, 8, 5)
        assert (ran.summary["outcome"], ran.summary["resume"], ran.summary["dead_letters"]) == ("complete", None, None)
        assert folder.bad() == folder.letters() == {}
        assert {path.name for path in folder.path.iterdir()} == {"d.ndjson", LEDGER}

    def test_and_fails_again_is_exhausted_again_by_what_it_failed_of(self, folder: Folder) -> None:
        write(folder.path / "d.ndjson", some(3, 1))
        folder.run("load", "d.ndjson", *ONCE, code=1)
        folder.hub.answer = lambda put: {"bad-0": refusal(503, "later"), "bad-1": refusal(400, "no")}.get(put.id, OK)
        ran = folder.run("retry", LEDGER, "--max-attempts", "2", code=1)
        assert folder.bad() == folder.letters() == {1: "exhausted", 2: "rejected"}
        with closing(sqlite3.connect(folder.path / LEDGER)) as connection:
            [again] = connection.execute("SELECT attempts, status, detail FROM outcomes WHERE position = 1").fetchall()
        assert again[:2] == (2, 503)
        assert "later" in again[2]
        assert ran.summary["outcome"] == "partial"

    def test_is_named_by_a_load_with_the_command_that_sends_it_again(self, folder: Folder, commands: Forks) -> None:
        write(folder.path / "d.ndjson", some(1, 1))
        told = commands.run("load", "d.ndjson", *ONCE, cwd=folder.path, env=folder.hub.env).err
        assert f"to send what is exhausted again: bulkload retry {LEDGER}\n" in told
        assert "bulkload retry" not in commands.run("retry", LEDGER, "--quiet", *ONCE, cwd=folder.path, env=NOBODY).err
        folder.mend()
        told = commands.run("retry", LEDGER, cwd=folder.path, env=folder.hub.env).err
        assert "complete in" in told
        assert "bulkload retry" not in told

    def test_is_found_from_any_folder_and_with_the_hub_of_the_ledger(self, folder: Folder, commands: Forks) -> None:
        write(folder.path / "d.ndjson", some(1, 1))
        folder.run("load", "d.ndjson", *ONCE, code=1)
        folder.mend()
        (elsewhere := folder.path / "elsewhere").mkdir()
        env = {CONNECTION_STRING: folder.hub.endpoint}
        ran = commands.run("retry", f"../{LEDGER}", cwd=elsewhere, env=env)
        assert ran.code == 0, ran.err
        assert folder.hub.ids == ["bad-0"]
        assert rows(folder.path / LEDGER)[0].source == "d.ndjson"

    def test_stays_where_a_record_was_not_sent(self, folder: Folder) -> None:
        write(folder.path / "d.ndjson", some(50, 1))
        folder.run("load", "d.ndjson", *ONCE, code=1)
        ran = folder.run("retry", LEDGER, *ONCE, "--max-errors", "3", "--workers", "1", code=3)
        assert ran.summary["records"]["exhausted"] == 50
        assert ran.summary["resume"].startswith("bulkload retry")
        assert folder.letters() == folder.bad()
        assert len(folder.bad()) == 50


class TestWhatIsRejected:
    def test_is_left_alone_unless_it_is_asked_for(self, folder: Folder) -> None:
        write(folder.path / "d.ndjson", [*some(1, 1), "no-0"])
        folder.hub.answer = lambda put: refusal(400, "no") if put.id == "no-0" else failing("bad")(put)
        folder.run("load", "d.ndjson", *ONCE, code=1)
        folder.mend()
        folder.run("retry", LEDGER, code=1)
        assert folder.hub.ids == ["bad-0"]
        assert folder.bad() == folder.letters() == {2: "rejected"}
        folder.run("retry", LEDGER, "--rejected", code=0)
        assert folder.hub.ids == ["bad-0", "no-0"]
        assert folder.bad() == folder.letters() == {}


class TestAnId:
    def test_that_was_accepted_later_makes_a_record_superseded(self, folder: Folder) -> None:
        versions = [installation("bad-0", tags=[tag]) for tag in "ab"]
        data = [versions[0], installation("good-0"), versions[1]]
        (folder.path / "d.ndjson").write_bytes(b"\n".join(data))
        self.one_by_one(folder, {versions[1]})
        folder.mend()
        ran = folder.run("retry", LEDGER, code=0)
        assert not folder.hub.puts
        assert ran.summary["records"]["superseded"] == 1
        assert folder.letters() == {}

    def test_that_was_accepted_earlier_does_not(self, folder: Folder) -> None:
        versions = [installation("bad-0", tags=[tag]) for tag in "ab"]
        (folder.path / "d.ndjson").write_bytes(b"\n".join(versions))
        self.one_by_one(folder, {versions[0]})
        folder.mend()
        folder.run("retry", LEDGER, code=0)
        assert [put.body for put in folder.hub.puts] == [versions[1]]
        assert counts(folder.path / LEDGER) == {"accepted": 2}

    def test_of_several_retried_records_is_the_last_one_s(self, folder: Folder) -> None:
        versions = [installation("bad-0", tags=[tag]) for tag in "abc"]
        (folder.path / "d.ndjson").write_bytes(b"\n".join(versions))
        self.one_by_one(folder, set())
        assert counts(folder.path / LEDGER) == {"exhausted": 3}
        folder.mend()
        folder.run("retry", LEDGER, code=0)
        assert folder.hub.installations == {"bad-0": versions[2]}
        assert rows(folder.path / LEDGER)[2].outcome == "accepted"

    def one_by_one(self, folder: Folder, taken: set[bytes]) -> None:
        """Load so that no record meets another of its id."""
        folder.hub.answer = lambda put: OK if put.body in taken or put.id.startswith("good") else FAILING
        last = (folder.path / "d.ndjson").read_bytes().count(b"\n")
        for number in range(last + 1):
            folder.run("load", "d.ndjson", *ONCE, "--limit", "1", code=5 if number < last else 1)
            assert len(rows(folder.path / LEDGER)) == number + 1


class TestASource:
    def test_of_rows_is_mapped_as_before(self, folder: Folder) -> None:
        with (folder.path / "d.csv").open("w", newline="") as file:
            writer = csv.writer(file, delimiter=";")
            writer.writerow(["device", "token", "name"])
            writer.writerows([(id_, f"{CHANNEL}{id_}", 'a "b"\nc; ä') for id_ in some(2, 2)])
        flags = ("--map", "installationId=device", "--map", "pushChannel=token", "--set", "platform=gcm", "--tag", "x")
        folder.run("load", "d.csv", *flags, *ONCE, code=1)
        assert (folder.path / "d.csv.ledger.dead.csv").exists()
        folder.mend()
        folder.run("retry", "d.csv.ledger", code=0)
        assert sorted(folder.hub.ids) == names("bad", 2)
        assert all(orjson.loads(put.body)["tags"] == ["x"] for put in folder.hub.puts)
        assert not (folder.path / "d.csv.ledger.dead.csv").exists()

    def test_s_every_reading_flag_is_kept(self, folder: Folder) -> None:
        (folder.path / "f.py").write_text("def other(o):\n    yield {**o, 'installationId': o['installationId'][1:]}\n")
        document = {"data": {"list": [json.loads(installation(f"x{id_}", tags=["a;b"])) for id_ in some(2, 1)]}}
        (folder.path / "d").write_text(json.dumps(document), encoding="utf-16")
        flags = {
            "--records": "data.list",
            "--encoding": "utf-16",
            "--format": "json",
            "--transform": "f.py:other",
            "--map-value": "platform:gcm=fcmv1",
            "--default": "userId=u",
            "--repair": "id",
            "--allow": "tag-characters",
            "--api-version": "2020-06",
        }
        folder.run("load", "d", *(text for flag in flags.items() for text in flag), *ONCE, code=1)
        first = {put.id: put.body for put in folder.hub.puts}
        folder.mend()
        folder.run("retry", "d.ledger", code=0)
        assert {put.id: put.body for put in folder.hub.puts} == {id_: first[id_] for id_ in names("bad", 2)}
        assert all("api-version=2020-06" in put.path for put in folder.hub.puts)

    def test_object_s_records_are_told_apart(self, folder: Folder) -> None:
        def devices(*ids: str) -> dict[str, Any]:
            return {"devices": [json.loads(installation(id_)) for id_ in ids]}

        objects = [devices("good-0", "bad-0", "bad-1"), devices("bad-2", "good-1"), devices("bad 3", "bad-3")]
        (folder.path / "d.ndjson").write_bytes(b"\n".join(map(orjson.dumps, objects)))
        folder.run("load", "d.ndjson", "--each", "devices", *ONCE, code=1)
        assert folder.bad() == dict.fromkeys((1, 2, 3, 6), "exhausted") | {5: "invalid"}
        folder.hub.answer = failing("bad-1")
        folder.hub.puts.clear()
        folder.run("retry", LEDGER, *ONCE, code=1)
        assert sorted(folder.hub.ids) == names("bad", 4)
        assert folder.bad() == folder.letters() == {2: "exhausted", 5: "invalid"}

    def test_of_several_forms_and_a_strange_name_is_found_again(self, folder: Folder) -> None:
        odd = os.fsdecode(b"d \xff.ndjson")
        write(folder.path / odd, some(1, 1))
        (folder.path / "a.csv").write_text(f"installationId,platform,pushChannel\nbad-a,gcm,{CHANNEL}a\n")
        (folder.path / "b.csv").write_text(f"platform,pushChannel,installationId\ngcm,{CHANNEL}b,bad-b\n")
        folder.run("load", odd, "a.csv", "b.csv", "--ledger", "l", *ONCE, code=1)
        assert (folder.path / "l.dead.2.csv").exists()
        folder.hub.answer = failing("bad-b")
        folder.run("retry", "l", *ONCE, code=1)
        assert [path.name for path in folder.path.glob("l.dead*")] == ["l.dead.2.csv"]
        folder.mend()
        folder.run("retry", "l", code=0)
        assert folder.hub.ids == ["bad-b"]

    def test_that_has_changed_is_refused(self, folder: Folder) -> None:
        source = write(folder.path / "d.ndjson", some(1, 1))
        folder.run("load", "d.ndjson", *ONCE, code=1)
        before = (folder.path / LEDGER).read_bytes()
        source.write_bytes(source.read_bytes() + b"\n")
        assert "source d.ndjson has changed since" in folder.refused("retry", LEDGER)
        source.unlink()
        assert f"source {source}" in folder.refused("retry", LEDGER)
        assert (folder.path / LEDGER).read_bytes() == before

    def test_whose_function_has_changed_is_refused(self, folder: Folder) -> None:
        write(folder.path / "d.ndjson", some(1, 1))
        (folder.path / "f.py").write_text("def transform(o):\n    yield o\n")
        folder.run("load", "d.ndjson", "--transform", "f.py", *ONCE, code=1)
        (folder.path / "f.py").write_text("def transform(o):\n    yield {**o, 'tags': []}\n")
        assert "another mapping" in folder.refused("retry", LEDGER)

    def test_whose_mapping_no_longer_yields_a_record_keeps_its_row(self, folder: Folder) -> None:
        """What a function imports is not part of what tells its mapping apart."""
        write(folder.path / "d.ndjson", some(2, 1))
        (folder.path / "f.py").write_text("import other\n\ndef transform(o):\n    yield from other.made(o)\n")
        (folder.path / "other.py").write_text("def made(o):\n    yield o\n")
        folder.run("load", "d.ndjson", "--transform", "f.py", *ONCE, code=1)
        (folder.path / "other.py").write_text("def made(o):\n    if o['installationId'] != 'bad-0':\n        yield o\n")
        shutil.rmtree(folder.path / "__pycache__", ignore_errors=True)
        folder.mend()
        ran = folder.run("retry", LEDGER, code=1)
        assert "warning: the mapping no longer yields 1 record: left as they are" in ran.err
        assert folder.hub.ids == ["bad-1"]
        assert folder.bad() == folder.letters() == {1: "exhausted"}


class TestStandardInput:
    def load(self, folder: Folder, data: bytes, *flags: str) -> None:
        folder.run("load", "-", "--ledger", "l", *ONCE, *flags, code=1, stdin=data)

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
    def test_s_records_come_from_their_letters(self, folder: Folder, encoding: str) -> None:
        ids = [*some(3, 2), "bad id"]
        data = ndjson(ids).decode().encode(encoding)
        self.load(folder, data, "--encoding", encoding)
        # Records settle in another order than that of their source.
        file = folder.path / "l.dead.ndjson"
        if encoding == "utf-8":
            file.write_bytes(b"".join(reversed(file.read_bytes().splitlines(keepends=True))))
        folder.hub.answer = failing("bad-1")
        folder.hub.puts.clear()
        folder.run("retry", "l", *ONCE, code=1)
        assert folder.hub.ids[:2] == ["bad-0", "bad-1"]
        assert {put.body for put in folder.hub.puts} == {installation(id_) for id_ in names("bad", 3)}
        assert folder.bad("l") == {3: "exhausted", 5: "invalid"}
        if encoding == "utf-8":
            assert folder.letters("l") == folder.bad("l")
        folder.mend()
        folder.run("retry", "l", *ONCE, code=1)
        assert folder.hub.ids == ["bad-1"]
        assert folder.bad("l") == {5: "invalid"}

    def test_s_rows_come_from_their_letters(self, folder: Folder) -> None:
        head = "installationId;platform;pushChannel;tags\n"
        data = head + "".join(f'{id_};gcm;{CHANNEL}{id_};"a|b"\n' for id_ in some(2, 1)) + "too;few\n"
        self.load(folder, data.encode())
        first = {put.id: put.body for put in folder.hub.puts}
        folder.mend()
        folder.run("retry", "l", code=1)
        assert {put.id: put.body for put in folder.hub.puts} == {id_: first[id_] for id_ in names("bad", 2)}
        with (folder.path / "l.dead.csv").open(newline="") as file:
            [letter] = csv.DictReader(file, delimiter=";")
        assert (letter["_bulkload_position"], letter["_bulkload_row"]) == ("3", "too;few")

    def test_s_letters_of_objects_with_several_records_stay_as_long_as_one_failed(self, folder: Folder) -> None:
        devices = [json.loads(installation(id_)) for id_ in ("bad-0", "bad-1", "good-0")]
        self.load(folder, orjson.dumps({"devices": devices}), "--each", "devices")
        [position] = folder.letters("l")
        folder.hub.answer = failing(f"bad-{1 - position}")
        folder.run("retry", "l", *ONCE, code=1)
        assert folder.bad("l") == folder.letters("l") == {1 - position: "exhausted"}
        folder.mend()
        folder.run("retry", "l", *ONCE, code=0)
        assert folder.hub.ids == [f"bad-{1 - position}"]

    def test_s_lost_letters_are_told_and_their_rows_left(self, folder: Folder) -> None:
        self.load(folder, ndjson(some(3, 1)))
        file = folder.path / "l.dead.ndjson"
        file.write_bytes(b"".join(line for line in file.read_bytes().splitlines(keepends=True) if b"bad-1" not in line))
        folder.mend()
        ran = folder.run("retry", "l", code=1)
        assert "1 record could not be found again" in ran.err
        assert folder.bad("l") == {2: "exhausted"}
        assert sorted(folder.hub.ids) == ["bad-0", "bad-2"]

    def test_s_load_goes_on_after_a_retry(self, folder: Folder) -> None:
        data = ndjson([*some(2, 1), *names("more", 3)])
        folder.run("load", "-", "--ledger", "l", *ONCE, "--limit", "3", code=5, stdin=data)
        folder.mend()
        folder.run("retry", "l", code=5)
        folder.run("load", "-", "--ledger", "l", code=0, stdin=data)
        assert sorted(folder.hub.ids) == ["bad-0", "bad-1", *names("more", 3)]


class TestARun:
    def test_that_is_not_finished_is_continued_by_its_load(self, folder: Folder) -> None:
        write(folder.path / "d.ndjson", [*some(2, 0), *names("more", 3)])
        folder.run("load", "d.ndjson", *ONCE, "--limit", "2", code=5)
        folder.mend()
        ran = folder.run("retry", LEDGER, code=5)
        assert sorted(folder.hub.ids) == names("bad", 2)
        assert ran.summary["outcome"] == "stopped"
        assert "not finished" in ran.summary["reason"]
        assert ran.summary["resume"].startswith("bulkload load d.ndjson")
        again = folder.run("retry", LEDGER, code=5)
        assert "nothing to do" in again.err
        assert again.summary["resume"].startswith("bulkload load d.ndjson")
        ended = folder.run("load", "d.ndjson", code=0)
        assert ended.summary["records"]["accepted"] == 5
        assert len(folder.hub.puts) == 5

    def test_in_which_nothing_failed_is_done_at_once(self, folder: Folder) -> None:
        source = write(folder.path / "d.ndjson", [*some(0, 2), "bad id"])
        folder.run("load", "d.ndjson", code=1)
        source.unlink()
        folder.mend()
        ran = folder.run("retry", LEDGER, code=1)
        assert ran.err.splitlines()[0].endswith("nothing to do, no record is exhausted")
        assert ran.summary["requests"]["sent"] == 0
        assert ran.summary["records"]["skipped"] == 3

    def test_of_another_hub_is_refused(self, folder: Folder) -> None:
        write(folder.path / "d.ndjson", some(1, 1))
        folder.run("load", "d.ndjson", *ONCE, code=1)
        other = {CONNECTION_STRING: folder.hub.env[CONNECTION_STRING].replace("=devices", "=others")}
        assert f"belongs to hub 127.0.0.1:{folder.hub.port}/devices" in folder.refused("retry", LEDGER, env=other)
        assert "no hub is named" in folder.refused("retry", LEDGER, env={"BULKLOAD_RATE": "1"})
        assert "missing.ledger" in folder.refused("retry", "missing.ledger")

    def test_that_another_process_holds_is_left_to_it(self, folder: Folder, commands: Forks) -> None:
        write(folder.path / "d.ndjson", some(1, 1))
        folder.run("load", "d.ndjson", *ONCE, code=1)
        folder.hub.is_held = True
        with Started("retry", LEDGER, cwd=folder.path, env=folder.hub.env) as started:
            folder.hub.wait_for(3)
            ran = commands.run("retry", LEDGER, cwd=folder.path, env=folder.hub.env)
            assert ran.code == 75
            folder.mend()
            folder.hub.release()
            assert started.finish().code == 0

    def test_that_was_killed_goes_on_where_it_was(self, folder: Folder) -> None:
        write(folder.path / "d.ndjson", some(90, 3))
        folder.run("load", "d.ndjson", *ONCE, code=1)
        folder.mend()
        retry = ("retry", LEDGER, "--rate", "60")
        for target in (20, 50):
            with Started(*retry, cwd=folder.path, env=folder.hub.env) as started:
                wait_for(lambda target=target: len(folder.hub.puts) >= target, "PUTs")  # type: ignore[misc]
                started.kill()
            assert len(rows(folder.path / LEDGER)) == 93
            assert counts(folder.path / LEDGER)["accepted"] <= 3 + len(folder.hub.puts)
        assert folder.run("retry", LEDGER, code=0).summary["records"]["skipped"] > 3
        assert set(folder.hub.ids) == set(names("bad", 90))
        assert len(folder.hub.ids) < 180
        assert folder.letters() == {}

    @pytest.mark.parametrize("command", ["retry", "load"])
    def test_that_was_killed_in_its_last_step_leaves_no_letters_of_what_is_accepted(
        self, folder: Folder, command: str
    ) -> None:
        write(folder.path / "d.ndjson", some(3, 2))
        folder.run("load", "d.ndjson", *ONCE, code=1)
        letters = (folder.path / f"{LEDGER}.dead.ndjson").read_bytes()
        folder.mend()
        folder.run("retry", LEDGER, code=0)
        # As a kill between its last commit and its end leaves it.
        (folder.path / f"{LEDGER}.dead.ndjson").write_bytes(letters)
        with closing(sqlite3.connect(folder.path / LEDGER)) as connection, connection:
            connection.execute("UPDATE sessions SET ended_at = NULL WHERE number = 2")
        folder.run(command, LEDGER if command == "retry" else "d.ndjson", code=0)
        assert folder.letters() == {}
        assert len(folder.hub.puts) == 3


class TestTheHubSTable:
    def test_says_how_its_answers_are_understood(self, folder: Folder) -> None:
        write(folder.path / "d.ndjson", some(2, 1))
        folder.run("load", "d.ndjson", *ONCE, code=1)
        (folder.path / "c.toml").write_text("[hub]\nretry-statuses = [404]\n")
        folder.hub.answer = failing("bad", refusal(404, "not here"))
        folder.run("retry", LEDGER, "--config", "c.toml", *ONCE, code=1)
        assert counts(folder.path / LEDGER) == {"accepted": 1, "exhausted": 2}


class TestALedgerOfAnOlderVersion:
    def older(self, folder: Folder) -> None:
        with closing(sqlite3.connect(folder.path / LEDGER)) as connection:
            connection.executescript("ALTER TABLE runs DROP COLUMN flags; PRAGMA user_version = 2")
            for column in ("address", "form", "delimiter", "columns"):
                connection.execute(f"ALTER TABLE sources DROP COLUMN {column}")

    def test_is_retried_where_nothing_was_mapped(self, folder: Folder) -> None:
        write(folder.path / "d.ndjson", some(2, 1))
        folder.run("load", "d.ndjson", *ONCE, code=1)
        self.older(folder)
        folder.mend()
        folder.run("retry", LEDGER, code=0)
        assert sorted(folder.hub.ids) == names("bad", 2)
        with closing(sqlite3.connect(folder.path / LEDGER)) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)

    def test_that_does_not_know_its_mapping_is_refused(self, folder: Folder) -> None:
        write(folder.path / "d.ndjson", some(2, 1))
        flags = ("--tag", "x", *ONCE)
        folder.run("load", "d.ndjson", *flags, "--limit", "2", code=5)
        self.older(folder)
        assert "did not keep the flags" in folder.refused("retry", LEDGER)
        # A load that continues it brings them along.
        folder.run("load", "d.ndjson", *flags, code=1)
        folder.mend()
        folder.run("retry", LEDGER, code=0)


@pytest.mark.parametrize("change", ["another", "gone"])
def test_a_source_that_changes_meanwhile_does_not_change_the_letters(folder: Folder, change: str) -> None:
    source = folder.path / "d.ndjson"
    write(source, some(5, 20))
    folder.run("load", "d.ndjson", *ONCE, code=1)
    folder.mend()

    def changing(put: Put) -> Reply:
        if change == "gone":
            source.unlink(missing_ok=True)
        else:
            write(source, [f"new-{number}" for number in range(25)])
        return FAILING if put.id == "bad-3" else OK

    folder.hub.answer = changing
    folder.run("retry", LEDGER, *ONCE, code=1)
    assert folder.letters() == folder.bad() == {23: "exhausted"}
    [letter] = (folder.path / f"{LEDGER}.dead.ndjson").read_bytes().splitlines()
    assert orjson.loads(letter)["record"] == orjson.loads(installation("bad-3"))


def test_letters_that_could_not_be_written_are_made_up_for_by_the_next_retry(folder: Folder) -> None:
    write(folder.path / "d.ndjson", some(5, 20))
    folder.run("load", "d.ndjson", *ONCE, code=1)
    in_the_way = folder.path / f"{LEDGER}.dead.ndjson.new"

    def hindering(_: Put) -> Reply:
        in_the_way.mkdir(exist_ok=True)
        return OK

    folder.hub.answer = hindering
    assert "cannot be written" in folder.run("retry", LEDGER, code=4).summary["reason"]
    assert folder.bad() == {}
    in_the_way.rmdir()
    folder.run("retry", LEDGER, code=0)
    assert {path.name for path in folder.path.iterdir()} == {"d.ndjson", LEDGER}


def test_letters_that_somebody_broke_are_kept_where_there_is_no_other_copy(folder: Folder) -> None:
    lines = b"".join(installation(id_) + b"\n" for id_ in some(2, 3))
    folder.run("load", "-", "--ledger", LEDGER, *ONCE, stdin=lines, code=1)
    letters = folder.path / f"{LEDGER}.dead.ndjson"
    broken = letters.read_bytes().replace(b'"record":{"installationId":"bad-0"', b'"record";{"installationId":"bad-0"')
    letters.write_bytes(broken)
    folder.mend()
    ran = folder.run("retry", LEDGER, code=1)
    assert folder.hub.ids == ["bad-1"]
    [kept] = folder.path.glob(f"{LEDGER}.dead.ndjson.*Z")
    assert kept.read_bytes() == broken
    assert kept.stat().st_mode & 0o777 == 0o600
    assert f"as they are they are kept as {kept.name}" in ran.err
    folder.run("retry", LEDGER, code=1)
    assert list(folder.path.glob(f"{LEDGER}.dead.ndjson.*")) == [kept]


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_letters_saved_in_another_encoding_are_kept_as_well(folder: Folder, form: str) -> None:
    texts = {
        "ndjson": "".join(f"{installation(id_).decode()}\n" for id_ in some(2, 3)),
        "csv": "installationId,platform,pushChannel\n" + "".join(f"{id_},gcm,{CHANNEL}\n" for id_ in some(2, 3)),
    }
    flags = ("--format", form, "--encoding", "utf-16", "--ledger", LEDGER)
    folder.run("load", "-", *flags, *ONCE, stdin=texts[form].encode("utf-16"), code=1)
    letters = folder.path / f"{LEDGER}.dead.{form}"
    saved = letters.read_bytes().decode("utf-16").encode()
    letters.write_bytes(saved)
    folder.mend()
    folder.run("retry", LEDGER, code=1)
    assert folder.hub.puts == []
    [kept] = folder.path.glob(f"{LEDGER}.dead.{form}.*Z")
    assert kept.read_bytes() == saved


def test_a_ledger_keeps_the_flags_of_its_run_and_no_key(folder: Folder) -> None:
    write(folder.path / "d.ndjson", some(0, 1))
    folder.run("load", "d.ndjson", "--tag", "x", code=0)
    # That no secret is in it is asserted wherever its rows are read.
    with closing(sqlite3.connect(folder.path / LEDGER)) as connection:
        [(flags,)] = connection.execute("SELECT flags FROM runs").fetchall()
        [source] = connection.execute("SELECT address, form, delimiter, columns FROM sources").fetchall()
    assert json.loads(flags)["tag"] == ["x"]
    assert source == (str(folder.path / "d.ndjson"), "ndjson", None, "null")


def test_flags_that_are_of_no_use_are_refused(folder: Folder) -> None:
    cases: Sequence[tuple[str, ...]] = (
        ("retry",),
        ("retry", "x", "--limit", "3"),
        ("retry", "x", "--map", "a=b"),
    )
    for arguments in cases:
        folder.refused(*arguments)

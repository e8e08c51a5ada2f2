"""`bulkload load` from outside: flags, settings, streams, summary and exit codes, in real processes."""

import json
import os
import re
import shlex
import sqlite3
import sys
import threading
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.processes import (
    CHANNEL,
    CONNECTION_STRING,
    KEY,
    NOBODY,
    OK,
    OUTCOMES,
    Case,
    EmulatedHub,
    Forks,
    Put,
    Ran,
    RecordingHub,
    Reply,
    Started,
    counts,
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
from tests.test_reading_flags import FLAGS

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedHub]:
    with EmulatedHub(cwd=tmp_path_factory.mktemp("emulator")) as hub:
        yield hub


@pytest.fixture
def recording() -> Iterator[RecordingHub]:
    with RecordingHub() as hub:
        yield hub


def assert_adds_up(summary: dict[str, Any], *, is_first_session: bool = True) -> None:
    """The identities that the contract gives for a summary's counts."""
    records, requests = summary["records"], summary["requests"]
    assert records["read"] == sum(records[outcome] for outcome in OUTCOMES) + records["pending"]
    if is_first_session:
        answered = records["accepted"] + records["rejected"]
        assert requests["sent"] == answered + requests["throttled"] + requests["failed"]


class TestTheMainJob:
    def test_needs_a_file_and_nothing_else(self, tmp_path: Path, commands: Forks, recording: RecordingHub) -> None:
        ids = names("main", 50)
        write(tmp_path / "devices.ndjson", ids)
        first = run("load", "devices.ndjson", "--emulator", cwd=tmp_path)
        assert first.code == 0, first.err
        assert not first.out
        ledger = tmp_path / "devices.ndjson.emulator.ledger"
        assert [row.installation_id for row in rows(ledger)] == ids
        began, *summary = first.err.splitlines()
        assert re.search(r"devices\.ndjson to hub devices at 127\.0\.0\.1:\d+, ledger devices\.ndjson\.emulator", began)
        assert began.endswith("starts")
        assert "ledger: devices.ndjson.emulator.ledger" in summary
        assert f"export {CONNECTION_STRING}=" in first.err

        again = commands.run("load", "devices.ndjson", "--emulator", "--json", cwd=tmp_path)
        assert again.code == 0
        assert again.summary["requests"]["sent"] == again.summary["records"]["accepted"] == 50
        assert again.summary["records"]["skipped"] == 0

        # What the text says to type next does send: a real hub's ledger is another.
        typed = summary[-1].strip().replace("NAME", "devices")
        real = run_line(typed, cwd=tmp_path, env={CONNECTION_STRING: recording.endpoint})
        assert real.code == 0, real.err
        assert sorted(recording.ids) == sorted(ids)
        assert len(rows(tmp_path / "devices.ndjson.ledger")) == 50

    def test_an_emulated_run_that_was_stopped_continues(self, tmp_path: Path, commands: Forks) -> None:
        write(tmp_path / "d.ndjson", names("stopped", 20))
        stopped = commands.run("load", "d.ndjson", "--emulator", "--limit", "5", cwd=tmp_path)
        assert stopped.code == 5
        ended = commands.run("load", "d.ndjson", "--emulator", "--json", cwd=tmp_path)
        assert ended.code == 0
        assert ended.summary["records"]["skipped"] == 5
        assert len(rows(tmp_path / "d.ndjson.emulator.ledger")) == 20

    def test_the_emulator_goes_before_any_connection_string(
        self, tmp_path: Path, commands: Forks, recording: RecordingHub
    ) -> None:
        write(tmp_path / "d.ndjson", names("before", 3))
        assert commands.run("load", "d.ndjson", "--emulator", cwd=tmp_path, env=recording.env).code == 0
        assert not recording.puts

    def test_a_proxy_in_the_environment_does_not_come_between(self, tmp_path: Path, commands: Forks) -> None:
        write(tmp_path / "d.ndjson", names("proxy", 3))
        proxy = f"http://127.0.0.1:{free_port()}"
        ran = commands.run(
            "load", "d.ndjson", "--emulator", cwd=tmp_path, env={"http_proxy": proxy, "https_proxy": proxy}
        )
        assert ran.code == 0, ran.err

    def test_the_ledger_of_a_real_hub_is_not_begun_anew(
        self, tmp_path: Path, commands: Forks, recording: RecordingHub
    ) -> None:
        write(tmp_path / "d.ndjson", names("real", 3))
        assert commands.run("load", "d.ndjson", "--ledger", "real.ledger", cwd=tmp_path, env=recording.env).code == 0
        before = rows(tmp_path / "real.ledger")
        ran = commands.run("load", "d.ndjson", "--emulator", cwd=tmp_path, env={"BULKLOAD_LEDGER": "real.ledger"})
        assert ran.code == 2
        assert "real.ledger" in ran.complaint
        assert rows(tmp_path / "real.ledger") == before


NUMBER = (int, float)

# The types of `--json`, key by key, in order.
SUMMARY: dict[str, Any] = {
    "schema": int,
    "outcome": str,
    "exit_code": int,
    "reason": (str, type(None)),
    "records": dict.fromkeys(("read", *OUTCOMES, "filtered", "pending", "skipped"), int),
    "requests": dict.fromkeys(("sent", "throttled", "retried", "failed"), int),
    "rate": {"mean": NUMBER, "peak": NUMBER, "ceiling": (*NUMBER, type(None)), "cap": (*NUMBER, type(None))},
    "latency": dict.fromkeys(("p50", "p95", "p99", "max"), NUMBER),
    "elapsed": NUMBER,
    "limited_by": (str, type(None)),
    "transport": str,
    "processes": int,
    "sources": list,
    "ledger": str,
    "dead_letters": (str, type(None)),
    "resume": (str, type(None)),
}


def assert_shaped(value: Any, shape: Any) -> None:
    if isinstance(shape, dict):
        assert isinstance(value, dict)
        assert value.keys() == shape.keys()
        for key in shape:
            assert_shaped(value[key], shape[key])
    else:
        assert isinstance(value, shape)
        assert not isinstance(value, bool)


class TestTheSummary:
    def test_says_what_became_of_every_record_and_request(self, tmp_path: Path, commands: Forks) -> None:
        asked: Counter[str] = Counter()

        def answer(put: Put) -> Reply:
            asked[put.id] += 1
            is_first = asked[put.id] == 1
            match put.id.partition("-")[0]:
                case "bad":
                    return refusal(400, "no good.TrackingId:1-2-3", "TrackingId: 1-2-3")
                case "tired":
                    return refusal(500, "tired")
                case "busy" if is_first:
                    return refusal(429, "too many requests", "Retry-After: 0")
                case "lame" if is_first:
                    return refusal(503, "later")
            return OK

        ids = [*names("good", 22), *names("bad", 3), *names("tired", 2), *names("busy", 4), *names("lame", 3)]
        lines = (
            [installation(id_) for id_ in ids]
            + [b"{", b"[]"]
            + [installation("twin", tags=[str(n)]) for n in (1, 2, 3)]
        )
        (tmp_path / "d.ndjson").write_bytes(b"\n".join(lines))
        with RecordingHub(answer) as hub:
            ran = commands.run("load", "d.ndjson", "--json", "--max-attempts", "2", cwd=tmp_path, env=hub.env)
            assert ran.code == 1
            # The run's first line, and nothing else beside the data.
            assert len(ran.err.splitlines()) == 1
            assert b'"3"' in hub.installations["twin"]
            sent = len(hub.puts)
        summary = ran.summary
        assert list(summary) == list(SUMMARY)
        assert_shaped(summary, SUMMARY)
        assert_adds_up(summary)
        records, requests = summary["records"], summary["requests"]
        assert (records["read"], records["pending"], records["skipped"]) == (len(lines), 0, 0)
        assert records["invalid"], records["rejected"] == (2, 3)
        assert records["exhausted"] == 2
        assert records["accepted"] + records["superseded"] == 32
        assert requests["sent"] == sent
        assert requests["throttled"] == 4
        # Two attempts of each tired one and one of each lame one failed; the second of each came after a failure.
        assert (requests["failed"], requests["retried"]) == (7, 5)
        assert (summary["schema"], summary["outcome"], summary["exit_code"]) == (1, "partial", 1)
        assert summary["sources"] == ["d.ndjson"]
        assert summary["ledger"] == "d.ndjson.ledger"
        assert (summary["processes"], summary["transport"]) == (1, "wire")
        assert summary["latency"]["p50"] <= summary["latency"]["p95"] <= summary["latency"]["max"]
        assert summary["rate"]["cap"] is None
        assert counts(tmp_path / "d.ndjson.ledger") == {key: records[key] for key in OUTCOMES if records[key]}

        # The same command again: nothing to do, nothing sent, the exit code that its counts deserve.
        again = commands.run("load", "d.ndjson", "--json", cwd=tmp_path, env=NOBODY | hub.env)
        assert again.code == 1
        assert again.summary["requests"] == {"sent": 0, "throttled": 0, "retried": 0, "failed": 0}
        assert again.summary["records"] == {**records, "skipped": len(lines)}
        assert "nothing to do" in again.err

    def test_counts_every_request_also_on_a_connection_that_broke(self, tmp_path: Path, commands: Forks) -> None:
        asked: Counter[str] = Counter()

        def answer(put: Put) -> Reply:
            asked[put.id] += 1
            return Reply(None) if asked[put.id] == 1 and put.id in ("breaks-5", "breaks-10") else OK

        write(tmp_path / "d.ndjson", names("breaks", 20))
        with RecordingHub(answer) as hub:
            ran = commands.run("load", "d.ndjson", "--json", "--workers", "1", cwd=tmp_path, env=hub.env)
            sent = len(hub.puts)
        assert ran.code == 0
        assert_adds_up(ran.summary)
        assert (ran.summary["requests"]["sent"], ran.summary["requests"]["failed"]) == (sent, 2)

    def test_the_text_tells_how_to_list_what_failed(
        self, tmp_path: Path, commands: Forks, emulated: EmulatedHub
    ) -> None:
        (tmp_path / "it's.ndjson").write_bytes(ndjson(names("listed", 3)) + b"oops\n" + installation("bad id"))
        ran = commands.run("load", "it's.ndjson", cwd=tmp_path, env=emulated.env)
        assert ran.code == 1
        assert not ran.out
        [command] = re.findall(r"^what failed: (.+)$", ran.err, re.MULTILINE)
        program, _, ledger, query = shlex.split(command)
        assert program == "sqlite3"
        with closing(sqlite3.connect(tmp_path / ledger)) as connection:
            connection.row_factory = sqlite3.Row
            found = connection.execute(query).fetchall()
        assert [(row["position"], row["installation_id"]) for row in found] == [(3, None), (4, "bad id")]
        assert "line 4" in found[0]["detail"]

    def test_quiet_is_silent_only_when_all_is_well(
        self, tmp_path: Path, commands: Forks, emulated: EmulatedHub
    ) -> None:
        write(tmp_path / "good.ndjson", names("quiet", 5))
        (tmp_path / "bad.ndjson").write_bytes(ndjson(names("quiet", 2)) + b"{\n")
        given = (
            ("good.ndjson",),
            ("good.ndjson", "--ledger", "2.ledger", "--json"),
            ("bad.ndjson",),
            ("good.ndjson", "--ledger", "4.ledger", "--limit", "2"),
        )
        good, told, bad, stopped = commands.run_all(
            (Case(("load", *arguments, "--quiet"), emulated.env) for arguments in given), cwd=tmp_path
        )
        assert (good.code, good.out, good.err) == (0, "", "")
        assert (told.code, told.err) == (0, "")
        assert told.summary["outcome"] == "complete"
        assert (bad.code, bad.out) == (1, "")
        assert bad.err.startswith("bad.ndjson to hub devices at 127.0.0.1")
        assert "1 failed" in bad.err
        assert stopped.code == 5
        assert "--limit 2" in stopped.err

    def test_on_a_terminal_follows_a_bar(self, tmp_path: Path, recording: RecordingHub) -> None:
        write(tmp_path / "d.ndjson", names("bar", 100))
        master, slave = os.openpty()
        load = ("load", "d.ndjson", "--rate", "100")
        env = {**recording.env, "TERM": "xterm", "COLUMNS": "100"}
        with Started(*load, cwd=tmp_path, env=env, stderr=slave) as started:
            os.close(slave)
            seen = _read_terminal(master)
            assert started.finish().code == 0
        os.close(master)
        # The bar is taken away and the cursor given back before the summary.
        bar, _, summary = seen.partition("\x1b[?25h")
        shown = [int(count) for count in re.findall(r"(\d+) accepted", bar)]
        assert any(0 < count < 100 for count in shown)
        assert re.search(r"^(\x1b\[\S+?[A-K])*complete.*: 100 records settled", summary.lstrip(), re.MULTILINE)

    @pytest.mark.parametrize("stream", ["out", "err"])
    def test_a_stream_that_nobody_reads_does_not_change_the_run(
        self, tmp_path: Path, emulated: EmulatedHub, stream: str
    ) -> None:
        write(tmp_path / "d.ndjson", names("unread", 5))
        reading, writing = os.pipe()
        os.close(reading)
        option = ["--json"] if stream == "out" else []
        with Started(
            *("load", "d.ndjson", *option),
            cwd=tmp_path,
            env=emulated.env,
            stdout=writing if stream == "out" else None,
            stderr=writing if stream == "err" else None,
        ) as started:
            os.close(writing)
            assert started.finish().code == 0
        assert counts(tmp_path / "d.ndjson.ledger") == {"accepted": 5}


class TestSources:
    def test_are_plain_or_compressed_several_or_a_pattern(
        self, tmp_path: Path, commands: Forks, emulated: EmulatedHub
    ) -> None:
        # With a byte order mark, blank lines, CRLF, and no end on the last line.
        plain = ndjson(names("plain", 5)).replace(b"\n", b"\r\n\r\n \n")
        (tmp_path / "a.ndjson").write_bytes(b"\xef\xbb\xbf" + plain + installation("plain-last"))
        write(tmp_path / "b.ndjson.gz", names("gz", 5))
        (tmp_path / "c.ndjson.zst").write_bytes(zstd.compress(ndjson(names("zst", 5))))
        # What a file holds is told by its first bytes, not by its name; a pattern is sorted.
        for name in ("part-2.gz", "part-1.gz"):
            (tmp_path / name).write_bytes(ndjson(names(name, 3)))
        several, pattern = commands.run_all(
            (
                Case(("load", *given, "--json"), emulated.env)
                for given in (["a.ndjson", "b.ndjson.gz", "c.ndjson.zst"], ["part-*.gz"])
            ),
            cwd=tmp_path,
        )
        assert (several.code, pattern.code) == (0, 0)
        assert several.summary["sources"] == ["a.ndjson", "b.ndjson.gz", "c.ndjson.zst"]
        assert several.summary["ledger"] == "a.ndjson.ledger"
        assert several.summary["records"]["accepted"] == 16
        assert pattern.summary["sources"] == ["part-1.gz", "part-2.gz"]
        expected = [f"{kind}-{n}" for kind in ("plain", "gz", "zst", "part-1.gz", "part-2.gz") for n in range(3)]
        assert emulated.holds([*expected, "plain-last"])
        assert Counter((row.source, row.outcome) for row in rows(tmp_path / "a.ndjson.ledger")) == {
            ("a.ndjson", "accepted"): 6,
            ("b.ndjson.gz", "accepted"): 5,
            ("c.ndjson.zst", "accepted"): 5,
        }

    def test_standard_input_is_loaded_and_continued(
        self, tmp_path: Path, commands: Forks, emulated: EmulatedHub
    ) -> None:
        ids = names("stdin", 300)
        load = ("load", "-", "--ledger", "s.ledger", "--json")
        # Through a pipe, and then from a file.
        stopped = run(*load, "--limit", "100", cwd=tmp_path, env=emulated.env, stdin=ndjson(ids))
        ended, another, nameless = commands.run_all(
            [
                Case(load, emulated.env, ndjson(ids)),
                Case(load, emulated.env, ndjson(names("other", 5))),
                Case(("load", "-"), emulated.env, ndjson(ids)),
            ],
            cwd=tmp_path,
        )
        assert stopped.code == 5
        assert ended.code == 0
        assert ended.summary["records"]["skipped"] == 100
        assert ended.summary["requests"]["sent"] == 200
        assert emulated.holds([ids[0], ids[99], ids[100], ids[-1]])
        assert another.code == nameless.code == 2
        assert "s.ledger" in another.complaint
        assert "--ledger" in nameless.complaint

    def test_that_cannot_be_read_are_refused_in_one_line(self, tmp_path: Path, commands: Forks) -> None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "utf-16.ndjson").write_bytes("{}".encode("utf-16"))
        write(tmp_path / "good.ndjson", ["a"])
        cases = {
            ("missing.ndjson",): "missing.ndjson",
            ("folder",): "folder",
            ("nothing-*.ndjson",): "nothing-*.ndjson",
            ("good.ndjson", "missing.ndjson"): "missing.ndjson",
            ("good.ndjson", "./good.ndjson"): "twice",
            ("utf-16.ndjson",): "UTF-16",
        }
        ran_all = commands.run_all((Case(("load", *sources), NOBODY) for sources in cases), cwd=tmp_path)
        for ran, word in zip(ran_all, cases.values(), strict=True):
            assert ran.code == 2, ran.err
            assert word in ran.complaint
        assert not list(tmp_path.glob("*.ledger*"))

    def test_a_named_pipe_is_refused_at_once(self, tmp_path: Path, commands: Forks) -> None:
        os.mkfifo(tmp_path / "fifo")
        ran = commands.run("load", "fifo", "--ledger", "f.ledger", cwd=tmp_path, env=NOBODY, within=5)
        assert ran.code == 2
        assert "fifo" in ran.complaint

    def test_a_name_that_is_not_utf_8_is_loaded_or_refused(
        self, tmp_path: Path, commands: Forks, emulated: EmulatedHub
    ) -> None:
        name = os.fsdecode(b"caf\xe9.ndjson")
        write(tmp_path / name, ["latin"])
        ran = commands.run("load", name, "--json", cwd=tmp_path, env=emulated.env)
        assert ran.code in (0, 2)

    def test_a_closed_standard_input_is_refused(self, tmp_path: Path) -> None:
        ran = run_line("bulkload load - --ledger s.ledger <&-", cwd=tmp_path, env=NOBODY)
        assert ran.code == 2
        assert "standard input" in ran.complaint

    def test_an_empty_one_is_complete_with_a_warning(self, tmp_path: Path, commands: Forks) -> None:
        (tmp_path / "empty.ndjson").touch()
        (tmp_path / "blank.ndjson").write_bytes(b"\n \r\n\n")
        sources = (("empty.ndjson",), ("blank.ndjson", "--quiet"), ("-", "--ledger", "s.ledger"))
        for ran in commands.run_all((Case(("load", *source), NOBODY) for source in sources), cwd=tmp_path):
            assert ran.code == 0, ran.err
            assert re.search(r"^warning: .*empty", ran.err, re.MULTILINE)

    def test_a_truncated_one_keeps_what_came_before(
        self, tmp_path: Path, commands: Forks, recording: RecordingHub
    ) -> None:
        whole = write(tmp_path / "d.ndjson.gz", names("cut", 3000)).read_bytes()
        cut = whole[: len(whole) * 3 // 4]
        (tmp_path / "d.ndjson.gz").write_bytes(cut)
        lines = zlib.decompressobj(wbits=31).decompress(cut).count(b"\n")
        broken, again = commands.run_all(
            [Case(("load", "d.ndjson.gz", "--json"), recording.env), Case(("load", "d.ndjson.gz"), recording.env)],
            cwd=tmp_path,
        )
        assert broken.code == 4
        summary = broken.summary
        assert 0.9 * lines < summary["records"]["accepted"] <= lines
        # The piece of a line before the break is no record.
        assert summary["records"]["invalid"] == 0
        assert "d.ndjson.gz" in summary["reason"]
        assert_adds_up(summary)
        # The same file again breaks off again, and nothing is sent twice.
        assert again.code == 4
        assert "stopped" in again.err
        assert counts(tmp_path / "d.ndjson.gz.ledger") == {"accepted": len(recording.puts)}
        assert not recording.repeated

    def test_one_that_is_cut_while_it_is_read_is_not_complete(self, tmp_path: Path) -> None:
        source = tmp_path / "d.ndjson"
        source.write_bytes(b"".join(installation(id_, tags=["x" * 100] * 10) + b"\n" for id_ in names("cut", 6000)))
        with RecordingHub(is_held=True) as hub, Started("load", "d.ndjson", cwd=tmp_path, env=hub.env) as started:
            hub.wait_for(1)
            os.truncate(source, source.stat().st_size * 3 // 4)
            hub.release()
            ran = started.finish()
        assert ran.code == 4
        assert "d.ndjson" in ran.err


class TestEarlyEnds:
    """`--max-errors`, `--limit`, `--min-records`, `--max-duration`, `--when-changed`."""

    def test_more_errors_than_max_errors_stop_the_run(
        self, tmp_path: Path, commands: Forks, recording: RecordingHub
    ) -> None:
        (tmp_path / "few.ndjson").write_bytes(b"{\n" * 3 + ndjson(names("after", 2000)))
        (tmp_path / "just.ndjson").write_bytes(b"{\n" * 2 + ndjson(names("just", 5)))
        (tmp_path / "many.ndjson").write_bytes((b"{\n" * 3 + installation("m") + b"\n") * 500)
        (tmp_path / "short.ndjson").write_bytes(b"{\n" * 900)
        given = (("few.ndjson", "2"), ("just.ndjson", "2"), ("many.ndjson", "50%"), ("short.ndjson", "50%"))
        few, just, many, short = commands.run_all(
            (Case(("load", name, "--max-errors", most, "--json"), recording.env) for name, most in given), cwd=tmp_path
        )
        assert (few.code, just.code, many.code, short.code) == (3, 1, 3, 1)
        assert few.summary["outcome"] == "stopped"
        assert "--max-errors 2" in few.summary["reason"]
        assert few.summary["records"]["invalid"] == 3
        assert few.summary["resume"]
        # A part of the records counts from the 1,000th settled one on.
        settled = sum(many.summary["records"][outcome] for outcome in OUTCOMES)
        assert 1000 <= settled < 1100
        for ran in (few, just, many, short):
            assert_adds_up(ran.summary)

    def test_limit_takes_so_many_and_the_next_run_the_rest(
        self, tmp_path: Path, commands: Forks, recording: RecordingHub
    ) -> None:
        ids = names("limit", 100)
        write(tmp_path / "d.ndjson", ids)
        load = ("load", "d.ndjson")
        stopped, more, ended, exact = commands.run_all(
            [
                Case((*load, "--limit", "10"), recording.env),
                Case((*load, "--limit", "10", "--json"), recording.env),
                Case(load, recording.env),
                Case((*load, "--limit", "100", "--ledger", "exact.ledger"), recording.env),
            ],
            cwd=tmp_path,
        )
        assert stopped.code == 5
        assert "--limit 10" in stopped.err
        assert stopped.resume == "bulkload load d.ndjson --limit 10"
        records = more.summary["records"]
        assert (more.code, records["accepted"], records["skipped"]) == (5, 20, 10)
        assert ended.code == 0
        assert "continues" in ended.err.splitlines()[0]
        # As many as there are is not early.
        assert exact.code == 0
        sent = recording.ids
        assert [set(sent[:10]), set(sent[10:20]), set(sent[20:100])] == [set(ids[:10]), set(ids[10:20]), set(ids[20:])]
        assert len(sent) == 200

    def test_fewer_than_min_records_send_nothing(
        self, tmp_path: Path, commands: Forks, recording: RecordingHub
    ) -> None:
        write(tmp_path / "d.ndjson", names("few", 5))
        write(tmp_path / "e.ndjson.gz", names("more", 5))
        piped = ndjson(names("piped", 1000))
        files, stream = ("load", "d.ndjson", "e.ndjson.gz"), ("load", "-", "--ledger", "s.ledger")
        too_few, too_short, enough, just = commands.run_all(
            [
                Case((*files, "--min-records", "11"), recording.env),
                Case((*stream, "--min-records", "1001"), recording.env, piped),
                Case((*files, "--min-records", "10"), recording.env),
                Case((*stream, "--min-records", "1000", "--json"), recording.env, piped),
            ],
            cwd=tmp_path,
        )
        for ran in (too_few, too_short):
            assert ran.code == 2
            assert "--min-records" in ran.complaint
        assert (enough.code, just.code) == (0, 0)
        assert just.summary["records"]["accepted"] == 1000
        assert len(recording.puts) == 1010

    def test_max_duration_stops_softly(self, tmp_path: Path, commands: Forks, recording: RecordingHub) -> None:
        write(tmp_path / "d.ndjson", names("slow", 100))
        load = ("load", "d.ndjson", "--json", "--max-duration")
        stopped, ended = commands.run_all(
            [Case((*load, "1.5s", "--rate", "20"), recording.env), Case((*load, "1h"), recording.env)], cwd=tmp_path
        )
        assert stopped.code == 5
        assert "--max-duration" in stopped.summary["reason"]
        assert 0 < stopped.summary["elapsed"] < 10
        assert 0 < stopped.summary["records"]["accepted"] == ended.summary["records"]["skipped"] < 100
        assert ended.code == 0
        assert len(recording.puts) == 100

    def test_a_changed_source_is_refused_or_begun_anew(
        self, tmp_path: Path, commands: Forks, recording: RecordingHub
    ) -> None:
        ids = names("old", 5)
        write(tmp_path / "d.ndjson", ids)
        load = ("load", "d.ndjson")
        ledger = tmp_path / "d.ndjson.ledger"
        assert commands.run(*load, cwd=tmp_path, env=recording.env).code == 0
        before = rows(ledger)
        write(tmp_path / "d.ndjson", [*ids, "new"])
        restart = (*load, "--when-changed", "restart")
        refused, anew, again = commands.run_all(
            (Case(flags, recording.env) for flags in (load, restart, restart)), cwd=tmp_path
        )
        assert refused.code == 2
        assert "--when-changed restart" in refused.complaint
        # Nothing has changed since it was begun anew: the same command has nothing to do.
        assert (anew.code, again.code) == (0, 0)
        assert sorted(recording.ids[5:]) == sorted([*ids, "new"])
        assert len(rows(ledger)) == 6
        [aside] = [path for path in tmp_path.iterdir() if re.fullmatch(r"d\.ndjson\.ledger\.\d{8}T\d{6}Z", path.name)]
        assert aside.name in anew.err
        assert rows(aside) == before


@pytest.fixture(scope="module")
def silent_port() -> int:
    return free_port()


REFUSED_IDS = names("refused", 200)


@pytest.fixture(scope="module")
def stopped(
    tmp_path_factory: pytest.TempPathFactory, emulated: EmulatedHub, silent_port: int
) -> dict[str, tuple[Path, Ran]]:
    """A run for each way in which a hub refuses it, and the folder in which it ran."""
    key = f"SharedAccessKeyName=w;SharedAccessKey={KEY};EntityPath=devices"
    environments = {
        "wrong key": emulated.wrong_key_env,
        "missing hub": {CONNECTION_STRING: emulated.connection_string.replace("=devices", "=device")},
        "nobody listens": {CONNECTION_STRING: f"Endpoint=http://127.0.0.1:{silent_port}/;{key}"},
        "unknown name": {CONNECTION_STRING: f"Endpoint=sb://nonexistent.invalid/;{key}"},
    }
    root = tmp_path_factory.mktemp("refused")
    with ExitStack() as stack:
        # All at once, since some of them wait a while for a hub that may yet come.
        started = {}
        for name, env in environments.items():
            (root / name).mkdir()
            write(root / name / "d.ndjson", REFUSED_IDS)
            started[name] = stack.enter_context(Started("load", "d.ndjson", cwd=root / name, env=env))
        return {name: (root / name, one.finish()) for name, one in started.items()}


class TestARefusingHub:
    """A wrong key, a missing hub, nobody there: a quick end, nothing settled, and the right settings complete."""

    @pytest.mark.parametrize(
        ("case", "words"),
        [
            ("wrong key", ("key", "connection string")),
            ("missing hub", ("no such hub", "--hub")),
            ("nobody listens", ("cannot be reached", "Endpoint")),
            ("unknown name", ("cannot be reached", "name", "Endpoint")),
        ],
    )
    def test_stops_the_run_with_nothing_settled(
        self, stopped: Mapping[str, tuple[Path, Ran]], case: str, words: tuple[str, ...]
    ) -> None:
        folder, ran = stopped[case]
        assert ran.code == 4, ran.err
        assert ran.seconds < 20
        assert not ran.out
        [line] = [line for line in ran.err.splitlines() if line.startswith("stopped")]
        assert all(word in line for word in words), line
        [sent] = re.findall(r"^requests: (\d+) sent", ran.err, re.MULTILINE)
        assert int(sent) <= 6
        assert not rows(folder / "d.ndjson.ledger")

    @pytest.mark.parametrize("case", ["wrong key", "missing hub", "unknown name"])
    def test_the_right_settings_then_complete(
        self, stopped: Mapping[str, tuple[Path, Ran]], commands: Forks, emulated: EmulatedHub, case: str
    ) -> None:
        folder, _ = stopped[case]
        ran = commands.run("load", "d.ndjson", cwd=folder, env=emulated.env)
        assert ran.code == 0, ran.err
        assert [row.installation_id for row in rows(folder / "d.ndjson.ledger")] == REFUSED_IDS

    def test_a_hub_that_is_back_is_loaded(self, stopped: Mapping[str, tuple[Path, Ran]], silent_port: int) -> None:
        folder, ran = stopped["nobody listens"]
        with RecordingHub(port=silent_port) as hub:
            again = run_line(ran.resume, cwd=folder, env=hub.env)
            assert again.code == 0, again.err
            assert sorted(hub.ids) == sorted(REFUSED_IDS)

    def test_a_hub_that_is_a_second_late_is_waited_for(self, tmp_path: Path) -> None:
        write(tmp_path / "d.ndjson", names("late", 20))
        port = free_port()
        key = f"SharedAccessKeyName=w;SharedAccessKey={KEY}"
        env = {CONNECTION_STRING: f"Endpoint=http://127.0.0.1:{port}/;{key};EntityPath=devices"}
        with Started("load", "d.ndjson", cwd=tmp_path, env=env) as started:
            wait_for(lambda: started.err, "the run's first line")
            threading.Event().wait(0.5)
            with RecordingHub(port=port):
                assert started.finish().code == 0

    def test_a_hub_that_goes_away_is_waited_for(self, tmp_path: Path, silent_port: int) -> None:
        ids = names("away", 200)
        write(tmp_path / "d.ndjson", ids)
        load = ("load", "d.ndjson", "--rate", "300", "--json")
        with ExitStack() as stack:
            with RecordingHub(port=silent_port) as hub:
                started = stack.enter_context(Started(*load, cwd=tmp_path, env=hub.env))
                hub.wait_for(60)
            threading.Event().wait(0.3)
            with RecordingHub(port=silent_port) as back:
                ran = started.finish()
        assert ran.code == 0, ran.err
        assert ran.summary["requests"]["failed"] > 0
        assert {*hub.installations, *back.installations} == {*ids}

    def test_no_answer_brings_a_push_channel_to_the_ledger_or_the_streams(
        self, tmp_path: Path, commands: Forks
    ) -> None:
        def answer(put: Put) -> Reply:
            channel = json.loads(put.body)["pushChannel"]
            if put.id == "cut":
                # Words that are cut to a length must not keep the half of a channel.
                return refusal(400, "-" * (290 - len(CHANNEL)) + channel * 3)
            return refusal(400 if put.id == "record" else 404, f"{channel} is not known here")

        given = ("cut", "record", "run")
        for name in given:
            write(tmp_path / f"{name}.ndjson", [name])
        with RecordingHub(answer) as hub:
            # Whether a secret is shown is looked at wherever a command ends.
            ran = commands.run_all((Case(("load", f"{name}.ndjson"), hub.env) for name in given), cwd=tmp_path)
        assert [one.code for one in ran] == [1, 1, 4]
        for name in given:
            rows(tmp_path / f"{name}.ndjson.ledger")


class TestTheConnectionString:
    def test_comes_from_the_environment_or_a_file(
        self, tmp_path: Path, commands: Forks, recording: RecordingHub
    ) -> None:
        write(tmp_path / "d.ndjson", names("where", 2))
        (tmp_path / "named").write_text(f"{recording.endpoint};EntityPath=devices\r\n")
        (tmp_path / "nameless").write_text(f'"{recording.endpoint}"\n')
        nameless = {CONNECTION_STRING: recording.endpoint}
        given: list[tuple[tuple[str, ...], dict[str, str]]] = [
            ((), recording.env),
            (("--hub", "devices"), recording.env | {"BULKLOAD_HUB": "devices"}),
            ((), nameless | {"BULKLOAD_HUB": "devices"}),
            # A file that is named goes before an environment that holds another hub.
            (("--connection-string-file", "named"), NOBODY),
            (("--connection-string-file", "nameless", "--hub", "devices"), {}),
        ]
        good = commands.run_all(
            (
                Case(("load", "d.ndjson", "--ledger", f"{number}.ledger", *flags), env)
                for number, (flags, env) in enumerate(given)
            ),
            cwd=tmp_path,
        )
        assert [ran.code for ran in good] == [0] * 5, [ran.err for ran in good]
        assert len(recording.puts) == 10

    def test_that_is_of_no_use_is_refused_in_one_line(
        self, tmp_path: Path, commands: Forks, recording: RecordingHub
    ) -> None:
        write(tmp_path / "d.ndjson", ["a"])
        (tmp_path / "empty").touch()
        key = f"SharedAccessKeyName=w;SharedAccessKey={KEY};EntityPath=devices"
        cases: list[tuple[list[str], dict[str, str], str]] = [
            ([], {}, CONNECTION_STRING),
            ([], {CONNECTION_STRING: recording.endpoint}, "--hub"),
            ([], {CONNECTION_STRING: "what is this"}, "Endpoint"),
            ([], {CONNECTION_STRING: f"Endpoint=http://example.com/;{key}"}, "http://"),
            ([], {CONNECTION_STRING: f"Endpoint=http://10.0.0.1/;{key}"}, "http://"),
            (["--hub", "other"], recording.env, "two hubs"),
            (["--hub", "other"], {CONNECTION_STRING: recording.endpoint, "BULKLOAD_HUB": "devices"}, "two hubs"),
            ([], recording.env | {"BULKLOAD_HUB": "other"}, "two hubs"),
            (["--hub", "no/name"], {CONNECTION_STRING: recording.endpoint}, "no/name"),
            (["--connection-string-file", "missing"], {}, "missing"),
            (["--connection-string-file", "empty"], {}, "empty"),
            (["--connection-string", f"{recording.endpoint}"], {}, "--connection-string"),
        ]
        ran_all = commands.run_all((Case(("load", "d.ndjson", *flags), env) for flags, env, _ in cases), cwd=tmp_path)
        for ran, (_, _, word) in zip(ran_all, cases, strict=True):
            assert ran.code == 2, ran.err
            assert word in ran.complaint
        assert not recording.puts
        assert not list(tmp_path.glob("*.ledger*"))

    def test_may_be_in_a_file_that_begins_with_a_byte_order_mark(
        self, tmp_path: Path, commands: Forks, recording: RecordingHub
    ) -> None:
        write(tmp_path / "d.ndjson", ["marked"])
        (tmp_path / "connection").write_text(recording.env[CONNECTION_STRING], encoding="utf-8-sig")
        ran = commands.run("load", "d.ndjson", "--connection-string-file", "connection", cwd=tmp_path)
        assert ran.code == 0, ran.err


class TestTheCap:
    RATE = 200
    WORKERS = 8

    def test_holds_in_every_second_with_retries_counted(self, tmp_path: Path, commands: Forks) -> None:
        seen: set[str] = set()

        def answer(put: Put) -> Reply:
            if put.id in seen or int(put.id.rpartition("-")[2]) % 4:
                return OK
            seen.add(put.id)
            return refusal(503, "later")

        write(tmp_path / "d.ndjson", names("cap", 240))
        with RecordingHub(answer) as hub:
            rate, workers = str(self.RATE), str(self.WORKERS)
            ran = commands.run(
                "load", "d.ndjson", "--rate", rate, "--workers", workers, "--json", cwd=tmp_path, env=hub.env
            )
            times = [put.at for put in hub.puts]
            assert hub.most_in_flight <= self.WORKERS
        assert ran.code == 0
        assert len(times) == ran.summary["requests"]["sent"] == 300
        assert ran.summary["rate"]["cap"] == self.RATE
        # What left before a second began and came within it was in flight: at most one request for each worker.
        most = max(sum(start <= at < start + 1 for at in times) for start in times)
        assert most <= self.RATE + self.WORKERS


# A value that is refused for each flag whose effect a run does not show, and a word of the line that refuses it.
REFUSED = {
    "record-timeout": "0",
    "max-errors": "many",
    "max-duration": "0",
    "grace": "x",
    "wait-lock": "soon",
    "min-records": "-1",
    "when-changed": "ignore",
    "processes": "many",
    "transport": "pigeon",
    "progress": "loud",
    "quiet": "maybe",
    "ca-file": "missing.pem",
}
SHOWN = {
    "hub",
    "connection-string-file",
    "ledger",
    "workers",
    "rate",
    "max-attempts",
    "limit",
    "api-version",
    "json",
    "config",
}


class TestSettings:
    def test_every_flag_is_tested_here(self, tmp_path: Path, commands: Forks) -> None:
        told = commands.run_all([Case(("load", "--help"))], cwd=tmp_path)[0].out
        flags = set(re.findall(r"^ +--([a-z-]+)", told, re.MULTILINE)) | {"help"}
        assert flags - {"help", "emulator"} - FLAGS.keys() == SHOWN | REFUSED.keys()

    @pytest.mark.parametrize("place", ["environment", "file"])
    def test_every_flag_is_a_setting_of_the_environment_and_the_file(
        self, tmp_path: Path, commands: Forks, place: str
    ) -> None:
        def answer(put: Put) -> Reply:
            return refusal(503, "never") if put.id == "set-3" else OK

        write(tmp_path / "d.ndjson", names("set", 30))
        with RecordingHub(answer, delay=0.005) as hub:
            (tmp_path / "connection").write_text(hub.endpoint)
            settings: dict[str, str | int | bool] = {
                "hub": "devices",
                "connection-string-file": "connection",
                "ledger": "other.ledger",
                "workers": 3,
                "rate": 1000,
                "max-attempts": 1,
                "limit": 20,
                "api-version": "2020-06",
                "json": True,
            }
            if place == "file":
                # The hub's name has a test of its own, see below.
                env = {"BULKLOAD_HUB": str(settings.pop("hub")), "BULKLOAD_CONFIG": "c.toml"}
                text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
                (tmp_path / "c.toml").write_text(text)
            else:
                env = {f"BULKLOAD_{name.replace('-', '_').upper()}": str(value) for name, value in settings.items()}
            ran = commands.run("load", "d.ndjson", cwd=tmp_path, env=env)
            assert ran.code == 5, ran.err
            summary = ran.summary
            assert summary["ledger"] == "other.ledger"
            assert summary["rate"]["cap"] == 1000
            assert (summary["records"]["read"], summary["records"]["exhausted"]) == (20, 1)
            assert hub.most_in_flight == 3
            assert {put.path.partition("?")[0].rpartition("/")[0] for put in hub.puts} == {"/devices/installations"}
            assert {put.path.partition("?")[2] for put in hub.puts} == {"api-version=2020-06"}

    @pytest.mark.parametrize("place", ["environment", "file"])
    def test_what_is_refused_as_a_flag_is_refused_there(self, tmp_path: Path, commands: Forks, place: str) -> None:
        write(tmp_path / "d.ndjson", ["a"])
        # With TLS, so that --ca-file matters; nobody gets as far as to ask for it.
        endpoint = f"Endpoint=sb://127.0.0.1:1/;SharedAccessKeyName=w;SharedAccessKey={KEY};EntityPath=d"
        given = []
        for name, value in REFUSED.items():
            env = {CONNECTION_STRING: endpoint}
            if place == "file":
                (tmp_path / f"{name}.toml").write_text(f"{name.replace('-', '_')} = {json.dumps(value)}\n")
                env["BULKLOAD_CONFIG"] = f"{name}.toml"
            else:
                env[f"BULKLOAD_{name.replace('-', '_').upper()}"] = value
            given.append(Case(("load", "d.ndjson", "--ledger", f"{name}.ledger"), env))
        for name, ran in zip(REFUSED, commands.run_all(given, cwd=tmp_path), strict=True):
            assert ran.code == 2, ran.err
            line = ran.err.splitlines()[-1]
            assert line.startswith("bulkload: ")
            assert name in line
            if name != "ca-file":
                assert ran.complaint == line

    def test_a_flag_beats_the_environment_beats_the_file(
        self, tmp_path: Path, commands: Forks, recording: RecordingHub
    ) -> None:
        write(tmp_path / "d.ndjson", names("beats", 2))
        (tmp_path / "c.toml").write_text("rate = 100\nworkers = 5\n")
        env = {**recording.env, "BULKLOAD_JSON": "true", "BULKLOAD_RATE": ""}
        load = ("load", "d.ndjson", "--config", "c.toml", "--ledger")
        by_file, by_environment, by_flag = commands.run_all(
            [
                Case((*load, "1.ledger"), env),
                Case((*load, "2.ledger"), env | {"BULKLOAD_RATE": "200"}),
                Case((*load, "3.ledger", "--rate", "300"), env | {"BULKLOAD_RATE": "200"}),
            ],
            cwd=tmp_path,
        )
        caps = [ran.summary["rate"]["cap"] for ran in (by_file, by_environment, by_flag)]
        assert caps == [100, 200, 300]

    def test_a_config_file_that_is_of_no_use_is_refused_in_one_line(self, tmp_path: Path, commands: Forks) -> None:
        write(tmp_path / "d.ndjson", ["a"])
        cases = {
            "ratte = 5\n": "ratte",
            "emulator = true\n": "emulator",
            'connection-string = "x"\n': "connection",
            "rate = \n": "c3.toml",
            "workers = 'many'\n": "workers",
        }
        for number, text in enumerate(cases):
            (tmp_path / f"c{number}.toml").write_text(text)
        files = [*(f"c{number}.toml" for number in range(len(cases))), "missing.toml"]
        ran_all = commands.run_all(
            (Case(("load", "d.ndjson", "--config", file), NOBODY) for file in files), cwd=tmp_path
        )
        for ran, word in zip(ran_all, [*cases.values(), "missing.toml"], strict=True):
            assert ran.code == 2, ran.err
            assert word in ran.complaint

    def test_a_config_file_names_the_hub(self, tmp_path: Path, commands: Forks, recording: RecordingHub) -> None:
        write(tmp_path / "d.ndjson", ["a"])
        (tmp_path / "c.toml").write_text('hub = "devices"\n')
        env = {CONNECTION_STRING: recording.endpoint, "BULKLOAD_CONFIG": "c.toml"}
        named, twice = commands.run_all(
            [Case(("load", "d.ndjson"), env), Case(("load", "d.ndjson"), env | {"BULKLOAD_HUB": "other"})], cwd=tmp_path
        )
        assert named.code == 0
        assert twice.code == 2
        assert "two hubs" in twice.complaint

    def test_a_config_file_says_how_the_hub_s_answers_are_understood(self, tmp_path: Path, commands: Forks) -> None:
        left = [420, 520, 200, 403, 429]

        def answer(_: Put) -> Reply:
            status = left.pop() if left else 200
            body = b"<Error><Detail>Langsamer, bitte.</Detail></Error>" if status == 403 else b""
            return Reply(status, body, ("Retry-After: 600",) if status in (429, 520) else ())

        write(tmp_path / "d.ndjson", names("hub", 5))
        (tmp_path / "c.toml").write_text(
            'workers = 1\n[hub]\nname = "devices"\nthrottle-words = ["langsamer"]\nthrottle-statuses = [420]\n'
            'retry_statuses = [520]\nlongest-retry-after = "10ms"\npatience = 60\ngone-after = 5\n'
        )
        with RecordingHub(answer) as hub:
            ran = commands.run(
                "load", "d.ndjson", "--json", "--config", "c.toml", cwd=tmp_path, env={CONNECTION_STRING: hub.endpoint}
            )
        assert ran.code == 0, ran.err
        assert "not known" not in ran.err
        assert ran.summary["records"]["accepted"] == 5
        assert [ran.summary["requests"][name] for name in ("throttled", "failed")] == [3, 1]
        assert {put.path.split("/")[1] for put in hub.puts} == {"devices"}

    def test_the_hub_s_table_serves_every_command(
        self, tmp_path: Path, commands: Forks, recording: RecordingHub
    ) -> None:
        write(tmp_path / "d.ndjson", ["a"])
        (tmp_path / "c.toml").write_text('[hub]\nname = "devices"\ngone-after = 5\n')
        env = {CONNECTION_STRING: recording.endpoint, "BULKLOAD_CONFIG": "c.toml"}
        cases = [Case(("check", "d.ndjson"), env), Case(("load", "d.ndjson"), env)]
        assert [ran.code for ran in commands.run_all(cases, cwd=tmp_path)] == [0, 0]

    def test_a_table_of_the_hub_that_is_of_no_use_is_refused_in_one_line(
        self, tmp_path: Path, commands: Forks, recording: RecordingHub
    ) -> None:
        write(tmp_path / "d.ndjson", ["a"])
        cases = {
            "throtle-words = ['x']": "[hub] has the unknown key throtle-words; it has feature-words, gone-after,",
            "name = 5": "[hub] name is a text, not 5",
            "throttle-words = 'slow'": "[hub] throttle-words is a list of texts",
            "quota-words = ['']": "[hub] quota-words is a list of texts",
            "retry-statuses = [200]": "[hub] retry-statuses is a list of statuses from 400 to 599",
            "retry-statuses = ['520']": "[hub] retry-statuses is a list of statuses",
            "retry-statuses = [420]\nthrottle-statuses = [420]": "[hub] has 420 both",
            "patience = 'soon'": "[hub] patience: 'soon' is not a time",
            "patience = '0s'": "[hub] patience is above 0",
            "longest-retry-after = [5]": "[hub] longest-retry-after is above 0",
            "gone-after = '20'": "[hub] gone-after is at least 1, not '20'",
            "gone-after = true": "[hub] gone-after is at least 1",
        }
        for number, text in enumerate(cases):
            (tmp_path / f"c{number}.toml").write_text(f"[hub]\n{text}\n")
        files = [f"c{number}.toml" for number in range(len(cases))]
        for command in ("load", "check"):
            arguments = (Case((command, "d.ndjson", "--config", file), recording.env) for file in files)
            for file, words, ran in zip(files, cases.values(), commands.run_all(arguments, cwd=tmp_path), strict=True):
                assert ran.code == 2, ran.err
                assert ran.complaint.startswith(f"bulkload: config file {file}: {words}")
        assert not recording.puts

    def test_a_config_value_of_another_type_is_refused_in_one_line(self, tmp_path: Path, commands: Forks) -> None:
        write(tmp_path / "d.ndjson", ["a"])
        texts = ["rate = [1, 2]", "ca-file = 3", "wait-lock = {a = 1}", "ledger = true"]
        for number, text in enumerate(texts):
            (tmp_path / f"c{number}.toml").write_text(text)
        cases = (Case(("load", "d.ndjson", "--config", f"c{number}.toml")) for number in range(len(texts)))
        for ran, text in zip(commands.run_all(cases, cwd=tmp_path), texts, strict=True):
            assert ran.code == 2
            assert text.partition(" ")[0] in ran.complaint

    def test_no_variable_turns_the_emulator_on(self, tmp_path: Path, commands: Forks) -> None:
        write(tmp_path / "d.ndjson", ["a"])
        [ran] = commands.run_all([Case(("load", "d.ndjson"), {"BULKLOAD_EMULATOR": "1"})], cwd=tmp_path)
        assert ran.code == 2
        assert CONNECTION_STRING in ran.complaint


class TestUsage:
    def test_what_is_wrong_is_refused_in_one_line(self, tmp_path: Path, commands: Forks) -> None:
        write(tmp_path / "d.ndjson", ["a"])
        cases: dict[tuple[str, ...], str] = {
            ("load", "d.ndjson", "--rate", "0"): "--rate",
            ("load", "d.ndjson", "--rate", "nan"): "--rate",
            ("load", "d.ndjson", "--rate", "inf"): "--rate",
            ("load", "d.ndjson", "--workers", "0"): "--workers",
            ("load", "d.ndjson", "--grace", "x"): "--grace",
            ("load", "d.ndjson", "--grace", "-1s"): "--grace",
            ("load", "d.ndjson", "--limit", "0"): "--limit",
            ("load", "d.ndjson", "--max-attempts", "0"): "--max-attempts",
            ("load", "d.ndjson", "--max-errors", "101%"): "--max-errors",
            ("load", "d.ndjson", "--frobnicate"): "--frobnicate",
            ("load",): "SOURCE",
            ("frobnicate",): "frobnicate",
            ("status",): "LEDGER",
            ("status", "missing.ledger"): "missing.ledger",
        }
        ran_all = commands.run_all((Case(arguments, NOBODY) for arguments in cases), cwd=tmp_path)
        for ran, word in zip(ran_all, cases.values(), strict=True):
            assert ran.code == 2, ran.err
            assert word in ran.complaint
        assert not list(tmp_path.glob("*.ledger*"))

    def test_help_has_examples_and_version_is_one_line(self, tmp_path: Path, commands: Forks) -> None:
        verbs = ("load", "status", "retry", "emulator")
        version, everything, *helps = commands.run_all(
            [Case(["--version"]), Case(["--help"]), *(Case([verb, "--help"]) for verb in verbs)], cwd=tmp_path
        )
        assert re.fullmatch(r"bulkload \d+\.\d+\.\d+\S*\n", version.out)
        assert all(verb in everything.out for verb in verbs)
        for verb, told in zip(verbs, helps, strict=True):
            assert (told.code, told.err) == (0, "")
            examples = re.findall(rf"^ +(?:\S+ \S+ \| )?bulkload {verb}\b.*$", told.out, re.MULTILINE)
            assert "Examples:" in told.out
            assert examples
        assert "Exit codes" in helps[0].out


def _read_terminal(master: int) -> str:
    """All that is written to a terminal until nobody holds it any more."""
    seen = b""
    while True:
        try:
            data = os.read(master, 65536)
        except OSError:
            data = b""
        if not data:
            return seen.decode()
        seen += data

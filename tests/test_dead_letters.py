"""What settled badly stands beside the ledger in the form it came, equals the ledger, and can be mended."""

import asyncio
import base64
import csv
import gzip
import io
import json
import os
import sqlite3
import stat
from collections.abc import Generator, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from pyarrow import parquet

import bulkload
from bulkload.dead_letters import ABOUT, DeadLetters, Letter, standing
from bulkload.errors import Halt
from bulkload.installation import Flaw
from bulkload.ledger import Dead, Ledger, Run, read_state, schema
from bulkload.load import graves
from bulkload.load.graves import Graves
from bulkload.record import Origin, Outcome
from bulkload.source import Broken, Datum, Place
from bulkload.source.encoding import CARRIED
from tests.processes import CHANNEL, Forks, RecordingHub, counts, installation, refusal, rows, run

Fields = dict[str, Any]


class Source:
    """As much of a source as letters need."""

    def __init__(self, name: str, columns: tuple[str, ...] | None = None, delimiter: str = ",") -> None:
        self.name = name
        self.columns = columns
        self.delimiter = delimiter


def letter(datum: Datum, *, source: int = 0, position: int = 0, offset: int = 0, reason: str = "why") -> Letter:
    return Letter(Origin(source, datum, Place(offset, 1)), position, Outcome.INVALID, reason)


def told(position: int, outcome: Outcome = Outcome.INVALID, reason: str = "why") -> Dead:
    return Dead(position, Place(position, 1), outcome, reason)


def written(path: Path) -> list[Fields]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def dead(ledger: Path) -> Path:
    return Path(f"{ledger}.dead.ndjson")


def positions(ledger: Path) -> list[int]:
    return sorted(each["_bulkload"]["position"] for each in written(dead(ledger)))


def bad_rows(ledger: Path) -> list[int]:
    return [row.position for row in rows(ledger) if row.outcome not in ("accepted", "superseded")]


def good(number: int) -> bytes:
    return installation(f"good-{number}")


def bad(number: int) -> bytes:
    return installation(f"bad {number}", pushChannel=f"{CHANNEL}{number}")


@pytest.mark.parametrize(
    "text",
    [b'{"a": 1}', b'{"a":1.50, "a":2}', b"[1,2]", b"null", '{"a":"é\U0001f511"}'.encode(), b'{"a":"\\u0000"}'],
)
def test_a_json_text_stands_in_its_letter_as_it_came(tmp_path: Path, text: bytes) -> None:
    DeadLetters(tmp_path / "l.dead", [Source("a.ndjson")]).write([letter(text, position=7, reason="line 8: bad")])
    [line] = (tmp_path / "l.dead.ndjson").read_bytes().splitlines()
    assert line.endswith(b'"record":' + text + b"}")
    assert json.loads(line)["_bulkload"] == {
        "source": "a.ndjson",
        "position": 7,
        "outcome": "invalid",
        "reason": "line 8: bad",
    }


@pytest.mark.parametrize("text", [b"{", b"\xff\xfe", b'{"a":NaN}', b"\x00", b'{"a":"\xed\xa0\x80"}', b"a\nb"])
def test_what_is_no_json_stands_in_base64(tmp_path: Path, text: bytes) -> None:
    DeadLetters(tmp_path / "l.dead", [Source("a")]).write([letter(text)])
    [found] = written(tmp_path / "l.dead.ndjson")
    assert "record" not in found
    assert base64.b64decode(found["base64"]) == text


def test_a_json_text_of_several_lines_is_put_on_one(tmp_path: Path) -> None:
    DeadLetters(tmp_path / "l.dead", [Source("a")]).write([letter(b'{\n "a": [1,\r\n 2]}')])
    [found] = written(tmp_path / "l.dead.ndjson")
    assert found["record"] == {"a": [1, 2]}


def test_of_what_is_too_long_the_beginning_and_the_range_are_kept(tmp_path: Path) -> None:
    broken = Broken(Flaw.of("line-too-long", "long"), b"x" * 1024, 5_000_000)
    DeadLetters(tmp_path / "l.dead", [Source("a")]).write([letter(broken, offset=100)])
    [found] = written(tmp_path / "l.dead.ndjson")
    assert found["_bulkload"]["bytes"] == [100, 5_000_100]
    assert base64.b64decode(found["head"]) == b"x" * 1024
    assert "record" not in found


def test_a_row_stands_under_its_columns_and_what_could_not_be_laid_beside_them(tmp_path: Path) -> None:
    source = Source("a.csv", ("id", "note"), ";")
    short = Broken(Flaw.of("cells-too-few", "1 of 2"), b'x"y;z', 5)
    long = Broken(Flaw.of("line-too-long", "long"), b"h" * 1024, 2_000_000)
    DeadLetters(tmp_path / "l.dead", [source]).write(
        [letter({"id": "a;b", "note": 'say "no"\nnow'}), letter(short, position=1), letter(long, position=2, offset=9)]
    )
    with (tmp_path / "l.dead.csv").open(newline="") as file:
        head, *found = list(csv.reader(file, delimiter=";"))
    assert head == ["id", "note", *ABOUT]
    assert found == [
        ["a;b", 'say "no"\nnow', "a.csv", "0", "invalid", "why", "", ""],
        ["", "", "a.csv", "1", "invalid", "why", 'x"y;z', ""],
        ["", "", "a.csv", "2", "invalid", "why (bytes 9 to 2000009)", "", "h" * 1024],
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16", "utf-8-sig", "cp1252"])
def test_rows_are_written_in_their_source_s_encoding_with_one_mark(tmp_path: Path, encoding: str) -> None:
    letters = DeadLetters(tmp_path / "l.dead", [Source("a.csv", ("name",))], encoding=encoding)
    letters.write([letter({"name": "é"}, reason="✗ wrong")])
    letters.write([letter({"name": "ü"})])
    text = (tmp_path / "l.dead.csv").read_bytes().decode(encoding)
    assert [line.split(",")[0] for line in text.splitlines()] == ["name", "é", "ü"]
    assert "wrong" in text


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16"])
def test_json_is_written_in_its_source_s_encoding_with_one_mark(tmp_path: Path, encoding: str) -> None:
    letters = DeadLetters(tmp_path / "l.dead", [Source("ж.ndjson")], encoding=encoding)
    for text in ('{"a":"é"}', '{"a":"ü"}'):
        letters.write([letter(text.encode(), reason="✗ wrong")])
    found = [json.loads(line) for line in (tmp_path / "l.dead.ndjson").read_bytes().decode(encoding).splitlines()]
    assert [each["record"]["a"] for each in found] == ["é", "ü"]
    assert {each["_bulkload"]["reason"] for each in found} == {"✗ wrong"}


@pytest.mark.parametrize("columns", [None, ("a", "b")], ids=["ndjson", "csv"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16"])
def test_what_stands_there_is_taken_over_as_far_as_it_is_true(
    tmp_path: Path, columns: tuple[str, ...] | None, encoding: str
) -> None:
    sources = [Source("s", columns), Source("other", columns)]
    letters = DeadLetters(tmp_path / "l.dead", sources, encoding=encoding)
    data: list[Datum] = [{"a": "é,\n", "b": str(n)} if columns else f'{{"a":"é{n}"}}'.encode() for n in range(4)]
    letters.write([letter(datum, position=n, source=n // 3) for n, datum in enumerate(data)])
    letters.close()
    [path] = standing(tmp_path / "l.dead")
    before = path.read_bytes()
    with letters.rebuilding() as rebuild:
        assert rebuild.keep(0, lambda position: told(position) if position != 1 else None, 2)
        assert rebuild.keep(1, told, 1)
    kept = DeadLetters(tmp_path / "k.dead", sources, encoding=encoding)
    kept.write([letter(datum, position=n, source=n // 3) for n, datum in enumerate(data) if n != 1])
    assert path.read_bytes() == standing(tmp_path / "k.dead")[0].read_bytes() != before


@pytest.mark.parametrize("columns", [None, ("a", "b")], ids=["ndjson", "csv"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16"])
def test_what_stands_there_tells_what_became_of_it_since(
    tmp_path: Path, columns: tuple[str, ...] | None, encoding: str
) -> None:
    letters = DeadLetters(tmp_path / "l.dead", [Source("s", columns)], encoding=encoding)
    data: list[Datum] = [
        {"a": "é,\n", "b": str(n)} if columns else f'{{"a": "é{n}", "n": 1.0}}'.encode() for n in range(2)
    ]
    letters.write([letter(datum, position=n) for n, datum in enumerate(data)])
    letters.close()
    assert list(letters.objects(0)) == list(enumerate(data))
    [path] = standing(tmp_path / "l.dead")
    with letters.rebuilding() as rebuild:
        # Of the second one's object, the record before is the one that settled badly by now.
        later = {0: told(0, Outcome.EXHAUSTED, "503"), 1: told(7, Outcome.REJECTED, "400 é")}
        assert rebuild.keep(0, later.get, 2)
    expected = DeadLetters(tmp_path / "k.dead", [Source("s", columns)], encoding=encoding)
    expected.write(
        [
            Letter(Origin(0, data[0], Place(0, 1)), 0, Outcome.EXHAUSTED, "503"),
            Letter(Origin(0, data[1], Place(0, 1)), 7, Outcome.REJECTED, "400 é"),
        ]
    )
    assert path.read_bytes() == standing(tmp_path / "k.dead")[0].read_bytes()


def test_a_thread_that_was_left_behind_writes_nowhere(tmp_path: Path) -> None:
    """A stop while letters are built anew does not wait for the thread that writes them."""
    letters = DeadLetters(tmp_path / "l.dead", [Source("a")])
    with letters.rebuilding() as rebuild:
        rebuild.write([letter(b"{}", position=1)])
    with (tmp_path / "victim").open("wb") as victim:
        rebuild.write([letter(b"{}", position=2)])
        assert os.fstat(victim.fileno()).st_size == 0
    assert [each["_bulkload"]["position"] for each in written(tmp_path / "l.dead.ndjson")] == [1]


def test_rows_of_other_columns_go_to_a_file_of_their_own(tmp_path: Path) -> None:
    sources = [Source("a.csv", ("a",)), Source("b.ndjson"), Source("c.csv", ("c",)), Source("d.csv", ("a",))]
    letters = DeadLetters(tmp_path / "l.dead", sources)
    letters.write([letter({"a": "1"}), letter(b"{}", source=1), letter({"c": "2"}, source=2)])
    letters.write([letter({"a": "3"}, source=3)])
    assert [path.name for path in standing(tmp_path / "l.dead")] == ["l.dead.2.csv", "l.dead.csv", "l.dead.ndjson"]
    assert len((tmp_path / "l.dead.csv").read_text().splitlines()) == 3


def test_only_the_owner_may_read_them(tmp_path: Path) -> None:
    DeadLetters(tmp_path / "l.dead", [Source("a")]).write([letter(b"{}")])
    assert stat.S_IMODE((tmp_path / "l.dead.ndjson").stat().st_mode) == 0o600


def test_a_rebuild_replaces_what_stood_there_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "l.dead.ndjson"
    path.write_bytes(b"old\n")
    (tmp_path / "l.dead.csv").write_bytes(b"old\n")
    letters = DeadLetters(tmp_path / "l.dead", [Source("a")])
    with letters.rebuilding() as rebuild:
        rebuild.write([letter(b"{}", position=1)])
        assert path.read_bytes() == b"old\n"
    letters.write([letter(b"{}", position=2)])
    assert [each["_bulkload"]["position"] for each in written(path)] == [1, 2]
    assert [each.name for each in tmp_path.iterdir()] == ["l.dead.ndjson"]


def test_a_rebuild_that_fails_leaves_what_stood_there(tmp_path: Path) -> None:
    path = tmp_path / "l.dead.ndjson"
    path.write_bytes(b"old\n")
    letters = DeadLetters(tmp_path / "l.dead", [Source("a")])

    def fail() -> None:
        with letters.rebuilding() as rebuild:
            rebuild.write([letter(b"{}")])
            raise Halt("gone")

    with pytest.raises(Halt, match="gone"):
        fail()
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {path.name: b"old\n"}
    with letters.rebuilding():
        pass
    assert list(tmp_path.iterdir()) == []


def test_where_they_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path / "gone" / "l.dead", [Source("a")])
    with pytest.raises(Halt, match=r"dead letters .*l\.dead\.ndjson cannot be written: No such file") as failure:
        letters.write([letter(b"{}")])
    assert len(str(failure.value).splitlines()) == 1


@pytest.fixture
def recording() -> Iterable[RecordingHub]:
    with RecordingHub(lambda put: refusal(400, "Bad tag.") if b"refused" in put.body else refusal(200, "")) as hub:
        yield hub


class TestARun:
    def test_buries_invalid_rejected_and_exhausted_records(self, tmp_path: Path, commands: Forks) -> None:
        def answer(put: Any) -> Any:
            if b"refused" in put.body:
                return refusal(400, "Bad tag.")
            return refusal(503, "not now") if b"failing" in put.body else refusal(200, "")

        ids = [b'"refused-1"', b'"failing-1"', b'"good-1"']
        lines = [installation("x").replace(b'"x"', id_) for id_ in ids]
        (tmp_path / "d.ndjson").write_bytes(b"\n".join([*lines, bad(1), b"{"]))
        with RecordingHub(answer) as hub:
            ran = commands.run("load", "d.ndjson", "--max-attempts", "1", "--json", cwd=tmp_path, env=hub.env)
        assert ran.code == 1
        ledger = tmp_path / "d.ndjson.ledger"
        assert ran.summary["dead_letters"] == "d.ndjson.ledger.dead.ndjson"
        found = {each["_bulkload"]["position"]: each for each in written(dead(ledger))}
        assert {position: each["_bulkload"]["outcome"] for position, each in found.items()} == {
            0: "rejected",
            1: "exhausted",
            3: "invalid",
            4: "invalid",
        }
        assert orjson.dumps(found[0]["record"]) == lines[0]
        assert "Bad tag" in found[0]["_bulkload"]["reason"]
        assert {position: found[position]["_bulkload"]["reason"] for position in found} == {
            row.position: row.detail for row in rows(ledger) if row.position in found
        }

    def test_that_has_none_makes_no_file(self, tmp_path: Path, recording: RecordingHub, commands: Forks) -> None:
        (tmp_path / "d.ndjson").write_bytes(good(1))
        ran = commands.run("load", "d.ndjson", "--json", cwd=tmp_path, env=recording.env)
        assert ran.summary["dead_letters"] is None
        assert {path.name for path in tmp_path.iterdir()} == {"d.ndjson", "d.ndjson.ledger"}

    def test_is_mended_by_loading_its_letters(self, tmp_path: Path, recording: RecordingHub, commands: Forks) -> None:
        (tmp_path / "d.ndjson").write_bytes(b"\n".join([good(1), bad(2), b'{"installationId": "cut-3"', bad(4)]))
        assert commands.run("load", "d.ndjson", cwd=tmp_path, env=recording.env).code == 1
        mended = []
        for line in dead(tmp_path / "d.ndjson.ledger").read_bytes().splitlines():
            found = json.loads(line)
            if "base64" in found:
                found["base64"] = base64.b64encode(installation("cut-3")).decode()
            else:
                found["record"]["installationId"] = found["record"]["installationId"].replace(" ", "-")
            mended.append(json.dumps(found))
        (tmp_path / "mended.ndjson").write_text("\n".join(mended))
        assert commands.run("load", "mended.ndjson", cwd=tmp_path, env=recording.env).code == 0
        assert recording.installations.keys() == {"good-1", "bad-2", "cut-3", "bad-4"}

    def test_of_unmended_letters_fails_as_before(
        self, tmp_path: Path, recording: RecordingHub, commands: Forks
    ) -> None:
        long = b'{"installationId":"' + b"x" * 2_000_000 + b'"}'
        (tmp_path / "d.ndjson").write_bytes(b"\n".join([bad(1), b"{", long, b"[]"]))
        assert commands.run("load", "d.ndjson", cwd=tmp_path, env=recording.env).code == 1
        letters = dead(tmp_path / "d.ndjson.ledger")
        assert commands.run("load", letters.name, cwd=tmp_path, env=recording.env).code == 1
        again = tmp_path / f"{letters.name}.ledger"
        assert counts(again) == {"invalid": 4}
        codes = [
            [str(row.detail).split(": ")[1] for row in rows(ledger)] for ledger in (tmp_path / "d.ndjson.ledger", again)
        ]
        assert codes[0] == codes[1] == ["id-characters", "not-json", "line-too-long", "not-an-object"]

    def test_lets_a_pattern_name_its_letters(self, tmp_path: Path, recording: RecordingHub, commands: Forks) -> None:
        (tmp_path / "d.ndjson").write_bytes(bad(1))
        assert commands.run("load", "d.ndjson", cwd=tmp_path, env=recording.env).code == 1
        ran = commands.run("load", "*.dead.*", "--ledger", "l", "--json", cwd=tmp_path, env=recording.env)
        assert ran.summary["records"]["invalid"] == 1

    def test_shows_them_in_its_status(self, tmp_path: Path, recording: RecordingHub, commands: Forks) -> None:
        (tmp_path / "d.ndjson").write_bytes(bad(1))
        assert (
            "dead letters: d.ndjson.ledger.dead.ndjson"
            in commands.run("load", "d.ndjson", cwd=tmp_path, env=recording.env).err
        )
        ran = commands.run("status", "d.ndjson.ledger", "--json", cwd=tmp_path)
        assert ran.summary["dead_letters"] == "d.ndjson.ledger.dead.ndjson"


class TestTheRoundTrip:
    """Load, mend, load: in every form."""

    def load(self, commands: Forks, folder: Path, hub: RecordingHub, name: str, *flags: str) -> Path:
        """Load a source in which something is wrong; returns the path of its only dead letters."""
        ran = commands.run("load", name, *flags, "--json", cwd=folder, env=hub.env)
        assert ran.code == 1, ran.err
        return folder / str(ran.summary["dead_letters"])

    def test_of_json_text(self, tmp_path: Path, recording: RecordingHub, commands: Forks) -> None:
        for number, text in enumerate(("[%s,%s]", '{"total":2,"devices":[%s,%s]}', "%s\n%s")):
            (tmp_path / "d").write_text(text % (good(number).decode(), bad(number).decode()))
            letters = self.load(commands, tmp_path, recording, "d", "--ledger", str(number))
            assert letters.suffix == ".ndjson"
            letters.write_bytes(letters.read_bytes().replace(b"bad ", b"bad-"))
            assert commands.run("load", letters.name, cwd=tmp_path, env=recording.env).code == 0
        wanted = {f"{kind}-{number}" for kind in ("good", "bad") for number in range(3)}
        assert recording.installations.keys() == wanted

    @pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16"])
    def test_of_csv(self, tmp_path: Path, recording: RecordingHub, commands: Forks, encoding: str) -> None:
        text = (
            "installationId;platform;pushChannel;tags;note\n"
            "good-1;gcm;t1;é|x;n\n"
            'bad 2;gcm;t2;x;"several\nlines; and a ""quote"""\n'
            "short-3;gcm;t3\n"
            "long-4;gcm;t4;x;n;and more\n"
            'bad 5;gcm;t5;ü;"n\n"\n'
        )
        flags = ["--delimiter", ";", "--encoding", encoding, "--repair", "tags"]
        (tmp_path / "d.csv").write_bytes(text.encode(encoding))
        letters = self.load(commands, tmp_path, recording, "d.csv", *flags)
        assert letters.name == "d.csv.ledger.dead.csv"
        head, *found = list(csv.reader(io.StringIO(letters.read_bytes().decode(encoding), newline=""), delimiter=";"))
        assert [row[0] for row in found] == ["bad 2", "", "", "bad 5"]
        place = head.index("_bulkload_row")
        assert [row[place] for row in found] == ["", "short-3;gcm;t3", "long-4;gcm;t4;x;n;and more", ""]
        # As they are they fail again, and for the same reasons.
        again = self.load(commands, tmp_path, recording, letters.name, *flags)
        assert [row.detail for row in rows(tmp_path / f"{letters.name}.ledger")] != []
        # Two are mended under their columns, one in the row as it came, one is laid under its columns by hand.
        found[0][0], found[3][0] = "bad-2", "bad-5"
        found[1][place] += ";;n"
        found[2][:5], found[2][place] = ["long-4", "gcm", "t4", "x", "n"], ""
        mended = io.StringIO(newline="")
        csv.writer(mended, delimiter=";").writerows([head, *found])
        (tmp_path / "mended.csv").write_bytes(mended.getvalue().encode(encoding))
        ran = commands.run("load", "mended.csv", *flags, cwd=tmp_path, env=recording.env)
        assert ran.code == 0, ran.err
        assert recording.installations.keys() == {"good-1", "bad-2", "short-3", "long-4", "bad-5"}
        assert again.exists()

    def test_of_parquet(self, tmp_path: Path, recording: RecordingHub, commands: Forks) -> None:
        fields = [json.loads(each) for each in (good(1), bad(2))]
        parquet.write_table(pa.Table.from_pylist(fields), tmp_path / "d.parquet")
        letters = self.load(commands, tmp_path, recording, "d.parquet")
        letters.write_bytes(letters.read_bytes().replace(b"bad ", b"bad-"))
        assert commands.run("load", letters.name, cwd=tmp_path, env=recording.env).code == 0
        assert recording.installations.keys() == {"good-1", "bad-2"}

    def test_of_an_object_that_yielded_several_records(
        self, tmp_path: Path, recording: RecordingHub, commands: Forks
    ) -> None:
        devices = [json.loads(each) for each in (good(1), bad(2), bad(3))]
        objects = [{"user": "u", "devices": devices}, {"user": "v", "devices": [json.loads(good(4))]}]
        (tmp_path / "d.ndjson").write_bytes(b"\n".join(map(orjson.dumps, objects)))
        flags = ["--each", "devices", "--map", "userId=_parent.user"]
        letters = self.load(commands, tmp_path, recording, "d.ndjson", *flags)
        [found] = written(letters)
        assert found["record"] == objects[0]
        assert found["_bulkload"]["position"] == 1
        assert counts(tmp_path / "d.ndjson.ledger") == {"accepted": 2, "invalid": 2}
        letters.write_bytes(letters.read_bytes().replace(b"bad ", b"bad-"))
        assert commands.run("load", letters.name, *flags, cwd=tmp_path, env=recording.env).code == 0
        assert recording.installations.keys() == {"good-1", "bad-2", "bad-3", "good-4"}


def mixed(number: int) -> list[bytes]:
    """So many lines, of which every third is broken."""
    return [bad(ordinal) if ordinal % 3 == 0 else good(ordinal) for ordinal in range(number)]


class TestASession:
    """Of a run that was stopped before."""

    @pytest.mark.parametrize("form", ["plain", "gzip"])
    @pytest.mark.parametrize("gap", [0, graves.GAP])
    def test_builds_lost_letters_anew(
        self,
        tmp_path: Path,
        recording: RecordingHub,
        commands: Forks,
        form: str,
        gap: int,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        data = b"\n".join(mixed(60))
        (tmp_path / "d").write_bytes(gzip.compress(data) if form == "gzip" else data)
        assert commands.run("load", "d", "--limit", "40", cwd=tmp_path, env=recording.env).code == 5
        ledger = tmp_path / "d.ledger"
        whole = sorted(dead(ledger).read_bytes().splitlines())
        assert len(whole) == 14
        dead(ledger).unlink()
        monkeypatch.setattr(graves, "GAP", gap)
        asyncio.run(
            bulkload.load(
                tmp_path / "d",
                hub=bulkload.Hub.from_connection_string(recording.env["BULKLOAD_CONNECTION_STRING"]),
                limit=1,
            )
        )
        assert positions(ledger) == bad_rows(ledger)
        found = sorted(dead(ledger).read_bytes().splitlines())
        assert {b'"position":%d,' % number for number in (0, 3, 39)} <= {
            part for line in found for part in [line[line.index(b'"position"') : line.index(b'"outcome"')]]
        }

    def test_of_standard_input_builds_lost_letters_anew(
        self, tmp_path: Path, recording: RecordingHub, commands: Forks
    ) -> None:
        data = b"\n".join(mixed(60))
        load = ("load", "-", "--ledger", "l")
        assert commands.run(*load, "--limit", "40", cwd=tmp_path, env=recording.env, stdin=data).code == 5
        dead(tmp_path / "l").unlink()
        assert commands.run(*load, cwd=tmp_path, env=recording.env, stdin=data).code == 1
        assert positions(tmp_path / "l") == bad_rows(tmp_path / "l") == list(range(0, 60, 3))

    @pytest.mark.parametrize("kind", ["file", "standard input"])
    def test_that_ends_early_keeps_the_letters_of_what_was_settled_beyond_its_mark(
        self, tmp_path: Path, commands: Forks, kind: str
    ) -> None:
        data = b"\n".join([*(installation(f"failing-{n}") for n in range(20)), *map(bad, range(20))])
        (tmp_path / "d").write_bytes(data)
        name, stdin = ("d", b"") if kind == "file" else ("-", data)
        load = ("load", name, "--ledger", "l", "--workers", "1", "--max-duration")
        with RecordingHub(lambda put: refusal(503, "not now")) as hub:
            for seconds in ("1s", "0.4s"):
                assert commands.run(*load, seconds, cwd=tmp_path, env=hub.env, stdin=stdin).code == 5
                assert positions(tmp_path / "l") == bad_rows(tmp_path / "l") == list(range(20, 40))
        assert {path.name for path in tmp_path.iterdir()} == {"d", "l", "l.dead.ndjson"}

    def test_takes_away_letters_that_the_ledger_does_not_show(
        self, tmp_path: Path, recording: RecordingHub, commands: Forks
    ) -> None:
        (tmp_path / "d").write_bytes(b"\n".join([good(1), good(2)]))
        assert commands.run("load", "d", "--limit", "1", cwd=tmp_path, env=recording.env).code == 5
        dead(tmp_path / "d.ledger").write_bytes(b'{"_bulkload":{"position":1}}\n')
        assert commands.run("load", "d", cwd=tmp_path, env=recording.env).code == 0
        assert not dead(tmp_path / "d.ledger").exists()

    def test_of_a_changed_source_puts_the_letters_aside_with_their_ledger(
        self, tmp_path: Path, recording: RecordingHub, commands: Forks
    ) -> None:
        (tmp_path / "d").write_bytes(bad(1))
        assert commands.run("load", "d", cwd=tmp_path, env=recording.env).code == 1
        old = dead(tmp_path / "d.ledger").read_bytes()
        (tmp_path / "d").write_bytes(bad(22))
        assert commands.run("load", "d", "--when-changed", "restart", cwd=tmp_path, env=recording.env).code == 1
        [aside] = tmp_path.glob("d.ledger.2*Z.dead.ndjson")
        assert aside.read_bytes() == old
        assert dead(tmp_path / "d.ledger").read_bytes() != old

    def test_with_a_new_ledger_keeps_letters_that_somebody_may_be_mending(
        self, tmp_path: Path, recording: RecordingHub, commands: Forks
    ) -> None:
        (tmp_path / "d").write_bytes(good(1))
        dead(tmp_path / "d.ledger").write_bytes(b"half mended\n")
        assert commands.run("load", "d", cwd=tmp_path, env=recording.env).code == 0
        [aside] = tmp_path.glob("d.ledger.2*Z.dead.ndjson")
        assert aside.read_bytes() == b"half mended\n"

    def test_of_an_emulated_hub_begins_anew(self, tmp_path: Path) -> None:
        (tmp_path / "d").write_bytes(bad(1))
        for _ in range(2):
            assert run("load", "d", "--emulator", cwd=tmp_path).code == 1
            assert {path.name for path in tmp_path.iterdir()} == {
                "d",
                "d.emulator.ledger",
                "d.emulator.ledger.dead.ndjson",
            }
            assert len(written(dead(tmp_path / "d.emulator.ledger"))) == 1


def test_graves_give_one_letter_for_a_source_object_of_several_records() -> None:
    def dead_ones() -> Generator[Dead, None, None]:
        yield Dead(0, Place(0, 1), Outcome.INVALID, "a")
        yield Dead(2, Place(10, 2), Outcome.INVALID, "b")
        yield Dead(3, Place(10, 2), Outcome.REJECTED, "c")
        yield Dead(9, Place(30, 4), Outcome.EXHAUSTED, None)

    found = Graves(dead_ones())
    made = [found.of(b"{}", Place(offset, line)) for line, offset in enumerate((0, 10, 20, 30), start=1)]
    letters = [each and each.letter(0) for each in made]
    assert [(each.position, each.reason) if each else None for each in letters] == [(0, "a"), (2, "b"), None, (9, "")]
    assert found.next is None


def test_a_ledger_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "old.ledger"
    belongs = Run("h/devices", ("d",), ("file:1:a",))
    with closing(Ledger(path, belongs)) as ledger:
        ledger.begin_session(version="1", transport="none", resume=None)
        ledger.connection.execute("UPDATE runs SET accepted = 1")
        ledger.connection.execute("INSERT INTO settlements VALUES (0, 0, 'a', 1, 200, 1, 5, 5, NULL, NULL)")
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("DROP TABLE dead_letters; PRAGMA user_version = 1; ALTER TABLE runs DROP COLUMN flags")
        for column in ("address", "form", "delimiter", "columns"):
            connection.execute(f"ALTER TABLE sources DROP COLUMN {column}")
    assert read_state(path).settled == 1
    with closing(Ledger(path, belongs)) as ledger:
        assert list(ledger.dead(0, 0, 10)) == []
        assert ledger.state.settled == 1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)


@pytest.mark.parametrize(
    ("encoding", "row"),
    [
        ("utf-8", b"x\xff,\r1"),
        ("cp1252", b"x\x81,\xe9"),
        ("utf-16-le", "x".encode("utf-16-le") + b"\x00\xd8" + ",1".encode("utf-16-le")),
        ("utf-16", "x".encode("utf-16-le") + b"\x00\xd8" + ",1".encode("utf-16-le")),
        ("gbk", b"\x81,1"),
    ],
)
async def test_a_row_with_bytes_of_no_text_stands_there_as_it_came_and_stays_refused(
    tmp_path: Path, encoding: str, row: bytes
) -> None:
    source = tmp_path / "s.csv"
    mark, head = "".encode(encoding), "installationId,platform,pushChannel\n".encode(encoding)
    end = "\n".encode(encoding).removeprefix(mark)
    source.write_bytes(head + row + end + "b c,gcm,t".encode(encoding).removeprefix(mark) + end)
    first, second = tmp_path / "1.csv", tmp_path / "2.csv"
    report = await bulkload.check(source, encoding=encoding, invalid=first)
    assert {rule.code for rule in report.rules} >= {"not-text"}
    again = await bulkload.check(first, encoding=encoding, invalid=second)
    assert again.records.invalid == report.records.invalid == 2

    def letters(path: Path) -> list[tuple[str, bytes]]:
        text = path.read_bytes().decode(encoding, CARRIED)
        found = csv.DictReader(io.StringIO(text, newline=""))
        return [
            (each["installationId"], each["_bulkload_row"].encode(encoding, CARRIED).removeprefix(mark))
            for each in found
        ]

    assert letters(first) == letters(second) == [("", row), ("b c", b"")]


def test_a_cell_with_a_carriage_return_is_quoted(tmp_path: Path) -> None:
    DeadLetters(tmp_path / "l.dead", [Source("a.csv", ("id", "note"))]).write([letter({"id": "1", "note": "a\rb"})])
    with (tmp_path / "l.dead.csv").open(newline="") as file:
        assert list(csv.reader(file))[1][:2] == ["1", "a\rb"]


@pytest.mark.parametrize("columns", [None, ("a",)], ids=["ndjson", "csv"])
@pytest.mark.parametrize(
    "edit", ["a line less", "a line twice", "another encoding", "a position as text", "no position"]
)
def test_letters_that_somebody_edited_are_not_taken_over_by_half(
    tmp_path: Path, columns: tuple[str, ...] | None, edit: str
) -> None:
    letters = DeadLetters(tmp_path / "l.dead", [Source("s", columns)])
    data: list[Datum] = [{"a": f"é{n}"} if columns else f'{{"a":"é{n}"}}'.encode() for n in range(4)]
    letters.write([letter(datum, position=n) for n, datum in enumerate(data)])
    letters.close()
    [path] = standing(tmp_path / "l.dead")
    *others, last = path.read_bytes().splitlines(keepends=True)
    match edit:
        case "a line less":
            last = b""
        case "a line twice":
            last = others[-1]
        case "another encoding":
            last = last.decode().encode("latin-1")
        case "a position as text":
            last = last.replace(b'"position":3', b'"position":"3"').replace(b"s,3,", b's,"three",')
        case "no position":
            last = last.replace(b'"position":3', b'"position":999999999999999999999').replace(b"s,3,", b"s,,")
    path.write_bytes(b"".join(others) + last)
    is_as_before = edit == "another encoding" and columns is not None
    with letters.rebuilding() as rebuild:
        assert rebuild.keep(0, lambda position: told(position) if 0 <= position < 4 else None, 4) is is_as_before
    assert path.exists() is is_as_before


def test_a_long_cell_is_taken_over(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path / "l.dead", [Source("s", ("a",))])
    letters.write([letter({"a": "x" * 500_000}, position=0)])
    letters.close()
    with letters.rebuilding() as rebuild:
        assert rebuild.keep(0, told, 1)

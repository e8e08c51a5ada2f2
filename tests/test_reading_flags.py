"""The flags of reading, mapping and checking: on the command line, in the environment and in the config file alike."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.processes import Case, Forks, RecordingHub, installation, ndjson

Bodies = dict[str, dict[str, Any]]

PLAIN: dict[str, Any] = {"installationId": "a", "platform": "gcm", "pushChannel": "t"}


@pytest.fixture
def recording() -> Iterator[RecordingHub]:
    with RecordingHub() as hub:
        yield hub


def sent(hub: RecordingHub) -> list[dict[str, Any]]:
    return [json.loads(put.body) for put in sorted(hub.puts, key=lambda put: put.id)]


class Told(NamedTuple):
    """One flag: a source, the flag on a command line and in a config file, and what is sent."""

    source: str
    arguments: list[str]
    config: str
    sent: list[dict[str, Any]]


ROW = "installationId,platform,pushChannel,tags\n"

FLAGS = {
    "format": Told(f"{ROW}a,gcm,t,\n", ["--format", "csv"], 'format = "csv"', [PLAIN]),
    "delimiter": Told(
        "installationId;platform;pushChannel;a,b\na;gcm;t;x\n", ["--delimiter", ";"], 'delimiter = ";"', [PLAIN]
    ),
    "encoding": Told(
        json.dumps(PLAIN | {"own": "é"}, ensure_ascii=False),
        ["--encoding", "latin-1"],
        'encoding = "latin-1"',
        [PLAIN | {"own": "Ã©"}],
    ),
    "records": Told(
        json.dumps({"a": [{"installationId": "no"}], "b": {"c": [PLAIN]}}, indent=1),
        ["--records", "b.c"],
        'records = "b.c"',
        [PLAIN],
    ),
    "preset": Told(
        json.dumps(
            {
                "Endpoints": [
                    {"EndpointArn": "arn:aws:sns:r:1:endpoint/ADM/x/a", "Attributes": {"Token": "t", "Enabled": "true"}}
                ]
            }
        ),
        ["--preset", "sns"],
        '[map]\npreset = "sns"',
        [PLAIN | {"platform": "adm"}],
    ),
    "json-column": Told(
        json.dumps(PLAIN | {"tags": '["x"]'}),
        ["--json-column", "tags"],
        '[map]\njson-column = ["tags"]',
        [PLAIN | {"tags": ["x"]}],
    ),
    "each": Told(
        json.dumps({"user": "u", "devices": [PLAIN, PLAIN | {"installationId": "b"}]}),
        ["--each", "devices", "--map", "userId=_parent.user"],
        '[map]\neach = "devices"\nmap = {userId = "_parent.user"}',
        [PLAIN | {"userId": "u"}, PLAIN | {"installationId": "b", "userId": "u"}],
    ),
    "where": Told(
        f"{json.dumps(PLAIN)}\n{json.dumps(PLAIN | {'installationId': 'b'})}",
        ["--where", "installationId == 'a'"],
        "[map]\nwhere = \"installationId == 'a'\"",
        [PLAIN],
    ),
    "map": Told(
        json.dumps({"id": "a", "os": "gcm", "pushChannel": "t"}),
        ["--map", "installationId=id", "--map", "platform=os"],
        '[map]\nmap = {installationId = "id", platform = "os"}',
        [PLAIN],
    ),
    "transform": Told(
        json.dumps({"id": "a"}), ["--transform", "own.py:made"], '[map]\ntransform = "own.py:made"', [PLAIN]
    ),
    "map-value": Told(
        json.dumps(PLAIN | {"platform": "an:droid"}),
        ["--map-value", r"platform:AN\:DROID=gcm"],
        '[map.map-value.platform]\n"an:droid" = "gcm"',
        [PLAIN],
    ),
    "default": Told(
        json.dumps(PLAIN | {"platform": ""}),
        ["--default", "platform=gcm"],
        '[map]\ndefault = {platform = "gcm"}',
        [PLAIN],
    ),
    "set": Told(
        json.dumps(PLAIN | {"platform": "x"}), ["--set", "platform=gcm"], '[map]\nset = {platform = "gcm"}', [PLAIN]
    ),
    "tag": Told(
        json.dumps(PLAIN | {"country": ["de", "fr"]}),
        ["--tag", "c:{country}", "--tag", "all"],
        '[map]\ntag = ["c:{country}", "all"]',
        [PLAIN | {"tags": ["c:de", "c:fr", "all"]}],
    ),
    "id-from": Told(
        json.dumps(PLAIN),
        ["--id-from", "push-channel"],
        '[map]\nid-from = "push-channel"',
        [PLAIN | {"installationId": "e3b98a4da31a127d4bde6e43033f66ba"}],
    ),
    "repair": Told(
        json.dumps(PLAIN | {"tags": ["a b", "$x"]}),
        ["--repair", "tags,system-tags"],
        '[map]\nrepair = ["tags", "system-tags"]',
        [PLAIN | {"tags": ["a_b"]}],
    ),
    "convert-gcm-templates": Told(
        json.dumps(PLAIN | {"platform": "fcmv1", "templates": {"n": {"body": '{"data":{"m":"$(m)"}}'}}}),
        ["--convert-gcm-templates"],
        "[map]\nconvert-gcm-templates = true",
        [PLAIN | {"platform": "fcmv1", "templates": {"n": {"body": '{"message":{"data":{"m":"$(m)"}}}'}}}],
    ),
    "tag-separator": Told(
        f"{ROW}a,gcm,t,x/y\n", ["--tag-separator", "/"], '[map]\ntag-separator = "/"', [PLAIN | {"tags": ["x", "y"]}]
    ),
    "allow": Told(
        json.dumps(PLAIN | {"tags": ["a b"]}),
        ["--allow", "tag-characters"],
        '[map]\nallow = ["tag-characters"]',
        [PLAIN | {"tags": ["a b"]}],
    ),
    "deny": Told(json.dumps(PLAIN | {"own": 1}), ["--deny", "unknown-field"], '[map]\ndeny = ["unknown-field"]', []),
}

# Those that may be given several times have no variable: what would stand between their values?
SEVERAL = {"json-column", "map", "map-value", "default", "set", "tag", "allow", "deny"}


@pytest.mark.parametrize("name", FLAGS)
def test_a_flag_and_a_key_of_the_config_file_do_the_same(
    tmp_path: Path, commands: Forks, recording: RecordingHub, name: str
) -> None:
    told = FLAGS[name]
    (tmp_path / "source").write_text(told.source)
    (tmp_path / "own.py").write_text(
        "def made(o):\n    yield {'installationId': o['id'], 'platform': 'gcm', 'pushChannel': 't'}\n"
    )
    (tmp_path / "c.toml").write_text(told.config)
    cases = [
        Case(("load", "source", "--ledger", "1", *told.arguments), recording.env),
        Case(("load", "source", "--ledger", "2", "--config", "c.toml"), recording.env),
    ]
    if name not in SEVERAL | {"each"}:
        value = "true" if len(told.arguments) == 1 else told.arguments[1]
        variable = f"BULKLOAD_{name.upper().replace('-', '_')}"
        cases.append(Case(("load", "source", "--ledger", "3"), recording.env | {variable: value}))
    ran = commands.run_all(cases, cwd=tmp_path)
    assert [one.code for one in ran] == [0 if told.sent else 1] * len(cases), [one.err for one in ran]
    found = sent(recording)
    assert sorted(found, key=str) == sorted(told.sent * len(cases), key=str)


def test_every_flag_is_told_here(tmp_path: Path, commands: Forks) -> None:
    load, check = commands.run_all([Case(("load", "--help")), Case(("check", "--help"))], cwd=tmp_path)
    found = [set(re.findall(r"^ +--([a-z-]+)", ran.out, re.MULTILINE)) for ran in (load, check)]
    start, end = load.out.index("--format") - 3, load.out.index("--workers")
    assert set(re.findall(r"^ +--([a-z-]+)", load.out[start:end], re.MULTILINE)) == FLAGS.keys()
    assert FLAGS.keys() <= found[0] & found[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--map", "userId"], "--map userId: write FIELD=…"),
        (["--map", "userId=a..b"], "--map userId=a..b"),
        (["--where", "a =="], "--where a =="),
        (["--each", "["], "--each ["),
        (["--map-value", "platform"], "--map-value platform: write FIELD:FROM=TO"),
        (["--tag", "a{b"], "--tag a{b"),
        (["--repair", "all"], "--repair all"),
        (["--preset", "one-signal"], "one-signal"),
        (["--transform", "missing.py"], "missing.py"),
        (["--transform", "own.py", "--where", "a"], "--where"),
        (["--allow", "not-json"], "--allow not-json"),
        (["--allow", "tag-charcters"], "tag-characters"),
        (["--deny", "nothing"], "--deny"),
        (["--encoding", "klingon"], "klingon"),
        (["--delimiter", "ab"], "--delimiter"),
        (["--format", "xml"], "--format"),
        (["--tag-separator", ""], "--tag-separator"),
        (["--map", "platfrom=os"], "write platform"),
        (["--map-value", "platfrom:a=b"], "write platform"),
        (["--default", "usrId=x"], "write userId"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.parametrize("command", ["load", "check"])
def test_what_cannot_be_used_is_one_line(
    tmp_path: Path, commands: Forks, recording: RecordingHub, command: str, arguments: list[str], words: str
) -> None:
    (tmp_path / "d.ndjson").write_bytes(installation("a"))
    (tmp_path / "own.py").write_text("def transform(o):\n    yield o\n")
    ran = commands.run(command, "d.ndjson", *arguments, cwd=tmp_path, env=recording.env)
    assert ran.code == 2
    assert words in ran.complaint
    assert not list(tmp_path.glob("*.ledger*"))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("map = 5", "map is a table"),
        ("[map]\nwhree = 'x'", "unknown key whree"),
        ("[map]\ntag = 'x'", "--tag is a list"),
        ("[map]\ntag = [1]", "--tag is a list"),
        ("[map]\nmap = {platform = ['x']}", "--map is a list"),
        ("[map]\nwhere = true", "--where is a text"),
        ("[map]\nmap-value = {platform = 'x'}", "--map-value is a list of texts, or for each field a table"),
        (
            "[map]\nmap-value = {platform = {a = {b = 'c'}}}",
            "--map-value is a list of texts, or for each field a table",
        ),
        ("[map]\nmap = {templates = {w = {body = 'x'}}}", "--map is a list of texts, or a table of texts"),
        ("[map]\ntag = {a = 'b'}", "--tag is a list of texts"),
        ("allow = {a = 'b'}", "--allow is a list of texts"),
    ],
)
def test_a_config_file_that_cannot_be_used_is_one_line(
    tmp_path: Path, commands: Forks, config: str, words: str
) -> None:
    (tmp_path / "d.ndjson").write_bytes(installation("a"))
    (tmp_path / "c.toml").write_text(config)
    ran = commands.run("check", "d.ndjson", "--config", "c.toml", cwd=tmp_path)
    assert ran.code == 2
    assert words in ran.complaint


def test_one_config_file_serves_every_command(tmp_path: Path, commands: Forks, recording: RecordingHub) -> None:
    (tmp_path / "d.ndjson").write_text(json.dumps({"id": "a", "platform": "gcm", "pushChannel": "t"}))
    (tmp_path / "c.toml").write_text("workers = 2\nshow = 1\nrate = 100\n[map]\nmap = {installationId = 'id'}\n")
    cases = [Case((command, "d.ndjson", "--config", "c.toml"), recording.env) for command in ("check", "load")]
    assert [ran.code for ran in commands.run_all(cases, cwd=tmp_path)] == [0, 0]


def test_a_ledger_belongs_to_its_mapping(tmp_path: Path, commands: Forks, recording: RecordingHub) -> None:
    (tmp_path / "d.ndjson").write_bytes(ndjson(["a", "b", "c"]))
    load = ("load", "d.ndjson", "--limit", "1")
    first, other, same = commands.run_all(
        [
            Case((*load, "--tag", "x", "--set", "userId=u"), recording.env),
            Case((*load, "--tag", "y", "--set", "userId=u"), recording.env),
            Case((*load, "--set", "userId=u", "--tag", "x"), recording.env),
        ],
        cwd=tmp_path,
    )
    assert (first.code, other.code, same.code) == (5, 2, 5)
    assert "another mapping" in other.complaint


def test_what_is_left_out_has_no_position_and_is_counted(
    tmp_path: Path, commands: Forks, recording: RecordingHub
) -> None:
    lines = [installation(f"d-{number}", own=number % 3) for number in range(30)]
    (tmp_path / "d.ndjson").write_bytes(b"\n".join(lines))
    load = ("load", "d.ndjson", "--where", "own == `0`", "--json")
    first, last, again = commands.run_all(
        [Case((*load, "--limit", "4"), recording.env), Case(load, recording.env), Case(load, recording.env)],
        cwd=tmp_path,
    )
    assert (first.code, last.code, again.code) == (5, 0, 0)
    assert last.summary["records"] | {"skipped": 0} == {
        "read": 10,
        "accepted": 10,
        "invalid": 0,
        "rejected": 0,
        "exhausted": 0,
        "superseded": 0,
        "filtered": 20,
        "pending": 0,
        "skipped": 0,
    }
    assert again.summary["records"]["filtered"] == 20
    assert len(recording.puts) == 10


@pytest.mark.parametrize(
    ("flags", "missing"),
    [
        ([], "no column installationId and no pushChannel"),
        (["--map", "installationId=id"], "no column pushChannel"),
        (["--id-from", "push-channel", "--map", "pushChannel=token", "--map", "platform="], "no column platform"),
        (["--json-column", "note", "--each", "note"], "no column note"),
        (["--preset", "onesignal"], "no column identifier"),
        (["--preset", "sns"], "no column EndpointArn"),
        (["--preset", "parse"], "no column deviceType"),
        (["--preset", "braze"], "no column push_tokens"),
    ],
)
@pytest.mark.parametrize("command", ["load", "check"])
def test_a_table_without_a_required_column_is_refused_at_once(
    tmp_path: Path, commands: Forks, recording: RecordingHub, command: str, flags: list[str], missing: str
) -> None:
    (tmp_path / "d.csv").write_text("id,platform,token\na,gcm,t\n")
    ran = commands.run(command, "d.csv", *flags, cwd=tmp_path, env=recording.env)
    assert ran.code == 2
    assert f"source d.csv has {missing}; its columns are id, platform, token: " in ran.complaint
    assert not list(tmp_path.glob("*.ledger*"))


def test_a_table_whose_mapping_fills_every_required_field_is_taken(
    tmp_path: Path, commands: Forks, recording: RecordingHub
) -> None:
    (tmp_path / "d.csv").write_text("id,token\na,t\n")
    flags = ("--map", "installationId=id", "--map", '"pushChannel"=token', "--set", '"platform"=gcm')
    assert commands.run("load", "d.csv", *flags, cwd=tmp_path, env=recording.env).code == 0
    assert sent(recording) == [PLAIN]


def test_a_ledger_belongs_to_the_form_in_which_its_sources_were_read(
    tmp_path: Path, commands: Forks, recording: RecordingHub
) -> None:
    (tmp_path / "d").write_bytes(ndjson(["a", "b", "c"]))
    load = ("load", "d", "--limit", "1")
    first, other, same = commands.run_all(
        [
            Case(load, recording.env),
            Case((*load, "--format", "json"), recording.env),
            Case((*load, "--format", "ndjson", "--encoding", "UTF8"), recording.env),
        ],
        cwd=tmp_path,
    )
    assert (first.code, other.code, same.code) == (5, 2, 5)
    assert "in another form" in other.complaint


def test_a_source_of_which_everything_is_left_out_is_told_of(
    tmp_path: Path, commands: Forks, recording: RecordingHub
) -> None:
    (tmp_path / "d.ndjson").write_bytes(ndjson(["a", "b"]))
    for command in ("check", "load"):
        ran = commands.run(command, "d.ndjson", "--where", "os == 'ios'", cwd=tmp_path, env=recording.env)
        assert ran.code == 0
        assert "the mapping leaves out every object" in ran.out + ran.err
        assert "empty" not in ran.out + ran.err


@pytest.mark.parametrize("form", [["--records", "a"], ["--format", "json"], ["--format", "parquet"], ["--each", "@"]])
def test_mended_letters_are_read_with_the_flags_of_their_source(
    tmp_path: Path, commands: Forks, recording: RecordingHub, form: list[str]
) -> None:
    text = json.dumps({"_bulkload": {}, "record": json.loads(installation("a"))})
    (tmp_path / "mended.ndjson").write_text(text)
    assert commands.run("load", "mended.ndjson", *form, cwd=tmp_path, env=recording.env).code == 0
    assert recording.installations.keys() == {"a"}


def test_an_empty_table_is_an_empty_source(tmp_path: Path, commands: Forks, recording: RecordingHub) -> None:
    (tmp_path / "d.csv").write_text("\n\n")
    ran = commands.run("load", "d.csv", "--format", "csv", cwd=tmp_path, env=recording.env)
    assert ran.code == 0
    assert "the source is empty" in ran.err


def test_a_transform_s_file_is_run_once(tmp_path: Path, commands: Forks, recording: RecordingHub) -> None:
    (tmp_path / "own.py").write_text(
        "open('runs', 'a').write('x')\n\ndef transform(o):\n    yield {**o, 'platform': 'gcm', 'pushChannel': 't'}\n"
    )
    (tmp_path / "d").write_text('{"installationId": "a"}')
    assert commands.run("load", "d", "--transform", "own.py", cwd=tmp_path, env=recording.env).code == 0
    assert (tmp_path / "runs").read_text() == "x"

"""`bulkload registration-id` and `bulkload registrations` from outside: what they write, and how they fail."""

import asyncio
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bulkload
from bulkload.registration import Registration, Template
from tests.processes import (
    CONNECTION_STRING,
    NOBODY,
    EmulatedHub,
    Forks,
    RecordingHub,
    Reply,
    Started,
    free_port,
    wait_for,
)

APPLE = f"{0xAB:064X}"
URI = "https://wns.example/?token=a%2fb+c'd"
GCM = "secret-channel-of-gcm:'x'"

HELD = [
    Registration(kind="Apple", handle=bulkload.Handle.device_token(APPLE), tags=("news", "lang:en")),
    Registration(
        kind="AppleTemplate",
        handle=bulkload.Handle.device_token(APPLE),
        template=Template(body='{"aps":{"alert":"$(message)"}}', name="hello", expiry="2030-01-01"),
    ),
    Registration(kind="Windows", handle=bulkload.Handle.channel_uri(URI), tags=("news",)),
    Registration(kind="Gcm", handle=bulkload.Handle.gcm_registration_id(GCM), tags=("news",)),
]


@pytest.fixture(scope="module", params=["2018", "2023"])
def hub(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedHub]:
    with EmulatedHub("--dialect", request.param, cwd=tmp_path_factory.mktemp("hub")) as hub:
        asyncio.run(_filled(hub))
        yield hub


async def _filled(hub: EmulatedHub) -> None:
    async with bulkload.Hub.from_connection_string(hub.connection_string).client() as client:
        for registration in HELD:
            await client.put_registration(registration)


def read(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def kinds(out: str) -> list[str]:
    return sorted(one["kind"] for one in read(out))


class TestRegistrationIds:
    def test_come_one_a_line(self, tmp_path: Path, hub: EmulatedHub, commands: Forks) -> None:
        ran = commands.run("registration-id", "-n", "50", cwd=tmp_path, env=hub.env)
        ids = ran.out.split()
        assert (ran.code, ran.err, len(set(ids))) == (0, "", 50)
        assert all(re.fullmatch(r"\d+-\d+-\d", id_) for id_ in ids)

    def test_are_one_where_nobody_says_how_many(self, tmp_path: Path, hub: EmulatedHub, commands: Forks) -> None:
        assert len(commands.run("registration-id", cwd=tmp_path, env=hub.env).out.split()) == 1

    def test_are_an_array_as_json(self, tmp_path: Path, hub: EmulatedHub, commands: Forks) -> None:
        ran = commands.run("registration-id", "-n", "3", "--json", cwd=tmp_path, env=hub.env)
        assert len(json.loads(ran.out)) == 3

    def test_that_a_hub_refuses_end_with_its_words(self, tmp_path: Path, hub: EmulatedHub, commands: Forks) -> None:
        ran = commands.run("registration-id", cwd=tmp_path, env=hub.wrong_key_env)
        assert (ran.code, ran.out) == (4, "")
        [line] = ran.err.splitlines()
        assert "refuses the key" in line

    def test_are_refused_for_a_number_that_is_none(self, tmp_path: Path, commands: Forks) -> None:
        assert commands.run("registration-id", "-n", "0", cwd=tmp_path, env=NOBODY).code == 2


class TestRegistrations:
    def test_of_a_device_are_told_with_all_they_have(self, tmp_path: Path, hub: EmulatedHub, commands: Forks) -> None:
        ran = commands.run("registrations", "--device-token", APPLE.lower(), cwd=tmp_path, env=hub.env)
        native, template = read(ran.out)
        assert ran.code == 0
        assert native.keys() == {"kind", "registrationId", "etag", "expirationTime", "tags", "deviceToken"}
        assert (native["kind"], native["deviceToken"], native["tags"]) == ("Apple", APPLE, ["news", "lang:en"])
        assert template["bodyTemplate"] == '{"aps":{"alert":"$(message)"}}'
        assert (template["templateName"], template["expiry"]) == ("hello", "2030-01-01")

    def test_of_several_devices_are_read_whatever_names_them(
        self, tmp_path: Path, hub: EmulatedHub, commands: Forks
    ) -> None:
        flags = ("--channel-uri", URI, "--gcm-registration-id", GCM, "--device-token", APPLE)
        ran = read_by(commands, tmp_path, hub, *flags)
        assert kinds(ran) == ["Apple", "AppleTemplate", "Gcm", "Windows"]

    def test_of_handles_in_a_file_are_told_by_their_form(
        self, tmp_path: Path, hub: EmulatedHub, commands: Forks
    ) -> None:
        device = json.dumps({"platform": "gcm", "pushChannel": GCM})
        (tmp_path / "handles.txt").write_text(f"{APPLE}\n\n{URI}\r\n{device}\n")
        assert kinds(read_by(commands, tmp_path, hub, "handles.txt")) == [
            "Apple",
            "AppleTemplate",
            "Gcm",
            "Windows",
        ]

    def test_of_handles_on_standard_input_are_read(self, tmp_path: Path, hub: EmulatedHub, commands: Forks) -> None:
        ran = commands.run("registrations", "-", cwd=tmp_path, env=hub.env, stdin=f"{APPLE}\n".encode())
        assert kinds(ran.out) == ["Apple", "AppleTemplate"]

    def test_of_a_tag_and_of_the_whole_hub_are_read_page_by_page(
        self, tmp_path: Path, hub: EmulatedHub, commands: Forks
    ) -> None:
        assert kinds(read_by(commands, tmp_path, hub, "--tag", "news", "--top", "1")) == [
            "Apple",
            "Gcm",
            "Windows",
        ]
        assert len(read(read_by(commands, tmp_path, hub, "--all", "--top", "1"))) == len(HELD)

    def test_that_are_none_are_no_failure(self, tmp_path: Path, hub: EmulatedHub, commands: Forks) -> None:
        ran = commands.run("registrations", "--device-token", "00", cwd=tmp_path, env=hub.env)
        assert (ran.code, ran.out) == (0, "")
        assert "0 registrations of 1 channel;" in ran.err

    def test_are_silent_when_all_went_well_and_nobody_wants_to_know(
        self, tmp_path: Path, hub: EmulatedHub, commands: Forks
    ) -> None:
        ran = commands.run("registrations", "--all", "--quiet", cwd=tmp_path, env=hub.env)
        assert (ran.code, ran.err) == (0, "")

    def test_of_lines_that_are_no_handles_fail_alone_and_name_the_line(
        self, tmp_path: Path, hub: EmulatedHub, commands: Forks
    ) -> None:
        lines = (
            APPLE.encode(),
            b'{"platform": "apns", "pushChannel": "secret-channel-of-x"}',
            b"{",
            b"\xff\xfe",
            b"a\x01b",
        )
        (tmp_path / "handles.txt").write_bytes(b"\n".join(lines))
        ran = commands.run("registrations", "handles.txt", cwd=tmp_path, env=hub.env)
        assert (ran.code, kinds(ran.out)) == (1, ["Apple", "AppleTemplate"])
        assert [int(number) for number in re.findall(r"handles.txt line (\d+): ", ran.err)] == [2, 3, 4, 5]
        assert "4 channels failed" in ran.err

    @pytest.mark.parametrize(
        ("flags", "words"),
        [
            ((), "say which registrations"),
            (("--all", "--tag", "x"), "say which registrations"),
            (("--all", "--device-token", "00"), "say which registrations"),
            (("--device-token", "xyz"), "--device-token number 1: a device token is hex digits"),
            (("--channel-uri", ""), "--channel-uri number 1 is empty"),
            (("missing.txt",), "missing.txt cannot be read"),
            (("--all", "--top", "0"), "--top"),
            (("--tag", ""), "a tag is a text in UTF-8 that is not empty"),
            (("--tag", "\udcff"), "a tag is a text in UTF-8 that is not empty"),
            (("--all", "--workers", "0"), "--workers is at least 1"),
        ],
    )
    def test_are_refused_in_one_line_for_what_is_of_no_use(
        self, tmp_path: Path, commands: Forks, flags: tuple[str, ...], words: str
    ) -> None:
        ran = commands.run("registrations", *flags, cwd=tmp_path, env=NOBODY)
        assert (ran.code, words in ran.complaint) == (2, True), ran.err

    def test_of_a_hub_that_is_not_there_end_with_its_words(
        self, tmp_path: Path, hub: EmulatedHub, commands: Forks
    ) -> None:
        elsewhere = {CONNECTION_STRING: hub.connection_string.replace("EntityPath=devices", "EntityPath=others")}
        ran = commands.run("registrations", "--all", cwd=tmp_path, env=elsewhere)
        assert (ran.code, ran.out) == (4, "")
        assert "there is no such hub" in ran.err

    def test_of_a_hub_that_is_not_reached_end_with_its_address(self, tmp_path: Path, commands: Forks) -> None:
        text = f"Endpoint=http://127.0.0.1:{free_port()}/;SharedAccessKeyName=w;SharedAccessKey=a2V5;EntityPath=d"
        ran = commands.run("registrations", "--all", cwd=tmp_path, env={CONNECTION_STRING: text})
        assert ran.code == 4
        assert "cannot be reached" in ran.err

    def test_go_on_when_a_reader_has_seen_enough(self, tmp_path: Path, hub: EmulatedHub) -> None:
        with Started(
            "registrations", "--all", "--top", "1", cwd=tmp_path, env=hub.env, stdout=subprocess.PIPE
        ) as started:
            assert started.process.stdout is not None
            started.process.stdout.readline()
            started.process.stdout.close()
            assert started.process.wait(30) == 0


def read_by(commands: Forks, folder: Path, hub: EmulatedHub, *flags: str) -> str:
    ran = commands.run("registrations", *flags, cwd=folder, env=hub.env)
    assert ran.code == 0, ran.err
    return ran.out


class TestAHubThatIsNoGood:
    """One handle fails, with a line that names the hub, the page and a digest, and the others are read."""

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            (b"", "it is empty"),
            (b"<html><body>welcome</body></html>", "its root is 'html'|whose root is 'html'"),
            (b"{}", "it is not XML"),
            (b"<feed xmlns='http://www.w3.org/2005/Atom'><entry>", "it is not XML"),
            (b"<!DOCTYPE feed [<!ENTITY a 'b'>]><feed/>", "declares a DTD or an entity"),
        ],
    )
    def test_an_answer_that_is_no_feed(self, tmp_path: Path, commands: Forks, body: bytes, words: str) -> None:
        with RecordingHub(lambda _: Reply(200, body)) as hub:
            ran = commands.run("registrations", "--device-token", "ABCD", cwd=tmp_path, env=hub.env)
        assert (ran.code, ran.out) == (1, "")
        assert re.search(words, ran.err), ran.err
        assert re.search(r"hub devices: page 1 of the registrations of channel [0-9a-f]{12} cannot be read", ran.err)
        assert "ABCD" not in ran.err

    def test_a_filter_that_it_does_not_know(self, tmp_path: Path, commands: Forks) -> None:
        with RecordingHub(
            lambda _: Reply(400, b"<Error><Code>400</Code><Detail>no such query ABCD.</Detail></Error>")
        ) as hub:
            ran = commands.run("registrations", "--device-token", "ABCD", cwd=tmp_path, env=hub.env)
        assert (ran.code, ran.out) == (1, "")
        assert "400 no such query …" in ran.err

    def test_a_list_that_breaks_off_ends_the_run(self, tmp_path: Path, commands: Forks) -> None:
        with RecordingHub(lambda _: Reply(400)) as hub:
            ran = commands.run("registrations", "--all", cwd=tmp_path, env=hub.env)
        assert ran.code == 4
        assert "page 1 of all registrations: 400" in ran.err

    def test_a_token_that_cannot_stand_in_an_address(self, tmp_path: Path, commands: Forks) -> None:
        reply = Reply(
            200, b"<feed xmlns='http://www.w3.org/2005/Atom'/>", headers=("x-ms-continuationtoken: \u00ff\u20ac",)
        )
        with RecordingHub(lambda _: reply) as hub:
            ran = commands.run("registrations", "--device-token", "ABCD", cwd=tmp_path, env=hub.env)
        assert ran.code == 1
        assert "its continuation token cannot stand in an address" in ran.err

    def test_a_token_that_leads_in_circles_ends_with_a_line(self, tmp_path: Path, commands: Forks) -> None:
        feed = b"<feed xmlns='http://www.w3.org/2005/Atom'/>"
        reply = Reply(200, feed, headers=("X-MS-ContinuationToken: YQ%3D%3D",))
        with RecordingHub(lambda _: reply) as hub:
            ran = commands.run("registrations", "--device-token", "ABCD", cwd=tmp_path, env=hub.env)
        assert ran.code == 1
        assert "leads back to an earlier page" in ran.err

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_ends_it_and_what_was_read_is_written(self, tmp_path: Path, number: signal.Signals) -> None:
        handles = "".join(f"{each:064X}\n" for each in range(500))
        (tmp_path / "handles.txt").write_text(handles)
        with EmulatedHub("--latency", "0.2", cwd=tmp_path) as hub:
            asyncio.run(_filled(hub))
            with Started("registrations", "--device-token", APPLE, "handles.txt", cwd=tmp_path, env=hub.env) as started:
                wait_for(lambda: hub.statistics["read"] > 40, "some answers")
                started.signal(number)
                ran = started.finish()
        assert ran.code == 128 + number
        assert kinds(ran.out) == ["Apple", "AppleTemplate"]
        assert f"{number.name} was received" in ran.err

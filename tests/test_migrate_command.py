"""`bulkload migrate` from outside: the road in three steps, its failures, and kills anywhere on it."""

import asyncio
import json
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bulkload
from bulkload.registration import Handle, Registration, Template
from tests.processes import NOBODY, EmulatedHub, Forks, Put, RecordingHub, Reply, Started, run_line, wait_for, waits

CHANNELS = 60


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[EmulatedHub]:
    """A hub of devices with two old registrations each, a Gcm device among them."""
    with EmulatedHub("--latency", "0.01", cwd=tmp_path) as hub:
        asyncio.run(_filled(hub))
        yield hub


async def _filled(hub: EmulatedHub) -> None:
    async with bulkload.Hub.from_connection_string(hub.connection_string).client() as client:

        async def register(number: int) -> None:
            handle = Handle.gcm_registration_id("g:0") if not number else Handle.device_token(f"{number:064X}")
            kind = "Apple" if number else "Gcm"
            native = Registration(kind=kind, handle=handle, tags=("news", f"n{number}"))
            body = '{"aps":{"alert":"$(m)"}}' if number else '{"data":{"m":"$(m)"}}'
            await client.put_registration(native)
            template = Template(body=body, name="hello")
            await client.put_registration(Registration(kind=f"{kind}Template", handle=handle, template=template))

        await asyncio.gather(*map(register, range(CHANNELS)))


def held(hub: EmulatedHub) -> list[Registration]:
    async def read() -> list[Registration]:
        async with bulkload.Hub.from_connection_string(hub.connection_string).client() as client:
            return [one async for page in client.pages() for one in page.registrations]

    return asyncio.run(read())


def old(hub: EmulatedHub) -> list[Registration]:
    return [one for one in held(hub) if one.installation_id is None]


def served(hub: EmulatedHub) -> set[str]:
    """The channels that anything is there for."""
    return {one.handle.key for one in held(hub) if one.handle is not None}


class TestTheRoad:
    def test_leads_from_registrations_to_installations_in_three_steps(
        self, tmp_path: Path, hub: EmulatedHub, commands: Forks
    ) -> None:
        to_fcm = ("--map-value", "platform:gcm=fcmv1", "--convert-gcm-templates")
        made = commands.run("migrate", "--all", "-o", "d.ndjson", *to_fcm, cwd=tmp_path, env=hub.env)
        assert (made.code, made.out) == (0, ""), made.err
        assert f"{CHANNELS} installations of {2 * CHANNELS} registrations" in made.err
        assert "next: bulkload load d.ndjson" in made.err
        loaded = commands.run("load", "d.ndjson", "--api-version", "2020-06", cwd=tmp_path, env=hub.env)
        assert loaded.code == 0, loaded.err

        removing = ("migrate", "--delete-old", "d.ndjson", "--loaded", "d.ndjson.ledger")
        plan = commands.run(*removing, "--plan", cwd=tmp_path, env=hub.env)
        assert plan.code == 0
        assert {json.loads(line)["registrationId"] for line in plan.out.splitlines()} == {
            one.registration_id for one in old(hub)
        }
        assert len(old(hub)) == 2 * CHANNELS

        removed = commands.run(*removing, "--json", cwd=tmp_path, env=hub.env)
        assert removed.code == 0, removed.err
        assert removed.summary["registrations"] == {"deleted": 2 * CHANNELS, "kept": 0}
        assert removed.summary["channels"]["done"] == CHANNELS
        assert old(hub) == []
        assert len(held(hub)) == 2 * CHANNELS
        [fcm] = [one for one in held(hub) if one.kind == "FcmV1Template"]
        assert fcm.template is not None
        assert json.loads(fcm.template.body) == {"message": {"data": {"m": "$(m)"}}}

        again = commands.run(*removing, cwd=tmp_path, env=hub.env)
        assert again.code == 0
        assert f"0 old registrations deleted, of {CHANNELS} channels" in again.err

    def test_asks_for_the_old_ones_with_the_load_s_api_version(self, tmp_path: Path, commands: Forks) -> None:
        (tmp_path / "d.ndjson").write_text('{"installationId":"a","platform":"fcmv1","pushChannel":"g:0"}\n')
        asked: list[str] = []

        def answer(put: Put) -> Reply:
            asked.append(put.path)
            return Reply(200, b"<feed xmlns='http://www.w3.org/2005/Atom'/>")

        with RecordingHub(answer) as hub:
            load = ("load", "d.ndjson", "--api-version", "2020-06")
            assert commands.run(*load, cwd=tmp_path, env=hub.env).code == 0
            command = ("migrate", "--delete-old", "d.ndjson", "--loaded", "d.ndjson.ledger", "--plan")
            assert commands.run(*command, cwd=tmp_path, env=hub.env).code == 1
            commands.run(*command, "--api-version", "2023-10", cwd=tmp_path, env=hub.env)
        assert [path.partition("api-version=")[2] for path in asked] == ["2020-06"] * 3 + ["2023-10"] * 2

    def test_deletes_the_old_ones_by_a_config_file_that_serves_a_load_as_well(
        self, tmp_path: Path, hub: EmulatedHub, commands: Forks
    ) -> None:
        (tmp_path / "c.toml").write_text('id-from = "push-channel"\n[map]\nmap-value.platform = { gcm = "fcmv1" }\n')
        config, env = ("--config", "c.toml"), {**hub.env, "BULKLOAD_CONVERT_GCM_TEMPLATES": "1"}
        for command in (
            ("migrate", "--all", "-o", "d.ndjson"),
            ("load", "d.ndjson", "--api-version", "2020-06"),
            ("migrate", "--delete-old", "d.ndjson", "--loaded", "d.ndjson.ledger"),
        ):
            ran = commands.run(*command, *config, cwd=tmp_path, env=env)
            assert ran.code == 0, ran.err
        assert old(hub) == []

    def test_writes_to_standard_output_without_a_file(self, tmp_path: Path, hub: EmulatedHub, commands: Forks) -> None:
        ran = commands.run("migrate", "--device-token", f"{1:064x}", cwd=tmp_path, env=hub.env)
        [made] = [json.loads(line) for line in ran.out.splitlines()]
        assert (ran.code, made["tags"], list(made["templates"])) == (0, ["n1", "news"], ["hello"])
        assert list(tmp_path.iterdir()) == []

    def test_tells_no_handle_that_it_was_given_where_it_is_stopped(self, tmp_path: Path) -> None:
        with EmulatedHub("--latency", "60", cwd=tmp_path) as slow:
            command = ("migrate", "--gcm-registration-id", "secret:handle", "-o", "d.ndjson", "--json")
            with Started(*command, cwd=tmp_path, env=slow.env) as started:
                wait_for((tmp_path / "d.ndjson.migrate").exists, "the ledger")
                started.signal(signal.SIGINT)
                ran = started.finish()
        assert (ran.code, ran.summary["resume"]) == (5, None), ran.err
        assert "secret" not in ran.out + ran.err

    def test_takes_handles_from_standard_input(self, tmp_path: Path, hub: EmulatedHub, commands: Forks) -> None:
        handles = "".join(f"{number:064X}\n" for number in range(1, 6)).encode()
        ran = commands.run("migrate", "-", cwd=tmp_path, env=hub.env, stdin=handles)
        assert (ran.code, len(ran.out.splitlines())) == (0, 5)

    def test_takes_the_service_s_own_export_without_a_hub(self, tmp_path: Path, commands: Forks) -> None:
        sample = Path(__file__).parent.parent / "samples/presets/notification-hubs-export.txt"
        command = ("migrate", "--export-file", str(sample), "-o", "d.ndjson", "--json")
        ran = commands.run(*command, cwd=tmp_path)
        assert ran.code == 0, ran.err
        assert ran.summary["installations"]["written"] == len((tmp_path / "d.ndjson").read_text().splitlines())
        assert ran.summary["registrations"]["tiles"] == 1
        assert commands.run("check", "d.ndjson", "--api-version", "2020-06", cwd=tmp_path).code == 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "say which registrations"),
        (("--all", "--export-file", "x"), "say which registrations"),
        (("--all", "--json"), "name a file for them with -o"),
        (("--all", "--plan"), "--plan belongs to --delete-old"),
        (("--all", "--loaded", "x"), "--loaded belongs to --delete-old"),
        (("--all", "-o", "."), "is a folder"),
        (("--all", "--visible-within", "5m"), "--visible-within belongs to --delete-old"),
        (("--delete-old", "d", "--loaded", "l", "--id-from", "tags[0]"), "goes with --loaded"),
        (("--all", "-o", "missing/d.ndjson"), "missing/d.ndjson"),
        (("--all", "--id-from", "a["), "--id-from"),
        (("--export-file", "missing.txt", "-o", "d"), "missing.txt"),
        (("--export-file", "export.txt", "-o", "export.txt"), "is the export itself"),
        (("--delete-old", "d"), "--loaded d.ledger"),
        (("--delete-old", "d", "--loaded", "l"), "ledger l"),
        (("--delete-old", "d", "--loaded", "l", "--all"), "goes with --loaded, --plan and --visible-within only"),
        (("--delete-old", "d", "--loaded", "l", "--plan", "--json"), "take one away"),
        (("--delete-old", "d", "--loaded", "l", "--visible-within", "soon"), "is not a time"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    tmp_path: Path, commands: Forks, flags: tuple[str, ...], words: str
) -> None:
    (tmp_path / "export.txt").touch()
    ran = commands.run("migrate", *flags, cwd=tmp_path, env=NOBODY)
    assert (ran.code, words in ran.complaint) == (2, True), ran.err


class TestInterruptions:
    def test_a_signal_leaves_what_was_read_for_the_next_session(self, tmp_path: Path, hub: EmulatedHub) -> None:
        command = ("migrate", "--all", "-o", "d.ndjson", "--top", "2")
        with Started(*command, cwd=tmp_path, env=hub.env) as started:
            before = hub.statistics["read"]
            wait_for(lambda: hub.statistics["read"] > before + 10, "some pages")
            started.signal(signal.SIGTERM)
            ran = started.finish()
        assert ran.code == 5
        assert "SIGTERM was received" in ran.err
        assert not (tmp_path / "d.ndjson").exists()
        seen = hub.statistics["read"]
        ended = run_line(ran.resume, cwd=tmp_path, env=hub.env)
        assert ended.code == 0, ended.err
        assert hub.statistics["read"] - seen < CHANNELS
        assert len((tmp_path / "d.ndjson").read_text().splitlines()) == CHANNELS

    def test_kills_change_nothing_of_what_is_made(self, tmp_path: Path, hub: EmulatedHub, commands: Forks) -> None:
        command = ("migrate", "--all", "--top", "2", "-o")
        whole = commands.run(*command, "whole.ndjson", cwd=tmp_path, env=hub.env)
        assert whole.code == 0
        for pages in (5, 10, 15):
            with Started(*command, "d.ndjson", cwd=tmp_path, env=hub.env) as started:
                before = hub.statistics["read"]
                wait_for(lambda: hub.statistics["read"] > before + pages, "some pages")  # noqa: B023
                started.kill()
        ended = commands.run(*command, "d.ndjson", cwd=tmp_path, env=hub.env)
        assert ended.code == 0, ended.err
        assert (tmp_path / "d.ndjson").read_bytes() == (tmp_path / "whole.ndjson").read_bytes()

    @pytest.mark.slow
    def test_kills_while_the_old_ones_go_leave_no_channel_with_neither(
        self, tmp_path: Path, hub: EmulatedHub, commands: Forks
    ) -> None:
        chance = random.Random(4)
        channels = served(hub)
        assert commands.run("migrate", "--all", "-o", "d.ndjson", cwd=tmp_path, env=hub.env).code == 0
        assert commands.run("load", "d.ndjson", cwd=tmp_path, env=hub.env).code == 0
        command = ("migrate", "--delete-old", "d.ndjson", "--loaded", "d.ndjson.ledger", "--workers", "3")
        deleted = 0
        for _ in range(8):
            wanted = deleted + chance.randrange(1, 12)
            with Started(*command, cwd=tmp_path, env=hub.env) as started:
                # What a killed one had on its way may count a moment later: this one has begun, too.
                wait_for(lambda: not started.is_running or waits(started), "its handlers")
                wait_for(lambda: hub.statistics["deleted"] >= wanted, "some deletions")  # noqa: B023
                if chance.random() < 0.5:
                    started.kill()
                else:
                    started.signal(signal.SIGINT)
                    # It may have been through by then.
                    assert started.finish().code in (5, 0)
            deleted = hub.statistics["deleted"]
            assert served(hub) == channels
        ended = commands.run(*command, "--json", cwd=tmp_path, env=hub.env)
        assert ended.code == 0, ended.err
        assert old(hub) == []
        assert served(hub) == channels
        # Each went once: what was deleted before a kill is not there to be deleted again.
        assert hub.statistics["deleted"] == 2 * CHANNELS

    def test_kills_before_the_installations_show_delete_nothing(self, tmp_path: Path, commands: Forks) -> None:
        with EmulatedHub("--visibility-delay", "60", cwd=tmp_path) as hub:
            asyncio.run(_filled(hub))
            assert commands.run("migrate", "--all", "-o", "d.ndjson", cwd=tmp_path, env=hub.env).code == 0
            assert commands.run("load", "d.ndjson", cwd=tmp_path, env=hub.env).code == 0
            command = ("migrate", "--delete-old", "d.ndjson", "--loaded", "d.ndjson.ledger")
            with Started(*command, cwd=tmp_path, env=hub.env) as started:
                before = hub.statistics["read"]
                wait_for(lambda: hub.statistics["read"] >= before + CHANNELS, "a look at every channel")
                started.kill()
            early = commands.run(*command, "--visible-within", "0s", "--json", cwd=tmp_path, env=hub.env)
            summary: dict[str, Any] = early.summary
            assert (early.code, summary["channels"]["not_visible"]) == (1, CHANNELS)
            assert len(old(hub)) == 2 * CHANNELS

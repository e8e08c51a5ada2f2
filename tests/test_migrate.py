"""The road from registrations to installations: what is made of them, and when the old ones may go."""

import asyncio
import hashlib
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bulkload
from bulkload.client import AiohttpTransport, Client, Requesting
from bulkload.emulator import Emulator
from bulkload.emulator.behaviour import Behaviour
from bulkload.errors import Halt, InputError, LedgerLocked
from bulkload.hub import Hub
from bulkload.installation import Checker, Installation
from bulkload.installation.identity import hashed
from bulkload.migrate import (
    Deletion,
    DeletionPlan,
    DeletionSummary,
    FileOutput,
    Folding,
    Handles,
    Loaded,
    Migration,
    MigrationSummary,
)
from bulkload.migrate.ledger import MigrationLedger
from bulkload.record import Origin, Record
from bulkload.registration import Handle, Registration, Template
from bulkload.sas import Signer
from bulkload.source import START, FileSource, Layout
from tests.exchange import exchange

Fields = dict[str, Any]


def token(number: int) -> str:
    return f"{number:064X}"


def apple(number: int, *tags: str, **more: Any) -> Registration:
    return Registration(kind="Apple", handle=Handle.device_token(token(number)), tags=tags, **more)


def apple_template(number: int, name: str | None, body: str, *tags: str) -> Registration:
    template = Template(body=body, name=name)
    return Registration(kind="AppleTemplate", handle=Handle.device_token(token(number)), tags=tags, template=template)


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    async with Emulator(hub="devices") as emulator:
        yield emulator.hub


async def register(hub: Hub, *registrations: Registration) -> list[Registration]:
    async with Client(hub) as client:
        return [await client.put_registration(one) for one in registrations]


async def everything(hub: Hub) -> list[Registration]:
    async with Client(hub) as client:
        return [one async for page in client.pages() for one in page.registrations]


async def load(hub: Hub, devices: Path, **flags: Any) -> Path:
    """Load a file of installations; returns the ledger."""
    ledger = devices.with_name(f"{devices.name}.ledger")
    summary = await bulkload.load(devices, hub=hub, ledger=ledger, api_version="2020-06", **flags)
    assert summary.exit_code == 0, summary
    return ledger


async def migrate(
    hub: Hub | None,
    path: Path,
    *,
    handles: Iterable[Handle] | None = None,
    export: Path | None = None,
    folding: Folding | None = None,
    top: int = 100,
) -> MigrationSummary:
    migration = Migration(
        FileOutput(path),
        hub=hub,
        requesting=Requesting(),
        handles=Handles(handles) if handles is not None else None,
        export=FileSource(export, Layout(format="ndjson")) if export is not None else None,
        folding=folding or Folding(),
        ledger=path.with_name(f"{path.name}.migrate"),
        top=top,
    )
    return await migration.run()


async def delete(hub: Hub, devices: Path, ledger: Path, *, within: float = 0.0) -> DeletionSummary:
    deletion = Deletion(
        Loaded(devices, ledger, hub=hub),
        hub,
        Requesting(),
        visible_within=within,
        top=2,
        ledger=devices.with_name(f"{devices.name}.migrate"),
    )
    return await deletion.run()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - nothing tells when it holds
            await asyncio.sleep(0)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def written(path: Path) -> list[Fields]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


class TestWhatIsMade:
    async def test_all_registrations_of_a_channel_are_one_installation(self, hub: Hub, tmp_path: Path) -> None:
        await register(
            hub,
            apple(1, "news"),
            apple(1, "lang:en", "news"),
            apple_template(1, "hello", '{"aps":{"alert":"$(a)"}}', "t"),
            apple_template(1, "bye", '{"aps":{"badge":1}}'),
            apple(2, "other"),
        )
        summary = await migrate(hub, tmp_path / "d.ndjson")
        assert (summary.outcome, summary.read, summary.channels, summary.written) == ("complete", 5, 2, 2)
        [first] = [one for one in written(tmp_path / "d.ndjson") if one["pushChannel"] == token(1)]
        assert first == {
            "installationId": first["installationId"],
            "platform": "apns",
            "pushChannel": token(1),
            "tags": ["lang:en", "news"],
            "templates": {
                "bye": {"body": '{"aps":{"badge":1}}'},
                "hello": {"body": '{"aps":{"alert":"$(a)"}}', "tags": ["t"]},
            },
        }

    async def test_what_was_made_passes_the_check(self, hub: Hub, tmp_path: Path) -> None:
        await register(hub, apple(1, "news"), apple_template(1, None, '{"aps":{}}'))
        await migrate(hub, tmp_path / "d.ndjson")
        [line] = (tmp_path / "d.ndjson").read_bytes().splitlines()
        assert isinstance(Checker().check(line), Installation)

    async def test_twice_makes_the_same_file(self, hub: Hub, tmp_path: Path) -> None:
        await register(hub, *(apple(number, f"t{number}") for number in range(20)))
        for name in ("one", "two"):
            await migrate(hub, tmp_path / name, top=7 if name == "one" else 100)
        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
        again = await migrate(hub, tmp_path / "one")
        assert again.read == 20

    async def test_handles_name_the_devices(self, hub: Hub, tmp_path: Path) -> None:
        await register(hub, *(apple(number) for number in range(5)))
        handles = [Handle.device_token(token(number)) for number in (1, 3, 7)]
        summary = await migrate(hub, tmp_path / "d.ndjson", handles=handles)
        assert (summary.written, summary.exit_code) == (2, 0)

    async def test_a_platform_is_translated_before_it_could_be_a_conflict(self, hub: Hub, tmp_path: Path) -> None:
        gcm = Registration(kind="Gcm", handle=Handle.gcm_registration_id("same"), tags=("a",))
        fcm = Registration(kind="FcmV1", handle=Handle((("FcmV1RegistrationId", "same"),)), tags=("b",))
        await register(hub, gcm, fcm)
        mixed = await migrate(hub, tmp_path / "mixed")
        assert mixed.conflicts == {"platform": 1}
        folding = Folding(map_value={"platform": {"GCM": "fcmv1"}})
        summary = await migrate(hub, tmp_path / "d.ndjson", folding=folding)
        [made] = written(tmp_path / "d.ndjson")
        assert (summary.conflicts, made["platform"], made["tags"]) == ({}, "fcmv1", ["a", "b"])

    async def test_an_id_may_come_from_the_installation(self, hub: Hub, tmp_path: Path) -> None:
        await register(hub, apple(1, "device:7"))
        await migrate(hub, tmp_path / "d.ndjson", folding=Folding(id_from="tags[0]"))
        [made] = written(tmp_path / "d.ndjson")
        assert made["installationId"] == hashed("device:7")

    async def test_installations_that_share_an_id_are_counted(self, hub: Hub, tmp_path: Path) -> None:
        await register(hub, apple(1, "a"), apple(2, "a"), apple(3, "b"))
        summary = await migrate(hub, tmp_path / "d", folding=Folding(id_from="tags[0]"))
        assert (summary.written, summary.sharing, summary.exit_code) == (3, 2, 0)
        assert "sharing                    2  installations whose id others have as well" in str(summary)

    async def test_one_that_cannot_be_mapped_fails_alone(self, hub: Hub, tmp_path: Path) -> None:
        await register(hub, apple(1, "a"), apple(2))
        summary = await migrate(hub, tmp_path / "d.ndjson", folding=Folding(id_from="tags[0]"))
        assert (summary.exit_code, summary.failed, len(written(tmp_path / "d.ndjson"))) == (1, 1, 1)

    async def test_gcm_bodies_are_rewritten_where_that_is_asked_for(self, hub: Hub, tmp_path: Path) -> None:
        template = Template(body='{"data":{"message":"$(m)"}}', name="t")
        await register(hub, Registration(kind="GcmTemplate", handle=Handle.gcm_registration_id("g"), template=template))
        folding = Folding(map_value={"platform": {"gcm": "fcmv1"}}, convert_gcm_templates=True)
        await migrate(hub, tmp_path / "d.ndjson", folding=folding)
        [made] = written(tmp_path / "d.ndjson")
        assert orjson.loads(made["templates"]["t"]["body"]) == {"message": {"data": {"message": "$(m)"}}}

    async def test_what_is_no_device_s_own_is_kept_aside(self, hub: Hub, tmp_path: Path) -> None:
        tile = Registration(kind="Windows", handle=Handle.channel_uri("https://w/t"), secondary_tile="tile")
        await register(hub, tile, apple(1))
        summary = await migrate(hub, tmp_path / "d.ndjson")
        assert (summary.tiles, summary.written) == (1, 1)
        [kept] = written(tmp_path / "d.ndjson.left-out.ndjson")
        assert kept["secondaryTileName"] == "tile"

    async def test_an_export_needs_no_hub_and_its_bad_lines_fail_alone(self, tmp_path: Path) -> None:
        lines = [bulkload.registration.description(replace(apple(1, tag), registration_id=tag)) for tag in "ab"]
        export = tmp_path / "export.txt"
        export.write_text("\n".join([*lines, "<html/>", "", "{}"]))
        summary = await migrate(None, tmp_path / "d.ndjson", export=export)
        assert (summary.exit_code, summary.failed, summary.written) == (1, 2, 1)
        assert written(tmp_path / "d.ndjson")[0]["tags"] == ["a", "b"]

    async def test_nothing_of_what_was_read_stays_in_the_ledger(self, hub: Hub, tmp_path: Path) -> None:
        await register(hub, apple(0xABCDEF, "personal-tag"))
        await migrate(hub, tmp_path / "d.ndjson")
        kept = (tmp_path / "d.ndjson.migrate").read_bytes()
        assert b"ABCDEF" not in kept
        assert b"personal-tag" not in kept
        assert names_in(tmp_path) == {"d.ndjson", "d.ndjson.migrate"}
        assert (tmp_path / "d.ndjson").stat().st_mode & 0o777 == 0o600
        assert (tmp_path / "d.ndjson.migrate").stat().st_mode & 0o777 == 0o600


class TestReadingOn:
    async def test_a_reading_that_was_stopped_goes_on_behind_the_last_page(self, hub: Hub, tmp_path: Path) -> None:
        await register(hub, *(apple(number, f"t{number}") for number in range(30)))
        path = tmp_path / "d.ndjson"
        migration = Migration(
            FileOutput(path),
            hub=hub,
            requesting=Requesting(),
            folding=Folding(),
            ledger=tmp_path / "d.ndjson.migrate",
            top=2,
        )
        running = asyncio.create_task(migration.run())
        await until(lambda: migration.progress.consumed >= 10)
        migration.stop(5, "told to")
        stopped = await running
        assert (stopped.exit_code, stopped.outcome, stopped.reason) == (5, "stopped", "told to")
        assert not path.exists()
        summary = await migrate(hub, path, top=2)
        assert (summary.written, summary.read) == (30, 30)
        assert summary.requests.sent < 12

    async def test_another_list_of_handles_is_not_mixed_with_the_one_before(self, hub: Hub, tmp_path: Path) -> None:
        await register(hub, *(apple(number) for number in range(4)))
        first, second = ([Handle.device_token(token(number)) for number in numbers] for numbers in ((0, 1), (1, 2)))
        failed = await migrate(hub, tmp_path / "d", handles=[*first, Handle((("Unknown", "x"),))])
        assert failed.exit_code == 1
        summary = await migrate(hub, tmp_path / "d", handles=second)
        assert (summary.exit_code, summary.written, summary.requests.sent) == (0, 2, 1)
        assert {one["pushChannel"] for one in written(tmp_path / "d")} == {token(1), token(2)}

    async def test_a_handle_of_two_push_services_is_asked_for_under_both(self, hub: Hub, tmp_path: Path) -> None:
        fcm, gcm = Handle((("FcmV1RegistrationId", "x"),)), Handle.gcm_registration_id("x")
        await register(hub, Registration(kind="FcmV1", handle=fcm, tags=("a",)))
        await register(hub, Registration(kind="Gcm", handle=gcm, tags=("b",)))
        folding = Folding(map_value={"platform": {"gcm": "fcmv1"}})
        await migrate(hub, tmp_path / "d", handles=[fcm, gcm], folding=folding)
        assert [one["tags"] for one in written(tmp_path / "d")] == [["a", "b"]]

    async def test_failures_of_a_session_that_ended_before_it_wrote_are_remembered(self, tmp_path: Path) -> None:
        export = tmp_path / "export.txt"
        export.write_text(f"<html/>\n{bulkload.registration.description(apple(1))}\n")
        source = FileSource(export, Layout(format="ndjson"))
        what = f"the export {await source.fingerprint()}"
        with MigrationLedger(tmp_path / "d.migrate", hub=None, what=what) as ledger:
            ledger.add([apple(1, registration_id="1")])
            ledger.reach(place=START, failed=1)
            ledger.all_read()
        summary = await migrate(None, tmp_path / "d", export=export)
        assert (summary.exit_code, summary.failed, summary.written) == (1, 1, 1)

    async def test_what_cannot_be_mapped_keeps_nothing_from_being_wiped(self, hub: Hub, tmp_path: Path) -> None:
        await register(hub, apple(0xABCDEF))
        summary = await migrate(hub, tmp_path / "d", folding=Folding(id_from="tags[0]"))
        assert (summary.exit_code, summary.resume) == (1, None)
        assert b"ABCDEF" not in (tmp_path / "d.migrate").read_bytes()
        await register(hub, apple(2, "a"))
        assert (await migrate(hub, tmp_path / "d", folding=Folding(id_from="tags[0]"))).written == 1

    async def test_a_ledger_that_cannot_be_read_any_more_stops_the_run(self, hub: Hub, tmp_path: Path) -> None:
        with MigrationLedger(tmp_path / "d", hub=hub.identity, what="all registrations") as ledger:
            ledger._write("DROP TABLE entries")
            with pytest.raises(Halt, match="make room and run the same command again"):
                list(ledger.channels())
            ledger._write("CREATE TABLE entries (channel BLOB, registration TEXT)")

    async def test_a_token_that_is_not_known_any_more_lets_the_reading_begin_anew(
        self, hub: Hub, tmp_path: Path
    ) -> None:
        await register(hub, *(apple(number, f"t{number}") for number in range(6)))
        with MigrationLedger(tmp_path / "d.migrate", hub=hub.identity, what="all registrations") as ledger:
            ledger.add([apple(77, registration_id="gone-meanwhile")])
            ledger.reach(token="expired")
        summary = await migrate(hub, tmp_path / "d", top=2)
        assert (summary.exit_code, summary.written) == (0, 6)
        assert {one["pushChannel"] for one in written(tmp_path / "d")} == {token(number) for number in range(6)}

    async def test_channels_that_were_read_are_not_read_again(self, hub: Hub, tmp_path: Path) -> None:
        async with Emulator(hub="devices") as emulator:
            handles = [Handle.device_token(token(number)) for number in range(6)]
            await register(emulator.hub, *(apple(number) for number in range(6)))
            before = emulator.requests.read
            first = await migrate(emulator.hub, tmp_path / "d", handles=[*handles, Handle((("Unknown", "x"),))])
            assert (first.exit_code, first.failed, first.written) == (1, 1, 6)
            assert emulator.requests.read == before + 6
            second = await migrate(emulator.hub, tmp_path / "d", handles=handles)
            assert (second.exit_code, second.written) == (0, 6)
            assert emulator.requests.read == before + 6

    async def test_a_ledger_of_another_hub_or_another_reading_is_refused(self, hub: Hub, tmp_path: Path) -> None:
        handle = Handle.device_token(token(1))
        await register(hub, apple(1))
        await migrate(hub, tmp_path / "d", handles=[handle, Handle((("Unknown", "x"),))])
        with pytest.raises(InputError, match="begun to read handles, not all registrations"):
            await migrate(hub, tmp_path / "d")
        with pytest.raises(InputError, match="belongs to hub"):
            await migrate(replace(hub, name="others"), tmp_path / "d", handles=[handle])

    async def test_a_load_s_ledger_is_refused(self, hub: Hub, tmp_path: Path) -> None:
        (tmp_path / "d").write_bytes(b"")
        await bulkload.load(tmp_path / "d", hub=hub, ledger=tmp_path / "d.migrate")
        with pytest.raises(InputError, match="is not a ledger of migrate"):
            await migrate(hub, tmp_path / "d")

    async def test_two_at_once_are_refused(self, hub: Hub, tmp_path: Path) -> None:
        await register(hub, apple(1))
        one = asyncio.create_task(migrate(hub, tmp_path / "d"))
        await until((tmp_path / "d.migrate").exists)
        with pytest.raises(LedgerLocked):
            await migrate(hub, tmp_path / "d")
        assert (await one).exit_code == 0


async def lost(hub: Hub, installation: Fields) -> Fields:
    """An installation that the hub has no more."""
    async with Client(hub) as client:
        await client.delete_installation(installation["installationId"])
    return installation


@pytest.fixture
async def migrated(hub: Hub, tmp_path: Path) -> tuple[Path, Path]:
    """Ten devices with two registrations each, migrated and loaded: the installations and the load's ledger."""
    for number in range(10):
        await register(hub, apple(number, "news"), apple_template(number, "hello", '{"aps":{}}'))
    devices = tmp_path / "d.ndjson"
    await migrate(hub, devices)
    return devices, await load(hub, devices)


class TestDeletingTheOldOnes:
    async def test_only_what_belongs_to_no_installation_goes(self, hub: Hub, migrated: tuple[Path, Path]) -> None:
        await register(hub, apple(77, "of-no-installation"))
        summary = await delete(hub, *migrated)
        assert (summary.exit_code, summary.channels, summary.registrations) == (0, 10, 20)
        left = await everything(hub)
        assert sum(one.installation_id is not None for one in left) == 20
        assert [one.tags for one in left if one.installation_id is None] == [("of-no-installation",)]

    async def test_a_plan_tells_them_and_deletes_none(self, hub: Hub, migrated: tuple[Path, Path]) -> None:
        told: list[Fields] = []

        async def take(lines: Iterable[bytes]) -> None:
            told.extend(map(orjson.loads, lines))

        devices, ledger = migrated
        before = await everything(hub)
        plan = DeletionPlan(Loaded(devices, ledger, hub=hub), hub, Requesting(), top=100, take=take)
        summary = await plan.run()
        assert (summary.exit_code, summary.registrations) == (0, 20)
        old = {one.registration_id for one in before if one.installation_id is None}
        assert {one["registrationId"] for one in told} == old
        assert token(3) not in repr(told)
        assert await everything(hub) == before

    async def test_what_is_done_is_not_visited_again_until_all_is_done(
        self, hub: Hub, migrated: tuple[Path, Path]
    ) -> None:
        devices, _ = migrated
        gone = await lost(hub, written(devices)[4])
        assert (await delete(hub, *migrated)).exit_code == 1
        again = await delete(hub, *migrated)
        assert (again.exit_code, again.earlier, again.channels, again.requests.sent) == (1, 9, 0, 1)
        await put(hub, [gone])
        last = await delete(hub, *migrated)
        assert (last.exit_code, last.earlier, last.channels, last.registrations) == (0, 9, 1, 2)

    async def test_old_ones_that_came_back_go_as_well(self, hub: Hub, migrated: tuple[Path, Path]) -> None:
        await delete(hub, *migrated)
        await register(hub, apple(3, "back"), apple(5, "back"))
        again = await delete(hub, *migrated)
        assert (again.exit_code, again.earlier, again.channels, again.registrations) == (0, 0, 10, 2)
        assert all(one.installation_id for one in await everything(hub))

    async def test_a_ledger_of_the_first_kind_goes_on(self, hub: Hub, migrated: tuple[Path, Path]) -> None:
        devices, ledger = migrated
        path = devices.with_name(f"{devices.name}.migrate")
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(
                "ALTER TABLE migration DROP COLUMN round; ALTER TABLE deletions DROP COLUMN round; "
                "PRAGMA user_version = 1"
            )
            done = hashlib.sha256(written(devices)[0]["pushChannel"].encode()).digest()
            connection.execute("INSERT INTO deletions VALUES (?, 'x', 2, 'then')", (done,))
            connection.commit()
        summary = await delete(hub, devices, ledger)
        assert (summary.exit_code, summary.earlier, summary.channels) == (0, 1, 9)

    async def test_a_channel_whose_installation_is_not_there_keeps_its_registrations(
        self, hub: Hub, migrated: tuple[Path, Path]
    ) -> None:
        devices, _ = migrated
        gone = await lost(hub, written(devices)[4])
        summary = await delete(hub, *migrated)
        assert (summary.exit_code, summary.not_visible, summary.channels) == (1, 1, 9)
        left = [one for one in await everything(hub) if one.installation_id is None]
        assert {one.handle.push_channel for one in left if one.handle} == {gone["pushChannel"]}
        assert len(left) == 2

    async def test_an_installation_of_another_id_on_the_channel_is_not_enough(
        self, hub: Hub, migrated: tuple[Path, Path]
    ) -> None:
        devices, _ = migrated
        gone = await lost(hub, written(devices)[0])
        await put(hub, [{**gone, "installationId": "another"}])
        summary = await delete(hub, *migrated)
        assert (summary.exit_code, summary.not_visible) == (1, 1)

    async def test_an_installation_that_shows_late_is_waited_for(self, tmp_path: Path) -> None:
        async with Emulator(hub="devices", behaviour=Behaviour(visibility_delay=0.5)) as emulator:
            await register(emulator.hub, apple(1, "a"), apple(2, "b"))
            await migrate(emulator.hub, tmp_path / "d")
            ledger = await load(emulator.hub, tmp_path / "d")
            early = await delete(emulator.hub, tmp_path / "d", ledger, within=0.0)
            assert (early.exit_code, early.not_visible, early.registrations) == (1, 2, 0)
            late = await delete(emulator.hub, tmp_path / "d", ledger, within=0.8)
            assert (late.exit_code, late.not_visible, late.registrations) == (0, 0, 2)

    async def test_what_the_load_did_not_bring_in_is_left(self, hub: Hub, tmp_path: Path) -> None:
        await register(hub, *(apple(number) for number in range(5)))
        devices = tmp_path / "d"
        await migrate(hub, devices)
        ledger = tmp_path / "d.ledger"
        summary = await bulkload.load(devices, hub=hub, ledger=ledger, limit=2)
        assert summary.exit_code == 5
        deletion = await delete(hub, devices, ledger)
        assert (deletion.exit_code, deletion.registrations, deletion.not_accepted) == (1, 2, 3)
        assert sum(one.installation_id is None for one in await everything(hub)) == 3

    async def test_a_file_that_is_not_what_was_loaded_is_refused(self, hub: Hub, migrated: tuple[Path, Path]) -> None:
        devices, ledger = migrated
        devices.write_bytes(devices.read_bytes() + b'{"installationId":"x","platform":"apns","pushChannel":"00"}\n')
        summary_of = delete(hub, devices, ledger)
        with pytest.raises(InputError, match=r"is not what ledger .* was made of"):
            await summary_of

    async def test_a_ledger_of_another_hub_is_refused(self, hub: Hub, migrated: tuple[Path, Path]) -> None:
        with pytest.raises(InputError, match="is of hub"):
            Loaded(*migrated, hub=replace(hub, name="others"))

    async def test_a_device_of_fcm_v1_loses_its_registrations_of_gcm(self, hub: Hub, tmp_path: Path) -> None:
        await register(hub, Registration(kind="Gcm", handle=Handle.gcm_registration_id("g:1"), tags=("a",)))
        folding = Folding(map_value={"platform": {"gcm": "fcmv1"}})
        await migrate(hub, tmp_path / "d", folding=folding)
        summary = await delete(hub, tmp_path / "d", await load(hub, tmp_path / "d"))
        assert (summary.exit_code, summary.registrations) == (0, 1)
        assert [one.kind for one in await everything(hub)] == ["FcmV1"]

    async def test_a_mapping_of_the_load_counts(self, hub: Hub, tmp_path: Path) -> None:
        await register(hub, apple(1, "keep"), apple(2, "drop"), apple(3, "keep"))
        await migrate(hub, tmp_path / "d")
        ledger = await load(hub, tmp_path / "d", where="contains(tags, 'keep')", id_from="push-channel")
        summary = await delete(hub, tmp_path / "d", ledger)
        assert (summary.exit_code, summary.registrations) == (0, 2)
        assert [one.tags for one in await everything(hub) if one.installation_id is None] == [("drop",)]

    async def test_a_hub_that_does_not_heed_its_filter_loses_nothing(
        self, hub: Hub, migrated: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Client, "registrations", lambda client, _handle, *, top: client.all_registrations(top=top))
        before = await everything(hub)
        summary = await delete(hub, *migrated)
        assert (summary.exit_code, summary.failed, summary.registrations) == (1, 10, 0)
        assert await everything(hub) == before

    async def test_an_installation_of_several_channels_is_only_the_last_one_s(self, tmp_path: Path) -> None:
        async with Emulator(hub="devices", behaviour=Behaviour(visibility_delay=0.4)) as emulator:
            await register(emulator.hub, apple(1, "a"), apple(2, "b"))
            one = {"installationId": "same", "platform": "apns"}
            lines = [{**one, "pushChannel": token(number)} for number in (1, 2)]
            devices = tmp_path / "d"
            devices.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
            ledger = tmp_path / "d.ledger"
            for limit in (1, None):
                # One after the other, so that both are accepted.
                await bulkload.load(devices, hub=emulator.hub, ledger=ledger, limit=limit)
            summary = await delete(emulator.hub, devices, ledger, within=2.0)
            assert (summary.exit_code, summary.registrations, summary.not_accepted) == (1, 1, 1)
            left = [one for one in await everything(emulator.hub) if one.handle]
            assert {one.handle.push_channel for one in left if one.handle} == {token(1), token(2)}

    async def test_what_came_from_an_export_has_its_old_ones_deleted_as_well(self, hub: Hub, tmp_path: Path) -> None:
        [made] = await register(hub, apple(1, "a"))
        export = tmp_path / "export.txt"
        export.write_text(bulkload.registration.description(made))
        devices = tmp_path / "d"
        await migrate(None, devices, export=export)
        summary = await delete(hub, devices, await load(hub, devices))
        assert (summary.exit_code, summary.registrations) == (0, 1)
        assert (await migrate(None, devices, export=export)).exit_code == 0

    async def test_a_tile_s_registration_on_the_channel_is_kept(self, hub: Hub, tmp_path: Path) -> None:
        uri = Handle.channel_uri("https://w/1")
        tile = Registration(kind="Windows", handle=uri, secondary_tile="tile")
        await register(hub, Registration(kind="Windows", handle=uri), tile)
        await migrate(hub, tmp_path / "d")
        summary = await delete(hub, tmp_path / "d", await load(hub, tmp_path / "d"))
        assert (summary.registrations, summary.kept) == (1, 1)
        assert [one.secondary_tile for one in await everything(hub) if one.installation_id is None] == ["tile"]


async def put(hub: Hub, installations: Iterable[Mapping[str, Any]]) -> None:
    transport = AiohttpTransport(hub, connections=4, api_version="2020-06")
    signer = Signer(hub.url, hub.key_name, hub.key)
    try:
        for number, fields in enumerate(installations):
            body = orjson.dumps(fields)
            record = Record(Origin(0, body, START), number, fields["installationId"], body)
            answer = await exchange(transport, record, signer.token)
            assert answer.status == 200, (fields, answer.body)
    finally:
        await transport.close()


# Anything that XML can hold; a service that stores its registrations as XML takes no more.
TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff", include_characters="\t\n\r"),
    max_size=12,
)
TAGS = st.lists(st.from_regex(r"[A-Za-z0-9_@#.:-]{1,8}", fullmatch=True), max_size=4)
NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="$\ufffe\uffff"), min_size=1, max_size=8
)
DATES = st.just("2031-05-06T07:08:09Z")
JSON_BODIES = TEXT.map(lambda text: orjson.dumps({"data": {"text": text}}).decode())

CHANNELS: dict[str, st.SearchStrategy[Any]] = {
    "apns": st.binary(min_size=1, max_size=8).map(bytes.hex),
    "wns": st.from_regex(r"https://w\.example/\?token=[a-zA-Z0-9%+'/=]{1,8}", fullmatch=True),
    "mpns": st.from_regex(r"http://m\.example/[a-zA-Z0-9%+']{1,8}", fullmatch=True),
    "browser": st.fixed_dictionaries(
        {
            "endpoint": st.from_regex(r"https://b\.example/[a-z0-9'&<]{1,8}", fullmatch=True),
            "p256dh": st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True),
            "auth": st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True),
        }
    ),
    "baidu": st.from_regex(r"[0-9]{1,6}-[0-9-]{1,6}", fullmatch=True),
    **{
        platform: st.from_regex(r"[A-Za-z0-9:_'&<>\"-]{1,12}", fullmatch=True)
        for platform in ("gcm", "fcmv1", "adm", "xiaomi")
    },
}


@st.composite
def templates(draw: st.DrawFn, platform: str) -> Fields:
    optional: dict[str, st.SearchStrategy[Any]] = {"tags": TAGS}
    if platform == "apns":
        optional["expiry"] = DATES
    bodies = JSON_BODIES if platform in ("apns", "gcm", "fcmv1", "adm") else TEXT
    template = draw(st.fixed_dictionaries({"body": bodies}, optional=optional))
    if platform in ("wns", "mpns"):
        name, value = {"wns": ("X-WNS-Type", "wns/raw"), "mpns": ("X-NotificationClass", "3")}[platform]
        template["headers"] = {name: value, "X-Other": draw(st.sampled_from(["", "a <b> & c"]))}
    return template


@st.composite
def installations(draw: st.DrawFn) -> Fields:
    platform = draw(st.sampled_from(sorted(CHANNELS)))
    return draw(
        st.fixed_dictionaries(
            {
                "installationId": st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,11}", fullmatch=True),
                "platform": st.just(platform),
                "pushChannel": CHANNELS[platform],
            },
            optional={
                "userId": st.from_regex(r"[A-Za-z0-9_@#.:=-]{1,8}", fullmatch=True),
                "tags": TAGS,
                "templates": st.dictionaries(NAMES, templates(platform), max_size=3),
                "pushVariables": st.dictionaries(TEXT, TEXT, max_size=2),
                "expirationTime": DATES,
            },
        ).filter(lambda fields: isinstance(Checker().check_fields(fields), Installation))
    )


def told(fields: Fields) -> Fields:
    """An installation as registrations can tell it: sets are sorted, and a template's tags are those of its own."""
    own = sorted(set(fields.get("tags", ())))
    made = {**fields, "tags": own, "templates": {}}
    if fields["platform"] == "apns":
        made["pushChannel"] = fields["pushChannel"].upper()
    for name, template in sorted(fields.get("templates", {}).items()):
        of_name = {part.strip() for part in name.split(",")}
        tags = sorted(set(template.get("tags", ())) - set(own) - of_name)
        made["templates"][name] = {key: value for key, value in {**template, "tags": tags}.items() if value}
    return {key: value for key, value in made.items() if value}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    drawn=st.lists(installations(), min_size=1, max_size=5, unique_by=lambda one: one["installationId"]),
    dialect=st.sampled_from(["2018", "2023"]),
    top=st.integers(1, 4),
)
def test_installations_come_back_from_their_registrations_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[Fields], dialect: str, top: int
) -> None:
    one_a_channel = list({Handle.of_installation(one).key: one for one in drawn}.values())
    path = tmp_path_factory.mktemp("made") / "d.ndjson"

    async def there_and_back() -> None:
        async with Emulator(hub="devices", dialect=dialect) as emulator:
            await put(emulator.hub, one_a_channel)
            summary = await migrate(emulator.hub, path, top=top)
            assert (summary.exit_code, summary.conflicts) == (0, {})

    asyncio.run(there_and_back())
    by_id = {one["installationId"]: one for one in written(path)}
    assert by_id == {one["installationId"]: told(one) for one in one_a_channel}


def test_an_output_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        FileOutput(tmp_path)


def test_what_is_no_regular_file_is_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(InputError, match="no regular file"):
        FileOutput(tmp_path / "fifo")
    with pytest.raises(InputError, match="no regular file"):
        FileOutput(Path("/dev/null"))


async def test_what_a_link_leads_to_is_written(hub: Hub, tmp_path: Path) -> None:
    await register(hub, apple(1))
    link = tmp_path / "link"
    link.symlink_to("real")
    await migrate(hub, link)
    assert link.is_symlink()
    assert len(written(tmp_path / "real")) == 1


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="folder is missing or read-only"):
        FileOutput(tmp_path / "missing" / "d")


async def fail_after_writing(output: FileOutput) -> None:
    async with output:
        await output.write([b"{}"])
        await output.leave_out([b"{}"])
        raise ZeroDivisionError


async def test_an_output_that_fails_leaves_both_files_as_they_were(tmp_path: Path) -> None:
    before = {"d": b"devices", "d.left-out.ndjson": b"left out"}
    for name, data in before.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ZeroDivisionError):
        await fail_after_writing(FileOutput(tmp_path / "d"))
    assert {name: (tmp_path / name).read_bytes() for name in names_in(tmp_path)} == before


async def test_what_a_killed_run_left_beside_the_output_goes_with_the_next_one(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "d.part").write_bytes(b"push channels of a run that was killed")
    await register(hub, apple(1))
    await migrate(hub, tmp_path / "d")
    assert names_in(tmp_path) == {"d", "d.migrate"}

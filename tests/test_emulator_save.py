"""What an emulated hub holds outlives it in a file, whatever its end was."""

import asyncio
import signal
import sqlite3
import stat
from contextlib import closing
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from bulkload.emulator import Emulator, server
from bulkload.emulator.behaviour import Behaviour
from bulkload.errors import Halt, InputError
from bulkload.registration import Registration
from tests.processes import Case, EmulatedHub, Forks, wait_for
from tests.registering import APPLE, TOKEN, body, hub
from tests.test_emulator import Client

ONE = {"installationId": "a1", "platform": "gcm", "pushChannel": "g", "tags": ["x"]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "hub.emulator"


def fields(registrations: list[Registration]) -> list[object]:
    return [one.to_fields() for one in registrations]


@pytest.mark.parametrize("looks", [True, False])
async def test_all_is_as_it_was_after_the_next_start(file: Path, looks: bool) -> None:
    async with hub(save=file) as client:
        await client.put(ONE)
        await client.put(ONE | {"templates": {"t": {"body": "{}"}}})
        await client.put(ONE | {"installationId": "a2"})
        if looks:
            await client.listed()
        await client.ask("DELETE", "/installations/a2")
        await client.write("1")
        await client.write("1", body(f"<Tags>own</Tags>{APPLE}"))
        await client.write("2")
        await client.remove("2")
        before = await client.listed() if looks else None
        held = dict(client.emulator.installations)
    async with hub(save=file) as client:
        assert client.emulator.installations == held
        after = await client.listed()
        assert before is None or fields(after) == fields(before)
        assert {one.etag for one in after} == {"2"}
        assert await client.found(f"DeviceToken eq '{TOKEN}'") == ["1"]
        assert len(await client.listed(path="/tags/x/registrations")) == 2
        assert await client.listed(path="/tags/%24InstallationId:%7Ba2%7D/registrations") == []
        # A number is not given again, so a list that went on from here would miss nothing.
        await client.write("3")
        assert (await client.listed())[-1].registration_id == "3"


async def test_a_list_goes_on_after_the_next_start(file: Path) -> None:
    async with hub(save=file) as client:
        for id_ in ("1", "2", "3"):
            await client.write(id_)
        reply = await client.ask("GET", "/registrations", query="?api-version=1&$top=2")
        token = reply.headers["x-ms-continuationtoken"]
        await client.remove("3")
    async with hub(save=file) as client:
        await client.write("4")
        assert [one.registration_id for one in await client.listed(f"&ContinuationToken={token}")] == ["4"]


async def test_what_was_looked_at_is_not_counted_again(file: Path) -> None:
    for _ in range(3):
        async with hub(save=file) as client:
            if not client.emulator.installations:
                await client.put(ONE)
            assert [one.etag for one in await client.listed()] == ["1"]


async def test_what_could_not_be_seen_yet_is_there_after_the_next_start(file: Path) -> None:
    behaviour = Behaviour(visibility_delay=3600)
    async with hub(save=file, behaviour=behaviour) as client:
        await client.put(ONE)
        assert await client.listed() == []
    async with hub(save=file, behaviour=behaviour) as client:
        assert (await client.ask("GET")).status == 200
        assert len(await client.listed()) == 1
        await client.ask("DELETE")
        assert len(await client.listed()) == 1
    async with hub(save=file, behaviour=behaviour) as client:
        assert (await client.ask("GET")).status == 404
        assert await client.listed() == []


async def test_the_quota_counts_what_the_file_holds(file: Path) -> None:
    async with hub(save=file) as client:
        await client.put(ONE)
        await client.write("1")
        await client.listed()
    async with hub(save=file, behaviour=Behaviour(quota=2)) as client:
        assert (await client.write("2")).status == 403
        assert (await client.remove("1")).status == 200
        assert (await client.write("2")).status == 200


async def test_either_front_end_reads_the_other_s_file(file: Path) -> None:
    async with hub(save=file, dialect="2018") as client:
        await client.write("1")
        assert b"59.999Z" in (await client.ask("GET", "/registrations")).body
    async with hub(save=file, dialect="2023") as client:
        assert b"59.9999999Z" in (await client.ask("GET", "/registrations")).body


@pytest.mark.parametrize("existing", [False, True])
async def test_only_its_owner_reads_the_file_and_what_stands_beside_it(file: Path, existing: bool) -> None:
    if existing:
        file.touch(0o644)  # noqa: ASYNC240
    async with hub(save=file) as client:
        await client.put(ONE)
        client.emulator._service.save()
        assert modes(file.parent) == {file.name: 0o600, f"{file.name}-wal": 0o600}
    assert modes(file.parent) == {file.name: 0o600}


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


async def test_without_a_file_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with hub() as client:
        await client.put(ONE)
        await client.listed()
        assert modes(tmp_path) == {}


async def refusal(file: Path) -> str:
    with pytest.raises(InputError) as refused:
        async with Emulator(hub="devices", save=file):
            pass
    text = str(refused.value)
    assert len(text.splitlines()) == 1
    assert "--save" in text or "use that" in text
    return text


async def test_what_is_no_such_file_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE installations (id)")
    text = tmp_path / "text"
    text.write_text("no database, and longer than the head of one would be" * 100)
    for path in (other, text):
        before = path.read_bytes(), path.stat()
        assert await refusal(path) == f"{path} is not an emulator's file; name another with --save"
        assert (path.read_bytes(), path.stat().st_mtime_ns) == (before[0], before[1].st_mtime_ns)
    assert await refusal(tmp_path) == f"{tmp_path} is no regular file; name another with --save"
    nowhere = tmp_path / "none" / "file"
    assert await refusal(nowhere) == (
        f"{nowhere} cannot be written: No such file or directory; name another file with --save"
    )


async def test_the_file_of_a_newer_one_is_refused(file: Path) -> None:
    async with hub(save=file):
        pass
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA user_version = 2")
    assert "was written by a newer bulkload" in await refusal(file)


async def test_a_file_in_use_is_refused(file: Path) -> None:
    async with hub(save=file) as client:
        await client.put(ONE)
        assert "is in use by another emulator" in await refusal(file)
        with Forks() as forks:
            ran = forks.run("emulator", "--save", str(file), cwd=file.parent)
        assert ran.code == 2
        assert f"{file} is in use by another emulator" in ran.complaint
        assert (await client.ask("GET")).status == 200
    async with hub(save=file) as client:
        assert (await client.ask("GET")).status == 200


async def test_an_emulator_whose_file_cannot_be_written_any_more_ends(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_SAVE_EVERY", 0.01)
    emulator = Emulator(hub="devices", save=file)
    await emulator.__aenter__()
    assert not emulator.ended.is_set()
    emulator._service._store._saved.connection.execute("ROLLBACK")
    await asyncio.wait_for(emulator.ended.wait(), 5)
    with pytest.raises(Halt, match=r"hub\.emulator cannot be written: "):
        await emulator.__aexit__(None, None, None)


class TestTheProgram:
    def test_goes_on_where_it_was_ended(self, tmp_path: Path) -> None:
        for turn in range(2):
            with EmulatedHub("--save", "hub.emulator", cwd=tmp_path) as emulated:
                assert (emulated.get("a1") is None) == (turn == 0)
                asyncio.run(put(emulated, ["a1"]))
                assert emulated.end(signal.SIGTERM).code == 0
        assert [path.name for path in tmp_path.iterdir()] == ["hub.emulator"]

    def test_loses_at_most_half_a_second_when_it_is_killed(self, tmp_path: Path) -> None:
        file = tmp_path / "hub.emulator"
        for turn in range(2):
            with EmulatedHub("--save", str(file), cwd=tmp_path) as emulated:
                assert (emulated.get("device-0") is None) == (turn == 0)
                ids = [f"device-{turn}"]
                asyncio.run(put(emulated, ids))
                log = Path(f"{file}-wal")
                held = partial(is_in, log, ids[0].encode())
                wait_for(held, "the file to hold it")
                asyncio.run(put(emulated, ["last"]))
                emulated.end(signal.SIGKILL)
        with EmulatedHub("--save", str(file), cwd=tmp_path) as emulated:
            assert emulated.holds(["device-0", "device-1"])

    def test_refuses_in_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "text").write_text("no database" * 1000)
        with Forks() as forks:
            [ran] = forks.run_all([Case(("emulator", "--save", "text"))], cwd=tmp_path)
        assert ran.code == 2
        assert "text is not an emulator's file" in ran.complaint


def is_in(file: Path, text: bytes) -> bool:
    return file.exists() and text in file.read_bytes()


async def put(emulated: EmulatedHub, ids: list[str]) -> None:
    async with aiohttp.ClientSession() as session:
        client = Client(session, emulated.hub)
        for id_ in ids:
            assert (await client.put(ONE | {"installationId": id_})).status == 200

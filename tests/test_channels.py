"""Channels are read side by side, each wholly or not at all, and one that fails ends no other."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

import bulkload
from bulkload.migrate.channels import read_channels, side_by_side
from bulkload.migrate.handles import Handles
from bulkload.registration import Handle, Registration
from tests.scripted_hub import HUB, Reply, Script, error
from tests.test_operations import FEED, HANDLE
from tests.virtual_time import run_virtually

OTHER = Handle.device_token("00ff")


class Notes:
    """Takes what is read, and notes what it is told."""

    def __init__(self, *, unwanted: Sequence[Handle] = ()) -> None:
        self._unwanted = unwanted
        self.told: list[str] = []

    def is_wanted(self, handle: Handle) -> bool:
        return handle not in self._unwanted

    async def take(self, registrations: list[Registration]) -> None:
        self.told.append(f"{len(registrations)} registrations")

    def done(self, handle: Handle) -> None:
        self.told.append(f"done {handle.digest}")

    def failed(self, reason: str) -> None:
        self.told.append(f"failed: {reason}")


def read(script: Script, notes: Notes, handles: Handles, *, workers: int = 1) -> list[str]:
    async def ask(client: bulkload.Client) -> None:
        await read_channels(client, handles, notes, workers=workers, top=2)

    script.ask(ask)
    return notes.told


GOES_ON = {"x-ms-continuationtoken": "a"}


def test_a_channel_is_told_once_it_is_whole() -> None:
    script = Script(Reply(200, FEED, GOES_ON), Reply(200, FEED))
    assert read(script, Notes(), Handles([HANDLE])) == ["2 registrations", f"done {HANDLE.digest}"]
    assert script.seen[0].url.query["$top"] == "2"


def test_a_channel_that_is_not_read_to_its_end_is_not_told_in_part() -> None:
    script = Script(Reply(200, FEED, GOES_ON), error(400, "no"), Reply(200, FEED))
    failed, *rest = read(script, Notes(), Handles([HANDLE, OTHER]))
    assert failed.startswith(f"failed: hub devices: page 2 of the registrations of channel {HANDLE.digest}: 400 no")
    assert rest == ["1 registrations", f"done {OTHER.digest}"]


def test_a_channel_that_is_not_wanted_is_not_asked_for() -> None:
    script = Script(FEED)
    notes = Notes(unwanted=[HANDLE])
    assert read(script, notes, Handles([HANDLE, OTHER])) == ["1 registrations", f"done {OTHER.digest}"]
    assert len(script.seen) == 1


async def test_a_line_that_is_no_handle_fails_alone(tmp_path: Path) -> None:
    path = tmp_path / "handles"
    path.write_bytes(b"{\n")
    notes = Notes()
    async with HUB.client() as client:
        await read_channels(client, Handles([], [str(path)]), notes, workers=3, top=2)
    assert notes.told == [f"failed: {path} line 1: it begins like a JSON object and is none"]


def test_a_halt_ends_the_reading() -> None:
    notes = Notes()
    with pytest.raises(bulkload.Halt):
        read(Script(error(401, "no")), notes, Handles([HANDLE, OTHER]), workers=2)
    assert notes.told == []


def test_so_many_are_read_at_the_same_time() -> None:
    script = Script(Reply(200, FEED), Reply(200, FEED, takes=1))
    read(script, Notes(), Handles([Handle.device_token(f"{number:02}") for number in range(9)]), workers=4)
    times = script.times
    # The first request leaves alone, to see whether the hub is there.
    assert [round(at) for at in times] == [0] * 5 + [1] * 4


def test_what_fails_in_one_task_ends_all_and_comes_out_as_itself() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            if not ended:
                ended.append("first")
                await asyncio.sleep(1)
                raise ZeroDivisionError
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def main() -> float:
        with pytest.raises(ZeroDivisionError):
            await side_by_side(work, 3)
        return asyncio.get_running_loop().time()

    assert run_virtually(main()) == 1
    assert ended == ["first", "cancelled", "cancelled"]

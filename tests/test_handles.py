"""Handles come from flags and from files, one a line, and a line that is none is told without what it holds."""

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path

import orjson
import pytest

from bulkload.errors import InputError
from bulkload.migrate.handles import LONGEST_LINE, TOGETHER, Handles, Unusable
from bulkload.registration import Handle
from bulkload.source.standard_input import STANDARD_INPUT

SECRET = "a:secret"


async def taken(handles: Handles) -> list[Handle | Unusable]:
    """All of them, to the end."""
    found = []
    while (one := await handles.next()) is not None:
        found.append(one)
    assert await handles.next() is None
    return found


def written(file: Path, content: bytes) -> Handles:
    """The handles of a file with this content."""
    file.write_bytes(content)
    return Handles([], [str(file)])


async def read(file: Path, content: bytes) -> list[Handle | Unusable]:
    return await taken(written(file, content))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "handles.txt"


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        (b"https://w.example/?t=a%2fb", ("ChannelUri", "https://w.example/?t=a%2fb")),
        (b"00ff", ("DeviceToken", "00FF")),
        (b"a:b", ("GcmRegistrationId", "a:b")),
        (b" \ta:b \r", ("GcmRegistrationId", "a:b")),
        ("é'c".encode(), ("GcmRegistrationId", "é'c")),
        (b'{"platform": "adm", "pushChannel": "x"}', ("AdmRegistrationId", "x")),
        (b' {"platform":"APNS","pushChannel":"00ff","installationId":"i","tags":[]}', ("DeviceToken", "00FF")),
    ],
)
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
async def test_a_line_is_a_handle_by_its_form(file: Path, line: bytes, parts: tuple[str, str], end: bytes) -> None:
    assert await read(file, line + end) == [Handle((parts,))]


async def test_a_mark_of_byte_order_is_no_part_of_the_first_line(file: Path) -> None:
    assert await read(file, b"\xef\xbb\xbf00ff\n") == [Handle.device_token("00FF")]


async def test_blank_lines_are_no_handles_and_are_counted_as_lines(file: Path) -> None:
    first, second = await read(file, b"\n00ff\n \t\r\n\n{\n\n")
    assert first == Handle.device_token("00ff")
    assert isinstance(second, Unusable)
    assert second.place == f"{file} line 5"


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\r\n"])
async def test_a_file_of_none_has_none(file: Path, content: bytes) -> None:
    assert await read(file, content) == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"secret\xff", "it is not UTF-8"),
        ("secret".encode("utf-16"), "it is not UTF-8"),
        (b"secret\x00more", "it holds control characters"),
        (b"secret\x1b[31m", "it holds control characters"),
        (b'{"platform": "gcm", "pushChannel": "secret"', "it begins like a JSON object and is none"),
        (b"{secret}", "it begins like a JSON object and is none"),
        (b'{"secret": ' * 5000, "it begins like a JSON object and is none"),
        (b'{"platform": "secret", "pushChannel": "secret"}', "it has no platform that is one"),
        (b'{"platform": "gcm"}', "it has no pushChannel"),
        (
            b'{"platform": "apns", "pushChannel": "secret"}',
            "a device token is hex digits, two a byte, and nothing else",
        ),
        (b"secret" * 20_000, "it is longer than 64 KiB"),
    ],
)
async def test_a_line_that_is_none_is_told_by_its_place_and_the_next_is_read(
    file: Path, line: bytes, reason: str
) -> None:
    unusable, after = await read(file, line + b"\n00ff\n")
    assert unusable == Unusable(f"{file} line 1", reason)
    assert "secret" not in reason
    assert after == Handle.device_token("00ff")


async def test_a_line_may_be_as_long_as_the_longest_and_no_longer(file: Path) -> None:
    longest = b"x" * LONGEST_LINE
    fits, too_long, after = await read(file, longest + b"\n" + longest + b"x\n" + b"00ff")
    assert fits == Handle.gcm_registration_id(longest.decode())
    assert too_long == Unusable(f"{file} line 2", "it is longer than 64 KiB")
    assert after == Handle.device_token("00ff")


async def test_those_that_were_given_come_before_those_of_files_in_their_order(tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in ("b", "a")]
    for number, path in enumerate(files):
        written(Path(path), "".join(f"{number}:{line}\n" for line in range(TOGETHER + 1)).encode())
    handles = Handles([Handle.device_token("00")], files)
    expected = ["00", *(f"{number}:{line}" for number in range(2) for line in range(TOGETHER + 1))]
    assert [one.key for one in await taken(handles) if isinstance(one, Handle)] == expected


async def test_several_workers_share_them(file: Path) -> None:
    handles = written(file, "".join(f"x{line}\n" for line in range(2000)).encode())
    shares = await asyncio.gather(*(taken(handles) for _ in range(8)))
    keys = [one.key for share in shares for one in share if isinstance(one, Handle)]
    assert sorted(keys) == sorted(f"x{line}" for line in range(2000))


async def test_what_is_read_is_told_against_the_whole_size(file: Path) -> None:
    content = b"\n00ff\n" + b"x" * 3 * LONGEST_LINE + b"\n\xff"
    written(file, content)
    handles = Handles([Handle.device_token("00")], [str(file), str(file)])
    size = 2 * len(content) + 1
    assert (handles.consumed, handles.size, repr(handles)) == (0, size, f"<Handles 0 of {size} read>")
    await taken(handles)
    assert handles.consumed == size


@pytest.mark.parametrize(("name", "words"), [("missing", "No such file"), ("", "Is a directory")])
async def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, words: str) -> None:
    path = tmp_path / name
    with pytest.raises(InputError, match=f"^handles {path} cannot be read: {words}"):
        await taken(Handles([], [str(path)]))


async def test_files_are_let_go_before_their_end(file: Path, tmp_path: Path) -> None:
    handles = written(file, b"a:b\n" * 5000)
    await handles.next()
    await handles.close()
    assert await handles.next() is None


@pytest.fixture
def standard_input(monkeypatch: pytest.MonkeyPatch) -> Iterable[tuple[int, int]]:
    """A pipe that stands for standard input: its reading end and its writing end."""
    reading, writing = os.pipe()
    real = os.dup
    monkeypatch.setattr(os, "dup", lambda fd: real(reading if fd == 0 else fd))
    yield reading, writing
    for end in (reading, writing):
        try:
            os.close(end)
        except OSError:
            continue


async def test_a_dash_is_standard_input_which_stays_the_command_s(standard_input: tuple[int, int]) -> None:
    reading, writing = standard_input
    os.write(writing, b"00ff\n{\n")
    os.close(writing)
    handles = Handles([], [STANDARD_INPUT])
    assert handles.size is None
    assert await taken(handles) == [
        Handle.device_token("00ff"),
        Unusable("standard input line 2", "it begins like a JSON object and is none"),
    ]
    os.fstat(reading)


async def test_standard_input_that_says_nothing_holds_nobody(standard_input: tuple[int, int]) -> None:
    handles = Handles([Handle.device_token("00")], [STANDARD_INPUT])
    assert await handles.next() == Handle.device_token("00")
    async with asyncio.timeout(5):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await handles.next()
        await handles.close()


def test_an_unusable_line_has_nothing_of_it_in_its_repr() -> None:
    assert SECRET not in repr(Unusable("x line 1", "it is not UTF-8"))


def test_a_line_of_an_installation_is_what_a_load_takes() -> None:
    line = orjson.dumps({"platform": "gcm", "pushChannel": SECRET})
    assert Handle.of_installation(orjson.loads(line)) == Handle.gcm_registration_id(SECRET)

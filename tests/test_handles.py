"""Handles come from flags and from lines; a line that is none is told by its place and not by what it holds."""

from pathlib import Path

import orjson
import pytest

from bulkload.errors import InputError
from bulkload.migrate.handles import LONGEST_LINE, TOGETHER, Handles, Unusable
from bulkload.registration import Handle


async def all_of(handles: Handles) -> list[Handle | Unusable]:
    found = []
    while (one := await handles.next()) is not None:
        found.append(one)
    await handles.close()
    return found


@pytest.mark.parametrize(
    ("line", "handle"),
    [
        (b"00ffAB", Handle.device_token("00FFAB")),
        (b"  00ff \r", Handle.device_token("00FF")),
        (b"\xef\xbb\xbf00ff", Handle.device_token("00FF")),
        (b"https://n/?t=a%2fb", Handle.channel_uri("https://n/?t=a%2fb")),
        (b"00f", Handle.gcm_registration_id("00f")),
        (b"g:APA91b", Handle.gcm_registration_id("g:APA91b")),
        (b'{"platform":"FcmV1","pushChannel":"x"}', Handle((("FcmV1RegistrationId", "x"),))),
        (b'{"platform":"baidu","pushChannel":"u-c-d"}', Handle((("BaiduUserId", "u"), ("BaiduChannelId", "c-d")))),
    ],
)
async def test_a_line_is_told_by_its_form(tmp_path: Path, line: bytes, handle: Handle) -> None:
    (tmp_path / "handles").write_bytes(line + b"\n")
    assert await all_of(Handles([], [str(tmp_path / "handles")])) == [handle]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"\xff\xfe", "not UTF-8"),
        (b"{", "begins like a JSON object and is none"),
        (b"{}", "no platform"),
        (b'{"platform":"apns","pushChannel":"xyz"}', "hex digits"),
        (b'{"platform":"apns"}', "no pushChannel"),
        (b'{"platform":"baidu","pushChannel":"x"}', "joined by -"),
        (b'{"platform":"browser","pushChannel":"x"}', "endpoint, p256dh and auth"),
        (b"a\x07b", "control characters"),
        (b"0" * (LONGEST_LINE + 10), "longer than 64 KiB"),
    ],
)
async def test_a_line_that_is_none_is_told_by_its_place(tmp_path: Path, line: bytes, reason: str) -> None:
    (tmp_path / "handles").write_bytes(b"00\n" + line + b"\n01\n")
    first, unusable, last = await all_of(Handles([], [str(tmp_path / "handles")]))
    assert [first, last] == [Handle.device_token("00"), Handle.device_token("01")]
    assert isinstance(unusable, Unusable)
    assert unusable.place.endswith("handles line 2")
    assert reason in unusable.reason
    assert line.decode(errors="replace")[:20] not in unusable.reason or line == b"{"


async def test_flags_come_first_and_files_in_their_order(tmp_path: Path) -> None:
    for name, count in (("a", TOGETHER + 1), ("b", 2)):
        (tmp_path / name).write_text("".join(f"{name}{number}x\n\n" for number in range(count)))
    handles = Handles([Handle.channel_uri("https://n")], [str(tmp_path / "a"), str(tmp_path / "b")])
    found = await all_of(handles)
    keys = [one.key for one in found if isinstance(one, Handle)]
    assert keys == ["https://n", *(f"a{number}x" for number in range(TOGETHER + 1)), "b0x", "b1x"]
    assert handles.consumed == handles.size


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing cannot be read"):
        Handles([], [str(tmp_path / "nothing")])


async def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        await all_of(Handles([], [str(tmp_path)]))


async def test_what_is_left_unread_keeps_nobody_waiting(tmp_path: Path) -> None:
    (tmp_path / "handles").write_bytes(b"00\n" * 10 * TOGETHER)
    handles = Handles([], [str(tmp_path / "handles")])
    assert await handles.next() == Handle.device_token("00")
    await handles.close()
    assert await handles.next() is None


def test_nothing_that_is_personal_is_shown() -> None:
    handle = Handle.of_installation(orjson.loads(b'{"platform":"gcm","pushChannel":"personal"}'))
    assert "personal" not in repr(handle)
    assert handle.digest in repr(handle)

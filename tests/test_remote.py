"""Files at addresses are read like those on this machine: streamed, from any place on, each failure one line."""

import asyncio
import gzip
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

import bulkload
from bulkload.emulator import Emulator
from bulkload.errors import Halt, InputError
from bulkload.source import START, Batch, Place, Source, find_sources
from bulkload.source.remote import printable_address

fsspec = pytest.importorskip("fsspec")

RECORDS = [
    {"installationId": f"d-{n}", "platform": "gcm", "pushChannel": f"t-{n}", "userId": "u" * 200} for n in range(3000)
]
DATA = b"\n".join(map(orjson.dumps, RECORDS)) + b"\n"


@pytest.fixture
def memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


@dataclass
class Server:
    """A web server on loopback with one file; it may know no ranges, and break off or refuse."""

    data: bytes = DATA
    has_ranges: bool = True
    etag: str | None = None
    breaks_at: int | None = None
    status: int = 200
    port: int = 0
    ranges: list[str | None] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/export/d.ndjson?sig=top-secret"

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.status != 200:
            return web.Response(status=self.status)
        asked = request.headers.get("Range") if self.has_ranges else None
        if request.method == "GET":
            self.ranges.append(asked)
        first, last = 0, len(self.data) - 1
        headers = {"Accept-Ranges": "bytes"} if self.has_ranges else {}
        if self.etag:
            headers["ETag"] = self.etag
        if asked:
            begin, _, end = asked.removeprefix("bytes=").partition("-")
            first, last = int(begin), min(last, int(end or last))
            headers["Content-Range"] = f"bytes {first}-{last}/{len(self.data)}"
        body = self.data[first : last + 1]
        response = web.StreamResponse(status=206 if asked else 200, headers=headers)
        response.content_length = len(body)
        await response.prepare(request)
        if request.method == "GET":
            whole = len(body)
            if self.breaks_at is not None and last > self.breaks_at:
                body = body[: max(0, self.breaks_at - first)]
            await response.write(body)
            if len(body) < whole:
                assert request.transport is not None
                # What was written goes out first.
                request.transport.close()
        return response


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[Server]:
    server = Server(**options)
    runner = web.ServerRunner(web.Server(server.handle, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.port = runner.addresses[0][1]
        yield server
    finally:
        await runner.cleanup()


async def found(address: str) -> Source:
    """The source at an address; found in a thread, as a server in this loop has to answer meanwhile."""
    [source] = await asyncio.to_thread(find_sources, [address])
    await source.fingerprint()
    return source


async def read(source: Source, start: Place = START) -> list[Any]:
    return [orjson.loads(text) async for batch in source.batches(start) for text in texts(batch)]


def texts(batch: Batch) -> list[bytes]:
    assert all(isinstance(datum, bytes) for datum in batch.data)
    return [datum for datum in batch.data if isinstance(datum, bytes)]


@pytest.mark.parametrize("has_ranges", [True, False])
async def test_a_file_of_the_web_is_read_with_and_without_ranges(has_ranges: bool) -> None:
    async with serving(has_ranges=has_ranges) as server:
        source = await found(server.address)
        assert await read(source) == RECORDS
        offset = DATA.index(b'{"installationId":"d-2990"')
        assert await read(source, Place(offset, 2991)) == RECORDS[2990:]
        assert source.size == len(DATA)
        assert source.consumed == len(DATA)


async def test_with_ranges_nothing_before_the_place_is_read_again() -> None:
    async with serving() as server:
        source = await found(server.address)
        server.ranges.clear()
        offset = DATA.index(b'{"installationId":"d-2990"')
        assert len(await read(source, Place(offset, 2991))) == 10
        assert [str(each).partition("=")[2].partition("-")[0] for each in server.ranges] == [str(offset)]


async def test_a_server_that_breaks_off_halts_after_what_came() -> None:
    # So long that most of it is taken before the break shows: what the client still holds then is lost with it.
    async with serving(data=DATA * 4, has_ranges=False) as server:
        source = await found(server.address)
        server.breaks_at = len(DATA) * 2
        taken: list[bytes] = []

        async def take() -> None:
            async for batch in source.batches(START):
                taken.extend(texts(batch))

        with pytest.raises(Halt, match="breaks off") as failure:
            await take()
    assert [orjson.loads(text) for text in taken] == (RECORDS * 2)[: len(taken)]
    assert len(taken) > 500
    assert len(str(failure.value).splitlines()) == 1
    assert "top-secret" not in str(failure.value)


@pytest.mark.parametrize(("status", "words"), [(404, "does not exist"), (403, "answers 403"), (500, "answers 500")])
async def test_what_cannot_be_had_is_one_line_without_its_key(status: int, words: str) -> None:
    async with serving(status=status) as server:
        with pytest.raises(InputError, match=words) as refusal:
            await found(server.address)
    assert "top-secret" not in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1


async def test_a_fingerprint_is_the_etag_or_else_the_content() -> None:
    fingerprints = []
    for options in ({"etag": '"1"'}, {"etag": '"2"'}, {}, {"data": DATA.replace(b"d-0", b"e-0", 1)}, {}):
        async with serving(**options) as server:
            [source] = await asyncio.to_thread(find_sources, [server.address])
            fingerprints.append(await source.fingerprint())
    assert len(set(fingerprints)) == 4
    assert fingerprints[2] == fingerprints[4]


async def test_a_compressed_file_is_read_and_read_on(memory: Any) -> None:
    memory.pipe("/exports/d.ndjson.gz", gzip.compress(DATA))
    source = await found("memory://exports/d.ndjson.gz")
    assert await read(source) == RECORDS
    offset = DATA.index(b'{"installationId":"d-2000"')
    assert await read(source, Place(offset, 2001)) == RECORDS[2000:]


def test_patterns_and_folders_name_files(memory: Any) -> None:
    for name in ("b.ndjson", "a.ndjson", "a.ndjson.ledger", ".hidden", "deep/c.csv"):
        memory.pipe(f"/exports/{name}", b"{}")
    named = [source.name for source in find_sources(["memory://exports"])]
    assert named == ["memory:///exports/a.ndjson", "memory:///exports/b.ndjson", "memory:///exports/deep/c.csv"]
    assert [source.name for source in find_sources(["memory://exports/*.ndjson"])] == named[:2]
    with pytest.raises(InputError, match="no file matches"):
        find_sources(["memory://exports/*.json"])
    with pytest.raises(InputError, match="does not exist"):
        find_sources(["memory://elsewhere/x"])


@pytest.mark.parametrize(
    ("address", "package"), [("az://container/d.ndjson", "adlfs"), ("s3://bucket/d.ndjson", "s3fs")]
)
def test_a_missing_package_is_named(address: str, package: str) -> None:
    if __import__("importlib.util").util.find_spec(package):
        pytest.skip(f"{package} is installed")
    with pytest.raises(InputError, match=rf"needs a package; pip install {package}"):
        find_sources([address])


def test_an_unknown_kind_of_address_is_one_line() -> None:
    with pytest.raises(InputError, match="unknown kind, carrier-pigeon://"):
        find_sources(["carrier-pigeon://roof/d.ndjson"])


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://h/d?sv=1&sig=secret", "https://h/d?…"),
        ("https://user:secret@h/d", "https://h/d"),
        ("ftp://user:secret@h/d", "ftp://h/d"),
        ("abfs://container@account/d", "abfs://container@account/d"),
    ],
)
def test_an_address_is_shown_without_its_keys(address: str, shown: str) -> None:
    assert printable_address(address) == shown


async def test_an_address_is_loaded_and_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with serving() as server, Emulator(hub="devices") as emulator:
        first = await bulkload.load(server.address, hub=emulator.hub, limit=100)
        assert (first.exit_code, first.records.accepted) == (5, 100)
        assert first.ledger == "d.ndjson.ledger"
        last = await bulkload.load(server.address, hub=emulator.hub)
        assert (last.exit_code, last.records.accepted) == (0, 3000)
        digests = {hashlib.sha256(body).hexdigest() for body in emulator.installations.values()}
        assert len(digests) == 3000

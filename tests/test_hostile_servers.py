"""Servers that answer badly, late, too much or never: no hang, no crash, and no answer for the wrong record."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkload.client import AiohttpTransport
from bulkload.hub import Hub
from bulkload.record import Record
from bulkload.wire import KEPT_OF_BODY, OK, Answer, Fault, WireTransport
from bulkload.wire.reader import AnswerReader, Garbled, is_usual
from tests.exchange import TRANSPORTS, exchange
from tests.serving import ORIGIN, RECORD, TOKEN, Handler, Security, request, saying, served

USUAL = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTrackingId: t\r\nConnection: keep-alive\r\n\r\n"
Make = Callable[..., Any]


PLAIN = Security(None, None)


@pytest.fixture(params=TRANSPORTS)
def make(request: pytest.FixtureRequest) -> Make:
    return TRANSPORTS[request.param]


@pytest.fixture(params=["plain", "tls"])
def security(request: pytest.FixtureRequest, secured: Security) -> Security:
    return secured if request.param == "tls" else PLAIN


@asynccontextmanager
async def opened(
    make: Make, hub: Hub, *, security: Security = PLAIN, **options: Any
) -> AsyncIterator[AiohttpTransport | WireTransport]:
    made = make(hub, **{"api_version": "2015-01", "connections": 4, "ca_file": security.ca_file} | options)
    try:
        async with asyncio.timeout(20):
            yield made
    finally:
        await made.close()


async def asked(
    make: Make, handler: Handler, *, record: Record = RECORD, security: Security = PLAIN, **options: Any
) -> Answer:
    async with (
        served(handler, tls=security.server) as hub,
        opened(make, hub, security=security, **options) as made,
    ):
        return await exchange(made, record, TOKEN)


def told(answer: Answer) -> tuple[object, ...]:
    return answer.status, answer.fault, answer.body, answer.tracking_id


ANSWERS = {
    "usual": USUAL,
    "with a body": b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n<entry>",
    "error": b"HTTP/1.1 400 Bad\r\nTrackingId: t-1\r\nContent-Length: 8\r\n\r\n<Error/>",
    "chunked": b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"4\r\n<Err\r\n4;x=y\r\nor/>\r\n0\r\nTrailer: x\r\n\r\n",
    "in between": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + USUAL,
    "to the end": b"HTTP/1.1 503 Busy\r\nTrackingId: t-2\r\n\r\nover at the end",
    "old": b"HTTP/1.0 429 Slow\r\nRetry-After: 3\r\n\r\n",
    "none": b"HTTP/1.1 204 No Content\r\n\r\n",
    "garbled": b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
    "of another protocol": b"RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_is_the_same_however_it_is_cut(name: str, make: Make, security: Security) -> None:
    answer = ANSWERS[name]
    whole = told(await asked(make, saying(answer), security=security))
    cuts = iter(range(1, len(answer)))

    async def cut_in_two(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        cut = next(cuts)
        writer.write(answer[:cut])
        if cut % 2:
            # Else both come at once, over TLS as two of its records.
            await writer.drain()
            await asyncio.sleep(0.001)
        writer.write(answer[cut:])

    async with (
        served(cut_in_two, tls=security.server) as hub,
        opened(make, hub, security=security) as made,
    ):
        for cut in range(1, len(answer)):
            # Each cut on a connection of its own: the server closes it.
            found = await exchange(made, RECORD, TOKEN)
            while found.fault is Fault.STALE:
                found = await exchange(made, RECORD, TOKEN)
            assert told(found) == whole, answer[:cut]


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_is_the_same_byte_by_byte(name: str, make: Make, security: Security) -> None:
    answer = ANSWERS[name]

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        for byte in answer:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)

    dripped = await asked(make, drip, security=security)
    assert told(dripped) == told(await asked(make, saying(answer), security=security))


def changed(at: int, by: bytes = b"\r") -> bytes:
    """The usual answer with another byte somewhere."""
    at %= len(USUAL)
    return USUAL[:at] + by + USUAL[at + 1 :]


def pieces() -> st.SearchStrategy[bytes]:
    """Heads that look nearly as usual."""
    lines = [
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 201 Created",
        b"HTTP/1.0 200 OK",
        b"HTTP/1.1 200 ",
        b"Content-Length: 0",
        b"content-length: 5",
        b"Content-Length: 00",
        b"Content-Length : 0",
        b"Connection: keep-alive",
        b"Connection: close",
        b"connection: Close",
        b"Connection: keep-alive, close",
        b"Transfer-Encoding: chunked",
        b"Upgrade: websocket",
        b"TrackingId: a b",
        b" folded",
        b"no colon",
        b": no name",
        b"A: \x00",
        b"A\x00: b",
        b"A: \x7f\xff",
        b"",
        b"\r",
        b"HTTP/1.1 400 Bad",
    ]
    usual = [lines[0], lines[4], lines[8], lines[14]]
    line = st.sampled_from(lines) | st.binary(max_size=6)
    some = st.lists(line, max_size=6) | st.lists(line, max_size=3).map(lambda more: [lines[0], lines[4], *more])
    nearly = st.permutations(usual[1:]).map(lambda rest: [usual[0], *rest])
    return (some | nearly).map(lambda all_: b"\r\n".join(all_) + b"\r\n\r\n")


@settings(max_examples=3000, deadline=None)
@given(
    pieces() | st.binary(max_size=40).map(lambda garbage: USUAL + garbage) | st.builds(changed, at=st.integers(0, 200)),
)
def test_what_looks_as_usual_is_read_as_usual(data: bytes) -> None:
    if is_usual(data):
        reader = AnswerReader()
        reader.feed(data)
        assert reader.is_whole
        assert reader.is_kept
        assert reader.answer is OK


def test_the_usual_answers_look_as_usual() -> None:
    assert is_usual(USUAL)
    assert is_usual(b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: 0\r\n\r\n")
    for name, answer in ANSWERS.items():
        assert bool(is_usual(answer)) == (name == "usual")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([b"HTTP/1.1 200 OK\r\n", b"Content-Length: 2\r\n", b"\r\n", b"ab", b"\x00\xff"])))
def test_whatever_is_read_ends_garbled_or_goes_on(parts: list[bytes]) -> None:
    reader = AnswerReader()
    try:
        for part in parts:
            reader.feed(part)
    except Garbled:
        return
    reader.end()
    assert len(reader.answer.body) <= KEPT_OF_BODY


@pytest.mark.parametrize(
    "more", [b"HTTP/1.1 400 Not yours\r\nContent-Length: 0\r\n\r\n", USUAL, b"garbage", b"HTTP/1.1 4"]
)
@pytest.mark.parametrize("pause", [0.0, 0.02])
async def test_what_follows_an_answer_is_nobody_s(more: bytes, pause: float) -> None:
    """Of our own connections: aiohttp gives it to the next request."""
    connections = 0

    async def too_much(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await request(reader)
        writer.write(USUAL + (more if not pause else b""))
        await writer.drain()
        if pause:
            await asyncio.sleep(pause)
            writer.write(more)
        await reader.read()

    async with served(too_much) as hub, opened(WireTransport, hub) as made:
        for number in range(3):
            answer = await exchange(made, RECORD, TOKEN)
            assert answer is OK, number
            await asyncio.sleep(2 * pause)
    assert connections == 3


async def test_an_early_answer_counts(make: Make) -> None:
    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
        await writer.drain()
        # What still comes is read: to close now would reset the answer, too.
        await reader.read()

    body = bytes(1024 * 1024)
    answer = await asked(make, early, record=Record(ORIGIN, 0, "a", body))
    assert (answer.status, answer.body) == (413, b"big")


async def test_a_connection_that_was_closed_while_idle_is_not_used(make: Make) -> None:
    seen = 0

    async def one_each(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        await request(reader)
        seen += 1
        writer.write(USUAL)

    async with served(one_each) as hub, opened(make, hub) as made:
        for _ in range(3):
            assert await exchange(made, RECORD, TOKEN) is OK
            await asyncio.sleep(0.05)
    assert seen == 3


async def test_half_closed_is_closed(make: Make) -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(USUAL)
        writer.write_eof()
        await reader.read()

    async with served(half) as hub, opened(make, hub) as made:
        for _ in range(3):
            assert await exchange(made, RECORD, TOKEN) is OK
            await asyncio.sleep(0.05)


async def test_a_reused_connection_that_closes_without_an_answer_is_told_as_such() -> None:
    async def one_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(USUAL)
        await request(reader)

    async with served(one_only) as hub, opened(WireTransport, hub) as made:
        answers = [await exchange(made, RECORD, TOKEN) for _ in range(4)]
    assert [answer.fault for answer in answers] == [None, Fault.STALE] * 2


@pytest.mark.parametrize("connections", [1, 4])
async def test_what_met_a_closed_connection_goes_over_a_new_one(connections: int) -> None:
    """Also where all others were closed as well, or are in use."""

    async def one_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(USUAL)
        await request(reader)

    async with served(one_only) as hub, opened(WireTransport, hub, connections=connections) as made:

        async def ask(number: int) -> list[Answer]:
            """As often as an upload would."""
            record = Record(ORIGIN, number, f"id-{number}", b"{}")
            answers = [await exchange(made, record, TOKEN)]
            if answers[0].fault is Fault.STALE:
                record.is_stale = True
                answers.append(await exchange(made, record, TOKEN))
            return answers

        for _ in range(3):
            all_told = await asyncio.gather(*map(ask, range(connections)))
            # And one by one, while the others are idle and closed by then.
            all_told += [await ask(number) for number in range(connections)]
            assert all(answers[-1] is OK for answers in all_told)
            assert all(answer.fault is Fault.STALE for answers in all_told for answer in answers[:-1])


async def test_drips_end_in_time(make: Make) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while not (reader.at_eof() or writer.is_closing()):
            writer.write(b"X: y\r\n")
            await writer.drain()
            await asyncio.sleep(0.01)

    answer = await asked(make, drip, answer_timeout=0.2)
    assert answer.fault is Fault.TIMEOUT


@pytest.mark.parametrize("flood", [b"X: y\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"x"])
async def test_a_head_without_end_ends(flood: bytes, make: Make) -> None:
    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" if b"100" in flood else b"HTTP/1.1 200 OK\r\n")
        while not (reader.at_eof() or writer.is_closing()):
            writer.write(flood * 200)
            await writer.drain()
            await asyncio.sleep(0)

    answer = await asked(make, pour, answer_timeout=2.0)
    assert answer.fault in (Fault.BROKEN, Fault.TIMEOUT)


def unreliable(chance: random.Random, *, says_more: bool) -> Handler:
    """Names in each answer the id that it is for; breaks off, cuts answers short, and sends some for nobody."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, _ = await request(reader)
            id_ = head.split(b"?")[0].rpartition(b"/")[2]
            answer = b"HTTP/1.1 400 Bad\r\nTrackingId: " + id_ + b"\r\nContent-Length: 3\r\n\r\nbad"
            what = chance.randrange(8)
            if what == 0:
                return
            if what == 1:
                writer.transport.abort()
                return
            if what == 2:
                answer = b"HTTP/1.1 100 Continue\r\n\r\n" + answer
            # What comes once the next request is on its way would be taken for its answer: nothing tells them apart.
            cut = chance.randrange(len(answer))
            if what == 3 and says_more:
                answer += b"HTTP/1.1 400 Bad\r\nTrackingId: nobody\r\nContent-Length: 0\r\n\r\n"
            if what == 4:
                writer.write(answer[: chance.randrange(len(answer))])
                return
            writer.write(answer[:cut])
            if chance.random() < 0.5:
                await asyncio.sleep(chance.random() * 0.003)
            writer.write(answer[cut:])

    return handle


@pytest.mark.parametrize("seed", range(3))
async def test_each_record_gets_its_own_answer(seed: int, make: Make, security: Security) -> None:
    """Over aiohttp with the exception of a server that answers unasked: it gives that to the next one."""
    handler = unreliable(random.Random(seed), says_more=make is WireTransport)
    async with (
        served(handler, tls=security.server) as hub,
        opened(make, hub, security=security, connections=8) as made,
    ):

        async def ask(number: int) -> int:
            answer = await exchange(made, Record(ORIGIN, number, f"id-{number}", b"{}"), TOKEN)
            if answer.fault is None:
                assert answer.tracking_id == f"id-{number}"
            return answer.status

        statuses = await asyncio.gather(*map(ask, range(600)))
    assert set(statuses) == {0, 400}
    assert statuses.count(400) > 200


async def test_nobody_is_told_of_what_was_abandoned(make: Make) -> None:
    arrived = asyncio.Event()
    go = asyncio.Event()

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        arrived.set()
        await go.wait()
        writer.write(USUAL)

    async with served(late) as hub, opened(make, hub, connections=1) as made:
        first, second = exchange(made, RECORD, TOKEN), exchange(made, RECORD, TOKEN)
        await arrived.wait()
        made.abandon()
        go.set()
        await asyncio.sleep(0.05)
        assert not first.done()
        assert not second.done()
        # The transport is as good as before.
        assert await exchange(made, RECORD, TOKEN) is OK

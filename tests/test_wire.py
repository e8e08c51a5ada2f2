"""What is our own connections' own: addresses, time, and what they send."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from bulkload.hub import Hub
from bulkload.record import Record
from bulkload.wire import OK, Fault, WireTransport
from bulkload.wire.addresses import Addresses
from bulkload.wire.connection import Connection
from tests.exchange import exchange
from tests.serving import HUB, ORIGIN, RECORD, TOKEN, Handler, Security, request, served

USUAL = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@asynccontextmanager
async def opened(hub: Hub, *, connections: int = 4) -> AsyncIterator[WireTransport]:
    made = WireTransport(hub, connections=connections, api_version="2015-01")
    try:
        async with asyncio.timeout(10):
            yield made
    finally:
        await made.close()


def willing(heads: list[bytes]) -> Handler:
    """Accept everything, and keep the heads of the requests."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append((await request(reader))[0])
            writer.write(USUAL)

    return handle


class Names:
    """A name server that is scripted: each look-up takes the next of its answers, the last again and again."""

    def __init__(self, *answers: Sequence[str] | OSError) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def look_up(self, port: int) -> list[tuple[Any, ...]]:
        answer = self._answers[min(self.asked, len(self._answers) - 1)]
        self.asked += 1
        if isinstance(answer, OSError):
            raise answer
        kinds = ((socket.AF_INET6 if ":" in one else socket.AF_INET, one) for one in answer)
        return [(kind, socket.SOCK_STREAM, 6, "", (one, port, 0, 0)[: 2 if "." in one else 4]) for kind, one in kinds]


@pytest.fixture
def name_server(monkeypatch: pytest.MonkeyPatch) -> Callable[[Names], None]:
    """uvloop asks the system itself: what is scripted is the look-up as a whole."""
    return lambda names: monkeypatch.setattr(Addresses, "_look_up", lambda addresses: names.look_up(addresses._port))


async def test_a_hub_may_have_an_address_of_ipv6() -> None:
    heads: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await request(reader))[0])
        writer.write(USUAL)
        writer.close()

    server = await asyncio.start_server(handle, "::1", 0)
    async with server:
        host = f"[::1]:{server.sockets[0].getsockname()[1]}"
        async with opened(replace(HUB, host=host, scheme="http")) as made:
            assert await exchange(made, RECORD, TOKEN) is OK
    assert f"\r\nHost: {host}\r\n".encode() in heads[0]


@pytest.mark.parametrize("dead", ["127.0.0.99", "::1"])
async def test_an_address_that_does_not_answer_leaves_the_next_one(
    dead: str, name_server: Callable[[Names], None]
) -> None:
    async with served(willing([])) as hub:
        name_server(Names([dead, "127.0.0.1"]))
        async with opened(replace(hub, host=hub.host.replace("127.0.0.1", "hub.example"))) as made:
            assert await exchange(made, RECORD, TOKEN) is OK


async def test_a_name_is_looked_up_once_for_connections_that_open_together(
    name_server: Callable[[Names], None],
) -> None:
    async with served(willing([])) as hub:
        names = Names(["127.0.0.1"])
        name_server(names)
        async with opened(replace(hub, host=hub.host.replace("127.0.0.1", "hub.example"))) as made:
            assert await asyncio.gather(*(exchange(made, RECORD, TOKEN) for _ in range(4))) == [OK] * 4
    assert names.asked == 1


async def test_a_look_up_that_has_just_ended_gives_what_it_found_to_whoever_asks_then(
    name_server: Callable[[Names], None],
) -> None:
    names = Names(["127.0.0.1"])
    name_server(names)
    listening = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with listening:
        addresses = Addresses("hub.example", listening.sockets[0].getsockname()[1])
        first = asyncio.create_task(addresses.connected())
        while addresses._lookup is None or not addresses._lookup.done():  # noqa: ASYNC110 - turn by turn
            await asyncio.sleep(0)
        # Nobody has had a turn since it ended, not even whoever keeps what it found.
        (await addresses.connected()).close()
        (await first).close()
        await addresses.close()


async def test_a_name_is_looked_up_again_and_a_look_up_that_fails_takes_nothing_away(
    name_server: Callable[[Names], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bulkload.wire.addresses.REFRESH", -1.0)
    listening = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with listening:
        names = Names(["127.0.0.99"], socket.gaierror(socket.EAI_AGAIN, "later"), ["127.0.0.1"])
        name_server(names)
        addresses = Addresses("hub.example", listening.sockets[0].getsockname()[1])
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                await addresses.connected()
            await asyncio.sleep(0.01)
        (await addresses.connected()).close()
        await addresses.close()
    assert names.asked == 4


async def test_a_look_up_that_hangs_takes_nothing_away_and_is_over_with_the_transport(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bulkload.wire.addresses.REFRESH", -1.0)
    asked = 0

    async def look_up(addresses: Addresses) -> list[tuple[Any, ...]]:
        nonlocal asked
        asked += 1
        if asked > 1:
            await asyncio.sleep(3600)
        return await Names(["127.0.0.1"]).look_up(addresses._port)

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(USUAL.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))

    monkeypatch.setattr(Addresses, "_look_up", look_up)
    before = asyncio.all_tasks()
    async with served(once) as hub, opened(replace(hub, host=hub.host.replace("127.0.0.1", "hub.example"))) as made:
        for _ in range(3):
            assert await exchange(made, RECORD, TOKEN) is OK
    assert asked == 2
    assert not [task for task in asyncio.all_tasks() - before if "look_up" in repr(task)]


async def test_a_large_request_that_is_answered_early_stands_in_nobody_s_way() -> None:
    over = asyncio.Event()

    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(USUAL)
        await over.wait()

    large = Record(ORIGIN, 0, "a", bytes(8 * 1024 * 1024))
    async with served(early) as hub:
        async with opened(hub) as made:
            for _ in range(3):
                assert await exchange(made, large, TOKEN) is OK
        over.set()


async def test_a_connection_that_takes_too_long_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_: Addresses) -> socket.socket:
        await asyncio.sleep(3600)
        raise AssertionError

    monkeypatch.setattr("bulkload.wire.pool.CONNECT_TIMEOUT", 0.05)
    monkeypatch.setattr(Addresses, "connected", never)
    async with opened(HUB) as made:
        answers = await asyncio.gather(*(exchange(made, RECORD, TOKEN) for _ in range(6)))
    assert {(answer.fault, answer.words) for answer in answers} == {(Fault.CONNECT, "not within 0.05 s")}


async def test_one_that_was_idle_for_long_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulkload.wire.pool.LONGEST_IDLE", 0.05)
    monkeypatch.setattr("bulkload.wire.pool.TICK", 0.02)
    async with served(willing([])) as hub, opened(hub) as made:
        assert await exchange(made, RECORD, TOKEN) is OK
        assert repr(made) == "<WireTransport, 1 connections, 1 of them idle>"
        await asyncio.sleep(0.3)
        assert repr(made) == "<WireTransport, 0 connections, 0 of them idle>"
        assert await exchange(made, RECORD, TOKEN) is OK


async def test_each_request_bears_the_token_of_its_time() -> None:
    heads: list[bytes] = []
    async with served(willing(heads)) as hub, opened(hub) as made:
        for token in ("SharedAccessSignature one", "SharedAccessSignature two", "SharedAccessSignature two"):
            assert await exchange(made, RECORD, token) is OK
    assert [head.partition(b"\r\nAuthorization: ")[2].split(b"\r\n")[0][-3:] for head in heads] == [
        b"one",
        b"two",
        b"two",
    ]


async def test_the_usual_port_is_not_named() -> None:
    assert "Host: h.example\r\n" in WireTransport(HUB, connections=1, api_version="2015-01")._goes_on
    other = WireTransport(replace(HUB, host="h.example:8443"), connections=1, api_version="2015-01")
    assert "Host: h.example:8443\r\n" in other._goes_on


async def test_those_that_wait_for_a_connection_are_served_in_their_order() -> None:
    heads: list[bytes] = []
    async with served(willing(heads)) as hub, opened(hub, connections=1) as made:
        tokens = [f"SharedAccessSignature {number}" for number in range(5)]
        assert await asyncio.gather(*(exchange(made, RECORD, token) for token in tokens)) == [OK] * 5
    assert [head.partition(b"\r\nAuthorization: ")[2].split(b"\r\n")[0].decode() for head in heads] == tokens


async def test_a_bug_in_reading_is_not_taken_for_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(data: bytes) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr("bulkload.wire.connection.is_usual", broken)
    async with served(willing([])) as hub, opened(hub) as made:
        with pytest.raises(ZeroDivisionError):
            await exchange(made, RECORD, TOKEN)


async def test_a_connection_that_is_reset_before_its_handshake_closes_no_other(
    secured: Security, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was opened for it has no descriptor afterwards: somebody else has that number by then."""
    sockets: list[socket.socket] = []

    async def reset(addresses: Addresses) -> socket.socket:
        """Connected, and reset by the other side at once."""
        opened = await connected(addresses)
        peer, _ = listening.accept()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        sockets.append(opened)
        return opened

    connected = Addresses.connected
    monkeypatch.setattr(Addresses, "connected", reset)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        host = f"127.0.0.1:{listening.getsockname()[1]}"
        made = WireTransport(replace(HUB, host=host), connections=4, api_version="2015-01", ca_file=secured.ca_file)
        try:
            answers = await asyncio.gather(*(exchange(made, RECORD, TOKEN) for _ in range(20)))
        finally:
            await made.close()
    await asyncio.sleep(0.05)
    assert {answer.fault for answer in answers} == {Fault.CONNECT}
    assert [one.fileno() for one in sockets] == [-1] * len(sockets)


async def test_a_connection_that_is_lost_before_anybody_uses_it_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async def late(transport: WireTransport) -> Connection:
        connection = await connected(transport)
        await asyncio.sleep(0.05)
        return connection

    async def leave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    connected = WireTransport._connected
    monkeypatch.setattr(WireTransport, "_connected", late)
    async with served(leave) as hub, opened(hub) as made:
        answers = await asyncio.gather(*(exchange(made, RECORD, TOKEN) for _ in range(10)))
    assert {(answer.fault, answer.words) for answer in answers} == {(Fault.CONNECT, "the hub closed it at once")}

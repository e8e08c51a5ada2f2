"""The emulated hub's limits, under virtual time, and what it does besides answering, over real HTTP."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkload.emulator import Emulator
from bulkload.emulator.behaviour import Behaviour, Outage, faults, latency, outages
from bulkload.emulator.limits import Limit, fixed_window, schedule, token_bucket
from bulkload.emulator.server import STATISTICS
from bulkload.emulator.store import Store
from bulkload.errors import InputError
from tests.test_emulator import BODY, SOON, Client


def taken(limit: Limit, rate: float, seconds: float) -> list[float]:
    """The times of the requests that are taken of so many a second."""
    times = (number / rate for number in range(int(rate * seconds)))
    return [time for time in times if limit.takes(time)]


@pytest.mark.parametrize(
    ("text", "burst"), [("200", 200), ("200:5%", 10), ("200:100%", 200), ("200:50", 50), ("0.5:3", 3)]
)
def test_a_bucket_takes_its_rate_and_once_its_burst(text: str, burst: int) -> None:
    rate = float(text.partition(":")[0])
    seconds = 60
    assert len(taken(token_bucket(text), 5000, seconds)) == pytest.approx(rate * seconds + burst, abs=2)


def test_a_bucket_fills_while_nobody_asks() -> None:
    bucket = token_bucket("100:20")
    assert [bucket.takes(0.0) for _ in range(25)].count(True) == 20
    assert not bucket.takes(0.005)
    assert [bucket.takes(10.0) for _ in range(25)].count(True) == 20


@given(st.lists(st.floats(0, 100), min_size=1), st.integers(1, 1000), st.integers(1, 50))
def test_a_bucket_never_takes_more_than_its_rate_and_burst(times: list[float], rate: int, burst: int) -> None:
    bucket = token_bucket(f"{rate}:{burst}")
    found = [time for time in sorted(times) if bucket.takes(time)]
    for first, begin in enumerate(found):
        for last, end in enumerate(found[first:], first):
            assert last - first + 1 <= burst + (end - begin) * rate + 1e-6


def test_a_schedule_takes_each_rate_in_its_time() -> None:
    times = taken(schedule("0:1000,10:300,20:1500"), 5000, 30)
    for begin, end, rate in ((1, 10, 1000), (11, 20, 300), (21, 30, 1500)):
        assert sum(begin <= time < end for time in times) == pytest.approx(rate * (end - begin), rel=0.02)


@pytest.mark.parametrize(("text", "seconds"), [("300/60s", 60), ("300/1m", 60), ("300/2", 2), ("300/500ms", 0.5)])
def test_a_window_takes_so_many_from_its_beginning_on(text: str, seconds: float) -> None:
    times = taken(fixed_window(text), 2000 / seconds, 3 * seconds)
    for number in range(3):
        within = [time for time in times if number * seconds <= time < (number + 1) * seconds]
        assert len(within) == 300
        assert within[0] == pytest.approx(number * seconds, abs=seconds / 1000)


@pytest.mark.parametrize(
    ("read", "texts"),
    [
        (token_bucket, ["0", "x", "", "5:", "5:x", "-5", "5:5:5", "inf", "nan", "5 : 5"]),
        (fixed_window, ["3000", "0/60s", "3000/0s", "3000/x", "/60s", "1.5/60s", "3000/60d"]),
        (schedule, ["", "1000", "5:1000", "0:1000,0:300", "0:1000,9:300,5:1", "0:0", "0:x", "0:1,", "0:1000;40:300"]),
        (outages, ["", "20", "20:0", "20:5,22:5", "20:5,10:5", "20:x", "-1:5"]),
        (latency, ["x", "", "-1", "1:", "1:2:3", "40ms"]),
        (
            faults,
            ["", "reset", "reset=", "reset=2", "reset=0", "crash=0.1", "reset=0.6,error=0.6", "reset=0.1;error=0.1"],
        ),
    ],
)
def test_what_is_no_limit_is_one_line(read: Callable[[str], object], texts: list[str]) -> None:
    for text in texts:
        with pytest.raises(InputError, match=r"^--") as refusal:
            read(text)
        assert len(str(refusal.value).splitlines()) == 1


@asynccontextmanager
async def hub(**options: Any) -> AsyncIterator[tuple[Emulator, Client]]:
    async with Emulator(hub="devices", behaviour=Behaviour(**options)) as emulator, aiohttp.ClientSession() as session:
        yield emulator, Client(session, emulator.hub)


@pytest.mark.parametrize("status", [403, 429])
@pytest.mark.parametrize("is_bare", [True, False])
@pytest.mark.parametrize("retry_after", [None, 7])
async def test_a_throttled_request_is_told_so(status: int, is_bare: bool, retry_after: int | None) -> None:
    async with hub(
        throttle=fixed_window("2/1h"), throttle_status=status, throttle_is_bare=is_bare, retry_after=retry_after
    ) as (emulator, client):
        replies = [await client.put({**BODY, "installationId": str(number)}) for number in range(5)]
        assert [reply.status for reply in replies] == [200, 200, status, status, status]
        assert replies[-1].headers.get("Retry-After") == (None if retry_after is None else str(retry_after))
        if is_bare:
            assert replies[-1].body == b""
        else:
            assert "Too many requests" in replies[-1].detail
        assert (emulator.requests.seen, emulator.requests.accepted, emulator.requests.throttled) == (5, 2, 3)
        assert emulator.installations.keys() == {"0", "1"}


async def test_who_may_not_ask_uses_up_nothing() -> None:
    async with hub(throttle=fixed_window("1/1h")) as (_, client):
        assert (await client.put(authorization=client.token(key="wrong"))).status == 401
        assert (await client.put()).status == 200


async def test_a_full_hub_takes_what_it_has_and_nothing_new() -> None:
    async with hub(quota=2) as (emulator, client):
        ids = ["a", "b", "c", "a"]
        replies = [await client.put({**BODY, "installationId": id_}) for id_ in ids]
        assert [reply.status for reply in replies] == [200, 200, 403, 200]
        assert "too many installations" in replies[2].detail
        assert "Retry-After" not in replies[2].headers
        await client.ask("DELETE", "/installations/a")
        assert (await client.put({**BODY, "installationId": "c"})).status == 200
        assert emulator.installations.keys() == {"b", "c"}


def test_what_was_accepted_can_be_seen_after_the_delay_in_the_order_in_which_it_came() -> None:
    now = 0.0
    store = Store(delay=10.0, clock=lambda: now)
    store.put("a", b"1")
    now = 5.0
    store.put("a", b"2")
    store.put("b", b"3")
    seen = {}
    for now in (9.0, 10.0, 14.0, 15.0):
        seen[now] = (store.get("a"), store.get("b"))
    assert seen == {9.0: (None, None), 10.0: (b"1", None), 14.0: (b"1", None), 15.0: (b"2", b"3")}
    store.delete("a")
    assert store.accepted == {"b": b"3"}
    assert store.get("a") == b"2"
    now = 25.0
    assert store.get("a") is None


async def test_a_hub_with_a_visibility_delay_accepts_at_once_and_shows_later() -> None:
    async with hub(visibility_delay=0.3) as (emulator, client):
        path = f"/installations/{BODY['installationId']}"
        assert (await client.put()).status == 200
        assert len(emulator.installations) == 1
        assert (await client.ask("GET", path)).status == 404
        await asyncio.sleep(0.4)
        assert (await client.ask("GET", path)).status == 200


async def test_answers_take_their_time_side_by_side() -> None:
    async with hub(latency=0.2, spread=0.1) as (_, client):
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.gather(*(client.put({**BODY, "installationId": str(number)}) for number in range(20)))
        assert loop.time() - began >= 0.1


async def test_faults_are_what_clients_know() -> None:
    async with hub(faults={"reset": 1.0}) as (emulator, client):
        with pytest.raises(aiohttp.ClientOSError):
            await client.put()
        assert emulator.requests.faults >= 1
    async with hub(faults={"error": 1.0}) as (_, client):
        assert (await client.put()).status in (500, 502, 503, 504)
    async with hub(faults={"truncate": 1.0}) as (_, client):
        with pytest.raises(aiohttp.ClientPayloadError):
            await client.put()
    async with hub(faults={"stall": 1.0}) as (_, client):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await client.put()


@pytest.mark.parametrize("is_idle", [True, False])
async def test_an_outage_turns_everyone_away_and_loses_nothing(is_idle: bool) -> None:
    async with hub(outages=(Outage(0.2, 0.5),), latency=0.0 if is_idle else 0.1) as (emulator, client):
        assert (await client.put()).status == 200
        failures = 0
        async with asyncio.timeout(SOON):
            while not failures or not emulator.requests.turned_away:
                try:
                    await client.put({**BODY, "installationId": "b"})
                    # So that the connection is idle, or busy, when it is broken off.
                    await asyncio.sleep(0.01 if is_idle else 0)
                except aiohttp.ClientError:
                    failures += 1
            while True:
                try:
                    assert (await client.put({**BODY, "installationId": "c"})).status == 200
                    break
                except aiohttp.ClientError:
                    await asyncio.sleep(0.05)
        assert emulator.installations.keys() >= {BODY["installationId"], "c"}
        assert emulator.requests.second(0.0).turned_away == emulator.requests.turned_away > 0


async def test_its_statistics_are_counted_by_the_second_and_by_nothing_else() -> None:
    async with hub(throttle=fixed_window("2/1h")) as (emulator, client):
        for number in range(3):
            await client.put({**BODY, "installationId": str(number)})
        async with client.session.get(f"http://{emulator.hub.host}{STATISTICS}") as response:
            told = await response.json()
        assert (told["seen"], told["accepted"], told["throttled"], told["refused"], told["faults"]) == (3, 2, 1, 1, 0)
        assert sum(second["seen"] for second in told["seconds"]) == 3
        assert sum(second["accepted"] for second in told["seconds"]) == 2
        assert sum(second["throttled"] for second in told["seconds"]) == 1
        # No hub can have that name.
        with pytest.raises(InputError):
            Emulator(hub=STATISTICS.split("/")[1])


@pytest.mark.parametrize(
    "options", [{"throttle_status": 200}, {"retry_after": -1}, {"quota": -1}, {"visibility_delay": -1.0}]
)
def test_a_behaviour_that_is_none_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"^--"):
        Behaviour(**options)

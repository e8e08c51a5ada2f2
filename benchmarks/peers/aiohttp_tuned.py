"""aiohttp with all that is known to make it faster: uvloop, workers that share one session, nothing made twice."""

import asyncio
import time

import aiohttp
import uvloop
from yarl import URL

from benchmarks.peers.order import Order, Stopwatch


async def main(order: Order) -> None:
    """Send the records, and tell of it."""
    # The host is an address: no name is looked up.
    connector = aiohttp.TCPConnector(limit=order.in_flight, ssl=order.trust or True)
    async with aiohttp.ClientSession(
        connector=connector,
        headers=order.headers,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None),
    ) as session:
        body = order.body.encode()
        numbers = iter(range(order.records))
        stopwatch = Stopwatch()

        async def work() -> None:
            for number in numbers:
                began = time.perf_counter()
                url = URL(order.address(number), encoded=True)
                async with session.put(url, data=body, allow_redirects=False) as answer:
                    assert answer.status == 200, answer
                stopwatch.answered(began)

        async with asyncio.TaskGroup() as group:
            for _ in range(order.in_flight):
                group.create_task(work())
        stopwatch.tell()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(Order.given()))

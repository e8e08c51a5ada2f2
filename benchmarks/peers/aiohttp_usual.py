"""aiohttp as people write it: a default session, a semaphore, and a task for each record."""

import asyncio
import time

import aiohttp

from benchmarks.peers.order import Order, Stopwatch


async def main(order: Order) -> None:
    """Send the records, and tell of it."""
    trust, headers = order.trust, order.headers
    connector = aiohttp.TCPConnector(ssl=trust) if trust else None
    async with aiohttp.ClientSession(connector=connector) as session:
        semaphore = asyncio.Semaphore(order.in_flight)
        stopwatch = Stopwatch()

        async def put(number: int) -> None:
            async with semaphore:
                began = time.perf_counter()
                async with session.put(order.address(number), data=order.body, headers=headers) as answer:
                    answer.raise_for_status()
                    await answer.read()
                stopwatch.answered(began)

        await asyncio.gather(*(put(number) for number in range(order.records)))
        stopwatch.tell()


if __name__ == "__main__":
    asyncio.run(main(Order.given()))

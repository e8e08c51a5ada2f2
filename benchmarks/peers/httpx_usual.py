"""httpx as people write it: a client with as many connections, a semaphore, and a task for each record."""

import asyncio
import time

import httpx

from benchmarks.peers.order import Order, Stopwatch


async def main(order: Order) -> None:
    """Send the records, and tell of it."""
    limits = httpx.Limits(max_connections=order.in_flight, max_keepalive_connections=order.in_flight)
    async with httpx.AsyncClient(limits=limits, headers=order.headers, verify=order.trust or True) as client:
        semaphore = asyncio.Semaphore(order.in_flight)
        stopwatch = Stopwatch()

        async def put(number: int) -> None:
            async with semaphore:
                began = time.perf_counter()
                answer = await client.put(order.address(number), content=order.body)
                answer.raise_for_status()
                stopwatch.answered(began)

        await asyncio.gather(*(put(number) for number in range(order.records)))
        stopwatch.tell()


if __name__ == "__main__":
    asyncio.run(main(Order.given()))

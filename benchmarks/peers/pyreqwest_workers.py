"""pyreqwest, Rust's reqwest in Python: uvloop, and workers that share one client."""

import asyncio
import time

import uvloop
from pyreqwest.client import ClientBuilder

from benchmarks.peers.order import Order, Stopwatch


async def main(order: Order) -> None:
    """Send the records, and tell of it."""
    builder = ClientBuilder().default_headers(order.headers).error_for_status(enable=True)
    if (authority := order.authority) is not None:
        builder = builder.add_root_certificate_pem(authority)
    async with builder.build() as client:
        body = order.body.encode()
        numbers = iter(range(order.records))
        stopwatch = Stopwatch()

        async def work() -> None:
            for number in numbers:
                began = time.perf_counter()
                await client.put(order.address(number)).body_bytes(body).build().send()
                stopwatch.answered(began)

        async with asyncio.TaskGroup() as group:
            for _ in range(order.in_flight):
                group.create_task(work())
        stopwatch.tell()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(Order.given()))

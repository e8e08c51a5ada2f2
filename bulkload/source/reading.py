"""Reading ahead: a blocking iterator runs in a thread of its own, a bounded number of items ahead of the loop."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import TypeVar

T = TypeVar("T")

# Two items ahead keep the loop fed while the thread waits for the disk; more would only be memory.
AHEAD = 2


async def read_ahead(open_items: Callable[[], Iterator[T]]) -> AsyncGenerator[T, None]:
    """Yield what `open_items()` yields, made in a daemon thread; its exceptions are raised here.

    The thread is a daemon because a read of a silent pipe cannot be interrupted: a run that stops does not wait for it.
    """
    loop = asyncio.get_running_loop()
    items: asyncio.Queue[T | _End] = asyncio.Queue()
    room = threading.Semaphore(AHEAD)
    is_left = threading.Event()

    def deliver(item: T | _End) -> None:
        # The loop may be gone when an abandoned read returns; nobody is left to tell then.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(items.put_nowait, item)

    def produce() -> None:
        try:
            for item in open_items():
                deliver(item)
                room.acquire()
                if is_left.is_set():
                    return
        except BaseException as exc:  # noqa: BLE001 - handed to the reader, whatever it is
            deliver(_End(exc))
        else:
            deliver(_End(None))

    threading.Thread(target=produce, name="reader", daemon=True).start()
    try:
        while not isinstance(item := await items.get(), _End):
            yield item
            room.release()
        if item.exc is not None:
            raise item.exc
    finally:
        is_left.set()
        room.release()


async def in_thread(call: Callable[[], T]) -> T:
    """The result of a blocking call made in a daemon thread; like `read_ahead`, it can be left waiting."""
    async with contextlib.aclosing(read_ahead(lambda: iter([call()]))) as results:
        return await anext(results)


class _End:
    def __init__(self, exc: BaseException | None) -> None:
        self.exc = exc

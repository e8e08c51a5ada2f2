"""Lines that several tasks write to a slow reader come whole, each once."""

import asyncio
import os
import sys
import threading
import time

import pytest

from bulkload.cli.streams import Lines


async def test_lines_of_many_tasks_come_whole_whatever_the_reader_s_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    came: list[bytes] = []

    def read() -> None:
        while part := os.read(reading, 4000):
            came.append(part)
            time.sleep(0.0001)

    reader = threading.Thread(target=read)
    reader.start()
    given = [b"%d:" % number + b"x" * 1000 for number in range(4000)]
    with os.fdopen(writing, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        lines = Lines()

        async def write(own: list[bytes]) -> None:
            for number in range(0, len(own), 5):
                await lines.write(own[number : number + 5])

        await asyncio.gather(*(write(given[number::16]) for number in range(16)))
        await lines.flush()
    reader.join()
    os.close(reading)
    assert sorted(b"".join(came).splitlines()) == sorted(given)

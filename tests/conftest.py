"""How the tests run."""

import asyncio
import os
from collections.abc import Callable

import pytest
import uvloop

# What rides on the loop's own transports is tested on both loops that there are.
ON_BOTH_LOOPS = ("test_transports", "test_hostile_servers", "test_wire")


def pytest_xdist_auto_num_workers() -> int:
    """More than there are processors, since tests wait more than they compute."""
    return min(8, 2 * (os.cpu_count() or 1))


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loops that a test runs on, one after the other."""
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if item.path.stem in ON_BOTH_LOOPS:
        factories["uvloop"] = uvloop.new_event_loop
    return factories

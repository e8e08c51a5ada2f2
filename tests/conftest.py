"""How the tests run."""

import asyncio
import os
import ssl
from collections.abc import Callable, Iterator

import pytest
import trustme
import uvloop

from tests.processes import Forks
from tests.serving import Security

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


@pytest.fixture(scope="module")
def commands() -> Iterator[Forks]:
    """Runs commands in forks of one process that has imported bulkload."""
    with Forks() as forks:
        yield forks


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Security:
    """TLS by an authority of its own."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    ca_file = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    return Security(context, ca_file)

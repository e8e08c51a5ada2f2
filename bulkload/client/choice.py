"""Which transport carries a run's uploads."""

from pathlib import Path
from typing import Literal

from bulkload.client.proxy import proxy_of
from bulkload.client.transport import AiohttpTransport
from bulkload.errors import InputError
from bulkload.hub import Hub
from bulkload.record import Record
from bulkload.wire import Transport, WireTransport

TransportName = Literal["auto", "wire", "aiohttp"]


def transport_for(
    hub: Hub, choice: TransportName, *, connections: int, api_version: str, ca_file: Path | None
) -> Transport[Record]:
    """Our own connections, unless the environment names a proxy for the hub; raises `InputError`."""
    has_proxy = proxy_of(hub) is not None
    if choice == "wire" and has_proxy:
        raise InputError(
            "--transport wire does not speak with proxies, and the environment names one for the hub; leave it at "
            "auto, or name the hub's host in NO_PROXY"
        )
    make = AiohttpTransport if choice == "aiohttp" or has_proxy else WireTransport
    return make(hub, connections=connections, api_version=api_version, ca_file=ca_file)

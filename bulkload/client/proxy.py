"""Which proxy stands between here and a hub."""

from urllib.request import getproxies, proxy_bypass

from yarl import URL

from bulkload.hub import Hub


def proxy_of(hub: Hub) -> URL | None:
    """The proxy that the environment names for the hub, looked up once rather than for each request."""
    if hub.is_loopback:
        return None
    proxy = getproxies().get(hub.scheme)
    return URL(proxy) if proxy and not proxy_bypass(hub.host) else None

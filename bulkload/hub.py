"""Where a hub is and the key to it."""

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

from bulkload.errors import InputError

# A path segment of the service may hold nothing else; said by its own 400 answer of 2019.
_NAME = re.compile(r"[A-Za-z0-9._-]+")

# What may stand for a host: a name, an IPv4 address, or an IPv6 address (urlsplit takes its brackets off).
_HOST = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")

_FORM = "Endpoint=sb://…/;SharedAccessKeyName=…;SharedAccessKey=…"


@dataclass(frozen=True, slots=True)
class Hub:
    """A notification hub's address and the policy that may write to it.

    `host` is host and port as in a URL, `scheme` is ``https`` or, for a loopback host only, ``http``. `alias` stands
    for the host in ledgers, where the host changes from run to run.
    """

    host: str
    name: str
    key_name: str
    key: str = field(repr=False)
    scheme: str = "https"
    alias: str | None = None

    @classmethod
    def from_connection_string(cls, text: str, *, hub: str | None = None, usual: str | None = None) -> Self:
        """Read a connection string as the Azure portal shows it; `hub` names the hub where it has no EntityPath.

        Where neither does, it is called `usual`.
        Raises `InputError` for anything that cannot be used. No message repeats the key.
        """
        fields = _fields(text)
        missing = [
            name for name in ("Endpoint", "SharedAccessKeyName", "SharedAccessKey") if not fields.get(name.lower())
        ]
        if missing:
            raise InputError(f"the connection string has no {' and no '.join(missing)}; its form is {_FORM}")
        scheme, host = _address(fields["endpoint"])
        return cls(
            host=host,
            name=_agreed_name(hub, fields.get("entitypath") or (None if hub else usual)),
            key_name=fields["sharedaccesskeyname"],
            key=fields["sharedaccesskey"],
            scheme=scheme,
        )

    @property
    def url(self) -> str:
        """The hub's own address, which is also its tokens' audience."""
        return f"{self.scheme}://{self.host}/{self.name}"

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine."""
        return _is_loopback(urlsplit(f"//{self.host}").hostname or "")

    @property
    def identity(self) -> str:
        """What a ledger remembers of the hub: two hubs are the same when this is."""
        return f"{(self.alias or self.host).lower()}/{self.name.lower()}"


def _fields(text: str) -> dict[str, str]:
    """Split on ``;``, then on the first ``=``; names are read in any case."""
    text = text.strip().strip("\"'")
    pairs = (part.partition("=") for part in text.split(";") if part.strip())
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _address(endpoint: str) -> tuple[str, str]:
    """Return scheme and host of an Endpoint; ``sb://`` means TLS."""
    form = "its form is sb://NAMESPACE.servicebus.windows.net/"
    try:
        parts = urlsplit(endpoint)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        # Its own words may repeat a part of a key.
        raise InputError(f"the connection string's Endpoint is not an address; {form}") from None
    is_more = bool(parts.path.strip("/") or parts.query or parts.fragment or parts.username)
    if parts.scheme not in ("sb", "https", "http") or not _HOST.fullmatch(host) or port == 0 or is_more:
        raise InputError(f"the connection string's Endpoint {_shown(endpoint)!r} is not an address; {form}")
    if parts.scheme == "http" and not _is_loopback(host):
        raise InputError(
            f"the connection string's Endpoint {_shown(endpoint)!r} would send tokens in the clear; "
            "http:// is for this machine only, use sb://"
        )
    shown = f"[{host}]" if ":" in host else host
    return ("http" if parts.scheme == "http" else "https"), (f"{shown}:{port}" if port else shown)


def _shown(endpoint: str) -> str:
    """An Endpoint for a message: AMQP's form of it holds the key before the host."""
    return re.sub(r"//.*@", "//…@", endpoint)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _agreed_name(given: str | None, entity_path: str | None) -> str:
    # The service does not tell capitals apart.
    if given and entity_path and given.lower() != entity_path.lower():
        raise InputError(
            f"two hubs are named: {given!r} and, as the connection string's EntityPath, {entity_path!r}; take one away"
        )
    name = given or entity_path
    if not name:
        raise InputError("no hub is named; name it with --hub, BULKLOAD_HUB or the connection string's EntityPath")
    if not _NAME.fullmatch(name) or name in (".", ".."):
        raise InputError(f"hub name {name!r} is not one; it holds letters, digits, '.', '-' and '_' only")
    return name

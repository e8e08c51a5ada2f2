"""What the hub answers to each request, decided without a socket."""

import re
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import unquote

import orjson

from bulkload import installation
from bulkload.emulator.access import Access
from bulkload.emulator.answers import Answer
from bulkload.emulator.store import Store
from bulkload.installation import Flaw

_API_VERSION = re.compile(r"(?:^|&)api-version=[^&]", re.IGNORECASE)

_METHODS = "DELETE, GET, PUT"

# What a recorded installation shows where no expiry was given.
_NEVER = "9999-12-31T23:59:59.9999999Z"

# No recorded answer of a quota is public: this is in the words of the service's limits.
_FULL = "Quota exceeded: this namespace has too many installations"

_INVALID = "Installation validation failed with following error(s):\r\n"


class Address(NamedTuple):
    """A request target taken apart; `segments` are what follows the hub's name, decoded."""

    hub: str
    segments: list[str]
    query: str

    @classmethod
    def of(cls, target: str) -> "Address":
        """Read a target of the form ``/hub/installations/id?query``."""
        path, _, query = target.partition("?")
        segments = path.split("/")[1:]
        if "%" in path:
            segments = [unquote(segment) for segment in segments]
        return cls(segments[0] if segments else "", segments[1:], query)

    @property
    def installation_id(self) -> str:
        """The id, or nothing where this is not an installation's address."""
        match self.segments:
            case [collection, id_] if collection.lower() == "installations":
                return id_
            case _:
                return ""

    @property
    def has_api_version(self) -> bool:
        """Whether the query names an api-version; any one will do."""
        return _API_VERSION.search(self.query) is not None


class Service:
    """One hub and its installations.

    `throttled` is asked for every request that may be made, and answers those that are not taken.
    """

    def __init__(
        self,
        hub: str,
        key: str,
        *,
        scheme: str = "http",
        throttled: Callable[[], Answer | None] = lambda: None,
        quota: int | None = None,
        visibility_delay: float = 0.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._hub = hub.lower()
        self._scheme = scheme
        self._throttled = throttled
        self._quota = quota
        self._access = Access(key, clock=clock)
        self._store = Store(delay=visibility_delay, clock=clock)

    def __repr__(self) -> str:
        return f"<Service {self._hub}, {len(self.installations)} installations>"

    @property
    def installations(self) -> Mapping[str, bytes]:
        """The body last accepted of every installation."""
        return MappingProxyType(self._store.accepted)

    def answer(self, method: str, target: str, *, host: str, authorization: str | None, body: bytes) -> Answer:
        """Answer one request; `target` and `host` are what its first line and its Host header say."""
        address = Address.of(target)
        root = f"{host}/{address.hub}"
        refusal = (
            self._access.refusal(authorization, root, "/".join(address.segments))
            or self._throttled()
            or self._misdirection(address)
        )
        if refusal is not None:
            return refusal
        match method:
            case "PUT":
                return self._put(address.installation_id, body, f"{self._scheme}://{root}")
            case "GET":
                return self._get(address.installation_id)
            case "DELETE":
                self._store.delete(address.installation_id)
                return Answer(204)
            case _:
                return Answer(405, detail=f"{method} is not supported here", headers=(("Allow", _METHODS),))

    def _misdirection(self, address: Address) -> Answer | None:
        if address.hub.lower() != self._hub or not address.installation_id:
            return Answer(404, detail="No service is hosted at the specified address.")
        if not address.has_api_version:
            return Answer(400, detail="The api-version query parameter is missing")
        return None

    def _put(self, installation_id: str, body: bytes, hub_url: str) -> Answer:
        checked = installation.check(body)
        if isinstance(checked, Flaw):
            return Answer(400, detail=_INVALID + checked.message)
        if checked.id != installation_id:
            flaw = f"installationId {checked.id!r} is not the address's {installation_id!r}"
            return Answer(400, detail=_INVALID + flaw)
        held = self._store.accepted
        if self._quota is not None and installation_id not in held and len(held) >= self._quota:
            return Answer(403, detail=_FULL)
        self._store.put(installation_id, checked.body)
        return Answer(200, headers=(("Content-Location", f"{hub_url}/installations/{installation_id}"),))

    def _get(self, installation_id: str) -> Answer:
        body = self._store.get(installation_id)
        if body is None:
            return Answer(404, detail="Installation not found")
        fields = orjson.loads(body)
        fields["pushChannelExpired"] = False
        fields["expirationTime"] = fields.get("expirationTime") or _NEVER
        return Answer(200, orjson.dumps(fields))

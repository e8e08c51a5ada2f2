"""What the hub answers to each request, decided without a socket."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from bulkload.emulator.access import Access
from bulkload.emulator.address import Address
from bulkload.emulator.answers import Answer
from bulkload.emulator.dialect import DIALECTS, Dialect
from bulkload.emulator.installations import Installations
from bulkload.emulator.registrations import Asked, Registrations
from bulkload.emulator.store import Store

_NOWHERE = Answer(404, detail="No service is hosted at the specified address.")

# So many installations are shown among the registrations in some ten milliseconds.
_AT_ONCE = 300

# The headers that the hub reads.
Headers = Mapping[str, str]


class Service:
    """One hub, its installations and its registrations, in the words of `dialect`.

    `throttled` is asked for every request that may be made, and answers those that are not taken. `open` comes before
    the first request, with a path to keep all in a file, and `close` after the last one.
    """

    def __init__(
        self,
        hub: str,
        key: str,
        *,
        scheme: str = "http",
        dialect: Dialect = DIALECTS["2018"],
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
        self._installations = Installations(self._store, dialect, is_full=self._is_full)
        self._registrations = Registrations(self._store, dialect, is_full=self._is_full, clock=clock)

    def __repr__(self) -> str:
        return f"<Service {self._hub}, {len(self.installations)} installations>"

    def open(self, save: Path | None = None) -> None:
        """Raises `InputError` for a file that is of no use."""
        self._store.open(save)

    def is_ready(self, target: str) -> bool:
        """Whether a request can be answered soon; otherwise a part of what is in the way has been done."""
        return "/registrations" not in target.lower() or self._store.show(_AT_ONCE)

    def save(self) -> None:
        """Have the file hold all that there is; raises `Halt`."""
        self._store.save()

    def close(self) -> None:
        self._store.close()

    @property
    def installations(self) -> Mapping[str, bytes]:
        """The body last accepted of every installation."""
        return MappingProxyType(self._store.accepted)

    @property
    def kinds(self) -> Mapping[str, int]:
        """How many registrations of their own there are of each kind."""
        return self._store.own_kinds

    def answer(self, method: str, target: str, *, host: str, headers: Headers, body: bytes) -> Answer:
        """Answer one request; `target` is what its first line says, and `host` what its headers say of that."""
        address = Address(target)
        root = f"{host}/{address.hub}"
        refusal = (
            self._access.refusal(headers.get("Authorization"), root, "/".join(address.segments))
            or self._throttled()
            or self._misdirection(address)
        )
        if refusal is not None:
            return refusal
        hub_url = f"{self._scheme}://{root}"
        match address.segments:
            case [collection, id_] if id_ and collection.lower() == "installations":
                return self._about_installation(method, id_, body, hub_url)
            case [collection, *rest] if collection.lower() == "registrations" and len(rest) < 2:
                asked = Asked(method, address, hub_url, headers.get("If-Match"), body)
                return self._about_registration(rest[0], asked) if any(rest) else self._about_registrations(asked)
            case [collection, *rest] if collection.lower() == "registrationids" and not any(rest):
                asked = Asked(method, address, hub_url, None, body)
                return self._registrations.make_id(asked) if method == "POST" else _unsupported(method, "POST")
            case [tags, tag, collection, *rest] if (
                tag and (tags.lower(), collection.lower()) == _BY_TAG and not any(rest)
            ):
                asked = Asked(method, address, hub_url, None, body)
                return self._registrations.find(asked, tag=tag) if method == "GET" else _unsupported(method, "GET")
            case _:
                return _NOWHERE

    def _misdirection(self, address: Address) -> Answer | None:
        if address.hub.lower() != self._hub:
            return _NOWHERE
        if not address.has_api_version:
            return Answer(400, detail="The api-version query parameter is missing")
        return None

    def _about_installation(self, method: str, id_: str, body: bytes, hub_url: str) -> Answer:
        match method:
            case "PUT":
                return self._installations.put(id_, body, hub_url)
            case "GET":
                return self._installations.get(id_)
            case "PATCH":
                return self._installations.patch(id_, body)
            case "DELETE":
                return self._installations.delete(id_)
            case _:
                return _unsupported(method, "DELETE, GET, PATCH, PUT")

    def _about_registration(self, id_: str, asked: Asked) -> Answer:
        match asked.method:
            case "PUT":
                return self._registrations.put(id_, asked)
            case "GET":
                return self._registrations.get(id_, asked)
            case "DELETE":
                return self._registrations.delete(id_, asked)
            case _:
                return _unsupported(asked.method, "DELETE, GET, PUT")

    def _about_registrations(self, asked: Asked) -> Answer:
        match asked.method:
            case "POST":
                return self._registrations.create(asked)
            case "GET":
                return self._registrations.find(asked)
            case _:
                return _unsupported(asked.method, "GET, POST")

    def _is_full(self) -> bool:
        held = len(self._store.accepted) + self._store.own_registrations
        return self._quota is not None and held >= self._quota


_BY_TAG = ("tags", "registrations")


def _unsupported(method: str, allowed: str) -> Answer:
    return Answer(405, detail=f"{method} is not supported here", headers=(("Allow", allowed),))

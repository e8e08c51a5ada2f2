"""How the service's two front ends tell the same: the older one of 2018 to 2022, and the newer one of 2023."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import NamedTuple

from bulkload.registration import SUFFIX, Registration, elements
from bulkload.registration.writing import ATOM, INSTANCE, SERVICE_BUS, attribute, escaped

_METADATA = "http://schemas.microsoft.com/ado/2007/08/dataservices/metadata"

# What an entry is called that answers a POST or a PUT, by both front ends.
WRITTEN = "application/atom+xml; type=entry; charset=utf-8"

# What is told of an Apple template even where it has none: its expiry, and headers that no request can set.
_APPLE_TEMPLATE = "AppleTemplate"

# The platforms that the newer front end does not write like a name. Recorded are Apns and Gcm only.
_FCM_V1 = "FcmV1"


class Told(NamedTuple):
    """A registration and where it is found: what its id in a feed is."""

    registration: Registration
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One front end's way of telling, as recorded.

    `alone` and `listed` are the attributes of an entry, `declared` those of a description, `close` ends an empty
    element. `collection` is what a reader finds entries under; what was just written is always under `registrations`.
    `never` is when a registration expires that has no time of its own.
    """

    name: str
    server: str
    alone: str
    listed: str
    declared: str
    close: str
    collection: str
    never: str
    read_entry: str
    read_feed: str
    has_headers: bool
    fields: tuple[str, ...]

    def platform(self, name: str) -> str:
        """A platform as GET of an installation spells it."""
        if self.has_headers:
            return name
        return _FCM_V1 if name == "fcmv1" else name.capitalize()

    def entry(self, told: Told, *, now: float, is_written: bool) -> bytes:
        """A registration that stands alone; the answer to its being written tells no time zone."""
        return f"<entry {self._etag(self.alone, told)}>{self._inner(told, _time(now), is_written=is_written)}".encode()

    def feed(self, entries: Iterable[Told], *, url: str, next_url: str | None, now: float) -> bytes:
        """Registrations as a list; `next_url` is where it goes on."""
        time = _time(now)
        more = "" if next_url is None else f'<link rel="next" href={attribute(next_url)}{self.close}'
        told = "".join(
            f"<entry {self._etag(self.listed, entry)}>{self._inner(entry, time, is_written=False)}" for entry in entries
        )
        return (
            f'<feed xmlns="{ATOM}"><title type="text">Registrations</title><id>{escaped(url)}</id>'
            f"<updated>{time}</updated>{self._self(url)}{more}{told}</feed>"
        ).encode()

    def _inner(self, told: Told, time: str, *, is_written: bool) -> str:
        registration, url = told
        id_ = escaped(registration.registration_id or "")
        description = self._description(registration, is_written=is_written)
        return (
            f'<id>{escaped(url)}</id><title type="text">{id_}</title>'
            f"<published>{time}</published><updated>{time}</updated>{self._self(url)}"
            f'<content type="application/xml">{description}</content></entry>'
        )

    def _description(self, registration: Registration, *, is_written: bool) -> str:
        parts = elements(registration)
        expires = registration.expiration_time or self.never
        parts["ExpirationTime"] = (
            f"<ExpirationTime>{expires.removesuffix('Z') if is_written else expires}</ExpirationTime>"
        )
        if registration.kind == _APPLE_TEMPLATE:
            parts["Expiry"] = parts["Expiry"] or f'<Expiry i:nil="true"{self.close}'
            parts["ApnsHeaders"] = f"<ApnsHeaders{self.close}"
        name = f"{registration.kind}{SUFFIX}"
        return f"<{name} {self.declared}>{''.join(parts.values())}</{name}>"

    def _etag(self, attributes: str, told: Told) -> str:
        return attributes.replace("ETAG", f"W/&quot;{told.registration.etag}&quot;")

    def _self(self, url: str) -> str:
        return f'<link rel="self" href={attribute(url)}{self.close}'


def _time(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_OLDER = Dialect(
    name="2018",
    server="Microsoft-HTTPAPI/2.0",
    alone=f'a:etag="ETAG" xmlns="{ATOM}" xmlns:a="{_METADATA}"',
    listed=f'a:etag="ETAG" xmlns:a="{_METADATA}"',
    declared=f'xmlns="{SERVICE_BUS}" xmlns:i="{INSTANCE}"',
    close="/>",
    collection="registrations",
    never="9999-12-31T23:59:59.999Z",
    read_entry=WRITTEN,
    read_feed="application/atom+xml; type=feed; charset=utf-8",
    has_headers=True,
    fields=("installationId", "pushChannel", "pushChannelExpired", "platform", "expirationTime"),
)

_NEWER = Dialect(
    name="2023",
    server="Kestrel",
    alone=f'p1:etag="ETAG" xmlns:p1="{_METADATA}" xmlns="{ATOM}"',
    listed=f'p2:etag="ETAG" xmlns:p2="{_METADATA}"',
    declared=f'xmlns:i="{INSTANCE}" xmlns="{SERVICE_BUS}"',
    close=" />",
    collection="resources",
    never="9999-12-31T23:59:59.9999999Z",
    read_entry="application/xml",
    read_feed="application/xml",
    has_headers=False,
    fields=("platform", "pushChannel", "installationId", "pushChannelExpired", "expirationTime"),
)

DIALECTS: Mapping[str, Dialect] = MappingProxyType({dialect.name: dialect for dialect in (_OLDER, _NEWER)})

# The one that is spoken unless another is asked for: the better known of the two.
DIALECT = _OLDER.name

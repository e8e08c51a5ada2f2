"""A device's handle: what a hub is asked for its registrations by.

The specification, "Read all registrations of a channel": ``$filter=ChannelUri eq '{channelUri}'`` and its like, the URI
URL-encoded, a device token in upper-case hex. A quote is doubled, OData's rule. Handles are personal data: messages and
logs have their digests.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import orjson

from bulkload.errors import InputError
from bulkload.registration.family import FAMILY_OF_PLATFORM

# Of a digest, as much as tells some thousand handles apart at a glance.
SHORT = 12

_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+")
_URI = re.compile(r"https?://\S+", re.IGNORECASE)

_TERM = re.compile(r"\s*(\w+)\s+eq\s+'((?:[^']|'')*)'\s*")
_AND = re.compile(r"and\b", re.IGNORECASE)

# An installation's browser channel, and what the same is called in a registration.
_BROWSER = {"Endpoint": "endpoint", "P256DH": "p256dh", "Auth": "auth"}


@dataclass(frozen=True, slots=True)
class Handle:
    """What names a device: the elements' names with their values, one for most push services."""

    parts: tuple[tuple[str, str], ...] = field(repr=False)

    def __repr__(self) -> str:
        return f"<Handle {' '.join(name for name, _ in self.parts)} {self.digest}>"

    @classmethod
    def channel_uri(cls, uri: str) -> "Handle":
        """Raises `InputError` for what is no text."""
        return cls((("ChannelUri", addressable(uri, "channel URI")),))

    @classmethod
    def device_token(cls, token: str) -> "Handle":
        """Raises `InputError` for what is not hex."""
        if not _HEX.fullmatch(token):
            raise InputError("a device token is hex digits, two a byte, and nothing else")
        return cls((("DeviceToken", token.upper()),))

    @classmethod
    def gcm_registration_id(cls, registration_id: str) -> "Handle":
        """Raises `InputError` for what is no text."""
        return cls((("GcmRegistrationId", addressable(registration_id, "registration id")),))

    @classmethod
    def guessed(cls, text: str) -> "Handle":
        """The handle that a text is by its form: a URI, hex digits, else a registration id of GCM.

        Raises `InputError` for what is no text.
        """
        if _URI.fullmatch(text):
            return cls.channel_uri(text)
        return cls.device_token(text) if _HEX.fullmatch(text) else cls.gcm_registration_id(text)

    @classmethod
    def of_installation(cls, fields: Mapping[str, Any]) -> "Handle":
        """The handle of an installation's device, by `platform` and `pushChannel`; raises `InputError`."""
        channel, platform = fields.get("pushChannel"), str(fields.get("platform")).lower()
        family = FAMILY_OF_PLATFORM.get(platform)
        if family is None:
            raise InputError("it has no platform that is one")
        if platform == "browser":
            return cls(tuple(_browser_parts(channel)))
        if not isinstance(channel, str) or not channel:
            raise InputError("it has no pushChannel")
        if platform == "apns":
            return cls.device_token(channel)
        values = channel.split("-", 1) if platform == "baidu" else [channel]
        if len(values) != len(family.handles) or not all(values):
            raise InputError("a push channel of baidu is its user id and its channel id, joined by -")
        return cls(tuple(zip(family.handles, values, strict=True)))

    @classmethod
    def all_of_installation(cls, fields: Mapping[str, Any]) -> list["Handle"]:
        """Every handle under which registrations of an installation's device may stand; raises `InputError`.

        A device of FCM v1 was one of GCM before, with the same registration id.
        """
        own = cls.of_installation(fields)
        is_fcmv1 = own.parts[0][0] == "FcmV1RegistrationId"
        return [own, cls.gcm_registration_id(own.parts[0][1])] if is_fcmv1 else [own]

    @property
    def push_channel(self) -> str | dict[str, str]:
        """The same as an installation has it."""
        names = [name for name, _ in self.parts]
        if names == list(_BROWSER):
            return {_BROWSER[name]: value for name, value in self.parts}
        return "-".join(value for _, value in self.parts)

    @property
    def key(self) -> str:
        """One text for one device, the same whatever push service asks for it."""
        channel = self.push_channel
        return channel if isinstance(channel, str) else orjson.dumps(channel, option=orjson.OPT_SORT_KEYS).decode()

    @property
    def channel_digest(self) -> str:
        """The sha256 of `key`, in hex."""
        return hashlib.sha256(self.key.encode()).hexdigest()

    @property
    def digest(self) -> str:
        """The beginning of `channel_digest`, for messages."""
        return self.channel_digest[:SHORT]

    @property
    def filter(self) -> str:
        """The ``$filter`` that asks for it, percent-encoded as it stands in an address."""
        terms = (f"{name} eq '{_doubled(value)}'" for name, value in self.parts)
        return quote(" and ".join(terms), safe="'")


def addressable(value: str, what: str) -> str:
    """A value that can stand in an address; a command line's may hold halves of characters, what is not UTF-8."""
    is_text = value != ""
    try:
        value.encode()
    except UnicodeEncodeError:
        is_text = False
    if not is_text:
        raise InputError(f"a {what} is a text in UTF-8 that is not empty")
    return value


def _doubled(value: str) -> str:
    return value.replace("'", "''")


def _browser_parts(channel: object) -> list[tuple[str, str]]:
    if isinstance(channel, str):
        try:
            channel = orjson.loads(channel)
        except orjson.JSONDecodeError:
            channel = None
    parts = channel if isinstance(channel, dict) else {}
    if not all(isinstance(part := parts.get(name), str) and part for name in _BROWSER.values()):
        raise InputError("a push channel of browser is an object of endpoint, p256dh and auth")
    return [(element, parts[name]) for element, name in _BROWSER.items()]


def read_filter(text: str) -> dict[str, str] | None:
    """The names and values of a decoded ``$filter``; None for one that asks for something else than equality."""
    terms: dict[str, str] = {}
    at = 0
    while (match := _TERM.match(text, at)) is not None:
        terms[match[1]] = match[2].replace("''", "'")
        at = match.end()
        if at == len(text):
            return terms
        if (conjunction := _AND.match(text, at)) is None:
            return None
        at = conjunction.end()
    return None

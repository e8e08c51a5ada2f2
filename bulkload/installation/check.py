"""The check of one installation: what it breaks, or its body as it will be sent.

The rules are those of the service's page "Create or overwrite an installation" and of its recorded 400 answers.
"""

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson

from bulkload.installation.flaw import LONGEST_KEPT_ID, Finding, Flaw

# An installation, or a source object, as JSON parsers give it.
Fields = dict[str, Any]

PLATFORMS = frozenset({"apns", "wns", "mpns", "adm", "gcm", "fcmv1", "baidu", "browser", "xiaomi"})

# The service's words: entity segments can contain only letters, numbers, periods, hyphens and underscores.
_ID = re.compile(r"[A-Za-z0-9._-]+")

# "Valid tag characters are alphanumeric, _, @, -, ., : and #"; up to 120 of them. A leading $ is the service's own.
_TAG = re.compile(r"[A-Za-z0-9_@#.:-]{1,120}")


@dataclass(frozen=True, slots=True)
class Installation:
    """An installation that passed the check: its id, its JSON body as it will be sent, and the fields of that.

    `warnings` is what there is to say of it all the same.
    """

    id: str
    body: bytes
    fields: Fields
    warnings: tuple[Finding, ...] = ()


class Checker:
    """Checks installations by the rules."""

    def check(self, data: bytes) -> Installation | Flaw:
        """Check one JSON text.

        The body stays byte for byte as it came unless something has to be mended: the platform in lower case, and
        ``userID`` under the name that the service reads, ``userId``. A mended body is written anew from its values.
        """
        try:
            fields = orjson.loads(data)
        except orjson.JSONDecodeError as exc:
            return Flaw.of("not-json", f"not a JSON text: {exc}")
        if type(fields) is not dict:
            return Flaw.of("not-an-object", f"an installation is a JSON object, this is {_kind(fields)}")
        return self._checked(fields, data)

    def check_fields(self, fields: Fields, notes: tuple[Finding, ...] = ()) -> Installation | Flaw:
        """Check an installation that is not a JSON text yet, such as one that a mapping made; its body is written.

        `notes` is what there is to say of how it was made: they come first among its warnings.
        """
        return self._checked(fields, None, notes)

    def _checked(self, fields: Fields, data: bytes | None, notes: tuple[Finding, ...] = ()) -> Installation | Flaw:
        flaw = _flaw(fields)
        id_ = fields.get("installationId")
        if flaw is not None:
            return Flaw(flaw.findings, id_[:LONGEST_KEPT_ID]) if type(id_) is str else flaw
        assert type(id_) is str
        try:
            return Installation(id_, _mended(fields, data), fields, notes)
        except TypeError:
            # orjson.JSONEncodeError is one. What is read may be nested deeper than what can be written.
            return Flaw.of("too-deep", "the installation is nested too deep to be written", id_[:LONGEST_KEPT_ID])


_CHECKER = Checker()


def check(data: bytes) -> Installation | Flaw:
    """Check one JSON text by the rules as they stand."""
    return _CHECKER.check(data)


def push_channels(body: bytes) -> list[str]:
    """Every push channel value in a body, longest first: what must stay out of logs and ledgers."""
    fields = orjson.loads(body)
    tiles = fields.get("secondaryTiles")
    holders = [fields, *(tiles.values() if isinstance(tiles, dict) else ())]
    values: set[str] = set()
    for holder in holders:
        channel = holder.get("pushChannel") if isinstance(holder, dict) else None
        values.update(part for part in _parts(channel) if isinstance(part, str) and part)
    return sorted(values, key=len, reverse=True)


def _parts(channel: object) -> list[object]:
    """A channel itself, and what is in it where it is a browser's: an object, or that object as a JSON text."""
    if isinstance(channel, str) and channel.startswith("{"):
        with suppress(orjson.JSONDecodeError):
            return [channel, *_parts(orjson.loads(channel))]
    return list(channel.values()) if isinstance(channel, dict) else [channel]


def _flaw(fields: dict[str, Any]) -> Flaw | None:
    """The first rule broken, in the order in which a person would mend them."""
    return _id_flaw(fields) or _platform_flaw(fields) or _channel_flaw(fields) or _tags_flaw(fields.get("tags"))


def _id_flaw(fields: dict[str, Any]) -> Flaw | None:
    value = fields.get("installationId")
    if not value:
        return Flaw.of("id-missing", "installationId is missing")
    if type(value) is not str:
        return Flaw.of("id-not-text", f"installationId is a string, this is {_kind(value)}")
    if not _ID.fullmatch(value) or value in (".", ".."):
        return Flaw.of(
            "id-characters", f"installationId {_short(value)} may hold letters, digits, '.', '-' and '_' only"
        )
    return None


def _platform_flaw(fields: dict[str, Any]) -> Flaw | None:
    value = fields.get("platform")
    if not value:
        return Flaw.of("platform-missing", "platform is missing")
    if type(value) is not str or value.lower() not in PLATFORMS:
        return Flaw.of("platform-unknown", f"platform {_short(value)} is not one of {', '.join(sorted(PLATFORMS))}")
    return None


def _channel_flaw(fields: dict[str, Any]) -> Flaw | None:
    value = fields.get("pushChannel")
    if not value:
        return Flaw.of("push-channel-missing", "pushChannel is missing")
    if type(value) is not str and (type(value) is not dict or fields["platform"].lower() != "browser"):
        return Flaw.of("push-channel-type", f"pushChannel is a string, this is {_kind(value)}")
    return None


def _tags_flaw(tags: object) -> Flaw | None:
    if tags is None:
        return None
    if type(tags) is not list:
        return Flaw.of("tags-not-a-list", f"tags is a list of strings, this is {_kind(tags)}")
    for number, tag in enumerate(tags):
        if type(tag) is not str:
            return Flaw.of("tag-not-text", f"tags[{number}] is a string, this is {_kind(tag)}")
        if not _TAG.fullmatch(tag):
            return Flaw.of(
                "tag-characters",
                f"tags[{number}] {_short(tag)} is not 1 to 120 letters, digits and '_', '@', '#', '.', ':', '-'",
            )
    return None


def _mended(fields: dict[str, Any], data: bytes | None) -> bytes:
    platform = fields["platform"]
    is_renamed = "userID" in fields
    if data is not None and platform.islower() and not is_renamed:
        return data
    fields["platform"] = platform.lower()
    if is_renamed:
        user = fields.pop("userID")
        fields.setdefault("userId", user)
    return orjson.dumps(fields)


def _kind(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _short(value: object) -> str:
    """A value for a message, cut to what a terminal line bears."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"

"""What an installation is: the rules that a body must pass before it is worth a request.

The rules are those of the service's page "Create or overwrite an installation" and of its recorded 400 answers.
"""

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import orjson

PLATFORMS = frozenset({"apns", "wns", "mpns", "adm", "gcm", "fcmv1", "baidu", "browser", "xiaomi"})

# What is kept of the id of a record that cannot be sent: it may be a whole novel.
LONGEST_KEPT_ID = 200

# The service's words: entity segments can contain only letters, numbers, periods, hyphens and underscores.
_ID = re.compile(r"[A-Za-z0-9._-]+")

# "Valid tag characters are alphanumeric, _, @, -, ., : and #"; up to 120 of them. A leading $ is the service's own.
_TAG = re.compile(r"[A-Za-z0-9_@#.:-]{1,120}")


@dataclass(frozen=True, slots=True)
class Flaw:
    """Why a record cannot be sent: a stable code, a line that names the place, and the record's id if it has one."""

    code: str
    message: str
    id: str | None = None

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


@dataclass(frozen=True, slots=True)
class Installation:
    """An installation that passed the check: its id, and its JSON body as it will be sent."""

    id: str
    body: bytes


def check(data: bytes) -> Installation | Flaw:
    """Check one JSON text.

    The body stays byte for byte as it came unless something has to be mended: the platform in lower case, and
    ``userID`` under the name that the service reads, ``userId``. A mended body is written anew from its values.
    """
    try:
        fields = orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        return Flaw("not-json", f"not a JSON text: {exc}")
    if type(fields) is not dict:
        return Flaw("not-an-object", f"an installation is a JSON object, this is {_kind(fields)}")
    flaw = _flaw(fields)
    if flaw is not None:
        id_ = fields.get("installationId")
        return replace(flaw, id=id_[:LONGEST_KEPT_ID]) if type(id_) is str else flaw
    try:
        return Installation(fields["installationId"], _mended(fields, data))
    except orjson.JSONEncodeError:
        # What is read may be nested deeper than what can be written.
        return Flaw(
            "too-deep", "the installation is nested too deep to be mended", fields["installationId"][:LONGEST_KEPT_ID]
        )


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
        return Flaw("id-missing", "installationId is missing")
    if type(value) is not str:
        return Flaw("id-not-text", f"installationId is a string, this is {_kind(value)}")
    if not _ID.fullmatch(value) or value in (".", ".."):
        return Flaw("id-characters", f"installationId {_short(value)} may hold letters, digits, '.', '-' and '_' only")
    return None


def _platform_flaw(fields: dict[str, Any]) -> Flaw | None:
    value = fields.get("platform")
    if not value:
        return Flaw("platform-missing", "platform is missing")
    if type(value) is not str or value.lower() not in PLATFORMS:
        return Flaw("platform-unknown", f"platform {_short(value)} is not one of {', '.join(sorted(PLATFORMS))}")
    return None


def _channel_flaw(fields: dict[str, Any]) -> Flaw | None:
    value = fields.get("pushChannel")
    if not value:
        return Flaw("push-channel-missing", "pushChannel is missing")
    if type(value) is not str and (type(value) is not dict or fields["platform"].lower() != "browser"):
        return Flaw("push-channel-type", f"pushChannel is a string, this is {_kind(value)}")
    return None


def _tags_flaw(tags: object) -> Flaw | None:
    if tags is None:
        return None
    if type(tags) is not list:
        return Flaw("tags-not-a-list", f"tags is a list of strings, this is {_kind(tags)}")
    for number, tag in enumerate(tags):
        if type(tag) is not str:
            return Flaw("tag-not-text", f"tags[{number}] is a string, this is {_kind(tag)}")
        if not _TAG.fullmatch(tag):
            return Flaw(
                "tag-characters",
                f"tags[{number}] {_short(tag)} is not 1 to 120 letters, digits and '_', '@', '#', '.', ':', '-'",
            )
    return None


def _mended(fields: dict[str, Any], data: bytes) -> bytes:
    platform = fields["platform"]
    is_renamed = "userID" in fields
    if platform.islower() and not is_renamed:
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

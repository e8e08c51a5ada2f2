"""Push channels: the form that each platform gives them. None is ever shown."""

import re
from binascii import unhexlify
from collections.abc import Callable, Iterator
from contextlib import suppress

import orjson

from bulkload.installation.flaw import Finding
from bulkload.installation.words import kind, missing

# Possessive: what does not match is not tried again in every other way.
_URI = re.compile(r"https?://[^\s/?#\x00-\x1f\x7f]++[^\s\x00-\x1f\x7f]*+", re.IGNORECASE).fullmatch

# Nearly every token, told in one look.
_is_plain_token = re.compile(r"[!-~]+").fullmatch

_PARTS = ("endpoint", "p256dh", "auth")


# What proves that a channel has its platform's form: something true. Something false or an exception (TypeError,
# ValueError) proves nothing, and `channel_findings` has to look. None stands for no platform. A browser's channel is an
# object, or one in a text. Hex is read in half the time of a regular expression (70 ns against 160).
FORMS: dict[str | None, Callable[[str], object]] = {
    None: lambda _: False,
    "browser": lambda _: False,
    "apns": unhexlify,
    "wns": _URI,
    "mpns": _URI,
    **dict.fromkeys(("adm", "gcm", "fcmv1", "baidu", "xiaomi"), _is_plain_token),
}


def channel_findings(holder: dict[str, object], platform: str | None, place: str = "") -> Iterator[Finding]:
    """What is wrong with the push channel of an installation or a tile; only what holds anywhere, for no platform."""
    channel = holder.get("pushChannel")
    here = f"{place}pushChannel"
    if channel is None or channel in ("", {}):
        yield Finding("push-channel-missing", missing("pushChannel", holder, place))
    elif platform == "browser" and isinstance(channel, dict | str):
        yield from _browser_findings(channel, here)
    elif type(channel) is not str:
        only = "; an object is for browser only" if type(channel) is dict and platform is not None else ""
        yield Finding("push-channel-type", f"{here} is a string, this is {kind(channel)}{only}")
    elif platform == "apns" and not _is_hex(channel):
        yield Finding("push-channel-not-hex", f"{here} is a device token, two hex digits a byte{_hex_hint(channel)}")
    elif platform in ("wns", "mpns") and not _URI(channel):
        yield Finding("push-channel-not-uri", f"{here} is an http(s) URI for {platform}, this is something else")
    elif platform is not None and not _is_token(channel):
        yield Finding("push-channel-characters", f"{here} is blank, or holds white space or control characters")


def _is_hex(text: str) -> bool:
    try:
        return bool(unhexlify(text))
    except ValueError:
        return False


def _is_token(text: str) -> bool:
    """Whether a text has neither white space nor control characters; of white space only a space is printable."""
    return text != "" and text.isprintable() and " " not in text


def _hex_hint(channel: str) -> str:
    digits = channel.translate({ord(letter): None for letter in "<>- \t\r\n"})
    if digits != channel and _is_hex(digits):
        return "; leave out what stands around and between them: <00ff …> becomes 00ff…"
    if len(channel) % 2 and _is_hex(f"{channel}0"):
        return "; it ends in half a byte"
    return ", and nothing else"


def _browser_findings(channel: dict[str, object] | str, here: str) -> Iterator[Finding]:
    parts: object = channel
    if isinstance(channel, str):
        parts = None
        with suppress(orjson.JSONDecodeError):
            parts = orjson.loads(channel)
    if not isinstance(parts, dict):
        yield Finding(
            "push-channel-browser",
            f"{here} is an object of endpoint, p256dh and auth for browser, or that object as a JSON text",
        )
        return
    lift = "; write what is in keys beside endpoint" if isinstance(parts.get("keys"), dict) else ""
    for name in _PARTS:
        part = parts.get(name)
        if part is None or part == "":
            yield Finding("push-channel-browser", f"{missing(name, parts, f'{here}.')}{lift}")
        elif type(part) is not str:
            yield Finding("push-channel-browser", f"{here}.{name} is a string, this is {kind(part)}")
        elif name == "endpoint" and not _URI(part):
            yield Finding("push-channel-browser", f"{here}.{name} is an http(s) URI, this is something else")
        elif not _is_token(part):
            yield Finding("push-channel-browser", f"{here}.{name} holds white space or control characters")


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

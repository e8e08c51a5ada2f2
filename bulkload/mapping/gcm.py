"""Template bodies of the retired GCM (FCM's legacy HTTP) form as messages of FCM v1.

The fields are those of Google's pages "Firebase Cloud Messaging HTTP protocol" (the legacy form) and "REST Resource:
projects.messages" (v1). A template's expressions, such as ``$(message)``, are texts like others here.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from bulkload.installation import Fields, Finding
from bulkload.mapping.paths import put, write

# What v1 takes in a notification for every platform; Android's own part takes the rest.
_SHARED_BY_PLATFORMS = frozenset({"title", "body", "image"})
_OF_ANDROID = {
    "icon": "icon",
    "color": "color",
    "sound": "sound",
    "tag": "tag",
    "click_action": "click_action",
    "body_loc_key": "body_loc_key",
    "body_loc_args": "body_loc_args",
    "title_loc_key": "title_loc_key",
    "title_loc_args": "title_loc_args",
    "android_channel_id": "channel_id",
    "channel_id": "channel_id",
}

# The whole of a text is one of the hub's expressions.
_EXPRESSION = re.compile(r"[$.%#]\([^()]*\)")


def convert(fields: Fields) -> Iterator[Finding]:
    """Rewrap the GCM template bodies of an installation for FCM v1, and say which; others stay as they are."""
    platform = fields.get("platform")
    templates = fields.get("templates")
    if type(platform) is not str or platform.lower() != "fcmv1" or type(templates) is not dict:
        return
    for name, template in templates.items():
        body = template.get("body") if type(template) is dict else None
        if type(body) is not str or not (converted := _converted(body)):
            continue
        text, left_out = converted
        path = ("templates", name, "body")
        put(fields, path, text)
        without = f", without {', '.join(left_out)}" if left_out else ""
        yield Finding("gcm-template-converted", f"{write(path)}: GCM's form is sent as FCM v1's{without}")


def _converted(body: str) -> tuple[str, list[str]] | None:
    """The v1 form of a body and what that has no room for; None where it is no GCM body."""
    try:
        gcm = orjson.loads(body)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return None
    if type(gcm) is not dict or not gcm or "message" in gcm:
        return None
    if any(type(gcm.get(name, {})) is not dict for name in ("notification", "data")):
        return None
    try:
        message, left_out = _message(gcm)
        return (orjson.dumps({"message": message}).decode(), left_out) if message else None
    except TypeError:
        # Nested deeper than what can be written.
        return None


def _message(gcm: Fields) -> tuple[Fields, list[str]]:
    message: Fields = {}
    android: Fields = {}
    left_out = []
    for name, value in gcm.items():
        if name == "notification":
            left_out += _put_notification(value, message, android)
        elif name == "data":
            message["data"] = {key: _text(inner) for key, inner in value.items() if inner is not None}
        elif name in _OPTIONS:
            key, form = _OPTIONS[name]
            android[key] = form(value)
        else:
            # Who gets it is the hub's to say, and the rest is for other platforms or long without effect.
            left_out.append(name)
    if android:
        message["android"] = android
    return message, left_out


def _put_notification(notification: Fields, message: Fields, android: Fields) -> list[str]:
    """Share a notification out to v1's two places for one; returns the names that neither has."""
    shared = {name: value for name, value in notification.items() if name in _SHARED_BY_PLATFORMS}
    own = {
        _OF_ANDROID[name]: _arguments(value) if name.endswith("_args") else value
        for name, value in notification.items()
        if name in _OF_ANDROID
    }
    message["notification"] = shared
    if own:
        android["notification"] = own
    return [
        f"notification.{name}" for name in notification if name not in _SHARED_BY_PLATFORMS and name not in _OF_ANDROID
    ]


def _priority(value: Any) -> Any:
    words = {"high": "HIGH", "normal": "NORMAL", "10": "HIGH", "5": "NORMAL"}
    return words.get(str(value).lower(), value)


def _ttl(value: Any) -> Any:
    """Seconds as v1 writes a duration: ``60s``. An expression gets its s by the hub's own way to join texts."""
    if type(value) in (int, float):
        return f"{value}s"
    if type(value) is str and value.isdecimal():
        return f"{value}s"
    if type(value) is str and _EXPRESSION.fullmatch(value):
        return f"{{{value} + 's'}}"
    return value


def _text(value: Any) -> str:
    """A value of `data`: v1 takes texts only."""
    return value if type(value) is str else orjson.dumps(value).decode()


def _arguments(value: Any) -> Any:
    """The legacy form takes an array also as its JSON text."""
    if type(value) is str and value.startswith("["):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value


def _same(value: Any) -> Any:
    return value


_OPTIONS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "collapse_key": ("collapse_key", _same),
    "priority": ("priority", _priority),
    "time_to_live": ("ttl", _ttl),
    "restricted_package_name": ("restricted_package_name", _same),
}

"""Templates: what a device's notifications are made from."""

from collections.abc import Iterator
from typing import Any

import orjson

from bulkload.installation.date import is_date, is_expression
from bulkload.installation.flaw import Finding
from bulkload.installation.names import TEMPLATE, name_findings
from bulkload.installation.payload import Outline, outline
from bulkload.installation.tags import tag_findings
from bulkload.installation.words import kind, label, listed, missing, shown

_JSON_PLATFORMS = frozenset({"apns", "gcm", "fcmv1", "adm"})
_A_DATE = "2030-12-31T23:59Z"
_HEADER_PLATFORMS = frozenset({"wns", "mpns"})

_WNS_TYPE = "X-WNS-Type"
_WNS_RAW = "wns/raw"
_WNS_TYPES = frozenset({"wns/toast", "wns/tile", "wns/badge", _WNS_RAW})

# "Sending push notifications for Windows Phone 8": the class says what is sent and how soon (at once, within 450 s,
# within 900 s); a tile's target is called a token, and what has no target is raw.
_TARGET = "X-WindowsPhone-Target"
_CLASS = "X-NotificationClass"
_TARGETS = {"toast": "toast", "token": "tile", "tile": "tile"}
_CLASSES = {
    **dict.fromkeys(("1", "11", "21"), "tile"),
    **dict.fromkeys(("2", "12", "22"), "toast"),
    **dict.fromkeys(map(str, (*range(3, 11), *range(13, 21), *range(23, 32))), "raw"),
}
_FITTING = {"toast": (f"{_TARGET} toast", "2, 12 or 22"), "tile": (f"{_TARGET} token", "1, 11 or 21")}

# The headers of a template that are texts, by their names in lower case: HTTP's names have no case.
Headers = dict[str, str]


def template_findings(templates: object, platform: str | None, place: str = "templates") -> Iterator[Finding]:
    """What is wrong with some templates; none are fine. For no platform, only what holds for all of them."""
    if templates is None:
        return
    if type(templates) is not dict:
        yield Finding("templates-not-an-object", f"{place} is an object of templates, this is {kind(templates)}")
        return
    for name, template in templates.items():
        here = f"{place}.{label(name)}"
        if type(template) is not dict:
            yield Finding("template-not-an-object", f"{here} is an object, this is {kind(template)}")
            continue
        headers = _headers(template.get("headers"))
        yield from _body_findings(template, platform, headers, here)
        yield from _header_findings(template.get("headers"), platform, headers, f"{here}.headers")
        yield from _expiry_findings(template.get("expiry"), platform, f"{here}.expiry")
        yield from tag_findings(template.get("tags"), f"{here}.tags")
        yield from name_findings(template, TEMPLATE, f"{here}.")


def _headers(headers: object) -> Headers | None:
    """A template's headers as far as they are texts; None where they are of the wrong kind."""
    if headers is None:
        return {}
    if type(headers) is not dict:
        return None
    return {name.lower(): value for name, value in headers.items() if type(value) is str}


def _body_findings(
    template: dict[str, Any], platform: str | None, headers: Headers | None, place: str
) -> Iterator[Finding]:
    body = template.get("body")
    here = f"{place}.body"
    if body is None or body == "":
        stale = "; bodyTemplate is an old name of it" if "bodyTemplate" in template else ""
        yield Finding("template-body-missing", f"{missing('body', template, f'{place}.')}{stale}")
    elif type(body) is not str:
        quote = "; write the notification as a text" if type(body) is dict else ""
        yield Finding("template-body-not-text", f"{here} is a string, this is {kind(body)}{quote}")
    elif platform in _JSON_PLATFORMS:
        yield from _json_findings(body, platform, here)
    elif platform == "wns" and not _is_raw_or_open(headers):
        yield from _xml_findings(outline(body), here, f"unless {_WNS_TYPE} is {_WNS_RAW}")
    elif platform == "mpns" and headers is not None:
        yield from _mpns_findings(body, headers, place)


def _json_findings(body: str, platform: str | None, here: str) -> Iterator[Finding]:
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        yield Finding("template-body-not-json", f"{here} is JSON for {platform}, this is not: {exc}")
        return
    if platform == "fcmv1" and not (type(payload) is dict and "message" in payload):
        yield Finding(
            "template-body-gcm-form",
            f"{here} has no message, as in GCM's form; FCM v1 wants {{'message': …}}, --convert-gcm-templates makes it",
        )


def _xml_findings(parsed: Outline, here: str, unless: str) -> Iterator[Finding]:
    if parsed.flaw is not None:
        yield Finding("template-body-not-xml", f"{here} is XML {unless}, this is not: {parsed.flaw}")


def _is_raw_or_open(headers: Headers | None) -> bool:
    """Whether a WNS template is a raw one, or nobody can tell before a notification is sent."""
    type_ = (headers or {}).get(_WNS_TYPE.lower(), "")
    return type_.lower() == _WNS_RAW or is_expression(type_)


def _mpns_findings(body: str, headers: Headers, place: str) -> Iterator[Finding]:
    target, class_ = headers.get(_TARGET.lower(), ""), headers.get(_CLASS.lower(), "")
    if is_expression(target) or is_expression(class_):
        return
    if not target and _CLASSES.get(class_) == "raw":
        return
    parsed = outline(body)
    yield from _xml_findings(parsed, f"{place}.body", f"unless {_CLASS} is 3, 13 or 23")
    here = f"{place}.headers"
    if target and target.lower() not in _TARGETS:
        yield Finding("mpns-headers-mismatch", f"{here}.{_TARGET} {shown(target)} is neither toast nor token")
        return
    if class_ and class_ not in _CLASSES:
        yield Finding("mpns-headers-mismatch", f"{here}.{_CLASS} {shown(class_)} is not one of 1 to 31 that has a use")
        return
    if parsed.flaw is not None:
        return
    body_kind = parsed.child.lower() if parsed.root == "Notification" else ""
    if body_kind not in _FITTING:
        said = f"{_TARGET} says {target}" if target else f"{_CLASS} says {class_}"
        if target or class_:
            yield Finding("mpns-headers-mismatch", f"{here}.{said}, the body is neither a toast nor a tile")
        return
    wanted_target, wanted_classes = _FITTING[body_kind]
    if _TARGETS.get(target.lower()) != body_kind:
        yield Finding("mpns-headers-mismatch", f"{here} do not fit the body, a {body_kind}: it wants {wanted_target}")
    elif class_ and _CLASSES[class_] != body_kind:
        yield Finding(
            "mpns-headers-mismatch", f"{here}.{_CLASS} {class_} does not fit the body, a {body_kind}: {wanted_classes}"
        )


def _header_findings(value: object, platform: str | None, headers: Headers | None, here: str) -> Iterator[Finding]:
    if headers is None:
        yield Finding("headers-not-an-object", f"{here} are an object of strings, this is {kind(value)}")
        return
    given: dict[str, Any] = value if isinstance(value, dict) else {}
    # Writers of JSON that leave nothing out write an empty one for every platform.
    if given and platform is not None and platform not in _HEADER_PLATFORMS:
        yield Finding("headers-not-wns-mpns", f"{here} are for wns and mpns only, this is {platform}")
        return
    for name, text in given.items():
        if type(text) is not str:
            yield Finding("header-not-text", f"{here}.{label(name)} is a string, this is {kind(text)}")
    if platform != "wns":
        return
    type_ = headers.get(_WNS_TYPE.lower())
    if type_ is None:
        if all(name.lower() != _WNS_TYPE.lower() for name in given):
            yield Finding("wns-type-header-missing", f"{here}.{_WNS_TYPE} is missing, which every WNS template needs")
    elif type_.lower() not in _WNS_TYPES and not is_expression(type_):
        yield Finding(
            "wns-type-header-unknown",
            f"{here}.{_WNS_TYPE} {shown(type_)} is not {listed(_WNS_TYPES)}",
        )


def _expiry_findings(expiry: object, platform: str | None, here: str) -> Iterator[Finding]:
    if expiry is None or expiry == "":
        return
    if platform is not None and platform != "apns":
        yield Finding("expiry-not-apns", f"{here} is for apns only, this is {platform}")
    elif type(expiry) is not str:
        yield Finding("expiry-not-a-date", f"{here} is a string, this is {kind(expiry)}")
    elif not is_date(expiry) and not is_expression(expiry):
        yield Finding(
            "expiry-not-a-date",
            f"{here} {shown(expiry)} is neither a template expression nor a date such as {_A_DATE}",
        )

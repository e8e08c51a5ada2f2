"""Notification Hubs: the blob that its own export job writes.

Azure documentation, "Export and import Azure Notification Hubs registrations in bulk": registrations serialized in
XML, one per row. Notification Hubs REST reference, "Create Registration": ``<AppleRegistrationDescription>``, or
``<RegistrationDescription i:type="AppleRegistrationDescription">``, with Tags joined by commas, a handle by its kind,
and for a template BodyTemplate, TemplateName, WnsHeaders or MpnsHeaders, and Expiry. An installation is stored as a
native registration and one for each template, all tagged ``$InstallationId:{…}`` (and ``$UserId:{…}``) and with its
own tags, a template's with the template's name as well. The service's SDKs join Baidu's two ids by ``-``.

A mapping sees one line at a time, so that the registrations of a device are not folded into one installation. Left out
are registrations of secondary tiles, whose channel is the tile's alone, and the headers of Apple's templates, which an
installation cannot have.
"""

import re
from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
import orjson

from bulkload.installation import Fields
from bulkload.mapping.flags import MappingFlags
from bulkload.mapping.preset import Preset
from bulkload.mapping.presets.values import REPAIRS

_SUFFIX = "RegistrationDescription"
_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"

_PLATFORMS = {
    "Apple": "apns",
    "Gcm": "gcm",
    "Fcm": "gcm",
    "FcmV1": "fcmv1",
    "Windows": "wns",
    "Mpns": "mpns",
    "Adm": "adm",
    "Baidu": "baidu",
    "Browser": "browser",
    "Xiaomi": "xiaomi",
}

_HANDLES = (
    "DeviceToken",
    "ChannelUri",
    "GcmRegistrationId",
    "FcmRegistrationId",
    "FcmV1RegistrationId",
    "AdmRegistrationId",
    "XiaomiRegistrationId",
)

_SYSTEM_TAG = re.compile(r"\$(InstallationId|UserId):\{(.*)\}")


def _read(text: bytes) -> Fields:
    try:
        root = defusedxml.ElementTree.fromstring(text, forbid_dtd=True)
    except ParseError as exc:
        raise ValueError(f"not an XML text either: {exc}") from exc
    except LookupError as exc:
        raise ValueError("its XML declaration names an unknown encoding") from exc
    for element in root.iter():
        kind = _local(element.tag)
        if kind.endswith(_SUFFIX):
            kind = kind.removesuffix(_SUFFIX) or element.get(_TYPE, "").rpartition(":")[2].removesuffix(_SUFFIX)
            return _installation(kind, {_local(child.tag): child for child in element})
    raise ValueError("no registration is in its XML")


def _installation(kind: str, parts: dict[str, Element]) -> Fields:
    def told(name: str) -> str:
        return (parts[name].text or "").strip() if name in parts else ""

    fields: Fields = {name: told(name) for name in ("RegistrationId", "ExpirationTime", "SecondaryTileName")}
    family = kind.removesuffix("Template")
    fields["platform"] = _PLATFORMS.get(family, family.lower())
    fields["pushChannel"] = next(filter(None, map(told, _HANDLES)), "")
    if family == "Baidu" and told("BaiduUserId") and told("BaiduChannelId"):
        fields["pushChannel"] = f"{told('BaiduUserId')}-{told('BaiduChannelId')}"
    elif family == "Browser" and told("Endpoint"):
        fields["pushChannel"] = {"endpoint": told("Endpoint"), "p256dh": told("P256DH"), "auth": told("Auth")}
    template = told("TemplateName") or "template"
    fields.update(_tagged([tag for tag in map(str.strip, told("Tags").split(",")) if tag], template))
    if told("BodyTemplate"):
        fields["templates"] = {template: _template(parts, told("BodyTemplate"), told("Expiry"))}
    variables = _variables(told("PushVariables"))
    if variables:
        fields["pushVariables"] = variables
    return fields


def _tagged(tags: list[str], template: str) -> Fields:
    """The ids and the tags that the tags of a registration hold."""
    own = {match[1]: match[2] for match in map(_SYSTEM_TAG.fullmatch, tags) if match}
    is_installation = "InstallationId" in own
    kept = [tag for tag in tags if not _SYSTEM_TAG.fullmatch(tag) and not (is_installation and tag == template)]
    told = {"installationId": own.get("InstallationId"), "userId": own.get("UserId"), "tags": kept}
    return {name: value for name, value in told.items() if value}


def _template(parts: dict[str, Element], body: str, expiry: str) -> dict[str, Any]:
    template: dict[str, Any] = {"body": body}
    headers = dict(_headers(parts.get("WnsHeaders"))) | dict(_headers(parts.get("MpnsHeaders")))
    if headers:
        template["headers"] = headers
    if expiry:
        template["expiry"] = expiry
    return template


def _headers(element: Element | None) -> Iterator[tuple[str, str]]:
    for header in element if element is not None else ():
        pair = {_local(part.tag): (part.text or "").strip() for part in header}
        if pair.get("Header"):
            yield pair["Header"], pair.get("Value", "")


def _variables(text: str) -> object:
    try:
        variables = orjson.loads(text) if text else None
    except orjson.JSONDecodeError:
        return None
    return variables if isinstance(variables, dict) else None


def _local(tag: object) -> str:
    """An element's name without its namespace; a comment has none."""
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


NOTIFICATION_HUBS_EXPORT = Preset(
    name="notification-hubs-export",
    expects=(
        "the blob of the service's own job ExportRegistrations, a registration's XML a line; each line is one "
        "installation, its id that of its $InstallationId tag, else the registration's; a device's several "
        "registrations are not folded into one: of an installation's own lines the last decides, and "
        "--id-from push-channel makes one for each channel; GCM becomes fcmv1, its templates are rewrapped"
    ),
    flags=MappingFlags(
        where="pushChannel && !SecondaryTileName",
        map={"installationId": "installationId || RegistrationId", "expirationTime": ""},
        map_value={"platform": {"gcm": "fcmv1"}},
        repair=REPAIRS,
        convert_gcm_templates=True,
    ),
    read=_read,
)

"""Notification Hubs: the blob that its own export job writes.

Azure documentation, "Export and import Azure Notification Hubs registrations in bulk": registrations serialized in
XML, one per row.

A mapping sees one line at a time, so that the registrations of a device are not folded into one installation. Left out
are registrations of secondary tiles, whose channel is the tile's alone, and the headers of Apple's templates, which an
installation cannot have.
"""

from typing import Any

from bulkload.installation import Fields
from bulkload.mapping.flags import MappingFlags
from bulkload.mapping.preset import Preset
from bulkload.mapping.presets.values import REPAIRS
from bulkload.registration import UNKNOWN, FeedError, Registration, Template, read

# What a template without a name is called: a device has its lines one by one, so no other is known beside it.
_NAMELESS = "template"


def _read(text: bytes) -> Fields:
    try:
        found = read(text)
    except FeedError as exc:
        raise ValueError(f"not an XML text either: {exc}") from exc
    if not found or found[0].kind == UNKNOWN:
        raise ValueError("no registration is in its XML")
    if found[0].family is None:
        raise ValueError("its registration is of a kind that is not known")
    return _fields(found[0])


def _fields(registration: Registration) -> Fields:
    handle, template = registration.handle, registration.template
    # A part of an installation bears its template's name as a tag.
    is_part = registration.installation_id is not None
    names = template.name_tags if template is not None and is_part else ()
    fields: Fields = {
        "RegistrationId": registration.registration_id,
        "ExpirationTime": registration.expiration_time,
        "SecondaryTileName": registration.secondary_tile,
        "installationId": registration.installation_id,
        "userId": registration.user_id,
        "platform": registration.platform,
        "pushChannel": handle.push_channel if handle is not None else None,
        "tags": [tag for tag in registration.own_tags if tag not in names],
        "templates": {template.name or _NAMELESS: _template(template)} if template and template.body else None,
        "pushVariables": dict(registration.push_variables),
    }
    return {field: value for field, value in fields.items() if value}


def _template(template: Template) -> dict[str, Any]:
    told = {"body": template.body, "headers": dict(template.headers), "expiry": template.expiry}
    return {name: value for name, value in told.items() if value}


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

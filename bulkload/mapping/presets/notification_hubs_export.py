"""Notification Hubs: the blob that its own export job writes.

Azure documentation, "Export and import Azure Notification Hubs registrations in bulk": registrations serialized in
XML, one per row. What a registration is, and that an installation is stored as several of them, is said in
`bulkload.registration`.

A mapping sees one line at a time, so that the registrations of a device are not folded into one installation. Left out
are registrations of secondary tiles, whose channel is the tile's alone, and the headers of Apple's templates, which an
installation cannot have.
"""

from typing import Any

from bulkload.installation import Fields
from bulkload.mapping.flags import MappingFlags
from bulkload.mapping.preset import Preset
from bulkload.mapping.presets.values import REPAIRS
from bulkload.registration import Registration, Template, read

# What a template is called that has no name: installations keep theirs by names.
_NAMELESS = "template"


def _read(text: bytes) -> Fields:
    found = read(text)
    if len(found) != 1 or found[0].family is None:
        raise ValueError("it is not one registration of a known kind")
    return _installation(found[0])


def _installation(registration: Registration) -> Fields:
    template = registration.template
    fields: Fields = {
        "RegistrationId": registration.registration_id,
        "ExpirationTime": registration.expiration_time,
        "SecondaryTileName": registration.secondary_tile,
        "installationId": registration.installation_id,
        "userId": registration.user_id,
        "platform": registration.platform,
        "pushChannel": registration.handle.push_channel if registration.handle is not None else None,
        "tags": _tags(registration),
        "templates": {template.name or _NAMELESS: _written(template)} if template is not None else None,
        "pushVariables": dict(registration.push_variables),
    }
    return {name: value for name, value in fields.items() if value}


def _tags(registration: Registration) -> list[str]:
    """Its own tags: a template that is a part of an installation bears its name as one."""
    is_part = registration.installation_id is not None
    names = registration.template.name_tags if registration.template is not None and is_part else ()
    return [tag for tag in registration.own_tags if tag not in names]


def _written(template: Template) -> dict[str, Any]:
    contents = {"body": template.body, "headers": dict(template.headers), "expiry": template.expiry}
    return {name: value for name, value in contents.items() if value}


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

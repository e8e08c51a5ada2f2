"""App Center Push: its export of devices.

App Center documentation, "Export Push Data": the Export Devices API wrote "all device information registered for push
notifications" to a blob, and "each row of the exported document will be a valid JSON object". The names in such a row
are documented nowhere. Those taken are the ones under which the App Center SDKs sent a device in (their logs
``pushInstallation`` and ``customProperties``): installId, pushToken, userId, ``device.osName`` and properties, with
the spellings of the service's REST API beside them. Custom properties, which made App Center's audiences, become tags:
the page "Push Migration Guide" names tags as what takes an audience's place.
"""

from collections.abc import Iterator

from bulkload.installation import Fields
from bulkload.mapping.flags import MappingFlags
from bulkload.mapping.preset import Preset
from bulkload.mapping.presets.values import NOT_THEIRS, REPAIRS, each, one_of, parsed, tagged, tags

_CHANNEL = "pushToken || push_token"
_OS = "device.osName || osName || os_name"


def _devices(source_object: Fields) -> Iterator[Fields]:
    for device in each(source_object, "devices"):
        properties = device.get("properties") or device.get("customProperties") or device.get("custom_properties")
        yield tagged({**device, "device": parsed(device.get("device"))}, tags(properties))


APPCENTER = Preset(
    name="appcenter",
    expects=(
        "the blob of App Center's Export Devices API, an object a line; its names were never documented, so that those "
        "of the SDKs are taken: installId, pushToken, userId, device.osName (or osName), properties; where yours "
        "differ, --map them; Android becomes fcmv1, custom properties tags"
    ),
    columns=(("pushToken", "push_token"), ("device", "device.osName", "osName", "os_name")),
    flags=MappingFlags(
        where=(
            f"({_CHANNEL}) "
            f"&& {one_of(_OS, 'ios', 'iOS', 'IOS', 'macOS', 'tvOS', 'android', 'Android', 'windows', 'Windows')}"
        ),
        map={
            **NOT_THEIRS,
            "installationId": "installId || install_id",
            "userId": "userId || user_id",
            "platform": _OS,
            "pushChannel": _CHANNEL,
        },
        map_value={"platform": {"ios": "apns", "macos": "apns", "tvos": "apns", "android": "fcmv1", "windows": "wns"}},
        repair=REPAIRS,
    ),
    objects=_devices,
)

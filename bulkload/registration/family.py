"""Which kinds of registrations there are, and how each names its device.

The names are those of the service's XML, "Create Registration" and its recorded feeds: a description is called
``AppleRegistrationDescription``, or with a template ``AppleTemplateRegistrationDescription``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

SUFFIX = "RegistrationDescription"
TEMPLATE = "Template"


@dataclass(frozen=True, slots=True)
class Family:
    """Registrations of one push service: the elements that hold a device's handle, and what its installations are.

    `other_names` are such elements under older names. `headers` is the element of a template's headers.
    """

    name: str
    platform: str
    handles: tuple[str, ...]
    other_names: Mapping[str, str] = field(default_factory=dict)
    headers: str | None = None


# One platform of installations may have several families: the last of them is its own.
FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        family.name: family
        for family in (
            Family("Apple", "apns", ("DeviceToken",)),
            Family("Fcm", "gcm", ("GcmRegistrationId",), {"FcmRegistrationId": "GcmRegistrationId"}),
            Family("Gcm", "gcm", ("GcmRegistrationId",)),
            Family("FcmV1", "fcmv1", ("FcmV1RegistrationId",)),
            Family("Windows", "wns", ("ChannelUri",), headers="WnsHeaders"),
            Family("Mpns", "mpns", ("ChannelUri",), headers="MpnsHeaders"),
            Family("Adm", "adm", ("AdmRegistrationId",)),
            Family("Baidu", "baidu", ("BaiduUserId", "BaiduChannelId")),
            Family("Browser", "browser", ("Endpoint", "P256DH", "Auth")),
            Family("Xiaomi", "xiaomi", ("XiaomiRegistrationId",)),
        )
    }
)

FAMILY_OF_PLATFORM: Mapping[str, Family] = MappingProxyType({family.platform: family for family in FAMILIES.values()})


def json_name(element: str) -> str:
    """An element's name as JSON has it: ``DeviceToken`` becomes ``deviceToken``, ``P256DH`` becomes ``p256dh``."""
    return element.lower() if element[1:2].isdigit() else element[0].lower() + element[1:]

"""AWS SNS: the endpoints of a platform application.

AWS CLI Command Reference, "list-endpoints-by-platform-application": ``{"Endpoints": [{"EndpointArn": …, "Attributes":
{"Token": …, "Enabled": "true", "CustomUserData": …}}]}``, in pages with a NextToken. The ARN reads
``arn:aws:sns:REGION:ACCOUNT:endpoint/PLATFORM/APPLICATION/UUID``. SNS API reference, "CreatePlatformApplication": the
platforms ADM, APNS, APNS_SANDBOX, BAIDU, GCM (which is Firebase Cloud Messaging), MPNS and WNS. MACOS and APNS_VOIP,
with their sandboxes, are told by their names alone. "CreatePlatformEndpoint": CustomUserData is whatever the owner
wrote, up to 2 KB; a Baidu endpoint has the attributes UserId and ChannelId, which make its push channel in the hub,
joined by ``-``.
"""

import re
from collections.abc import Iterator

from bulkload.installation import Fields
from bulkload.mapping.flags import MappingFlags
from bulkload.mapping.preset import Preset
from bulkload.mapping.presets.values import NOT_THEIRS, REPAIRS, each, one_of

_ATTRIBUTES = ("Token", "Enabled", "CustomUserData", "UserId", "ChannelId")

# Those whose names are not the hub's.
_PLATFORMS = {"GCM": "fcmv1", "APNS": "apns", "APNS_SANDBOX": "apns", "MACOS": "apns", "MACOS_SANDBOX": "apns"}

# A text that the hub takes as a user's id as it is: CustomUserData may as well be a JSON document or a sentence.
_USER = re.compile(r"[A-Za-z0-9_@#.:=-]{1,120}")


def _endpoints(source_object: Fields) -> Iterator[Fields]:
    for endpoint in each(source_object, "Endpoints"):
        attributes = endpoint.get("Attributes")
        if not isinstance(attributes, dict):
            attributes = {
                name: endpoint.get(name) or endpoint.get(f"Attributes.{name}")
                for name in _ATTRIBUTES
                if name in endpoint or f"Attributes.{name}" in endpoint
            }
        kind, _, path = str(endpoint.get("EndpointArn")).rpartition(":")[2].partition("/")
        parts = path.split("/")
        user = attributes.get("CustomUserData")
        is_user = isinstance(user, str) and _USER.fullmatch(user) is not None
        yield {
            **endpoint,
            "Attributes": attributes,
            "Platform": parts[0] if kind == "endpoint" and len(parts) >= 3 else "",
            "EndpointId": parts[-1],
            "User": user if is_user else None,
        }


SNS = Preset(
    name="sns",
    expects=(
        "the answer of aws sns list-endpoints-by-platform-application, or rows of EndpointArn, Token, Enabled and "
        "CustomUserData; GCM endpoints become fcmv1, CustomUserData the user's id where it could be one; disabled "
        "and VoIP endpoints are left out, sandbox ones are not: a hub serves either the sandbox or the real one"
    ),
    records="Endpoints",
    columns=(("EndpointArn",), ("Token", "Attributes.Token"), ("Enabled", "Attributes.Enabled")),
    flags=MappingFlags(
        where=(
            f"Attributes.Token && {one_of('to_string(Attributes.Enabled)', 'true', 'True', 'TRUE')} "
            f"&& {one_of('Platform', *_PLATFORMS, 'ADM', 'BAIDU', 'WNS', 'MPNS')}"
        ),
        map={
            **NOT_THEIRS,
            "installationId": "EndpointId",
            "userId": "User",
            "platform": "Platform",
            "pushChannel": (
                "(Platform == 'BAIDU' && Attributes.UserId && Attributes.ChannelId "
                "&& join('-', [to_string(Attributes.UserId), to_string(Attributes.ChannelId)])) || Attributes.Token"
            ),
            "tags": "",
        },
        map_value={"platform": _PLATFORMS},
        repair=REPAIRS,
    ),
    objects=_endpoints,
)

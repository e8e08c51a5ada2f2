"""Parse Server: the class ``_Installation``.

Parse REST guide, "Push Notifications: Uploading Installation Data" and "Querying Installations" (by the master key):
``{"results": […]}`` with objectId, installationId (a UUID), deviceType (ios, android, winrt, winphone or dotnet),
deviceToken (Apple's or Google's), pushType (gcm for FCM), channelUris (Windows' push URIs) and channels. Parse Server
adds osx, tvos and watchos. A user is a pointer by custom, ``{"__type": "Pointer", "className": "_User", "objectId":
…}`` under ``user``. In MongoDB, and so in mongoexport's lines and CSV, the pointer is ``_p_user: "_User$…"``, the
objectId is ``_id``, and an array in a CSV cell is JSON: how the server keeps them, on no page of its documentation.
ppns is Parse's own network of old, whose tokens nobody else serves.
"""

from collections.abc import Iterator

from bulkload.installation import Fields
from bulkload.mapping.flags import MappingFlags
from bulkload.mapping.preset import Preset
from bulkload.mapping.presets.values import NOT_THEIRS, REPAIRS, each, one_of, parsed, tagged, tags

_WINDOWS = one_of("deviceType", "winrt", "winphone")


def _user(installation: Fields) -> object:
    pointer = installation.get("_p_user")
    if isinstance(pointer, str) and pointer:
        return pointer.partition("$")[2] or pointer
    user = parsed(installation.get("user"))
    return user.get("objectId") if isinstance(user, dict) else user or installation.get("userId")


def _uri(installation: Fields) -> object:
    uris = parsed(installation.get("channelUris"))
    return next(iter(uris.values()), None) if isinstance(uris, dict) else uris


def _installations(source_object: Fields) -> Iterator[Fields]:
    for installation in each(source_object, "results"):
        found = {"user": _user(installation), "uri": _uri(installation)}
        yield tagged({**installation, **found}, tags(installation.get("channels")))


PARSE = Preset(
    name="parse",
    expects=(
        "the class _Installation: the answers of GET /parse/installations (by the master key), or mongoexport's lines "
        "or CSV of it; channels become tags, the pointer under user the user's id, android becomes fcmv1, winrt wns, "
        "winphone mpns; installations without a token or on Parse's own network, web and others are left out"
    ),
    records="results",
    columns=(("deviceType",), ("deviceToken", "channelUris")),
    flags=MappingFlags(
        where=(
            f"({one_of('deviceType', 'ios', 'osx', 'tvos', 'watchos', 'android')} && deviceToken "
            f"&& pushType != 'ppns') || ({_WINDOWS} && uri)"
        ),
        map={
            **NOT_THEIRS,
            "installationId": "installationId || objectId || _id",
            "userId": "user",
            "platform": "deviceType",
            "pushChannel": f"({_WINDOWS} && uri) || deviceToken",
        },
        map_value={
            "platform": {
                "ios": "apns",
                "osx": "apns",
                "tvos": "apns",
                "watchos": "apns",
                "android": "fcmv1",
                "winrt": "wns",
                "winphone": "mpns",
            }
        },
        repair=REPAIRS,
    ),
    objects=_installations,
)

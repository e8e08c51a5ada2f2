"""OneSignal: its CSV export of subscriptions and the listing of players.

OneSignal API reference, "Export CSV of Subscriptions": the columns id, identifier (the push token), device_type, tags
(JSON) and invalid_identifier (``t`` unsubscribed, ``f`` subscribed) always, and when asked for as extra_fields
external_user_id, notification_types, web_auth and web_p256. "View players": the same names in an array ``players``.
OneSignal SDK reference, "Player": device_type 0 iOS, 1 Android, 2 Amazon, 3 Windows Phone (MPNS), 4 Chrome apps, 5
Chrome web push, 6 Windows (WNS), 7 Safari, 8 Firefox, 9 macOS, 10 Alexa, 11 e-mail, 13 Huawei, 14 SMS; the export's
page adds 17, Safari's web push of today. Of notification_types, what is below 1 is taken for unsubscribed, as public
clients take it: the pages that were found list 1 and -2 only.

Safari's web push of old has a device token in place of keys, and the hub has neither that nor Huawei's service.
"""

from collections.abc import Iterator

from bulkload.installation import Fields
from bulkload.mapping.flags import MappingFlags
from bulkload.mapping.preset import Preset
from bulkload.mapping.presets.values import NOT_THEIRS, REPAIRS, each, one_of, tagged, tags

_TYPE = "to_string(device_type)"
_WEB = one_of(_TYPE, "5", "7", "8", "17")
_KEYS = "web_p256 && web_auth && starts_with(to_string(identifier), 'https://')"
_TYPES = "to_string(not_null(notification_types, '1'))"


def _players(source_object: Fields) -> Iterator[Fields]:
    for player in each(source_object, "players"):
        yield tagged(player, tags(player.get("tags")))


ONESIGNAL = Preset(
    name="onesignal",
    expects=(
        "the CSV export of subscriptions (POST /players/csv_export, with extra_fields external_user_id, "
        "notification_types, web_auth and web_p256) or the answers of GET /players; web push needs its two keys, which "
        "only the export has; e-mail, SMS, Huawei, Alexa, Chrome apps and Safari's web push of old are left out"
    ),
    records="players",
    columns=(("id",), ("identifier",), ("device_type",), ("invalid_identifier", "notification_types")),
    flags=MappingFlags(
        where=(
            f"identifier && !{one_of('to_string(invalid_identifier)', 't', 'true', 'True', 'TRUE', '1')} "
            f"&& !starts_with({_TYPES}, '-') && {_TYPES} != '0' "
            f"&& ({one_of(_TYPE, '0', '1', '2', '3', '6', '9')} || ({_WEB} && {_KEYS}))"
        ),
        map={
            **NOT_THEIRS,
            "installationId": "id",
            "userId": "not_null(external_user_id, external_id)",
            "platform": _TYPE,
            "pushChannel": f"({_WEB} && {{endpoint: identifier, p256dh: web_p256, auth: web_auth}}) || identifier",
        },
        map_value={
            "platform": {
                "0": "apns",
                "1": "fcmv1",
                "2": "adm",
                "3": "mpns",
                "5": "browser",
                "6": "wns",
                "7": "browser",
                "8": "browser",
                "9": "apns",
                "17": "browser",
            }
        },
        repair=REPAIRS,
    ),
    objects=_players,
)

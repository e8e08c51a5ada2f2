"""Braze: its exports of user profiles.

Braze API reference, "Export user profile by segment": files with a user's JSON object on each line; "Export user
profile by identifier": the same objects in an array ``users``. A user has external_id, push_subscribe (opted_in,
subscribed or unsubscribed), uninstalled_at (omitted unless the app was uninstalled) and push_tokens: app, platform,
token, device_id and notifications_enabled. The platforms that the pages name are iOS, Android and Web; how a web token
holds its keys is not documented, so that those are left out. The CSV export of a segment has only the number of
tokens.

Since a user that signs in on somebody else's device is on the same token, and older exports have no device_id, an
installation's id comes from the token: one installation for each, whoever was there last.
"""

from collections.abc import Iterator

from bulkload.installation import Fields
from bulkload.mapping.flags import MappingFlags
from bulkload.mapping.preset import Preset
from bulkload.mapping.presets.values import NOT_THEIRS, REPAIRS, each, one_of


def _users(source_object: Fields) -> Iterator[Fields]:
    return each(source_object, "users")


BRAZE = Preset(
    name="braze",
    expects=(
        "the files of POST /users/export/segment, a user a line, or the answers of POST /users/export/ids, with "
        "external_id, push_subscribe, push_tokens and uninstalled_at in fields_to_export; one installation for each "
        "token, its id a hash of that; custom attributes become tags by --tag 'tier:{_parent.custom_attributes.tier}'; "
        "the CSV export has no tokens, web push tokens have no documented form and are left out"
    ),
    records="users",
    columns=(("push_tokens",),),
    flags=MappingFlags(
        each="push_tokens",
        where=(
            "token && notifications_enabled != `false` "
            "&& _parent.push_subscribe != 'unsubscribed' && !(_parent.uninstalled_at) "
            f"&& {one_of('platform', 'ios', 'iOS', 'IOS', 'android', 'Android', 'ANDROID')}"
        ),
        map={
            **NOT_THEIRS,
            "userId": "_parent.external_id",
            "platform": "platform",
            "pushChannel": "token",
            "tags": "",
        },
        map_value={"platform": {"ios": "apns", "android": "fcmv1"}},
        id_from="push-channel",
        repair=REPAIRS,
    ),
    objects=_users,
)

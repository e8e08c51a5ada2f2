"""Airship: the listing of channels.

Airship API reference, "Channel Listing" and "Channel listing object": ``{"ok": true, "channels": […], "next_page":
…}``; a channel has channel_id (a UUID), device_type (ios, android, amazon, web; email, sms and open have an address in
place of a push_address), push_address, opt_in, installed, named_user_id (alias before there were named users), tags,
and tag_groups with an array of tags by group. A web channel's push_address is the browser's endpoint, and its
``web.subscription`` holds the keys p256dh and auth. Tags of a named user are not in the listing. wns and mpns
are taken too, though no page that was found lists them. There is no CSV of channels with push addresses.
"""

from collections.abc import Iterator

from bulkload.installation import Fields
from bulkload.mapping.flags import MappingFlags
from bulkload.mapping.preset import Preset
from bulkload.mapping.presets.values import NOT_THEIRS, REPAIRS, each, one_of, tagged, tags


def _channels(source_object: Fields) -> Iterator[Fields]:
    for channel in each(source_object, "channels"):
        own, grouped = tags(channel.get("tags")), tags(channel.get("tag_groups"))
        if isinstance(own, list) and isinstance(grouped, list):
            yield tagged(channel, own + grouped)
        else:
            yield channel


AIRSHIP = Preset(
    name="airship",
    expects=(
        "the answers of GET /api/channels, as one document, one after another, or a channel a line; a tag of a group "
        "becomes group:tag; the listing does not hold the tags of named users; opted out or uninstalled channels, "
        "e-mail, SMS and open channels are left out"
    ),
    records="channels",
    columns=(("channel_id",), ("device_type",), ("push_address",), ("opt_in",), ("installed",)),
    flags=MappingFlags(
        where=(
            f"push_address && {one_of('to_string(opt_in)', 'true', 'True')} "
            f"&& {one_of('to_string(installed)', 'true', 'True')} "
            f"&& ({one_of('device_type', 'ios', 'android', 'amazon', 'wns', 'mpns')} "
            "|| (device_type == 'web' && web.subscription.p256dh && web.subscription.auth))"
        ),
        map={
            **NOT_THEIRS,
            "installationId": "channel_id",
            "userId": "named_user_id || alias",
            "platform": "device_type",
            "pushChannel": (
                "(device_type == 'web' && {endpoint: push_address, p256dh: web.subscription.p256dh, "
                "auth: web.subscription.auth}) || push_address"
            ),
        },
        map_value={"platform": {"ios": "apns", "android": "fcmv1", "amazon": "adm", "web": "browser"}},
        repair=REPAIRS,
    ),
    objects=_channels,
)

"""Which presets there are."""

from difflib import get_close_matches

from bulkload.errors import InputError
from bulkload.mapping.preset import Preset
from bulkload.mapping.presets.airship import AIRSHIP
from bulkload.mapping.presets.appcenter import APPCENTER
from bulkload.mapping.presets.braze import BRAZE
from bulkload.mapping.presets.firebase import FIREBASE
from bulkload.mapping.presets.notification_hubs_export import NOTIFICATION_HUBS_EXPORT
from bulkload.mapping.presets.onesignal import ONESIGNAL
from bulkload.mapping.presets.parse import PARSE
from bulkload.mapping.presets.sns import SNS

_PRESETS = (ONESIGNAL, AIRSHIP, BRAZE, SNS, FIREBASE, PARSE, APPCENTER, NOTIFICATION_HUBS_EXPORT)


def presets() -> tuple[Preset, ...]:
    """Every preset, in the order in which people are told of them."""
    return _PRESETS


def find_preset(name: str) -> Preset:
    """The preset of this name, in any case; raises `InputError`, which lists them, where there is none."""
    by_name = {preset.name: preset for preset in _PRESETS}
    wanted = name.strip().lower()
    if wanted in by_name:
        return by_name[wanted]
    near = get_close_matches(wanted, by_name, n=1)
    guess = f", did you mean {near[0]}?" if near else ":"
    raise InputError(f"there is no preset {name!r}{guess} --preset takes one of {', '.join(by_name)}")

"""The platforms, and what people call them elsewhere."""

import re
from collections.abc import Iterator

from bulkload.installation.flaw import Finding
from bulkload.installation.words import listed, missing, near, shown

PLATFORMS = frozenset({"apns", "wns", "mpns", "adm", "gcm", "fcmv1", "baidu", "browser", "xiaomi"})

# Those that came late, and the first api-version whose clients send them.
_LATE = frozenset({"fcmv1", "browser", "xiaomi"})
_LATE_SINCE = "2020-06"

_FCM = "fcmv1, or gcm for tokens that the hub still serves by the legacy protocol"
_ELSEWHERE = {
    "fcm": _FCM,
    "firebase": _FCM,
    "google": _FCM,
    "fcmlegacy": "gcm",
    **dict.fromkeys(("android", "fcm1", "firebasev1", "googleandroid"), "fcmv1"),
    **dict.fromkeys(
        ("ios", "apple", "apn", "iphone", "ipad", "ipados", "macos", "osx", "tvos", "watchos", "appleios"), "apns"
    ),
    **dict.fromkeys(("windows", "win", "uwp", "winrt", "windows10", "windows11", "windowsstore"), "wns"),
    **dict.fromkeys(("windowsphone", "winphone", "wp", "wp7", "wp8", "windowsphone8"), "mpns"),
    **dict.fromkeys(("web", "webpush", "chrome", "firefox", "safari", "edge", "opera", "vapid", "website"), "browser"),
    **dict.fromkeys(("amazon", "kindle", "fire", "fireos", "amazonadm"), "adm"),
    **dict.fromkeys(("mi", "mipush", "miui"), "xiaomi"),
}


def late_platforms(api_version: str | None) -> frozenset[str]:
    """The platforms that an api-version may not know; none where nobody named a version."""
    return _LATE if api_version is not None and api_version < _LATE_SINCE else frozenset()


def platform_of(fields: dict[str, object]) -> str | None:
    """An installation's platform in lower case, if that is one."""
    value = fields.get("platform")
    # The lower case of some letters that only look like Latin ones is Latin.
    if type(value) is not str or not value.isascii():
        return None
    lower = value.lower()
    return lower if lower in PLATFORMS else None


def platform_findings(fields: dict[str, object]) -> Iterator[Finding]:
    """What is wrong with an installation's platform."""
    value = fields.get("platform")
    if value is None or value == "":
        yield Finding("platform-missing", missing("platform", fields))
    elif platform_of(fields) is None:
        meant = _meant(value) if type(value) is str else None
        yield Finding(
            "platform-unknown",
            f"platform {shown(value)} is not one of {listed(PLATFORMS)}" + (f"; write {meant}" if meant else ""),
        )


def lateness(platform: str) -> Finding:
    """That a platform is younger than the api-version."""
    return Finding(
        "platform-api-version",
        f"platform {platform} may be unknown to this api-version; --api-version {_LATE_SINCE} or later knows it",
    )


def _meant(value: str) -> str | None:
    word = re.sub(r"[^a-z0-9]", "", value[:60].lower())
    return word if word in PLATFORMS else _ELSEWHERE.get(word) or near(word, PLATFORMS)

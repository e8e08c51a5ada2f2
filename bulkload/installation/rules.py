"""The rules by their codes: what each says, and whether breaking it keeps a record from being sent."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from bulkload.errors import InputError

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: its stable code, its severity unless a user says otherwise, and what it says in one line.

    A record that breaks a final one cannot be sent at all, so nobody can allow it.
    """

    code: str
    severity: Severity
    words: str
    is_final: bool = False


def _final(code: str, words: str) -> Rule:
    return Rule(code, "error", words, is_final=True)


def _error(code: str, words: str) -> Rule:
    return Rule(code, "error", words)


def _warning(code: str, words: str) -> Rule:
    return Rule(code, "warning", words)


# In the order in which a person would mend a record: how it reads, who it is, where it goes, what it gets.
_TABLE = (
    _final("line-too-long", "a source object is at most 1 MiB long"),
    _final("not-text", "a CSV file is text in its encoding"),
    _final("not-csv", "a CSV row is one that can be read: no carriage return within a cell that is not quoted"),
    _final("quote-unclosed", "a quoted CSV cell ends with a quote"),
    _final("cells-too-few", "a CSV row has a cell for each column"),
    _final("cells-too-many", "a CSV row has no more cells than there are columns"),
    _final("not-json", "a source object is JSON as RFC 8259 has it: UTF-8, no NaN, no lone surrogates"),
    _final("not-an-object", "an installation is a JSON object"),
    _final("mapping-failed", "the mapping's expressions and functions work on every source object"),
    _final("not-json-value", "what a mapping makes can be written as JSON"),
    _final("too-deep", "what has to be written anew is nested less than 255 deep"),
    _final("id-missing", "`installationId` is required"),
    _final("id-not-text", "`installationId` is a string"),
    _final("id-dots", "`installationId` is not `.` or `..`, which addresses take for folders"),
    _error("id-characters", "`installationId` holds letters, digits, `.`, `-` and `_`"),
    _error("platform-missing", "`platform` is required"),
    _error("platform-unknown", "`platform` is one of the service's, in any case"),
    _error("push-channel-missing", "`pushChannel` is required, in secondary tiles too"),
    _error("push-channel-type", "`pushChannel` is a string; for browser it may be an object"),
    _error("push-channel-not-hex", "for apns `pushChannel` is a device token: bytes in hex"),
    _error("push-channel-not-uri", "for wns and mpns `pushChannel` is an http(s) URI"),
    _error("push-channel-browser", "for browser `pushChannel` has `endpoint` (a URI), `p256dh` and `auth`"),
    _error("push-channel-characters", "elsewhere `pushChannel` holds no white space and no control characters"),
    _error("user-id-not-text", "`userId` is a string"),
    _error("user-id-characters", "`userId` holds letters, digits and `_ @ # . : - =`"),
    _error("tags-not-a-list", "`tags` is a list"),
    _error("tag-not-text", "a tag is a string"),
    _error("tag-system", "a tag does not begin with `$`: those are the service's own"),
    _error("tag-characters", "a tag holds letters, digits and `_ @ # . : -`, at least one"),
    _error("tag-too-long", "a tag is at most 120 characters long"),
    _error("templates-not-an-object", "`templates` is an object of templates by their names"),
    _error("template-not-an-object", "a template is an object"),
    _error("template-body-missing", "a template has a `body`"),
    _error("template-body-not-text", "a template's `body` is a string"),
    _error("template-body-not-json", "a template's `body` is JSON for apns, gcm, fcmv1 and adm"),
    _error("template-body-not-xml", "a template's `body` is XML without a DTD for wns and mpns, save for raw ones"),
    _error("headers-not-an-object", "a template's `headers` are an object"),
    _error("header-not-text", "a header's value is a string"),
    _error("headers-not-wns-mpns", "`headers` are for wns and mpns only"),
    _error("wns-type-header-missing", "a template for wns has the header `X-WNS-Type`"),
    _error("wns-type-header-unknown", "`X-WNS-Type` is `wns/toast`, `wns/tile`, `wns/badge` or `wns/raw`"),
    _error("mpns-headers-mismatch", "`X-WindowsPhone-Target` and `X-NotificationClass` fit the `body` for mpns"),
    _error("expiry-not-apns", "`expiry` is for apns only"),
    _error("expiry-not-a-date", "`expiry` is a template expression or a W3C date"),
    _error("secondary-tiles-not-wns", "`secondaryTiles` are for wns only"),
    _error("secondary-tiles-not-an-object", "`secondaryTiles` is an object of tiles by their ids"),
    _error("secondary-tile-not-an-object", "a secondary tile is an object"),
    _error("push-variables-not-an-object", "`pushVariables` is an object"),
    _error("expiration-time-not-a-date", "`expirationTime` is a W3C date such as `1997-07-16T19:20+01:00`"),
    _warning("id-repaired", "`--repair id` made the id one that the service takes"),
    _warning("user-id-repaired", "`--repair user-id` replaced characters of `userId`"),
    _warning("tag-repaired", "`--repair tags` replaced characters of a tag, or cut it"),
    _warning("system-tag-dropped", "`--repair system-tags` dropped a tag with a leading `$`"),
    _warning("gcm-template-converted", "`--convert-gcm-templates` rewrapped a template for FCM v1"),
    _warning("platform-api-version", "fcmv1, browser and xiaomi may need `--api-version 2020-06` or later"),
    _warning("too-many-tags", "60 tags are what the service documents"),
    _warning("template-body-gcm-form", "for fcmv1 a template's `body` has a `message`; one without has GCM's form"),
    _warning("expiration-time", "`expirationTime` is sent as it is; the service may take it for read-only"),
    _warning("user-id-twice", "where `userId` and `userID` differ, `userID` is left out"),
    _warning("read-only-field", "what only the service sets (`lastUpdate`, `pushChannelExpired`, …) is left out"),
    _warning("stale-field", "`user`, `bodyTemplate` and `expiration` are old names of fields"),
    _warning("unknown-field", "a field that the service does not document is sent as it is"),
    _warning("unknown-column", "a CSV column that is no field is left out"),
)

RULES = {rule.code: rule for rule in _TABLE}


def errors(*, allow: Iterable[str] = (), deny: Iterable[str] = ()) -> frozenset[str]:
    """The codes of the rules that keep a record from being sent; raises `InputError` where that cannot be."""
    allowed = {_rule("--allow", code) for code in allow}
    denied = {_rule("--deny", code) for code in deny}
    for rule in allowed:
        if rule.is_final:
            raise InputError(
                f"--allow {rule.code}: a record that breaks this rule ({rule.words}) cannot be sent at all; "
                "leave it out or mend it"
            )
        if rule in denied:
            raise InputError(f"--allow {rule.code} contradicts --deny {rule.code}; drop one of them")
    kept = {rule for rule in RULES.values() if rule.severity == "error"} - allowed
    return frozenset(rule.code for rule in kept | denied)


def _rule(flag: str, code: str) -> Rule:
    rule = RULES.get(code)
    if rule is None:
        near = get_close_matches(code, RULES, n=1)
        meant = f"; did you mean {near[0]}?" if near else "; the README's table of rules has them all"
        raise InputError(f"{flag} {code!r} is no rule's code{meant}")
    return rule

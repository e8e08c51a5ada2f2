"""The check of one installation: what it breaks, or its body as it will be sent.

The rules are those of the service's page "Create or overwrite an installation" and of its recorded 400 answers.

Every record passes here, so a rule is asked in two steps. A quick condition proves at the price of a few comparisons
that a part is good; only where it fails does the function that knows the whole rule look, and it may find nothing.
What proved good and comes again (tags, whole templates) is remembered. A clean record of 370 bytes costs 1.0 us above
the 0.6 us of `orjson.loads`, where asking the functions at once costs 13 us.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

import orjson

from bulkload.installation.channel import FORMS, channel_findings
from bulkload.installation.date import is_date
from bulkload.installation.flaw import LONGEST_KEPT_ID, Finding, Flaw
from bulkload.installation.identity import id_findings, is_plain_id, is_user_id, user_findings
from bulkload.installation.names import INSTALLATION, READ_ONLY, name_findings
from bulkload.installation.platform import late_platforms, lateness, platform_findings, platform_of
from bulkload.installation.rules import errors
from bulkload.installation.tags import MOST_TAGS, tag_findings
from bulkload.installation.template import template_findings
from bulkload.installation.tile import tile_findings
from bulkload.installation.words import kind, shown

_T = TypeVar("_T")

# An installation, or a source object, as JSON parsers give it.
Fields = dict[str, Any]

# What is left out of a body, or has another name there.
_CHANGED = READ_ONLY | {"userID"}

# What is remembered: tags in all, and templates for each platform, at most so many bytes each. Some 20 MB at the worst.
_MOST_TAGS_KEPT = 10_000
_MOST_TEMPLATES_KEPT = 1_000
_LONGEST_TEMPLATES_KEPT = 2_048

# How many findings of one code are kept of each part: a list of 100,000 bad tags is one mistake.
_MOST_OF_A_CODE = 20


@dataclass(slots=True)
class Installation:
    """An installation that passed the check: its id, its JSON body as it will be sent, and the fields of that.

    `warnings` is what there is to say of it all the same.
    """

    # Not frozen: one is made for each record, in a third of the time.
    id: str
    body: bytes
    fields: Fields
    warnings: tuple[Finding, ...] = ()

    def __repr__(self) -> str:
        warned = f", {len(self.warnings)} warnings" if self.warnings else ""
        return f"<Installation {self.id}, {len(self.body)} bytes{warned}>"


@dataclass(slots=True)
class _Known:
    """What is known of a platform: what proves its channels, and the templates that proved good, as JSON."""

    form: Callable[[Any], object]
    good_templates: set[bytes] = field(default_factory=set)


class Checker:
    """Checks installations by the rules, of which `allow` and `deny` name some by their codes.

    Those allowed are warnings, those denied are errors; raises `InputError` for a code that is none or that cannot be
    allowed. `api_version` is the one to be sent with; without one no platform is too young.
    """

    def __init__(self, *, allow: Iterable[str] = (), deny: Iterable[str] = (), api_version: str | None = None) -> None:
        self._errors = errors(allow=allow, deny=deny)
        self._late = late_platforms(api_version)
        self._known = {platform: _Known(form) for platform, form in FORMS.items()}
        self._quick = {platform: known for platform, known in self._known.items() if platform not in self._late}
        self._good_tags: set[str] = set()

    def check(self, data: bytes) -> Installation | Flaw:
        """Check one JSON text.

        The body stays byte for byte as it came unless something has to be mended: the platform in lower case,
        ``userID`` under the name that the service reads, ``userId``, and read-only fields left out. A mended body is
        written anew from its values.
        """
        try:
            fields = orjson.loads(data)
        except orjson.JSONDecodeError as exc:
            return Flaw.of("not-json", f"not a JSON text: {exc}")
        if type(fields) is not dict:
            return Flaw.of("not-an-object", f"an installation is a JSON object, this is {kind(fields)}")
        return self._checked(fields, data, ())

    def check_fields(self, fields: Fields, notes: tuple[Finding, ...] = ()) -> Installation | Flaw:
        """Check an installation that is not a JSON text yet, such as one that a mapping made; its body is written.

        `notes` is what there is to say of how it was made: they come first among what is found. Values of kinds that
        JSON has not are checked as they are written: a tuple is a list, NaN is null.
        """
        try:
            body = orjson.dumps(fields)
        except TypeError as exc:
            return _unwritable(exc, fields.get("installationId"))
        checked = self._checked(fields, body, notes)
        if type(checked) is Flaw:
            return self._checked(orjson.loads(body), body, notes)
        return checked

    # One function for all quick conditions: each in its own would cost 50 ns more, half of what most of them take.
    def _checked(  # noqa: C901, PLR0912
        self, fields: Fields, body: bytes, notes: tuple[Finding, ...]
    ) -> Installation | Flaw:
        findings = notes
        is_as_it_came = True

        id_ = fields.get("installationId")
        if type(id_) is not str or not is_plain_id(id_):
            findings += _few(id_findings(fields))

        platform = fields.get("platform")
        known = self._quick.get(platform) if type(platform) is str else None
        if known is None:
            platform = platform_of(fields)
            known = self._known[platform]
            findings += (lateness(platform),) if platform in self._late else _few(platform_findings(fields))
            is_as_it_came = False

        try:
            is_channel_good = known.form(fields.get("pushChannel"))
        except (TypeError, ValueError):
            is_channel_good = False
        if not is_channel_good:
            findings += _few(channel_findings(fields, platform))

        # Three fields are required: where there are more than those and the optional ones below, some are rare.
        number = 3

        user = fields.get("userId")
        if user is not None:
            number += 1
            if type(user) is not str or not is_user_id(user):
                findings += _few(user_findings(user, "userId"))

        tags = fields.get("tags")
        if tags is not None:
            number += 1
            try:
                are_tags_good = type(tags) is list and len(tags) <= MOST_TAGS and self._good_tags.issuperset(tags)
            except TypeError:  # an array or an object among them
                are_tags_good = False
            if not are_tags_good:
                findings += self._tag_findings(tags)

        templates = fields.get("templates")
        if templates is not None:
            number += 1
            try:
                are_templates_good = orjson.dumps(templates) in known.good_templates
            except TypeError:  # nested too deep to be written
                are_templates_good = False
            if not are_templates_good:
                findings += _template_findings(templates, platform, known.good_templates)

        if len(fields) != number or findings:
            findings += _few(_rare_findings(fields, platform))
            is_as_it_came = False

        if is_as_it_came and not findings:
            assert id_ is not None
            return Installation(id_, body, fields)
        return self._judged(fields, body, findings)

    def _judged(self, fields: Fields, body: bytes, findings: tuple[Finding, ...]) -> Installation | Flaw:
        """What becomes of a record that wants more than a quick look."""
        id_ = fields.get("installationId")
        broken = tuple([finding for finding in findings if finding.code in self._errors])
        if broken:
            return Flaw(broken, id_[:LONGEST_KEPT_ID] if type(id_) is str else None)
        assert type(id_) is str
        mended = _mended(fields)
        if mended is not fields:
            try:
                body = orjson.dumps(mended)
            except TypeError as exc:
                return _unwritable(exc, id_)
        return Installation(id_, body, mended, findings)

    def _tag_findings(self, tags: object) -> tuple[Finding, ...]:
        findings = _few(tag_findings(tags))
        if not findings and type(tags) is list:
            _learn(self._good_tags, tags, _MOST_TAGS_KEPT)
        return findings


_CHECKER = Checker()


def check(data: bytes) -> Installation | Flaw:
    """Check one JSON text by the rules as they stand."""
    return _CHECKER.check(data)


def _template_findings(templates: object, platform: str | None, good: set[bytes]) -> tuple[Finding, ...]:
    findings = _few(template_findings(templates, platform))
    if not findings:
        try:
            text = orjson.dumps(templates)
        except TypeError:
            return findings
        if len(text) <= _LONGEST_TEMPLATES_KEPT:
            _learn(good, (text,), _MOST_TEMPLATES_KEPT)
    return findings


def _rare_findings(fields: Fields, platform: str | None) -> Iterator[Finding]:
    """What is wrong with the fields that few records have."""
    other_user = fields.get("userID")
    if other_user is not None:
        if fields.get("userId") in (None, ""):
            yield from user_findings(other_user, "userID")
        elif other_user != fields["userId"]:
            yield Finding("user-id-twice", "userID is left out: userId is there, too, and says something else")
    yield from tile_findings(fields.get("secondaryTiles"), platform)
    variables = fields.get("pushVariables")
    if variables is not None and type(variables) is not dict:
        yield Finding("push-variables-not-an-object", f"pushVariables is an object, this is {kind(variables)}")
    expiration = fields.get("expirationTime")
    if expiration is not None:
        if type(expiration) is str and is_date(expiration):
            yield Finding("expiration-time", "expirationTime is sent as it is; the service may take it for read-only")
        else:
            yield Finding(
                "expiration-time-not-a-date",
                f"expirationTime {shown(expiration)} is no date such as 1997-07-16T19:20+01:00",
            )
    yield from name_findings(fields, INSTALLATION)


def _mended(fields: Fields) -> Fields:
    """The fields as they are sent; the same object where nothing has to change."""
    mended = fields
    if not _CHANGED.isdisjoint(mended):
        is_renamed = mended.get("userId") in (None, "") and "userID" in mended
        mended = {
            "userId" if name == "userID" else name: value
            for name, value in mended.items()
            if name not in READ_ONLY and name != ("userId" if is_renamed else "userID")
        }
    platform = platform_of(fields)
    if platform is not None and platform != fields["platform"]:
        mended = {**mended, "platform": platform}
    tiles = fields.get("secondaryTiles")
    if type(tiles) is dict and any(type(tile) is dict and not READ_ONLY.isdisjoint(tile) for tile in tiles.values()):
        mended = {**mended, "secondaryTiles": {name: _writable(tile) for name, tile in tiles.items()}}
    return mended


def _writable(tile: object) -> object:
    if type(tile) is not dict:
        return tile
    return {name: value for name, value in tile.items() if name not in READ_ONLY}


def _unwritable(exc: TypeError, id_: object) -> Flaw:
    """What orjson says of what it cannot write. What it reads may be nested deeper than what it writes."""
    known_id = id_[:LONGEST_KEPT_ID] if isinstance(id_, str) else None
    if "Recursion" in str(exc):
        return Flaw.of("too-deep", "the installation is nested too deep to be written", known_id)
    return Flaw.of("not-json-value", f"the installation cannot be written as JSON: {exc}", known_id)


def _few(findings: Iterator[Finding]) -> tuple[Finding, ...]:
    """Some findings, but of each code not more than anybody reads."""
    kept = list(islice(findings, _MOST_OF_A_CODE))
    if len(kept) == _MOST_OF_A_CODE:
        counts = Counter(finding.code for finding in kept)
        for finding in findings:
            counts[finding.code] += 1
            if counts[finding.code] <= _MOST_OF_A_CODE:
                kept.append(finding)
    return tuple(kept)


def _learn(known: set[_T], values: Iterable[_T], most: int) -> None:
    """Remember what proved good, and forget everything first where it grew too much."""
    if len(known) >= most:
        known.clear()
    known.update(values)

"""Repairs: what the hub would refuse is made into what it takes, and every repair is told."""

import re
from collections.abc import Iterator

from bulkload.errors import InputError
from bulkload.installation import ID, LONGEST_TAG, TAG, USER_ID, Fields, Finding, shown
from bulkload.installation.identity import hashed
from bulkload.mapping.paths import Path, find, put, write

REPAIRS = ("id", "tags", "user-id", "system-tags")

_ID = re.compile(f"[{ID}]+")
_REFUSED_IN_TAG = re.compile(f"[^{TAG}]")
_REFUSED_IN_USER_ID = re.compile(f"[^{USER_ID}]")


class Repair:
    """Mends the fields of one installation in place and says what it mended; raises `InputError` for unknown kinds."""

    def __init__(self, kinds: frozenset[str]) -> None:
        for kind in sorted(kinds):
            if kind not in REPAIRS:
                raise InputError(f"--repair {kind}: there is no such repair; there are {', '.join(REPAIRS)}")
        self._mends_id = "id" in kinds
        self._mends_user_id = "user-id" in kinds
        self._mends_tags = "tags" in kinds
        self._drops_system_tags = "system-tags" in kinds

    def __call__(self, fields: Fields) -> Iterator[Finding]:
        """Mend, and yield a finding for each repair."""
        if self._mends_id:
            yield from _mend_id(fields)
        if self._mends_user_id:
            yield from _mend_user_id(fields)
        if self._mends_tags or self._drops_system_tags:
            for path in [*_tag_paths(fields)]:
                yield from self._mend_tags(fields, path)

    def _mend_tags(self, fields: Fields, path: Path) -> Iterator[Finding]:
        tags = find(fields, path)
        if type(tags) is not list:
            return
        kept: list[object] = []
        findings = []
        for number, tag in enumerate(tags):
            place = f"{write(path)}[{number}]"
            if type(tag) is not str:
                kept.append(tag)
            elif tag.startswith("$"):
                # A tag of the service's own with other characters in it would be nobody's tag.
                if self._drops_system_tags:
                    findings.append(Finding("system-tag-dropped", f"{place}: {shown(tag)} is left out"))
                else:
                    kept.append(tag)
            elif self._mends_tags and (mended := _REFUSED_IN_TAG.sub("_", tag)[:LONGEST_TAG]) != tag:
                findings.append(Finding("tag-repaired", f"{place}: {shown(tag)} is sent as {shown(mended)}"))
                kept.append(mended)
            elif self._mends_tags and not tag:
                findings.append(Finding("tag-repaired", f"{place}: an empty tag is left out"))
            else:
                kept.append(tag)
        if findings:
            put(fields, path, kept)
            yield from findings


def _mend_id(fields: Fields) -> Iterator[Finding]:
    value = fields.get("installationId")
    if type(value) is str and value and (not _ID.fullmatch(value) or value in (".", "..")):
        fields["installationId"] = hashed(value)
        yield Finding("id-repaired", f"installationId: {shown(value)} is sent as {fields['installationId']}")


def _mend_user_id(fields: Fields) -> Iterator[Finding]:
    value = fields.get("userId")
    if type(value) is str and (mended := _REFUSED_IN_USER_ID.sub("_", value)) != value:
        fields["userId"] = mended
        yield Finding("user-id-repaired", f"userId: {shown(value)} is sent as {shown(mended)}")


def _tag_paths(fields: Fields) -> Iterator[Path]:
    """Where an installation has tags: its own, its templates', its tiles' and theirs."""
    yield ("tags",)
    yield from (("templates", name, "tags") for name in _names(fields.get("templates")))
    for tile in _names(tiles := fields.get("secondaryTiles")):
        yield ("secondaryTiles", tile, "tags")
        templates = find(tiles, (tile, "templates")) if type(tiles) is dict else None
        yield from (("secondaryTiles", tile, "templates", name, "tags") for name in _names(templates))


def _names(value: object) -> list[str]:
    return list(value) if type(value) is dict else []

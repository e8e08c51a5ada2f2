"""Tags: of an installation, of a template, of a secondary tile."""

import re
from collections.abc import Iterator

from bulkload.installation.flaw import Finding
from bulkload.installation.words import kind, shown

# "Valid tag characters are alphanumeric, _, @, -, ., : and #"; up to 120 of them. A leading $ is the service's own.
TAG = "A-Za-z0-9_@#.:-"
LONGEST_TAG = 120
_CHARACTERS = re.compile(f"[{TAG}]+")

# A good tag, told in one look.
_is_tag = re.compile(f"[{TAG}]{{1,{LONGEST_TAG}}}").fullmatch

# Documented; more than that were taken once.
MOST_TAGS = 60


def tag_findings(tags: object, place: str = "tags") -> Iterator[Finding]:
    """What is wrong with some tags; none are fine."""
    if tags is None:
        return
    if type(tags) is not list:
        yield Finding("tags-not-a-list", f"{place} is a list of strings, this is {kind(tags)}")
        return
    for number, tag in enumerate(tags):
        if type(tag) is str and _is_tag(tag):
            continue
        if type(tag) is not str:
            yield Finding("tag-not-text", f"{place}[{number}] is a string, this is {kind(tag)}")
        elif tag.startswith("$"):
            yield Finding("tag-system", f"{place}[{number}] {shown(tag)} begins with '$', as only the service's own do")
        elif not _CHARACTERS.fullmatch(tag):
            allowed = "letters, digits and '_', '@', '#', '.', ':', '-'"
            yield Finding("tag-characters", f"{place}[{number}] {shown(tag)} is not 1 to {LONGEST_TAG} {allowed}")
        else:
            yield Finding(
                "tag-too-long", f"{place}[{number}] {shown(tag)} has {len(tag):,} characters, {LONGEST_TAG} are allowed"
            )
    if len(tags) > MOST_TAGS:
        yield Finding("too-many-tags", f"{place} has {len(tags):,} tags, the service documents {MOST_TAGS}")

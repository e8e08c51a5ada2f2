"""All registrations of one channel as one installation.

Where registrations of a channel contradict each other, one rule decides: a part of an installation before an old
registration, then the one that expires last, then the one whose id sorts last, then what was written last. Every
contradiction is told.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from bulkload.installation import Fields
from bulkload.installation.identity import hashed
from bulkload.registration.registration import Registration, Template, is_never

Conflict = Literal["installation-id", "user", "platform", "template", "push-variable"]

_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)


class Folded(NamedTuple):
    """An installation as it can be loaded, and about what its registrations contradicted each other."""

    fields: Fields
    conflicts: tuple[Conflict, ...]


def fold(registrations: Iterable[Registration], *, platforms: Mapping[str, str] = MappingProxyType({})) -> Folded:
    """The installation of one channel's registrations, one at least, each with a handle.

    `platforms` says what a platform becomes. Native tags are united, templates go by their names. Tags and templates
    are sorted, so that the same registrations make the same installation in whatever order they come.
    """
    ordered = sorted(registrations, key=_precedence, reverse=True)
    conflicts: dict[Conflict, None] = {}

    def platform_of(registration: Registration) -> str:
        platform = registration.platform or ""
        return platforms.get(platform, platforms.get("*", platform))

    first = ordered[0]
    platform = platform_of(first)
    kept = [one for one in ordered if platform_of(one) == platform]
    if len(kept) < len(ordered):
        conflicts["platform"] = None
    assert first.handle is not None
    fields: Fields = {
        "installationId": _agreed(kept, lambda one: one.installation_id, "installation-id", conflicts)
        or hashed(first.handle.key),
        "userId": _agreed(kept, lambda one: one.user_id, "user", conflicts),
        "platform": platform,
        "pushChannel": first.handle.push_channel,
        "tags": sorted({tag for one in kept if one.template is None for tag in one.own_tags}),
        "templates": _templates(kept, conflicts),
        "pushVariables": _variables(kept, conflicts),
        "expirationTime": _expiration(first),
    }
    return Folded({name: value for name, value in fields.items() if value}, tuple(conflicts))


class _Precedence(NamedTuple):
    is_part: bool
    expires: datetime
    registration_id: str
    etag: tuple[int, str]


def _precedence(registration: Registration) -> _Precedence:
    # A registration that was changed while a list was read may be in it twice; its etags count up.
    etag = registration.etag or ""
    return _Precedence(
        registration.installation_id is not None,
        _expires(registration.expiration_time or ""),
        registration.registration_id or "",
        (len(etag), etag),
    )


def _expires(time: str) -> datetime:
    """A time in any of its spellings; of "never" one list may hold two. What is none comes before all others."""
    if is_never(time):
        return _LAST
    try:
        moment = datetime.fromisoformat(time)
    except ValueError:
        return _FIRST
    # The answer to a write tells no time zone.
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _agreed(
    registrations: Sequence[Registration],
    told: Callable[[Registration], str | None],
    conflict: Conflict,
    conflicts: dict[Conflict, None],
) -> str | None:
    values = dict.fromkeys(value for one in registrations if (value := told(one)) is not None)
    if len(values) > 1:
        conflicts[conflict] = None
    return next(iter(values), None)


def _templates(registrations: Sequence[Registration], conflicts: dict[Conflict, None]) -> dict[str, dict[str, Any]]:
    native_tags: dict[str | None, set[str]] = {}
    for one in registrations:
        if one.template is None:
            native_tags.setdefault(one.installation_id, set()).update(one.own_tags)
    contents: dict[str, Template] = {}
    tags: dict[str, set[str]] = {}
    for one in registrations:
        if (template := one.template) is None:
            continue
        name = template.name or _made_up(template)
        if name in contents and _content(contents[name]) != _content(template):
            conflicts["template"] = None
            continue
        contents.setdefault(name, template)
        tags.setdefault(name, set()).update(_tags_of_template(one, template, native_tags))
    return {name: dict(_written(contents[name], sorted(tags[name]))) for name in sorted(contents)}


def _tags_of_template(
    registration: Registration, template: Template, native_tags: Mapping[str | None, set[str]]
) -> set[str]:
    """A template's own tags: one that is a part of an installation bears its tags and the template's name as well."""
    own = set(registration.own_tags)
    if registration.installation_id is None:
        return own
    return own - native_tags.get(registration.installation_id, set()) - template.name_tags


def _written(template: Template, tags: list[str]) -> Iterator[tuple[str, Any]]:
    yield "body", template.body
    if template.headers:
        yield "headers", dict(template.headers)
    if template.expiry:
        yield "expiry", template.expiry
    if tags:
        yield "tags", tags


def _content(template: Template) -> tuple[str, list[tuple[str, str]], str | None]:
    return template.body, sorted(template.headers.items()), template.expiry


def _made_up(template: Template) -> str:
    """A name for a template without one: the same for the same, so that several do not hide each other."""
    digest = hashlib.sha256(repr(_content(template)).encode(errors="surrogatepass")).hexdigest()
    return f"template-{digest[:8]}"


def _variables(registrations: Sequence[Registration], conflicts: dict[Conflict, None]) -> dict[str, str]:
    united: dict[str, str] = {}
    for one in registrations:
        for name, value in one.push_variables.items():
            if united.setdefault(name, value) != value:
                conflicts["push-variable"] = None
    return united


def _expiration(registration: Registration) -> str | None:
    """When an installation expires by its own will; an old registration's time is the hub's."""
    time = registration.expiration_time
    is_own = registration.installation_id is not None and time is not None and not is_never(time)
    return time if is_own else None

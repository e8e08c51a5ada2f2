"""One registration: a device's handle with its tags, and perhaps a template."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bulkload.registration.family import FAMILIES, TEMPLATE, Family, json_name
from bulkload.registration.handle import Handle

# The service's own tags: what belongs to an installation bears its id, and its user's.
_SYSTEM_TAG = re.compile(r"\$(InstallationId|UserId):\{(.+)\}")


def is_never(time: str) -> bool:
    """Whether a time is how the service says that something never expires."""
    return time.startswith("9999-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """What a device's notifications are made from; older registrations may have none of the names."""

    body: str
    name: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    expiry: str | None = None

    @property
    def name_tags(self) -> frozenset[str]:
        """Its name as the tags of an installation's part bear it: a comma in it parts it."""
        return frozenset(part.strip() for part in (self.name or "").split(","))


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A registration as the hub tells it, whatever dialect it speaks.

    `kind` is the name of its description without its end, such as ``Apple`` or ``AppleTemplate``. One of a kind that is
    not known, or without its handle, has no `handle`, and is kept as it came in `raw`: the XML text of its entry.
    `expiration_time` and `expiry` are the hub's own texts. A repr shows neither handle nor body: they are personal.
    """

    kind: str
    handle: Handle | None = None
    registration_id: str | None = None
    etag: str | None = None
    expiration_time: str | None = None
    tags: tuple[str, ...] = ()
    push_variables: Mapping[str, str] = field(default_factory=dict)
    template: Template | None = None
    secondary_tile: str | None = None
    raw: str | None = None

    def __repr__(self) -> str:
        return f"<Registration {self.registration_id or 'without an id'}, {self.kind}>"

    @property
    def family(self) -> Family | None:
        """What it is one of; None for a kind that is not known."""
        return FAMILIES.get(self.kind.removesuffix(TEMPLATE))

    @property
    def platform(self) -> str | None:
        """The platform of an installation for its device."""
        return self.family.platform if self.family is not None else None

    @property
    def installation_id(self) -> str | None:
        """The installation that it is a part of, where it is one's."""
        return self._system_tag("InstallationId")

    @property
    def user_id(self) -> str | None:
        return self._system_tag("UserId")

    @property
    def own_tags(self) -> tuple[str, ...]:
        """Its tags without the service's own."""
        return tuple(tag for tag in self.tags if not tag.startswith("$"))

    def _system_tag(self, name: str) -> str | None:
        matches = map(_SYSTEM_TAG.fullmatch, self.tags)
        return next((match[2] for match in matches if match is not None and match[1] == name), None)

    def to_fields(self) -> dict[str, Any]:
        """A JSON object of what it has, under the service's names; `of_fields` reads it."""
        fields: dict[str, Any] = {"kind": self.kind, "registrationId": self.registration_id, "etag": self.etag}
        fields |= {"expirationTime": self.expiration_time, "tags": list(self.tags)}
        if self.handle is not None:
            fields |= {json_name(name): value for name, value in self.handle.parts}
        fields |= {"pushVariables": dict(self.push_variables), "secondaryTileName": self.secondary_tile}
        if (template := self.template) is not None:
            fields |= {"templateName": template.name, "headers": dict(template.headers), "expiry": template.expiry}
        told = {name: value for name, value in fields.items() if value not in (None, [], {})}
        if self.template is not None:
            told["bodyTemplate"] = self.template.body
        return told | ({"raw": self.raw} if self.raw is not None else {})

    @classmethod
    def of_fields(cls, fields: Mapping[str, Any]) -> "Registration":
        """What `to_fields` made."""
        kind: str = fields["kind"]
        family = FAMILIES.get(kind.removesuffix(TEMPLATE))
        handle = (
            tuple((name, fields[key]) for name in family.handles if (key := json_name(name)) in fields)
            if family
            else ()
        )
        template = None
        if "bodyTemplate" in fields:
            template = Template(
                body=fields["bodyTemplate"],
                name=fields.get("templateName"),
                headers=fields.get("headers", {}),
                expiry=fields.get("expiry"),
            )
        return cls(
            kind=kind,
            handle=Handle(handle) if handle else None,
            registration_id=fields.get("registrationId"),
            etag=fields.get("etag"),
            expiration_time=fields.get("expirationTime"),
            tags=tuple(fields.get("tags", ())),
            push_variables=fields.get("pushVariables", {}),
            template=template,
            secondary_tile=fields.get("secondaryTileName"),
            raw=fields.get("raw"),
        )

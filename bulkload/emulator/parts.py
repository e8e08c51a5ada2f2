"""The registrations that an installation is stored as: one for its device and one for each template."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from bulkload.errors import InputError
from bulkload.registration import FAMILY_OF_PLATFORM, TEMPLATE, Handle, Registration, Template

# When an installation expires that has no time of its own: both front ends tell it so, in its entries as well.
NEVER = "9999-12-31T23:59:59.9999999Z"

# A registration id is two numbers of 15 to 19 digits, and a small one.
LEAST = 10**14
MOST = 2**63


def parts(body: bytes) -> list[Registration]:
    """The registrations of an installation by its body, which has passed the check; first its device's.

    Those of a secondary tile have its channel and its tags. Their ids are made from what they are, so that they are the
    same each time.
    """
    fields = orjson.loads(body)
    whole = _Whole(
        id=fields["installationId"],
        platform=fields["platform"],
        system_tags=tuple(_system_tags(fields)),
        expiration_time=fields.get("expirationTime") or NEVER,
        variables=fields.get("pushVariables") or {},
    )
    tiles = fields.get("secondaryTiles") or {}
    holders = [(None, fields), *tiles.items()]
    return [part for tile, holder in holders for part in whole.parts(tile, holder)]


def without(body: bytes, *, tile: str | None, template: str | None) -> bytes | None:
    """An installation's body without one of its registrations; None where that was its device's."""
    fields = orjson.loads(body)
    tiles = fields.get("secondaryTiles") or {}
    if template is not None:
        holder = fields if tile is None else tiles.get(tile, {})
        (holder.get("templates") or {}).pop(template, None)
    elif tile is not None:
        tiles.pop(tile, None)
    else:
        return None
    return orjson.dumps(fields)


def _system_tags(fields: Mapping[str, Any]) -> Iterator[str]:
    yield installation_tag(fields["installationId"])
    if user := fields.get("userId"):
        yield f"$UserId:{{{user}}}"


def installation_tag(id_: str) -> str:
    """The tag by which the service knows what belongs to an installation."""
    return f"$InstallationId:{{{id_}}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Whole:
    """What all parts of an installation have in common."""

    id: str
    platform: str
    system_tags: tuple[str, ...]
    expiration_time: str
    variables: Mapping[str, str]

    def parts(self, tile: str | None, holder: Mapping[str, Any]) -> Iterator[Registration]:
        """Those of its device, or of a tile."""
        handle = _handle(self.platform, holder["pushChannel"])
        tags = (*self.system_tags, *(holder.get("tags") or ()))
        yield self._part(handle, tile, tags)
        for name, template in (holder.get("templates") or {}).items():
            own = (*tags, *(template.get("tags") or ()), name)
            yield self._part(handle, tile, own, _template(name, template))

    def _part(
        self, handle: Handle, tile: str | None, tags: tuple[str, ...], template: Template | None = None
    ) -> Registration:
        kind = FAMILY_OF_PLATFORM[self.platform].name
        return Registration(
            kind=kind if template is None else f"{kind}{TEMPLATE}",
            handle=handle,
            registration_id=_registration_id(self.id, tile, template.name if template is not None else None),
            expiration_time=self.expiration_time,
            tags=tuple(dict.fromkeys(tags)),
            push_variables=self.variables,
            template=template,
            secondary_tile=tile,
        )


def _handle(platform: str, channel: object) -> Handle:
    try:
        return Handle.of_installation({"platform": platform, "pushChannel": channel})
    except InputError:
        # Baidu's is two ids joined by a hyphen; the check takes any other text as well.
        return Handle((("BaiduUserId", str(channel)), ("BaiduChannelId", "")))


def _template(name: str, template: Mapping[str, Any]) -> Template:
    return Template(
        body=template["body"],
        name=name,
        headers=template.get("headers") or {},
        expiry=template.get("expiry") or None,
    )


def _registration_id(*names: str | None) -> str:
    digest = hashlib.blake2b(orjson.dumps(names), digest_size=17).digest()
    first, second = (LEAST + int.from_bytes(half) % (MOST - LEAST) for half in (digest[:8], digest[8:16]))
    return f"{first}-{second}-{1 + digest[16] % 3}"

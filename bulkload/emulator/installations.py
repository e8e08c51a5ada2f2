"""What the hub answers about installations."""

from collections.abc import Callable

import orjson

from bulkload import installation
from bulkload.emulator.answers import Answer
from bulkload.emulator.dialect import Dialect
from bulkload.emulator.parts import NEVER
from bulkload.emulator.patching import PatchError, patched
from bulkload.emulator.store import Store
from bulkload.installation import Fields, Flaw

# No recorded answer of a quota is public: this is in the words of the service's limits.
_FULL = "Quota exceeded: this namespace has too many installations"

_INVALID = "Installation validation failed with following error(s):\r\n"
_NOT_THERE = Answer(404, detail="Installation not found")


class Installations:
    """Answers about the installations in a store; `is_full` says whether there may be no more of them."""

    def __init__(self, store: Store, dialect: Dialect, *, is_full: Callable[[], bool]) -> None:
        self._store = store
        self._dialect = dialect
        self._is_full = is_full

    def __repr__(self) -> str:
        return f"<Installations {len(self._store.accepted)}>"

    def put(self, id_: str, body: bytes, hub_url: str) -> Answer:
        checked = _checked(id_, body)
        if isinstance(checked, Answer):
            return checked
        if id_ not in self._store.accepted and self._is_full():
            return Answer(403, detail=_FULL)
        self._store.put(id_, checked)
        return Answer(200, headers=(("Content-Location", f"{hub_url}/installations/{id_}"),))

    def get(self, id_: str) -> Answer:
        body = self._store.get(id_)
        if body is None:
            return _NOT_THERE
        return Answer(200, orjson.dumps(self._told(orjson.loads(body))))

    def patch(self, id_: str, body: bytes) -> Answer:
        """Recorded as 200 with nothing in it; what was accepted last is changed, whether it can be seen or not."""
        held = self._store.accepted.get(id_)
        if held is None:
            return _NOT_THERE
        try:
            changed = patched(orjson.loads(held), body)
        except PatchError as exc:
            return Answer(400, detail=f"{_INVALID}{exc}")
        checked = _checked(id_, orjson.dumps(changed))
        if isinstance(checked, Answer):
            return checked
        self._store.put(id_, checked)
        return Answer(200)

    def delete(self, id_: str) -> Answer:
        self._store.delete(id_)
        return Answer(204)

    def _told(self, fields: Fields) -> Fields:
        """Its fields as the service tells them: in its order, without those that are null."""
        fields["pushChannelExpired"] = False
        fields["expirationTime"] = fields.get("expirationTime") or NEVER
        fields["platform"] = self._dialect.platform(fields["platform"])
        for holder in (fields, *(fields.get("secondaryTiles") or {}).values()):
            for name, template in (holder.get("templates") or {}).items():
                template["tags"] = list(dict.fromkeys((*(template.get("tags") or ()), name)))
        ordered = dict.fromkeys(self._dialect.fields) | fields
        return {name: value for name, value in ordered.items() if value is not None}


def _checked(id_: str, body: bytes) -> bytes | Answer:
    """The body as it is stored, or the answer that refuses it."""
    checked = installation.check(body)
    if isinstance(checked, Flaw):
        return Answer(400, detail=_INVALID + checked.message)
    if checked.id != id_:
        return Answer(400, detail=f"{_INVALID}installationId {checked.id!r} is not the address's {id_!r}")
    return checked.body

"""What the hub answers about registrations."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from bulkload.emulator.address import Address
from bulkload.emulator.answers import Answer
from bulkload.emulator.dialect import WRITTEN, Dialect, Told
from bulkload.emulator.parts import LEAST, MOST
from bulkload.emulator.question import continuation, next_query, question
from bulkload.emulator.register import Question, Row
from bulkload.emulator.store import Store
from bulkload.emulator.submission import submitted

_NOT_THERE = Answer(404, detail="")

# No recorded answer of these is public.
_NO_CONDITION = Answer(400, detail="The If-Match header is missing")
_NOT_MATCHED = Answer(412, detail="The registration is not the one that the If-Match header names")
_A_PART = Answer(409, detail="The registration is a part of an installation")
_FULL = Answer(403, detail="Quota exceeded: this namespace has too many registrations")

_ETAG = re.compile(r'\s*(?:W/)?"?([^",]*)"?\s*')


@dataclass(frozen=True, slots=True)
class Asked:
    """A request about registrations; `if_match` is its header."""

    method: str
    address: Address
    hub_url: str
    if_match: str | None
    body: bytes

    @property
    def query(self) -> str:
        return f"?{self.address.query}"


class Registrations:
    """Answers about the registrations in a store.

    `is_full` says whether there may be no more of them; `clock` is what the answers' times are by.
    """

    def __init__(
        self, store: Store, dialect: Dialect, *, is_full: Callable[[], bool], clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._dialect = dialect
        self._is_full = is_full
        self._clock = clock
        self._chance = random.Random()  # noqa: S311 - ids are no secret
        self._buried: set[str] = set()

    def __repr__(self) -> str:
        return f"<Registrations {self._dialect.name}>"

    def make_id(self, asked: Asked) -> Answer:
        """An id without its registration; recorded answers have Location, the specification's the other header."""
        id_ = self._new_id()
        query = asked.query if self._dialect.has_headers else ""
        places = (("Location", "registrationids"), ("Content-Location", "registrations"))
        return Answer(
            201,
            content_type=None if self._dialect.has_headers else WRITTEN,
            headers=tuple((name, f"{asked.hub_url}/{collection}/{id_}{query}") for name, collection in places),
        )

    def create(self, asked: Asked) -> Answer:
        made = submitted(asked.body)
        if isinstance(made, Answer):
            return made
        if self._is_full():
            return _FULL
        id_ = self._new_id()
        while self._store.register.get(id_) is not None:
            id_ = self._new_id()
        row = self._store.register.put(replace(made, registration_id=id_))
        return self._written(row, asked, is_new=True)

    def put(self, id_: str, asked: Asked) -> Answer:
        made = submitted(asked.body)
        if isinstance(made, Answer):
            return made
        found = self._store.register.get(id_)
        if found is not None and found.is_part:
            return _A_PART
        if asked.if_match is not None and (refusal := _refusal(asked.if_match, found)) is not None:
            return refusal
        if found is None and self._is_full():
            return _FULL
        row = self._store.register.put(replace(made, registration_id=id_))
        return self._written(row, asked, is_new=False)

    def get(self, id_: str, asked: Asked) -> Answer:
        row = self._store.register.get(id_)
        if row is None:
            return _NOT_THERE
        dialect = self._dialect
        told = Told(row.registration, f"{asked.hub_url}/{dialect.collection}/{id_}{asked.query}")
        return Answer(
            200,
            dialect.entry(told, now=self._clock(), is_written=False),
            content_type=dialect.read_entry,
            headers=(("ETag", _weak(row)),) if dialect.has_headers else (),
        )

    def delete(self, id_: str, asked: Asked) -> Answer:
        """Recorded as 200 with nothing in it."""
        if asked.if_match is None:
            return _NO_CONDITION
        found = self._store.register.get(id_)
        if found is None and id_ in self._buried:
            self._buried.remove(id_)
            return Answer(200, content_type=None)
        refusal = _refusal(asked.if_match, found)
        if refusal is not None or found is None:
            return refusal or _NOT_THERE
        if found.is_part:
            self._remove_part(found)
        else:
            self._store.register.remove(found)
        return Answer(200, content_type=None)

    def find(self, asked: Asked, *, tag: str | None = None) -> Answer:
        wanted = question(asked.address.parameters, tag=tag)
        if not isinstance(wanted, Question):
            return Answer(400, detail=wanted)
        rows = self._store.register.find(wanted._replace(top=wanted.top + 1))
        page = rows[: wanted.top]
        token = continuation(page[-1].number) if len(rows) > len(page) else None
        base = f"{asked.hub_url}/{self._collection(asked, tag)}"
        query = asked.query
        body = self._dialect.feed(
            (Told(row.registration, f"{base}/{row.id}{query}") for row in page),
            url=f"{base}{query}",
            next_url=None if token is None else f"{base}?{next_query(asked.address.query, token)}",
            now=self._clock(),
        )
        headers = () if token is None else (("x-ms-continuationtoken", token),)
        return Answer(200, body, content_type=self._dialect.read_feed, headers=headers)

    def _collection(self, asked: Asked, tag: str | None) -> str:
        if tag is None or not self._dialect.has_headers:
            return self._dialect.collection
        # Under its tag, as the client has spelled that.
        return f"tags/{asked.address.path.split('/')[3]}/{self._dialect.collection}"

    def _written(self, row: Row, asked: Asked, *, is_new: bool) -> Answer:
        url = f"{asked.hub_url}/registrations/{row.id}{asked.query}"
        headers = [("ETag", _weak(row))] if self._dialect.has_headers else []
        if is_new and self._dialect.has_headers:
            headers.append(("Content-Location", url))
        body = self._dialect.entry(Told(row.registration, url), now=self._clock(), is_written=True)
        return Answer(200, body, content_type=WRITTEN, headers=tuple(headers))

    def _remove_part(self, row: Row) -> None:
        """An installation goes with its device's entry, a template with its own.

        A client that deletes what a list told it is answered 200 for each, as recorded, though the first one took the
        others along.
        """
        registration = row.registration
        installation_id = registration.installation_id
        assert installation_id is not None
        before = self._store.register.parts(installation_id)
        template = registration.template.name if registration.template is not None else None
        self._store.remove_part(installation_id, tile=registration.secondary_tile, template=template)
        left = {part.id for part in self._store.register.parts(installation_id)}
        self._buried.update({part.id for part in before} - left - {row.id})

    def _new_id(self) -> str:
        first, second = (self._chance.randrange(LEAST, MOST) for _ in range(2))
        return f"{first}-{second}-{self._chance.randint(1, 3)}"


def _weak(row: Row) -> str:
    return f'W/"{row.etag}"'


def _refusal(if_match: str, found: Row | None) -> Answer | None:
    """Why a condition does not hold, if it does not: ``*`` or ETags, weak or not, in quotes or not."""
    if found is None:
        return _NOT_THERE
    wanted = [match[1] for part in if_match.split(",") if (match := _ETAG.fullmatch(part)) is not None]
    return None if "*" in wanted or str(found.etag) in wanted else _NOT_MATCHED

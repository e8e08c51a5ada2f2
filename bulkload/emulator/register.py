"""The registrations of a hub, found by their ids, channels and tags, in the order in which they came."""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import orjson

from bulkload.emulator.parts import installation_tag
from bulkload.registration import Registration

# A number is never given twice, so a list that goes on behind one misses nothing and repeats nothing, whatever came and
# went. A channel is a handle's key. What the row says for itself is not in its content.
SCHEMA = """
    CREATE TABLE IF NOT EXISTS registrations (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        etag INTEGER NOT NULL,
        is_part INTEGER NOT NULL,
        kind TEXT NOT NULL,
        channel TEXT NOT NULL,
        content BLOB NOT NULL
    );
    CREATE INDEX IF NOT EXISTS registrations_by_channel ON registrations (channel);
    CREATE INDEX IF NOT EXISTS registrations_of_their_own ON registrations (kind) WHERE NOT is_part;
    CREATE TABLE IF NOT EXISTS tags (
        tag TEXT NOT NULL,
        number INTEGER NOT NULL,
        PRIMARY KEY (tag, number)
    ) WITHOUT ROWID;
"""

_COLUMNS = "r.number, r.id, r.etag, r.is_part, r.content"


class Row(NamedTuple):
    """A registration as it is held: its place in every list, and how often it was written."""

    number: int
    id: str
    etag: int
    is_part: bool
    content: bytes

    @property
    def registration(self) -> Registration:
        own = {"registrationId": self.id, "etag": str(self.etag)}
        return Registration.of_fields(orjson.loads(self.content) | own)


class Question(NamedTuple):
    """What a list asks for: at most `top` registrations behind a number.

    `channels` are spellings of one, `kinds` what may be found by it; a `tag` or nothing asks for all others.
    """

    top: int
    after: int = 0
    channels: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    tag: str | None = None


class Register:
    """Holds registrations in a database that has the schema; `own` counts those that are no installation's part."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.own: int = connection.execute("SELECT count(*) FROM registrations WHERE NOT is_part").fetchone()[0]

    def __repr__(self) -> str:
        return f"<Register {self.own} registrations of their own>"

    def get(self, id_: str) -> Row | None:
        found = self._connection.execute(f"SELECT {_COLUMNS} FROM registrations r WHERE r.id = ?", (id_,)).fetchone()
        return Row(*found) if found is not None else None

    def kinds(self) -> dict[str, int]:
        """How many there are of each kind that are no installation's part."""
        return dict(
            self._connection.execute("SELECT kind, count(*) FROM registrations WHERE NOT is_part GROUP BY kind")
        )

    def find(self, question: Question) -> list[Row]:
        """Those that a list asks for, in their order."""
        source = "registrations r"
        conditions, values = ["r.number > ?"], [question.after, *question.channels]
        if question.tag is not None:
            # Named in this order, since a tag has fewer entries than there are in all.
            source = "tags t CROSS JOIN registrations r ON r.number = t.number"
            conditions, values = ["t.number > ?", "t.tag = ?"], [question.after, question.tag]
        if question.channels:
            # Or the order that is wanted would lead through all rows.
            source = "registrations r INDEXED BY registrations_by_channel"
            conditions.append(f"r.channel IN ({_places(question.channels)})")
            conditions.append(f"r.kind IN ({_places(question.kinds)})" if question.kinds else "TRUE")
            values += question.kinds
        query = f"SELECT {_COLUMNS} FROM {source} WHERE {' AND '.join(conditions)} ORDER BY 1 LIMIT ?"
        return [Row(*found) for found in self._connection.execute(query, (*values, question.top))]

    def put(self, registration: Registration, *, is_part: bool = False, writes: int = 1) -> Row:
        """Write one under its id, over what was there; it counts as written so often."""
        id_ = registration.registration_id
        assert id_ is not None
        assert registration.handle is not None
        fields = registration.to_fields()
        del fields["registrationId"]
        values = (is_part, registration.kind, registration.handle.key, orjson.dumps(fields))
        found = self.get(id_)
        if found is None:
            number = self._connection.execute(
                "INSERT INTO registrations (id, etag, is_part, kind, channel, content) VALUES (?, ?, ?, ?, ?, ?)",
                (id_, writes, *values),
            ).lastrowid
            assert number is not None
            self.own += not is_part
            row = Row(number, id_, writes, is_part, values[-1])
        else:
            row = found._replace(etag=found.etag + writes, is_part=is_part, content=values[-1])
            self.own += bool(found.is_part) - is_part
            self._untag(found)
            self._connection.execute(
                "UPDATE registrations SET etag = ?, is_part = ?, kind = ?, channel = ?, content = ? WHERE number = ?",
                (row.etag, *values, row.number),
            )
        self._connection.executemany(
            "INSERT OR IGNORE INTO tags VALUES (?, ?)", ((tag, row.number) for tag in registration.tags)
        )
        return row

    def remove(self, row: Row) -> None:
        self._untag(row)
        self._connection.execute("DELETE FROM registrations WHERE number = ?", (row.number,))
        self.own -= not row.is_part

    def put_parts(self, installation_id: str, parts: Sequence[Registration], *, writes: int) -> None:
        """Write the registrations of an installation; those that it had and has no more go."""
        kept = {part.registration_id for part in parts}
        for row in self.parts(installation_id):
            if row.id not in kept:
                self.remove(row)
        for part in parts:
            self.put(part, is_part=True, writes=writes)

    def parts(self, installation_id: str) -> list[Row]:
        """All registrations of an installation."""
        return self.find(Question(tag=installation_tag(installation_id), top=-1))

    def _untag(self, row: Row) -> None:
        tags: Iterable[str] = orjson.loads(row.content).get("tags", ())
        self._connection.executemany(
            "DELETE FROM tags WHERE tag = ? AND number = ?", ((tag, row.number) for tag in tags)
        )


def _places(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))

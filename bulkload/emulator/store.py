"""What a hub holds, and what of it can be seen by now: an acceptance means that it is queued."""

from collections import deque
from collections.abc import Callable
from pathlib import Path

from bulkload.emulator.parts import parts, without
from bulkload.emulator.register import Register
from bulkload.emulator.saved import Held, Saved


class Store:
    """Installations by their id, and registrations. `accepted` has all installations; `get` shows each `delay` seconds
    after it came.

    Installations are held here alone, which is quick; among the registrations they are shown only when somebody looks.
    `open` gives them a database, in a file where they have to outlive the process.
    """

    def __init__(self, *, delay: float, clock: Callable[[], float]) -> None:
        self.accepted: dict[str, bytes] = {}
        self._delay = delay
        self._clock = clock
        self._visible: dict[str, bytes] = {} if delay else self.accepted
        self._queue: deque[tuple[float, str, bytes | None]] = deque()
        # What became visible since the registrations were last looked at: how often it was written, and what had gone
        # before. When somebody looks it becomes a list of changes, in which 0 stands for what has gone.
        self._writes: dict[str, int] = {}
        self._gone: set[str] = set()
        self._changes: deque[tuple[str, int]] = deque()
        self._unsaved: set[str] | None = None

    def __repr__(self) -> str:
        return f"<Store {len(self.accepted)} installations, {len(self._queue)} not visible yet>"

    def open(self, path: Path | None = None) -> None:
        """Have a database; with a path one in a file, which is read. Raises `InputError`."""
        self._saved = Saved(path)
        self._register = Register(self._saved.connection)
        if path is None:
            self._writes.update(dict.fromkeys(self._visible, 1))
            return
        for id_, body, writes in self._saved.installations():
            if body is not None:
                self.accepted[id_] = body
            if writes and body is not None:
                self._writes[id_] = writes
            elif writes:
                self._gone.add(id_)
        self._visible.update(self.accepted)
        self._unsaved = set()

    def close(self) -> None:
        self.save()
        self._saved.close()

    def save(self) -> None:
        """Have the file hold all that there is; raises `Halt`."""
        if self._unsaved is None:
            return
        waiting = self._waiting()
        self._saved.put(
            Held(id_, self.accepted.get(id_), self._writes.get(id_) or int(id_ in self._gone or id_ in waiting))
            for id_ in self._unsaved
        )
        self._unsaved.clear()
        self._saved.commit()

    def put(self, id_: str, body: bytes) -> None:
        self.accepted[id_] = body
        if self._unsaved is not None:
            self._unsaved.add(id_)
        if self._delay:
            self._enqueue(id_, body)
        else:
            self._writes[id_] = self._writes.get(id_, 0) + 1

    def delete(self, id_: str) -> None:
        if self.accepted.pop(id_, None) is None:
            return
        if self._unsaved is not None:
            self._unsaved.add(id_)
        if self._delay:
            self._enqueue(id_, None)
        else:
            self._forget(id_)

    def remove_part(self, id_: str, *, tile: str | None, template: str | None) -> None:
        """Take one of its registrations from an installation."""
        body = self.accepted.get(id_)
        left = without(body, tile=tile, template=template) if body is not None else None
        if left is None:
            self.delete(id_)
        else:
            self.put(id_, left)

    def get(self, id_: str) -> bytes | None:
        """What can be seen under an id, None for nothing."""
        self._ripen(self._clock())
        return self._visible.get(id_)

    @property
    def own_registrations(self) -> int:
        """How many registrations there are that are no installation's part."""
        return self._register.own

    @property
    def own_kinds(self) -> dict[str, int]:
        """How many of them there are of each kind."""
        return self._register.kinds()

    @property
    def register(self) -> Register:
        """The registrations, with all of the installations that can be seen."""
        while not self.show():
            pass
        return self._register

    def show(self, most: int | None = None) -> bool:
        """Write what changed among the registrations, of so many installations at most; says whether that was all.

        A million takes half a minute, in which others want to be answered.
        """
        self._ripen(self._clock())
        if not self._changes:
            if not self._writes and not self._gone:
                return True
            self._changes.extend((id_, 0) for id_ in self._gone)
            self._changes.extend(self._writes.items())
            self._gone.clear()
            self._writes.clear()
        for _ in range(len(self._changes) if most is None else min(most, len(self._changes))):
            id_, writes = self._changes.popleft()
            # What has gone meanwhile is among the next ones.
            body = self._visible.get(id_) if writes else None
            if body is not None or not writes:
                self._register.put_parts(id_, parts(body) if body is not None else (), writes=writes)
        if not self._changes and self._unsaved is not None:
            self._saved.note_shown()
            self._unsaved.update(self._waiting(), self._gone, self._writes)
        return not self._changes and not self._writes and not self._gone

    def _waiting(self) -> set[str]:
        """What is not visible yet, or about to be written among the registrations."""
        return {id_ for _, id_, _ in self._queue}.union(id_ for id_, _ in self._changes)

    def _forget(self, id_: str) -> None:
        self._writes.pop(id_, None)
        self._gone.add(id_)

    def _enqueue(self, id_: str, body: bytes | None) -> None:
        now = self._clock()
        self._ripen(now)
        self._queue.append((now + self._delay, id_, body))

    def _ripen(self, now: float) -> None:
        while self._queue and self._queue[0][0] <= now:
            _, id_, body = self._queue.popleft()
            if body is None:
                self._visible.pop(id_, None)
                self._forget(id_)
            else:
                self._visible[id_] = body
                self._writes[id_] = self._writes.get(id_, 0) + 1

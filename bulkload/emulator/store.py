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
        # before.
        self._writes: dict[str, int] = {}
        self._gone: set[str] = set()
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
        to_show = {id_ for _, id_, _ in self._queue} | self._gone
        self._saved.put(
            Held(id_, self.accepted.get(id_), self._writes.get(id_) or int(id_ in to_show)) for id_ in self._unsaved
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
    def register(self) -> Register:
        """The registrations, with all of the installations that can be seen."""
        self._ripen(self._clock())
        for id_ in self._gone:
            self._register.put_parts(id_, (), writes=0)
        for id_, writes in self._writes.items():
            self._register.put_parts(id_, parts(self._visible[id_]), writes=writes)
        if self._unsaved is not None and (self._gone or self._writes):
            self._saved.note_shown()
            self._unsaved.update(id_ for _, id_, _ in self._queue)
        self._gone.clear()
        self._writes.clear()
        return self._register

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
